//! Runs of audits, the servers that they are about, and what servers show of their request specs.

use std::collections::BTreeMap;

use kilonova_db::instances;
use kilonova_db::request_specs::{self, Asked};
use kilonova_db::{DbError, block_devices, task_log};
use kilonova_objects::{BlockDeviceMapping, Instance, RequestSpec, TaskLog};
use uuid::Uuid;

use super::support::*;

fn run(host: &str, begin: &str) -> TaskLog {
    TaskLog {
        task_name: "audit".into(),
        host: host.into(),
        period_beginning: begin.parse().unwrap(),
        period_ending: "2026-03-01T00:00:00Z".parse().unwrap(),
        task_items: 2,
        message: "begun".into(),
        ..TaskLog::default()
    }
}

#[tokio::test]
async fn a_run_begins_once_per_host_and_period_and_ends() {
    on_database(async |db| {
        let first = "2026-02-01T00:00:00Z";
        let wanted = run("node1", first);
        assert_not_found(task_log::end(db, &wanted).await, "task log", "node1");
        let begun = task_log::begin(db, &wanted).await.unwrap();
        assert_eq!(begun.state, "RUNNING");
        assert_exists(task_log::begin(db, &wanted).await, "task log", "node1");
        let other = task_log::begin(db, &run("node2", first)).await.unwrap();
        task_log::begin(db, &run("node1", "2026-01-01T00:00:00Z")).await.unwrap();
        let done = TaskLog { errors: 1, message: "done".into(), ..wanted.clone() };
        task_log::end(db, &done).await.unwrap();
        let listed = task_log::list(db, "audit", wanted.period_beginning, wanted.period_ending).await.unwrap();
        let hosts: Vec<_> = listed.iter().map(|run| (run.host.as_str(), run.state.as_str(), run.errors)).collect();
        assert_eq!(hosts, [("node1", "DONE", 1), ("node2", "RUNNING", 0)]);
        assert_eq!((listed[0].id, listed[0].message.as_str(), listed[1].id), (begun.id, "done", other.id));
        assert_eq!(task_log::list(db, "other", wanted.period_beginning, wanted.period_ending).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn servers_were_active_in_a_window_if_they_began_before_its_end_and_ended_after_its_beginning() {
    on_database(async |db| {
        let at = |text: &str| Some(text.parse().unwrap());
        let ran = |host: &str, launched: Option<&str>, terminated: Option<&str>| Instance {
            uuid: Uuid::new_v4(),
            host: Some(host.into()),
            launched_at: launched.and_then(at),
            terminated_at: terminated.and_then(at),
            ..full_instance()
        };
        let (january, february, march) = ("2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z", "2026-03-15T00:00:00Z");
        let mut expected = Vec::new();
        for (instance, is_deleted, is_in) in [
            (ran("node1", Some(january), None), false, true),
            (ran("node1", Some(february), None), false, true),
            (ran("node1", Some(march), None), false, false),
            (ran("node1", None, None), false, false),
            (ran("node1", Some(january), Some(february)), true, true),
            (ran("node1", Some(january), Some(january)), true, false),
            (ran("node2", Some(january), None), false, false),
        ] {
            let uuid = create_one(db, instance).await.uuid;
            if is_deleted {
                instances::destroy(db, uuid).await.unwrap();
            }
            expected.extend(is_in.then_some(uuid));
        }
        let window = ("2026-02-01T00:00:00Z".parse().unwrap(), "2026-03-01T00:00:00Z".parse().unwrap());
        let found = instances::active_by_window(db, "node1", window.0, window.1).await.unwrap();
        assert_eq!(found.iter().map(|found| found.uuid).collect::<Vec<_>>(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_volume_leads_to_its_mapping_and_a_part_of_its_name_does_not() {
    on_database(async |db| {
        let uuid = create_one(db, full_instance()).await.uuid;
        let mapping = |volume: &str| BlockDeviceMapping {
            instance_uuid: Some(uuid),
            volume_id: Some(volume.into()),
            ..BlockDeviceMapping::default()
        };
        block_devices::save(db, &mapping("volume_1")).await.unwrap();
        let last = block_devices::save(db, &mapping("volume_1")).await.unwrap();
        assert_eq!(block_devices::by_volume(db, "volume_1").await.unwrap().unwrap().id, last.id);
        for other in ["volume", "volume-1", "%", "volume_1\""] {
            assert_eq!(block_devices::by_volume(db, other).await.unwrap(), None, "{other}");
        }
    })
    .await;
}

#[tokio::test]
async fn request_specs_are_changed_as_decided_and_shown_in_part() {
    on_database(async |db| {
        let (one, other) = (create_one(db, full_instance()).await.uuid, Uuid::new_v4());
        let hints = BTreeMap::from([("group".to_owned(), vec!["g".to_owned()])]);
        let pin = |spec: RequestSpec| {
            let scheduler_hints = Some(hints.clone());
            Ok::<_, DbError>(Some(RequestSpec { availability_zone: Some("east".into()), scheduler_hints, ..spec }))
        };
        request_specs::change(db, one, pin).await.unwrap();
        let shown = Asked { availability_zone: Some("east".into()), scheduler_hints: Some(hints.clone()) };
        assert_eq!(request_specs::asked(db, &[one, other]).await.unwrap(), [(one, shown.clone())].into());
        request_specs::change(db, one, |_| Ok::<_, DbError>(None)).await.unwrap();
        let refuse = |_: RequestSpec| Err(DbError::not_found("zone", "west"));
        assert_not_found(request_specs::change(db, one, refuse).await, "zone", "west");
        assert_eq!(request_specs::asked(db, &[one]).await.unwrap(), [(one, shown)].into());
        assert_not_found(request_specs::change(db, other, pin).await, "request spec", &other.to_string());
    })
    .await;
}
