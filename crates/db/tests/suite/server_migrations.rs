//! Moves between hosts: their records, how one begins, and when its workflow ends.

use std::time::Duration;

use kilonova_db::instances::{self, MoveRecord, SaveError, StartMove};
use kilonova_db::server_migrations::{self, MigrationQuery};
use kilonova_db::workflows::{self, NewWorkflow, WorkflowKind};
use kilonova_db::{Db, DbError, actions};
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{Instance, Migration, TaskState, VmState};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::*;

fn migration(instance: &Instance, kind: &str, status: &str) -> Migration {
    Migration {
        uuid: Uuid::new_v4(),
        instance_uuid: instance.uuid,
        source_compute: Some("a".to_owned()),
        source_node: Some("a.node".to_owned()),
        dest_compute: Some("b".to_owned()),
        dest_compute_id: Some(2),
        old_instance_type_id: Some(1),
        new_instance_type_id: Some(2),
        status: status.to_owned(),
        migration_type: kind.to_owned(),
        memory_total: Some(1 << 40),
        project_id: Some("p".to_owned()),
        ..Migration::default()
    }
}

async fn active(db: &Db) -> Instance {
    let created = create_one(db, instance("mover")).await;
    save(db, created.uuid, json!({"vm_state": "active", "task_state": null})).await.unwrap()
}

fn start(instance: &Instance, changes: Value, record: MoveRecord) -> StartMove {
    StartMove {
        uuid: instance.uuid,
        action: "resize",
        changes: fields(changes),
        expected_vm_states: Some(vec![instance.vm_state]),
        expected_task_states: Some(vec![instance.task_state]),
        request_id: format!("req-{}", Uuid::new_v4()),
        user_id: "u".to_owned(),
        project_id: "p".to_owned(),
        record,
        workflow: NewWorkflow {
            kind: WorkflowKind::Move,
            instance_uuid: instance.uuid,
            step: "step".to_owned(),
            payload: json!({}),
            lease_owner: "api".to_owned(),
            lease: Duration::from_secs(60),
        },
    }
}

async fn has_workflow(db: &Db, instance: &Instance) -> bool {
    workflows::get(db, WorkflowKind::Move, instance.uuid).await.unwrap().is_some()
}

