//! Nothing is lost and nothing is left over: the process is killed at random moments while servers are created and
//! deleted, and afterwards everything that was accepted is done.

#[path = "common/churn.rs"]
mod churn;
mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use churn::{Accepted, Random, consumers, devices, guests, settled};
use common::{BOUND, Kilonova, User};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// How often the process is killed.
const KILLS: u64 = 20;
/// Clients that create and delete at the same time.
const CLIENTS: u64 = 50;

/// Creates and deletes until the process is gone.
async fn client(user: User, body: Value, accepted: Arc<Mutex<Accepted>>, seed: u64) {
    let mut random = Random(seed);
    loop {
        let wants_delete = random.below(2) == 0;
        let victim = {
            let mut accepted = accepted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let candidates: Vec<&String> = accepted.created.difference(&accepted.deleted).collect();
            let at = random.below(candidates.len().max(1) as u64) as usize;
            let victim = candidates.get(at).map(|id| (*id).clone()).filter(|_| wants_delete && candidates.len() > 20);
            accepted.perhaps_deleted.extend(victim.clone());
            victim
        };
        let answer = match &victim {
            Some(id) => user.try_request(Method::DELETE, &format!("/compute/v2.1/servers/{id}"), None).await,
            None => user.try_request(Method::POST, "/compute/v2.1/servers", Some(&body)).await,
        };
        let Ok((status, body)) = answer else { return };
        let mut accepted = accepted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match (victim, status) {
            (Some(id), StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) => {
                accepted.deleted.insert(id);
            }
            (None, StatusCode::ACCEPTED) => {
                accepted.created.insert(body["server"]["id"].as_str().expect("an id").to_owned());
            }
            (victim, status) => panic!("{victim:?}: {status} {body}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_over_when_the_process_is_killed() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut cloud = Kilonova::start("fake", &[]);
    let admin = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "admin").await;
    let user = User::log_in(&cloud.endpoint(), &cloud.clouds_yaml(), "demo").await;
    admin.lift_quotas(&user.project_id).await;
    let body = user.server("victim", serde_json::json!([{"uuid": user.network("private").await}])).await;
    let accepted = Arc::new(Mutex::new(Accepted::default()));

    let done = |accepted: &Mutex<Accepted>| {
        let accepted = accepted.lock().unwrap();
        (accepted.created.len(), accepted.deleted.len())
    };
    for kill in 0..KILLS {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(client(user.clone(), body.clone(), accepted.clone(), random.next())))
            .collect();
        let before = done(&accepted);
        tokio::time::sleep(Duration::from_millis(20 + random.below(600))).await;
        // Every other time after so many answers at least: on a busy machine there may be none in that time.
        let (wanted, deadline) = (25 + random.below(20) as usize, Instant::now() + BOUND);
        let is_early = || done(&accepted).0 + done(&accepted).1 < before.0 + before.1 + wanted;
        while kill % 2 == 0 && is_early() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cloud.kill();
        for client in clients {
            client.await.expect("the client saw no answer that it should not see");
        }
        cloud.restart();
    }

    let (created, deleted) = done(&accepted);
    assert!(
        created > 100 && deleted > 20,
        "too little happened to show anything: {created} created, {deleted} deleted"
    );
    let accepted = Arc::into_inner(accepted).expect("every client is done").into_inner().unwrap();
    let servers = settled(&user, &accepted, BOUND).await;
    let live: BTreeSet<String> = servers.keys().cloned().collect();
    let lost: Vec<_> =
        accepted.created.difference(&accepted.perhaps_deleted).filter(|id| !live.contains(*id)).collect();
    assert!(lost.is_empty(), "accepted and gone: {lost:?}");
    let failed: Vec<_> = servers.values().filter(|server| server["status"] != "ACTIVE").collect();
    assert!(failed.is_empty(), "not active: {failed:#?}");
    assert_eq!(guests(cloud.state_dir.path()), live, "guests");
    // What a crash left of claims and ports is healed at the last start or was never there.
    assert_eq!(consumers(&admin).await, live, "allocations");
    assert_eq!(devices(&admin).await, live, "ports");
    println!("{} created, {} deleted, {} live", accepted.created.len(), accepted.deleted.len(), live.len());

    assert_eq!(cloud.terminate(), Some(0));
    let url = format!("sqlite://{}", cloud.state_dir.path().join("kilonova.sqlite").display());
    let db = kilonova_db::Db::open(&url).await.unwrap();
    assert_eq!(kilonova_db::workflows::count(&db).await.unwrap(), 0, "workflows");
}
