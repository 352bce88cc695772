//! `POST /servers`

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use kilonova_objects::NetworkRequest;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::metadata::pairs;
use crate::call::{Answer, Call, json};
use crate::compute;
use crate::compute::create::{BlockDevice, CreateServers, RequestedNetworks, Zone, generate_password};
use crate::error::ApiError;
use crate::v21::values::canonical_ipv6;
use crate::versions::{V2_19, V2_52, V2_63, V2_74, V2_90};
use crate::views::servers::{Created, Reservation};

/// `POST /servers`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let wanted = wanted(&call)?;
    authorize_parts(&call, &wanted)?;
    let password = wanted.admin_password.clone();
    let created = compute::create::create(&call.state, &call.context, wanted).await?;
    let first = created.first().ok_or_else(|| ApiError::internal("a create request made no server"))?;
    if truthy(&call.body["server"]["return_reservation_id"]) {
        let reservation_id = first.reservation_id.as_deref().unwrap_or_default();
        return Ok(json(StatusCode::ACCEPTED, &Reservation { reservation_id }));
    }
    let password = call.state.config.enable_instance_password.then_some(password.as_str());
    let groups = &call.body["server"]["security_groups"];
    let view = Created::new(first, &call.links, password, groups);
    let mut response = json(StatusCode::ACCEPTED, &view);
    if let Ok(location) = HeaderValue::try_from(call.links.href("servers", &first.uuid.to_string())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Parts of a request with rules of their own.
fn authorize_parts(call: &Call, wanted: &CreateServers) -> Result<(), ApiError> {
    let zone = &wanted.zone;
    for (used, rule) in [
        (wanted.trusted_certs.is_some(), "os_compute_api:servers:create:trusted_certs"),
        (zone.is_forced(), "os_compute_api:servers:create:forced_host"),
        (
            zone.requested_host.is_some() || zone.requested_node.is_some(),
            "compute:servers:create:requested_destination",
        ),
        (!wanted.block_devices.is_empty(), "os_compute_api:servers:create:attach_volume"),
        (wanted.networks.is_attached(), "os_compute_api:servers:create:attach_network"),
    ] {
        if used {
            call.require(rule, call.own())?;
        }
    }
    if zone.is_forced() && (zone.requested_host.is_some() || zone.requested_node.is_some()) {
        return Err(bad(
            "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually \
             exclusive.",
        ));
    }
    Ok(())
}

/// The request as the internal API takes it. The schema has checked the types.
fn wanted(call: &Call) -> Result<CreateServers, ApiError> {
    let server = &call.body["server"];
    let text = |name: &str| server[name].as_str().map(str::to_owned);
    let display_name = server["name"].as_str().unwrap_or_default().trim().to_owned();
    let min_count = count(&server["min_count"])?.unwrap_or(1);
    let password = match text("adminPass") {
        Some(password) => password,
        None => generate_password(call.state.config.password_length)?,
    };
    let description = if call.since(V2_19) { text("description") } else { Some(display_name.clone()) };
    let block_devices = block_devices(server)?;
    Ok(CreateServers {
        display_description: description,
        hostname: if call.since(V2_90) { text("hostname") } else { None },
        flavor_id: flavor_id(&server["flavorRef"]),
        image_ref: image_ref(&server["imageRef"], &block_devices)?,
        min_count,
        max_count: count(&server["max_count"])?.unwrap_or(min_count),
        admin_password: password,
        key_name: text("key_name"),
        metadata: pairs(&server["metadata"]),
        tags: if call.since(V2_52) { unique(texts(&server["tags"])) } else { Vec::new() },
        user_data: text("user_data"),
        config_drive: truthy(&server["config_drive"]),
        auto_disk_config: server["OS-DCF:diskConfig"].as_str().map(|value| value == "AUTO"),
        access_ip_v4: text("accessIPv4"),
        access_ip_v6: text("accessIPv6").map(|address| canonical_ipv6(&address)),
        security_groups: security_groups(&server["security_groups"]),
        networks: networks(&server["networks"])?,
        injected_files: injected_files(&server["personality"])?,
        block_devices,
        scheduler_hints: scheduler_hints(&call.body),
        zone: zone(call, server)?,
        trusted_certs: server["trusted_image_certificates"]
            .is_array()
            .then(|| texts(&server["trusted_image_certificates"]))
            .filter(|_| call.since(V2_63)),
        display_name,
    })
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::BadRequest(message.into())
}

/// A count that may come as a string.
fn count(value: &Value) -> Result<Option<u32>, ApiError> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    let count = number.and_then(|number: u64| u32::try_from(number).ok());
    count.map(Some).ok_or_else(|| bad(format!("Invalid count: {value}")))
}

/// `true`, `"True"`, `"1"`, `"on"`, `"yes"`, …: the schema lets no other words through.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::String(text) => matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "on" | "yes"),
        _ => false,
    }
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn unique(texts: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    texts.into_iter().filter(|text| seen.insert(text.clone())).collect()
}

