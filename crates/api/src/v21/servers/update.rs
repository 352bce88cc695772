//! `PUT /servers/{id}`

use serde_json::{Map, Value, json};

use super::{asked, target, viewer, volumes};
use crate::call::{Answer, Call, ok};
use crate::compute::{self, host_status, server_groups};
use crate::v21::values::canonical_ipv6;
use crate::versions::{V2_71, V2_75};
use crate::views::servers::{Kind, One};

/// `PUT /servers/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    let instance = compute::get::get(&call.state, &call.context, call.param("id")).await?;
    call.authorize(target(&instance))?;
    if let Some(zone) = call.body["server"].get("pinned_availability_zone") {
        compute::pin::pin(&call.state, &instance, zone.as_str()).await?;
    }
    let updated = compute::update::update(&call.state, &instance, changes(&call.body["server"])).await?;
    let mut viewer = viewer(&call, Kind::Update, target(&updated));
    viewer.asked = asked(&call, std::slice::from_ref(&updated)).await?;
    viewer.volumes = volumes(&call, std::slice::from_ref(&updated)).await?;
    if viewer.shown.host_status && call.since(V2_75) {
        viewer.host_statuses = host_status::all(&call.state).await?;
    }
    if call.since(V2_71) {
        viewer.server_group = server_groups::of_server(&call.state, &call.context, updated.uuid).await?;
    }
    ok(&One { server: viewer.server(&updated) })
}

/// Names and values as the object has them. The schema lets nothing else through.
fn changes(server: &Value) -> Map<String, Value> {
    let mut changes = Map::new();
    for (name, field) in [
        ("description", "display_description"),
        ("hostname", "hostname"),
        ("accessIPv4", "access_ip_v4"),
        ("accessIPv6", "access_ip_v6"),
    ] {
        if let Some(value) = server.get(name) {
            changes.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(address) = server["accessIPv6"].as_str() {
        changes.insert("access_ip_v6".to_owned(), json!(canonical_ipv6(address)));
    }
    if let Some(name) = server["name"].as_str() {
        changes.insert("display_name".to_owned(), json!(name.trim()));
    }
    if let Some(value) = server["OS-DCF:diskConfig"].as_str() {
        changes.insert("auto_disk_config".to_owned(), json!(value == "AUTO"));
    }
    changes
}
