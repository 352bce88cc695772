//! Nothing is lost and nothing is left over: the process is killed at random moments while servers are created and
//! deleted, and afterwards everything that was accepted is done.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{BOUND, Kilonova, User};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// How often the process is killed.
const KILLS: u64 = 20;
/// Clients that create and delete at the same time.
const CLIENTS: u64 = 50;

/// What the clients were promised.
#[derive(Default)]
struct Accepted {
    created: BTreeSet<String>,
    deleted: BTreeSet<String>,
    /// Deletes that were asked for, whether or not an answer came: these may be gone, but need not be.
    perhaps_deleted: BTreeSet<String>,
}

/// A small generator of numbers that only have to differ (splitmix64); the seed is printed, so a failure can be had
/// again as far as timing allows.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

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

/// Every server of the project, by id.
async fn servers(user: &User) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut marker = String::new();
    loop {
        let page = user.get(&format!("/compute/v2.1/servers/detail?limit=500{marker}")).await;
        let page = page["servers"].as_array().cloned().unwrap_or_default();
        let Some(last) = page.last() else { return all };
        marker = format!("&marker={}", last["id"].as_str().expect("an id"));
        all.extend(page.into_iter().map(|server| (server["id"].as_str().expect("an id").to_owned(), server)));
    }
}

/// Waits until nothing is being built or deleted any more.
async fn settled(user: &User, accepted: &Accepted) -> BTreeMap<String, Value> {
    let deadline = Instant::now() + BOUND;
    loop {
        let servers = servers(user).await;
        let is_settled = |server: &Value| {
            matches!(server["status"].as_str(), Some("ACTIVE" | "ERROR")) && server["OS-EXT-STS:task_state"].is_null()
        };
        let unsettled: Vec<&Value> = servers.values().filter(|server| !is_settled(server)).collect();
        let undeleted: Vec<&String> = accepted.deleted.iter().filter(|id| servers.contains_key(*id)).collect();
        if unsettled.is_empty() && undeleted.is_empty() {
            return servers;
        }
        assert!(Instant::now() < deadline, "unsettled: {unsettled:#?}\nnot deleted: {undeleted:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The guests that the fake hypervisor has on disk.
fn guests(cloud: &Kilonova) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![cloud.state_dir.path().join("fake")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("the fake hypervisor's directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// Who has allocations, by placement.
async fn consumers(admin: &User) -> BTreeSet<String> {
    let providers = admin.get("/placement/resource_providers").await;
    let mut found = BTreeSet::new();
    for provider in providers["resource_providers"].as_array().expect("a list") {
        let uuid = provider["uuid"].as_str().expect("a uuid");
        let allocations = admin.get(&format!("/placement/resource_providers/{uuid}/allocations")).await;
        found.extend(allocations["allocations"].as_object().expect("a map").keys().cloned());
    }
    found
}

/// Who has ports, by the network service.
async fn devices(admin: &User) -> BTreeSet<String> {
    let ports = admin.get("/network/v2.0/ports").await;
    let ports = ports["ports"].as_array().expect("a list");
    ports.iter().filter_map(|port| port["device_id"].as_str()).filter(|id| !id.is_empty()).map(str::to_owned).collect()
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

    for _ in 0..KILLS {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| tokio::spawn(client(user.clone(), body.clone(), accepted.clone(), random.next())))
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + random.below(600))).await;
        cloud.kill();
        for client in clients {
            client.await.expect("the client saw no answer that it should not see");
        }
        cloud.restart();
    }

    let accepted = Arc::into_inner(accepted).expect("every client is done").into_inner().unwrap();
    assert!(accepted.created.len() > 100 && accepted.deleted.len() > 20, "too little happened to show anything");
    let servers = settled(&user, &accepted).await;
    let live: BTreeSet<String> = servers.keys().cloned().collect();
    let lost: Vec<_> =
        accepted.created.difference(&accepted.perhaps_deleted).filter(|id| !live.contains(*id)).collect();
    assert!(lost.is_empty(), "accepted and gone: {lost:?}");
    let failed: Vec<_> = servers.values().filter(|server| server["status"] != "ACTIVE").collect();
    assert!(failed.is_empty(), "not active: {failed:#?}");
    assert_eq!(guests(&cloud), live, "guests");
    // What a crash left of claims and ports is healed at the last start or was never there.
    assert_eq!(consumers(&admin).await, live, "allocations");
    assert_eq!(devices(&admin).await, live, "ports");
    println!("{} created, {} deleted, {} live", accepted.created.len(), accepted.deleted.len(), live.len());

    assert_eq!(cloud.terminate(), Some(0));
    let url = format!("sqlite://{}", cloud.state_dir.path().join("kilonova.sqlite").display());
    let db = kilonova_db::Db::open(&url).await.unwrap();
    assert_eq!(kilonova_db::workflows::count(&db).await.unwrap(), 0, "workflows");
}