/// An id, or the last part of a link to the flavor.
fn flavor_id(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn image_ref(value: &Value, block_devices: &[BlockDevice]) -> Result<Uuid, ApiError> {
    match value.as_str().filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|_| bad("Can not find requested image")),
        // Without an image the server boots from a volume; the check of the block devices says what is wrong with it.
        None if !block_devices.is_empty() => Ok(Uuid::nil()),
        None => Err(bad("Missing imageRef attribute")),
    }
}

fn security_groups(value: &Value) -> Option<Vec<String>> {
    let groups = value.as_array()?;
    Some(groups.iter().filter_map(|group| group["name"].as_str().map(str::to_owned)).collect())
}

pub(super) fn injected_files(value: &Value) -> Result<Vec<(String, String)>, ApiError> {
    let files = value.as_array().into_iter().flatten();
    files
        .map(|file| match (file["path"].as_str(), file["contents"].as_str()) {
            (Some(path), Some(contents)) => Ok((path.to_owned(), contents.to_owned())),
            _ => Err(bad("Bad personality format")),
        })
        .collect()
}

fn networks(value: &Value) -> Result<RequestedNetworks, ApiError> {
    match value {
        Value::String(word) if word == "none" => return Ok(RequestedNetworks::None),
        Value::String(_) => return Ok(RequestedNetworks::Auto),
        Value::Array(_) => {}
        _ => return Ok(RequestedNetworks::Unspecified),
    }
    let mut requests: Vec<NetworkRequest> = Vec::new();
    for item in value.as_array().into_iter().flatten() {
        let request = network(item)?;
        if request.port_id.is_some() && requests.iter().any(|other| other.port_id == request.port_id) {
            let port = item["port"].as_str().unwrap_or_default();
            return Err(bad(format!("Port ID '{port}' was specified twice: you cannot attach a port multiple times.")));
        }
        requests.push(request);
    }
    Ok(RequestedNetworks::These(requests))
}

fn network(item: &Value) -> Result<NetworkRequest, ApiError> {
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    let (address, tag) = (text("fixed_ip"), text("tag"));
    if let Some(port) = text("port") {
        if let Some(address) = address {
            return Err(bad(format!(
                "Specified Fixed IP '{address}' cannot be used with port '{port}': the two cannot be specified together."
            )));
        }
        let port_id = port.parse().map_err(|_| bad("Bad networks format"))?;
        return Ok(NetworkRequest { port_id: Some(port_id), tag, ..NetworkRequest::default() });
    }
    let uuid = text("uuid").ok_or_else(|| bad("Bad network format: missing 'uuid'"))?;
    let id: Uuid =
        uuid.parse().map_err(|_| bad(format!("Bad networks format: network uuid is not in proper format ({uuid})")))?;
    Ok(NetworkRequest { network_id: Some(id.to_string()), address, tag, ..NetworkRequest::default() })
}

fn block_devices(server: &Value) -> Result<Vec<BlockDevice>, ApiError> {
    let items = |name: &str| server[name].as_array().cloned().unwrap_or_default();
    let (legacy, current) = (items("block_device_mapping"), items("block_device_mapping_v2"));
    if !legacy.is_empty() && !current.is_empty() {
        return Err(bad("Using different block_device_mapping syntaxes is not allowed in the same request."));
    }
    Ok(legacy.iter().chain(&current).map(block_device).collect())
}

fn block_device(item: &Value) -> BlockDevice {
    let text = |name: &str| item[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let boot_index = item["boot_index"].as_i64().or_else(|| item["boot_index"].as_str()?.parse().ok());
    BlockDevice {
        source_type: text("source_type"),
        destination_type: text("destination_type"),
        uuid: text("uuid").or_else(|| text("image_id")),
        volume_id: text("volume_id"),
        snapshot_id: text("snapshot_id"),
        boot_index,
        volume_type: text("volume_type"),
        is_no_device: !item["no_device"].is_null(),
        tag: text("tag"),
    }
}

/// Hints as lists of strings; those that begin with `_nova` are ours and nobody else's.
fn scheduler_hints(body: &Value) -> BTreeMap<String, Vec<String>> {
    let none = Map::new();
    let given = body["os:scheduler_hints"].as_object().or_else(|| body["OS-SCH-HNT:scheduler_hints"].as_object());
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let hints = given.unwrap_or(&none).iter().filter(|(name, _)| !name.starts_with("_nova"));
    let values = |value: &Value| match value {
        Value::Array(items) => items.iter().map(text).collect(),
        one => vec![text(one)],
    };
    hints.map(|(name, value)| (name.clone(), values(value))).collect()
}

fn zone(call: &Call, server: &Value) -> Result<Zone, ApiError> {
    let config = &call.state.config;
    let default = config.default_schedule_zone.as_deref();
    let mut zone = Zone::parse(server["availability_zone"].as_str(), default)?;
    if zone.is_forced() && zone.name.as_deref() != Some(config.default_availability_zone.as_str()) {
        // A host decides its zone; another one in the request is passed over, as Nova does.
        zone.name = None;
    }
    if call.since(V2_74) {
        let text = |name: &str| server[name].as_str().map(str::to_owned);
        zone.requested_host = text("host");
        zone.requested_node = text("hypervisor_hostname");
    }
    Ok(zone)
}
