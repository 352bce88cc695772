//! Servers through HTTP: create, list, show, update, delete, actions.

mod bad_input;
mod create;
mod lifecycle;
mod list;
mod on_host;
mod soft_delete;
mod states;
mod views;

use kilonova_db::instances::{self, Deleted, Save};
use kilonova_objects::{Instance, InstanceInfoCache, NetworkInfo, Wire as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::cloud::{Cloud, HOST, MEMBER};

/// The smallest request for a server with a network.
fn minimal(cloud: &Cloud, name: &str) -> Value {
    json!({"server": {
        "name": name,
        "flavorRef": "1",
        "imageRef": cloud.image.id,
        "networks": [{"uuid": cloud.network.id}],
    }})
}

/// [`minimal`] with more in `server`.
fn with(cloud: &Cloud, more: Value) -> Value {
    let mut body = minimal(cloud, "vm");
    for (name, value) in more.as_object().unwrap() {
        body["server"][name] = value.clone();
    }
    body
}

/// Creates a server as the member of the project and returns its id.
async fn create(cloud: &Cloud, name: &str) -> Uuid {
    let reply = cloud.post(MEMBER, "2.96", "/servers", minimal(cloud, name)).await.expect(202);
    reply.body["server"]["id"].as_str().unwrap().parse().unwrap()
}

async fn instance(cloud: &Cloud, uuid: Uuid) -> Instance {
    instances::get(&cloud.db, uuid, Deleted::Yes).await.unwrap()
}

/// What a compute host would save.
async fn save(cloud: &Cloud, uuid: Uuid, changes: Value) {
    let changes: Map<String, Value> = changes.as_object().unwrap().clone();
    let save = Save { uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    instances::save(&cloud.db, save).await.unwrap();
}

/// As if the server had been built on the compute host.
async fn activate(cloud: &Cloud, uuid: Uuid) {
    let network_info = NetworkInfo::from_json(&network_info(cloud)).unwrap();
    save(
        cloud,
        uuid,
        json!({
            "vm_state": "active",
            "task_state": null,
            "power_state": 1,
            "host": HOST,
            "node": "node1",
            "availability_zone": "nova",
            "launched_at": "2026-11-23T07:00:00Z",
            "info_cache": InstanceInfoCache::new(uuid, &network_info).to_wire(),
        }),
    )
    .await;
}

fn network_info(cloud: &Cloud) -> String {
    json!([{
        "id": Uuid::new_v4(), "address": "fa:16:3e:00:00:01", "type": "user", "devname": null, "ovs_interfaceid": null,
        "vnic_type": "normal",
        "network": {"id": cloud.network.id, "bridge": null, "label": "private", "subnets": [{
            "cidr": "10.0.0.0/24", "gateway": null, "version": 4,
            "ips": [{"address": "10.0.0.7", "type": "fixed", "version": 4}],
        }]},
    }])
    .to_string()
}

/// A server that runs.
async fn active(cloud: &Cloud, name: &str) -> Uuid {
    let uuid = create(cloud, name).await;
    activate(cloud, uuid).await;
    uuid
}

/// How many servers there are, in whatever project and state.
async fn count(cloud: &Cloud) -> usize {
    let query = instances::InstanceQuery { deleted: Deleted::Yes, ..Default::default() };
    instances::list(&cloud.db, &query).await.unwrap().len()
}
