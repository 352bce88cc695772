//! Pages: together they are the whole list, each server once, in order, whatever it is sorted by.

use std::cmp::Ordering;

use kilonova_db::instances::{self, InstanceQuery};
use kilonova_db::{Db, DbError};
use kilonova_objects::{Instance, PowerState, TaskState};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::support::*;

/// The same order in memory: null first going up.
fn compare(a: &Instance, b: &Instance, sort: &[(String, bool)]) -> Ordering {
    let default_desc = sort.first().is_none_or(|(_, desc)| *desc);
    let tail = [("created_at".to_owned(), default_desc), ("id".to_owned(), default_desc)];
    for (key, desc) in sort.iter().chain(&tail) {
        let ordering = match key.as_str() {
            "display_name" => a.display_name.cmp(&b.display_name),
            "host" => a.host.cmp(&b.host),
            "task_state" => a.task_state.map(TaskState::as_str).cmp(&b.task_state.map(TaskState::as_str)),
            "power_state" => a.power_state.number().cmp(&b.power_state.number()),
            "launched_at" => a.launched_at.cmp(&b.launched_at),
            "locked" => a.locked.cmp(&b.locked),
            "progress" => a.progress.cmp(&b.progress),
            "created_at" => a.created_at.cmp(&b.created_at),
            "id" => a.id.cmp(&b.id),
            "uuid" => a.uuid.to_string().cmp(&b.uuid.to_string()),
            other => panic!("no model for {other}"),
        };
        let ordering = if *desc { ordering.reverse() } else { ordering };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}

const KEYS: &[&str] =
    &["display_name", "host", "task_state", "power_state", "launched_at", "locked", "progress", "created_at", "uuid"];

/// Servers with few different values, so that many are equal.
fn any_instance() -> impl Strategy<Value = Instance> {
    let task = prop::option::of(prop::sample::select(vec![TaskState::Spawning, TaskState::Deleting]));
    let power = prop::sample::select(vec![PowerState::NoState, PowerState::Running]);
    let name = prop::sample::select(vec!["a", "B", "é", "web-1"]);
    let host = prop::option::of(prop::sample::select(vec!["", "n1", "n2"]));
    (name, host, task, power, prop::option::of(0..2_i64), any::<bool>(), prop::option::of(0..2_i64)).prop_map(
        |(name, host, task_state, power_state, launched, locked, progress)| Instance {
            host: host.map(str::to_owned),
            task_state,
            power_state,
            launched_at: launched.map(at),
            locked,
            progress,
            ..instance(name)
        },
    )
}

fn any_sort() -> impl Strategy<Value = Vec<(String, bool)>> {
    prop::collection::vec((prop::sample::select(KEYS).prop_map(str::to_owned), any::<bool>()), 0..4)
}

async fn pages(db: &Db, query: &InstanceQuery) -> Vec<Instance> {
    let mut all: Vec<Instance> = Vec::new();
    loop {
        let marker = all.last().map(|last| last.uuid);
        let page = instances::list(db, &InstanceQuery { marker, ..query.clone() }).await.unwrap();
        assert!(page.len() as u64 <= query.limit.unwrap());
        if page.is_empty() {
            return all;
        }
        all.extend(page);
        assert!(all.len() < 1_000, "pages go round in circles");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_the_sorted_list_cut_up() {
    on_database(async |db| {
        let db = db.clone();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let mut runner =
                TestRunner::new(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() });
            let cases = (prop::collection::vec(any_instance(), 0..12), any_sort(), 1..5_u64, any::<bool>());
            runner
                .run(&cases, |(given, sort, limit, with_regex)| {
                    runtime.block_on(check(&db, given, sort, limit, with_regex));
                    Ok(())
                })
                .unwrap();
        })
        .await
        .unwrap();
    })
    .await;
}

/// One case, in a project of its own.
async fn check(db: &Db, given: Vec<Instance>, sort: Vec<(String, bool)>, limit: u64, with_regex: bool) {
    let project = Uuid::new_v4().to_string();
    let given = given.into_iter().map(|instance| Instance { project_id: Some(project.clone()), ..instance }).collect();
    let mut expected = create(db, given).await;
    let name = with_regex.then(|| "[aeé]".to_owned());
    if with_regex {
        expected.retain(|instance| instance.display_name.as_ref().unwrap().contains(['a', 'e', 'é']));
    }
    expected.sort_by(|a, b| compare(a, b, &sort));
    let query = InstanceQuery { project_id: Some(project), name, sort, ..InstanceQuery::default() };
    assert_eq!(instances::list(db, &query).await.unwrap(), expected);
    assert_eq!(pages(db, &InstanceQuery { limit: Some(limit), ..query }).await, expected);
}

#[tokio::test]
async fn a_regular_expression_finds_the_few_among_many() {
    on_database(async |db| {
        let many = (0..1_203).map(|n| instance(&format!("web-{n}"))).collect();
        let mut made = create(db, many).await;
        made.reverse();
        made.retain(|instance| instance.display_name.as_ref().unwrap().ends_with("00"));
        let query = InstanceQuery { name: Some("00$".into()), limit: Some(5), ..InstanceQuery::default() };
        assert_eq!(made.len(), 13 - 1);
        assert_eq!(pages(db, &query).await, made);
    })
    .await;
}

#[tokio::test]
async fn the_newest_come_first_and_a_limit_of_zero_gives_none() {
    on_database(async |db| {
        let mut made = create(db, vec![instance("a"), instance("b"), instance("c")]).await;
        made.reverse();
        assert_eq!(instances::list(db, &InstanceQuery::default()).await.unwrap(), made);
        for name in [None, Some("[abc]".to_owned())] {
            let none = InstanceQuery { limit: Some(0), name, ..InstanceQuery::default() };
            assert_eq!(instances::list(db, &none).await.unwrap(), []);
            let every = InstanceQuery { limit: Some(u64::MAX), ..none };
            assert_eq!(instances::list(db, &every).await.unwrap(), made);
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_goes_on_after_a_server_that_was_deleted_meanwhile() {
    on_database(async |db| {
        let made = create(db, vec![instance("a"), instance("b"), instance("c")]).await;
        instances::destroy(db, made[1].uuid).await.unwrap();
        let rest = InstanceQuery { marker: Some(made[1].uuid), ..InstanceQuery::default() };
        assert_eq!(instances::list(db, &rest).await.unwrap(), [made[0].clone()]);
    })
    .await;
}

#[tokio::test]
async fn unknown_markers_and_sort_keys_are_errors() {
    on_database(async |db| {
        let query = InstanceQuery { marker: Some(Uuid::nil()), ..InstanceQuery::default() };
        assert_not_found(instances::list(db, &query).await, "marker", &Uuid::nil().to_string());
        assert_not_found(instances::list_brief(db, &query).await, "marker", &Uuid::nil().to_string());
        let query = InstanceQuery { sort: vec![("record".into(), false)], ..InstanceQuery::default() };
        let refused = instances::list(db, &query).await;
        assert!(matches!(refused, Err(DbError::Corrupt { resource: "sort key", .. })), "{refused:?}");
    })
    .await;
}
