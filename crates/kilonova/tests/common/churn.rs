//! Servers that come and go while something happens to the cloud, and what must be true afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::User;

/// What the clients were promised.
#[derive(Default)]
pub(crate) struct Accepted {
    pub(crate) created: BTreeSet<String>,
    pub(crate) deleted: BTreeSet<String>,
    /// Deletes that were asked for, whether or not an answer came: these may be gone, but need not be.
    pub(crate) perhaps_deleted: BTreeSet<String>,
}

/// A small generator of numbers that only have to differ (splitmix64); the seed is printed, so a failure can be had
/// again as far as timing allows.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Every server of the project, by id.
pub(crate) async fn servers(user: &User) -> BTreeMap<String, Value> {
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
pub(crate) async fn settled(user: &User, accepted: &Accepted, bound: Duration) -> BTreeMap<String, Value> {
    let deadline = Instant::now() + bound;
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
pub(crate) fn guests(state_dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![state_dir.join("fake")];
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
pub(crate) async fn consumers(admin: &User) -> BTreeSet<String> {
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
pub(crate) async fn devices(admin: &User) -> BTreeSet<String> {
    let ports = admin.get("/network/v2.0/ports").await;
    let ports = ports["ports"].as_array().expect("a list");
    ports.iter().filter_map(|port| port["device_id"].as_str()).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}
