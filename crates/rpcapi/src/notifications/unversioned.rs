//! Payloads without a version, which ceilometer and other old readers expect: `info_from_instance` and what is added.
//!
//! They are Python values that were made JSON without much thought, and their readers know them so: no date is an
//! empty string, no creation is the word `None`, an exception is its `repr`.

use chrono::{DateTime, Timelike as _, Utc};
use kilonova_core::RequestContext;
use kilonova_core::time::strtime;
use kilonova_objects::wire::VersionedObject as _;
use kilonova_objects::{Instance, NetworkInfo, RequestSpec, VmState, Wire as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::event::{Fault, InstanceEvent, StateUpdate};
use super::fields;

/// Bytes of a fault's message that are shown.
const MAX_MESSAGE: usize = 255;

/// The payload of `compute.instance.<action>.<phase>`.
pub(super) fn instance_event(instance: &Instance, image_ref_url: String, event: &InstanceEvent<'_>) -> Value {
    let mut info = info_from_instance(instance, image_ref_url);
    if event.shows_fixed_ips {
        info.insert("fixed_ips".to_owned(), fixed_ips(&instance.network_info()));
    }
    info.extend(event.usage.clone());
    if let Some(fault) = event.fault {
        info.insert("exception".to_owned(), json!(repr(fault)));
        info.insert("message".to_owned(), json!(shortened(&fault.message)));
        info.insert("code".to_owned(), json!(fault.code));
    }
    Value::Object(info)
}

/// The payload of `compute.instance.update`.
pub(super) fn instance_update(
    instance: &Instance,
    image_ref_url: String,
    update: &StateUpdate,
    (begin, end): (DateTime<Utc>, DateTime<Utc>),
) -> Value {
    let mut info = info_from_instance(instance, image_ref_url);
    let mut add = |name: &str, value: Value| info.insert(name.to_owned(), value);
    add("old_state", update.old_state.to_wire());
    add("state", update.state.to_wire());
    add("old_task_state", update.old_task_state.to_wire());
    add("new_task_state", update.new_task_state.to_wire());
    add("audit_period_beginning", json!(strtime(begin)));
    add("audit_period_ending", json!(strtime(end)));
    if let Some(name) = &update.old_display_name {
        add("old_display_name", json!(name));
    }
    Value::Object(info)
}

/// The payload of `compute.instance.exists`. Its period is whole seconds, as Python prints them.
pub(super) fn instance_exists(
    instance: &Instance,
    image_ref_url: String,
    (begin, end): (DateTime<Utc>, DateTime<Utc>),
) -> Value {
    let printed = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S").to_string();
    let properties = instance.system_metadata.iter();
    let image_meta: Map<String, Value> =
        properties.filter_map(|(key, value)| Some((key.strip_prefix("image_")?.to_owned(), json!(value)))).collect();
    let mut info = info_from_instance(instance, image_ref_url);
    info.insert("audit_period_beginning".to_owned(), json!(printed(begin)));
    info.insert("audit_period_ending".to_owned(), json!(printed(end)));
    info.insert("image_meta".to_owned(), Value::Object(image_meta));
    Value::Object(info)
}

/// The payload of `compute_task.<method>`.
pub(super) fn compute_task(
    method: &str,
    instance_uuid: Uuid,
    spec: Option<&RequestSpec>,
    state: VmState,
    reason: &Fault,
) -> Value {
    let spec = spec.map_or_else(|| json!({}), legacy_request_spec);
    json!({
        "instance_properties": spec.get("instance_properties").cloned().unwrap_or_else(|| json!({})),
        "request_spec": spec,
        "instance_id": instance_uuid,
        "state": state.to_wire(),
        "method": method,
        "reason": repr(reason),
    })
}

/// Where the image of an instance is: below the endpoint of the image service, which the configuration or the context's
/// catalog knows, else only its id.
pub(super) fn image_ref_url(context: &RequestContext, instance: &Instance, endpoint: Option<&str>) -> String {
    let image_ref = instance.image_ref.as_deref().unwrap_or_default();
    match endpoint.or_else(|| catalog_endpoint(context)) {
        Some(endpoint) => {
            let endpoint = endpoint.trim_end_matches('/').trim_end_matches("/v2");
            format!("{endpoint}/images/{image_ref}")
        }
        None => image_ref.to_owned(),
    }
}

/// The internal endpoint, else the public one: `[glance] valid_interfaces`.
fn catalog_endpoint(context: &RequestContext) -> Option<&str> {
    let entry = context.service_catalog.iter().find(|entry| entry["type"] == "image")?;
    let endpoint = entry.pointer("/endpoints/0")?;
    ["internalURL", "publicURL"].iter().find_map(|interface| endpoint.get(*interface)?.as_str())
}

/// What all of them have.
fn info_from_instance(instance: &Instance, image_ref_url: String) -> Map<String, Value> {
    let flavor = instance.flavor.as_ref();
    let flavor_or = |of: fn(&kilonova_objects::Flavor) -> i64, own: Option<i64>| flavor.map(of).or(own);
    let (root_gb, ephemeral_gb) =
        (flavor_or(|f| f.root_gb, instance.root_gb), flavor_or(|f| f.ephemeral_gb, instance.ephemeral_gb));
    fields(json!({
        "tenant_id": instance.project_id,
        "user_id": instance.user_id,
        "instance_id": instance.uuid,
        "display_name": instance.display_name,
        "reservation_id": instance.reservation_id,
        "hostname": instance.hostname,
        "instance_type": flavor.and_then(|flavor| flavor.name.clone()).unwrap_or_default(),
        "instance_type_id": instance.instance_type_id,
        "instance_flavor_id": flavor.map(|flavor| flavor.flavorid.clone()).unwrap_or_default(),
        "architecture": instance.architecture,
        "memory_mb": flavor_or(|f| f.memory_mb, instance.memory_mb),
        "disk_gb": root_gb.unwrap_or_default() + ephemeral_gb.unwrap_or_default(),
        "vcpus": flavor_or(|f| f.vcpus, instance.vcpus),
        "root_gb": root_gb,
        "ephemeral_gb": ephemeral_gb,
        "host": instance.host,
        "node": instance.node,
        "availability_zone": instance.availability_zone,
        "cell_name": instance.cell_name.as_deref().unwrap_or_default(),
        "created_at": instance.created_at.map_or_else(|| "None".to_owned(), str_of),
        "terminated_at": time_or_nothing(instance.terminated_at),
        "deleted_at": time_or_nothing(instance.deleted_at),
        "launched_at": time_or_nothing(instance.launched_at),
        "image_ref_url": image_ref_url,
        "os_type": instance.os_type,
        "kernel_id": instance.kernel_id,
        "ramdisk_id": instance.ramdisk_id,
        "state": instance.vm_state.to_wire(),
        "state_description": instance.task_state.map(|task| task.as_str()).unwrap_or_default(),
        "progress": instance.progress.filter(|progress| *progress != 0).map_or_else(|| json!(""), |progress| json!(progress)),
        "access_ip_v4": instance.access_ip_v4,
        "access_ip_v6": instance.access_ip_v6,
        "image_meta": image_meta(instance),
        "metadata": instance.metadata,
    }))
}

/// What the image said when the instance was made.
fn image_meta(instance: &Instance) -> Map<String, Value> {
    let properties = instance.system_metadata.iter();
    properties.filter_map(|(key, value)| Some((key.strip_prefix("image_")?.to_owned(), json!(value)))).collect()
}

fn fixed_ips(network_info: &NetworkInfo) -> Value {
    let vifs = network_info.0.iter();
    let ips = vifs.flat_map(|vif| vif.network.subnets.iter().flat_map(|subnet| &subnet.ips).map(move |ip| (vif, ip)));
    let shown = ips.map(|(vif, ip)| {
        json!({
            "address": ip.address,
            "type": ip.ip_type,
            "version": ip.version,
            "meta": ip.meta,
            "floating_ips": ip.floating_ips,
            "label": vif.network.label,
            "vif_mac": vif.address,
        })
    });
    Value::Array(shown.collect())
}

/// `to_legacy_request_spec_dict`. Of PCI requests Nova writes the insides of its Python object, with the context and the
/// user's token: here it is only what is asked for.
fn legacy_request_spec(spec: &RequestSpec) -> Value {
    let flavor = &spec.flavor;
    let image = spec.image.as_ref().map(|image| {
        let mut data = with_dates(image.data(), [("created_at", image.created_at), ("updated_at", image.updated_at)]);
        data.insert("properties".to_owned(), json!(image.properties.0));
        data
    });
    let dates =
        [("created_at", flavor.created_at), ("updated_at", flavor.updated_at), ("deleted_at", flavor.deleted_at)];
    json!({
        "num_instances": spec.num_instances,
        "image": image.unwrap_or_default(),
        "instance_properties": {
            "numa_topology": spec.numa_topology,
            "pci_requests": spec.pci_requests.as_ref().map(|requests| requests.data()),
            "project_id": spec.project_id,
            "user_id": spec.user_id,
            "availability_zone": spec.availability_zone,
            "uuid": spec.instance_uuid,
            "root_gb": flavor.root_gb,
            "ephemeral_gb": flavor.ephemeral_gb,
            "memory_mb": flavor.memory_mb,
            "vcpus": flavor.vcpus,
        },
        "instance_type": with_dates(flavor.data(), dates),
    })
}

/// An object's fields with its dates as a dict has them.
fn with_dates<const N: usize>(
    mut data: Map<String, Value>,
    dates: [(&str, Option<DateTime<Utc>>); N],
) -> Map<String, Value> {
    for (name, at) in dates {
        if let Some(shown) = data.get_mut(name) {
            *shown = json!(at.map(strtime));
        }
    }
    data
}

fn time_or_nothing(at: Option<DateTime<Utc>>) -> String {
    at.map(strtime).unwrap_or_default()
}

/// Python's `str` of an instant with a zone.
fn str_of(at: DateTime<Utc>) -> String {
    let format = if at.nanosecond() == 0 { "%Y-%m-%d %H:%M:%S+00:00" } else { "%Y-%m-%d %H:%M:%S%.6f+00:00" };
    at.format(format).to_string()
}

/// Nova's `repr` of an exception.
fn repr(fault: &Fault) -> String {
    let (message, class) = (quoted(&fault.message), quoted(&fault.class));
    format!("{{'kwargs': {{'code': {}}}, 'message': {message}, 'class': {class}}}", fault.code)
}

/// Python's `repr` of a text.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            character if character == quote => quoted.extend(['\\', quote]),
            character if character.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// As much of a message as there is room for.
fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_as_python_does() {
        for (text, python) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("\"it's\"", "'\"it\\'s\"'"),
            ("a\\b\nc\u{7}é", "'a\\\\b\\nc\\x07é'"),
        ] {
            assert_eq!(quoted(text), python);
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let long = format!("{}é", "x".repeat(254));
        assert_eq!(shortened(&long), "x".repeat(254));
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn an_image_is_where_configuration_or_catalog_say_else_it_is_its_id() {
        let instance = Instance { image_ref: Some("i".to_owned()), ..Instance::default() };
        let mut context = RequestContext::new("u", "p");
        assert_eq!(image_ref_url(&context, &instance, None), "i");
        let endpoints = json!([{"publicURL": "http://public/image/v2/", "internalURL": "http://internal/image/v2/"}]);
        context.service_catalog = vec![json!({"type": "image", "endpoints": endpoints})];
        assert_eq!(image_ref_url(&context, &instance, None), "http://internal/image/images/i");
        assert_eq!(image_ref_url(&context, &instance, Some("http://own:9292")), "http://own:9292/images/i");
        assert_eq!(image_ref_url(&context, &Instance::default(), Some("http://own")), "http://own/images/");
    }
}