#[tokio::test]
async fn a_record_is_stored_changed_and_found() {
    on_database(async |db| {
        let (one, two) = (active(db).await, active(db).await);
        let given = migration(&one, migration_type::RESIZE, status::PRE_MIGRATING);
        let stored = server_migrations::create(db, &given).await.unwrap();
        let expected = Migration { id: stored.id, created_at: stored.created_at, ..given };
        assert_eq!(stored, expected);
        assert_eq!(server_migrations::get(db, stored.id).await.unwrap(), stored);
        let changes = fields(json!({"status": "migrating", "dest_node": "b.node"}));
        let changed = server_migrations::save(db, stored.id, &changes).await.unwrap();
        assert_eq!((changed.status.as_str(), changed.dest_node.as_deref()), ("migrating", Some("b.node")));
        assert_eq!(changed.created_at, stored.created_at);
        assert!(changed.updated_at.is_some());
        assert_corrupt(
            server_migrations::save(db, stored.id, &fields(json!({"id": 9}))).await,
            "the field id cannot be changed",
        );
        assert_not_found(server_migrations::save(db, 999, &changes).await, "migration", "999");
        let found = server_migrations::get_by_instance_and_status(db, one.uuid, "migrating").await.unwrap();
        assert_eq!(found, changed);
        let gone = server_migrations::get_by_instance_and_status(db, two.uuid, "migrating").await;
        assert_not_found(gone, "migration", &two.uuid.to_string());

        let mut other = migration(&two, migration_type::LIVE_MIGRATION, status::ERROR);
        other.source_compute = Some("b".to_owned());
        let other = server_migrations::create(db, &other).await.unwrap();
        let list = async |query: MigrationQuery| server_migrations::list(db, &query).await.unwrap();
        assert_eq!(list(MigrationQuery::default()).await, [changed.clone(), other.clone()]);
        let newest = MigrationQuery { newest_first: true, ..MigrationQuery::default() };
        assert_eq!(list(newest.clone()).await, [other.clone(), changed.clone()]);
        let after = MigrationQuery { marker: Some(other.uuid), ..newest.clone() };
        assert_eq!(list(after).await, std::slice::from_ref(&changed));
        let nowhere = MigrationQuery { marker: Some(one.uuid), ..newest };
        assert_not_found(server_migrations::list(db, &nowhere).await, "marker", &one.uuid.to_string());
        assert_eq!(list(MigrationQuery::open()).await, std::slice::from_ref(&changed));
        let of_host = |host: &str| MigrationQuery { host: Some(host.to_owned()), ..MigrationQuery::default() };
        assert_eq!(list(of_host("a")).await, std::slice::from_ref(&changed));
        assert_eq!(list(of_host("b")).await.len(), 2);
        let since = MigrationQuery { changes_since: changed.updated_at, ..MigrationQuery::default() };
        assert_eq!(list(since).await.len(), 2);

        instances::destroy(db, one.uuid).await.unwrap();
        assert_eq!(list(MigrationQuery::default()).await, [other]);
        let everything = MigrationQuery { deleted: instances::Deleted::Yes, ..MigrationQuery::default() };
        assert_eq!(list(everything).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_move_begins_whole_or_not_at_all() {
    on_database(async |db| {
        let server = active(db).await;
        let record = migration(&server, migration_type::EVACUATION, status::ACCEPTED);
        let begin = start(&server, json!({"task_state": "rebuilding"}), MoveRecord::New(Box::new(record)));
        let (busy, record) = instances::start_move(db, begin.clone()).await.unwrap();
        assert_eq!(busy.task_state, Some(TaskState::Rebuilding));
        assert_eq!(get(db, server.uuid).await, *busy);
        let record = record.unwrap();
        let workflow = workflows::get(db, WorkflowKind::Move, server.uuid).await.unwrap().unwrap();
        assert_eq!(workflow.payload, json!({"migration_id": record.id}));
        assert_eq!(actions::list(db, server.uuid).await.unwrap()[0].action.as_deref(), Some("resize"));

        // Somebody was faster: nothing of it is there.
        let refused = instances::start_move(db, begin).await;
        assert!(matches!(refused, Err(SaveError::UnexpectedTaskState { .. })), "{refused:?}");
        assert_eq!(
            server_migrations::list(db, &MigrationQuery::default()).await.unwrap(),
            std::slice::from_ref(&record)
        );
        let advance = |id| MoveRecord::Advance { id, from: status::FINISHED, to: status::CONFIRMING };
        let is_refused = async |id| {
            let refused = instances::start_move(db, start(&busy, json!({}), advance(id))).await;
            matches!(refused, Err(SaveError::Db(DbError::NotFound { resource: "migration", .. })))
        };
        assert!(is_refused(record.id).await, "it is not finished");

        let finished = migration(&server, migration_type::RESIZE, status::FINISHED);
        let left = server_migrations::create(db, &finished).await.unwrap();
        let finished = Migration { uuid: Uuid::new_v4(), ..finished };
        let newest = server_migrations::create(db, &finished).await.unwrap();
        assert!(is_refused(left.id).await, "it is not the newest");
        assert_eq!(server_migrations::get(db, left.id).await.unwrap(), left);
        let (now, record) = instances::start_move(db, start(&busy, json!({}), advance(newest.id))).await.unwrap();
        let record = record.unwrap();
        assert_eq!((record.id, record.status.as_str(), now.task_state), (newest.id, "confirming", busy.task_state));
        assert!(is_refused(newest.id).await, "it is being confirmed");
    })
    .await;
}

#[tokio::test]
async fn a_moves_workflow_ends_with_its_task_or_with_its_confirmation() {
    on_database(async |db| {
        let server = active(db).await;
        let begin = start(&server, json!({"task_state": "resize_prep"}), MoveRecord::None);
        instances::start_move(db, begin).await.unwrap();
        let before = workflows::get(db, WorkflowKind::Move, server.uuid).await.unwrap().unwrap();
        let finish = json!({"task_state": "resize_finish"});
        save(db, server.uuid, finish).await.unwrap();
        let renewed = workflows::get(db, WorkflowKind::Move, server.uuid).await.unwrap().unwrap();
        assert!(renewed.lease_until > before.lease_until);
        let resized = save(db, server.uuid, json!({"task_state": null, "vm_state": "resized"})).await.unwrap();
        assert!(!has_workflow(db, &server).await);

        let finished = migration(&server, migration_type::RESIZE, status::FINISHED);
        let id = server_migrations::create(db, &finished).await.unwrap().id;
        let advance = MoveRecord::Advance { id, from: status::FINISHED, to: status::CONFIRMING };
        instances::start_move(db, start(&resized, json!({}), advance)).await.unwrap();
        save(db, server.uuid, json!({"power_state": 4})).await.unwrap();
        assert!(has_workflow(db, &server).await, "that says nothing about it");
        let confirmed = save(db, server.uuid, json!({"vm_state": "active"})).await.unwrap();
        assert_eq!(confirmed.vm_state, VmState::Active);
        assert!(!has_workflow(db, &server).await);
    })
    .await;
}
