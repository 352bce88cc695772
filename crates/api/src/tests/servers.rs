//! Servers through HTTP: create, list, show, update, delete, actions.

mod bad_input;
mod consoles;
mod create;
mod floating_ips;
mod images;
mod interfaces;
mod lifecycle;
mod list;
mod moves;
mod on_host;
mod rebuild;
mod security_groups;
mod shelve;
mod soft_delete;
mod states;
mod views;
mod volume_attachments;

use kilonova_clients::network::{NetworkService as _, PortRequest};
use kilonova_clients::network_model::Vif;
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted, Save};
use kilonova_objects::{Instance, InstanceInfoCache, NetworkInfo, Wire as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::cloud::{Cloud, HOST, MEMBER, PROJECT};

/// The smallest request for a server with a network.
pub(super) fn minimal(cloud: &Cloud, name: &str) -> Value {
    json!({"server": {
        "name": name,
        "flavorRef": "1",
        "imageRef": cloud.image.id,
        "networks": [{"uuid": cloud.network.id}],
    }})
}

/// [`minimal`] with more in `server`.
pub(super) fn with(cloud: &Cloud, more: Value) -> Value {
    let mut body = minimal(cloud, "vm");
    for (name, value) in more.as_object().unwrap() {
        body["server"][name] = value.clone();
    }
    body
}

/// Creates a server as the member of the project and returns its id.
pub(super) async fn create(cloud: &Cloud, name: &str) -> Uuid {
    let reply = cloud.post(MEMBER, "2.96", "/servers", minimal(cloud, name)).await.expect(202);
    reply.body["server"]["id"].as_str().unwrap().parse().unwrap()
}

async fn instance(cloud: &Cloud, uuid: Uuid) -> Instance {
    instances::get(&cloud.db, uuid, Deleted::Yes).await.unwrap()
}

/// What a compute host would save.
pub(super) async fn save(cloud: &Cloud, uuid: Uuid, changes: Value) {
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

/// The same, on the network, with a port that the network service knows.
async fn connected(cloud: &Cloud, name: &str) -> (Uuid, Vif) {
    let uuid = active(cloud, name).await;
    let request = PortRequest { network_id: Some(cloud.network.id), ..PortRequest::default() };
    let context = RequestContext::admin();
    let vifs = cloud.networks.allocate_for_instance(&context, uuid, PROJECT, HOST, &[request]).await.unwrap();
    let cache = InstanceInfoCache::new(uuid, &NetworkInfo(vifs.clone()));
    save(cloud, uuid, json!({"info_cache": cache.to_wire()})).await;
    (uuid, vifs[0].clone())
}

/// The first address of an interface.
fn address(vif: &Vif) -> &str {
    &vif.network.subnets[0].ips[0].address
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
pub(super) async fn active(cloud: &Cloud, name: &str) -> Uuid {
    let uuid = create(cloud, name).await;
    activate(cloud, uuid).await;
    uuid
}

/// How many servers there are, in whatever project and state.
async fn count(cloud: &Cloud) -> usize {
    let query = instances::InstanceQuery { deleted: Deleted::Yes, ..Default::default() };
    instances::list(&cloud.db, &query).await.unwrap().len()
}
