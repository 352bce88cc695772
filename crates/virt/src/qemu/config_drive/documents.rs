//! The JSON documents of the config drive, in the form that Nova gives them and cloud-init reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kilonova_objects::network_model::{Subnet, Vif};
use kilonova_objects::{Instance, NetworkInfo};
use serde_json::{Map, Value, json};

use crate::driver::{DriverError, Spawn};

/// `meta_data.json`.
pub(super) fn meta_data(spawn: &Spawn<'_>, dhcp_domain: &str, random_seed: &str) -> Value {
    let instance = spawn.instance;
    let mut document = Map::new();
    let mut set = |name: &str, value: Value| {
        document.insert(name.to_owned(), value);
    };
    set("uuid", json!(instance.uuid));
    set("name", json!(instance.display_name));
    set("hostname", json!(hostname(instance, dhcp_domain)));
    set("launch_index", json!(instance.launch_index.unwrap_or_default()));
    set("availability_zone", json!(instance.availability_zone));
    set("project_id", json!(instance.project_id));
    set("random_seed", json!(random_seed));
    set("devices", json!([]));
    set("dedicated_cpus", json!([]));
    if !instance.metadata.is_empty() {
        set("meta", json!(instance.metadata));
    }
    if let (Some(name), Some(data)) = (&instance.key_name, &instance.key_data) {
        set("public_keys", json!({ name: data }));
        set("keys", keys(instance, name, data));
    }
    if let Some(password) = &spawn.injected.admin_password {
        set("admin_pass", json!(password));
    }
    if !spawn.injected.files.is_empty() {
        let files = spawn.injected.files.iter().enumerate();
        let files: Vec<Value> =
            files.map(|(index, (path, _))| json!({ "path": path, "content_path": content_path(index) })).collect();
        set("files", json!(files));
    }
    Value::Object(document)
}

/// Where a file of `personality` is, below `openstack`.
pub(super) fn content_path(index: usize) -> String {
    format!("/content/{index:04}")
}

fn hostname(instance: &Instance, dhcp_domain: &str) -> String {
    let name = instance.hostname.as_deref().unwrap_or_default();
    if dhcp_domain.is_empty() { name.to_owned() } else { format!("{name}.{dhcp_domain}") }
}

// The key pair as it was when the server was made may be of another type than ssh.
fn keys(instance: &Instance, name: &str, data: &str) -> Value {
    let recorded = instance.keypairs.objects.iter().find(|keypair| keypair.name == name);
    let kind = recorded.map_or("ssh", |keypair| keypair.r#type.as_str());
    json!([{ "name": name, "type": kind, "data": data }])
}

/// 512 random bytes, for a guest that has no entropy yet.
pub(super) fn random_seed() -> Result<String, DriverError> {
    let mut bytes = [0; 512];
    getrandom::fill(&mut bytes)
        .map_err(|error| DriverError::Host(format!("the host gives no random bytes: {error}")))?;
    Ok(STANDARD.encode(bytes))
}

/// `network_data.json`.
pub(super) fn network_data(network_info: &NetworkInfo) -> Value {
    let vifs = &network_info.0;
    let mut networks = Vec::new();
    let mut services: Vec<Value> = Vec::new();
    for vif in vifs {
        for subnet in vif.network.subnets.iter().filter(|subnet| subnet.version == 4) {
            networks.push(network(networks.len(), vif));
            for service in dns_services(subnet) {
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
    }
    json!({
        "links": vifs.iter().map(link).collect::<Vec<_>>(),
        "networks": networks,
        "services": services,
    })
}

fn link_id(vif: &Vif) -> String {
    // A host device's name has 14 characters, whence Nova's name for the link.
    let id = vif.id.to_string();
    format!("tap{}", &id[..11])
}

fn link(vif: &Vif) -> Value {
    json!({
        "id": link_id(vif),
        "vif_id": vif.id,
        "type": "phy",
        "mtu": vif.network.meta.get("mtu"),
        "ethernet_mac_address": vif.address,
    })
}

fn network(index: usize, vif: &Vif) -> Value {
    json!({
        "id": format!("network{index}"),
        "type": "ipv4_dhcp",
        "link": link_id(vif),
        "network_id": vif.network.id,
    })
}

fn dns_services(subnet: &Subnet) -> impl Iterator<Item = Value> {
    subnet.dns.iter().filter_map(|dns| dns.address.as_ref()).map(|address| json!({ "type": "dns", "address": address }))
}
