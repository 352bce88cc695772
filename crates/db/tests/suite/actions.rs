//! Actions and their steps.

use std::slice::from_ref;

use kilonova_db::actions;
use kilonova_objects::{InstanceAction, InstanceActionEvent};
use uuid::Uuid;

use super::support::*;

#[tokio::test]
async fn actions_are_listed_newest_first() {
    on_database(async |db| {
        let uuid = Uuid::new_v4();
        for request in ["req-1", "req-2", "req-3"] {
            actions::start(db, uuid, "reboot", request, USER, PROJECT).await.unwrap();
        }
        actions::start(db, Uuid::new_v4(), "stop", "req-1", USER, PROJECT).await.unwrap();
        let listed = actions::list(db, uuid).await.unwrap();
        let requests: Vec<_> = listed.iter().map(|action| action.request_id.as_deref().unwrap()).collect();
        assert_eq!(requests, ["req-3", "req-2", "req-1"]);
        assert_eq!(actions::get(db, uuid, "req-2").await.unwrap(), listed[1]);
        assert_not_found(actions::get(db, uuid, "req-9").await, "action", "req-9");
    })
    .await;
}

#[tokio::test]
async fn a_step_that_goes_well_ends_its_action() {
    on_database(async |db| {
        let uuid = Uuid::new_v4();
        let action = actions::start(db, uuid, "stop", "req-1", USER, PROJECT).await.unwrap();
        let begun = actions::event_start(db, uuid, "req-1", "compute_stop_instance", Some("n1")).await.unwrap();
        let expected = InstanceActionEvent {
            id: begun.id,
            event: Some("compute_stop_instance".into()),
            action_id: Some(action.id),
            start_time: begun.start_time,
            created_at: begun.start_time,
            host: Some("n1".into()),
            ..InstanceActionEvent::default()
        };
        assert!(begun.id > 0 && begun.start_time.is_some());
        assert_eq!(begun, expected);
        assert_eq!(actions::events(db, action.id).await.unwrap(), from_ref(&begun));
        let ended = actions::event_finish(db, uuid, "req-1", "compute_stop_instance", None).await.unwrap();
        let expected = InstanceActionEvent {
            result: Some("Success".into()),
            finish_time: ended.finish_time,
            updated_at: ended.finish_time,
            ..begun
        };
        assert!(ended.finish_time >= ended.start_time);
        assert_eq!(ended, expected);
        assert_eq!(actions::events(db, action.id).await.unwrap(), [ended]);
        let after = actions::get(db, uuid, "req-1").await.unwrap();
        let expected = InstanceAction { finish_time: after.finish_time, updated_at: after.updated_at, ..action };
        assert!(after.finish_time.is_some());
        assert_eq!(after, expected);
    })
    .await;
}

#[tokio::test]
async fn a_failed_step_marks_its_action_for_good() {
    on_database(async |db| {
        let uuid = Uuid::new_v4();
        let action = actions::start(db, uuid, "create", "req-1", USER, PROJECT).await.unwrap();
        for event in ["one", "two"] {
            actions::event_start(db, uuid, "req-1", event, None).await.unwrap();
        }
        let failure = Some(("no space".to_owned(), "trace".to_owned()));
        let failed = actions::event_finish(db, uuid, "req-1", "one", failure).await.unwrap();
        let parts = [failed.result, failed.details, failed.traceback].map(Option::unwrap);
        assert_eq!(parts, ["Error", "no space", "trace"]);
        actions::event_finish(db, uuid, "req-1", "two", None).await.unwrap();
        assert_eq!(actions::get(db, uuid, "req-1").await.unwrap().message.as_deref(), Some("Error"));
        let events = actions::events(db, action.id).await.unwrap();
        assert_eq!(events.iter().map(|event| event.event.as_deref().unwrap()).collect::<Vec<_>>(), ["two", "one"]);
    })
    .await;
}

#[tokio::test]
async fn steps_of_what_was_never_asked_are_not_found() {
    on_database(async |db| {
        let uuid = Uuid::new_v4();
        assert_not_found(actions::event_start(db, uuid, "req-1", "e", None).await, "action", "req-1");
        assert_not_found(actions::event_finish(db, uuid, "req-1", "e", None).await, "action", "req-1");
        actions::start(db, uuid, "stop", "req-1", USER, PROJECT).await.unwrap();
        assert_not_found(actions::event_finish(db, uuid, "req-1", "e", None).await, "action event", "e");
    })
    .await;
}

#[tokio::test]
async fn an_action_without_steps_ends_without_one() {
    on_database(async |db| {
        let uuid = Uuid::new_v4();
        let action = actions::start(db, uuid, "resetState", "req-1", USER, PROJECT).await.unwrap();
        assert_eq!(action.finish_time, None);
        actions::finish(db, &action).await.unwrap();
        let ended = actions::get(db, uuid, "req-1").await.unwrap();
        assert!(ended.finish_time >= ended.start_time && ended.message.is_none());
        assert_eq!(actions::events(db, action.id).await.unwrap(), []);
    })
    .await;
}
