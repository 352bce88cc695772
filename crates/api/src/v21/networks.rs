//! `/os-networks` and `/os-tenant-networks`: names of the network service's networks, for clients of old (to 2.35).

use kilonova_clients::ClientError;
use kilonova_clients::neutron::networks::{self, NetworkName};
use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, ok};
use crate::error::ApiError;

/// What a network once was. All of it is null now but the id and the label.
const FIELDS: [&str; 9] =
    ["cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6"];
/// The same, for admins.
const ADMIN_FIELDS: [&str; 21] = [
    "created_at",
    "updated_at",
    "deleted_at",
    "deleted",
    "injected",
    "bridge",
    "vlan",
    "vpn_public_address",
    "vpn_public_port",
    "vpn_private_address",
    "dhcp_start",
    "project_id",
    "host",
    "bridge_interface",
    "multi_host",
    "priority",
    "rxtx_base",
    "mtu",
    "dhcp_server",
    "enable_dhcp",
    "share_address",
];

/// `GET /os-networks`
pub(crate) async fn index(call: Call) -> Answer {
    let found = list(&call).await?;
    ok(&json!({"networks": found.iter().map(|network| view(&call, network)).collect::<Vec<_>>()}))
}

/// `GET /os-networks/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let network = find(&call).await?;
    ok(&json!({"network": view(&call, &network)}))
}

/// `GET /os-tenant-networks`
pub(crate) async fn tenant_index(call: Call) -> Answer {
    let found = list(&call).await?;
    ok(&json!({"networks": found.iter().map(tenant_view).collect::<Vec<_>>()}))
}

/// `GET /os-tenant-networks/{id}`
pub(crate) async fn tenant_show(call: Call) -> Answer {
    let network = find(&call).await?;
    ok(&json!({"network": tenant_view(&network)}))
}

async fn list(call: &Call) -> Result<Vec<NetworkName>, ApiError> {
    call.authorize_own()?;
    Ok(networks::list(&*call.state.clients.network, &call.context).await?)
}

async fn find(call: &Call) -> Result<NetworkName, ApiError> {
    call.authorize_own()?;
    let found = networks::show(&*call.state.clients.network, &call.context, call.param("id")).await;
    found.map_err(|error| match error {
        ClientError::NotFound { .. } => ApiError::NotFound("Network not found".to_owned()),
        other => other.into(),
    })
}

fn view(call: &Call, network: &NetworkName) -> Value {
    let admin_fields = if call.context.is_admin { ADMIN_FIELDS.as_slice() } else { &[] };
    let null = |name: &&str| ((*name).to_owned(), Value::Null);
    let mut view: Map<String, Value> = FIELDS.iter().chain(admin_fields).map(null).collect();
    view.insert("id".to_owned(), json!(network.id));
    view.insert("label".to_owned(), json!(network.name));
    Value::Object(view)
}

/// The text `None` is what Nova has always said here.
fn tenant_view(network: &NetworkName) -> Value {
    json!({"id": network.id, "cidr": "None", "label": network.name})
}
