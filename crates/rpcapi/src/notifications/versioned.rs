//! Versioned payloads: objects of Nova's `nova/notifications/objects`, with their versions there, in the form that
//! versioned objects have on the wire. They never name changes.

use chrono::{DateTime, Utc};
use kilonova_core::RequestContext;
use kilonova_objects::wire::VersionedObject as _;
use kilonova_objects::{
    BlockDeviceMapping, Flavor, ImageMeta, Instance, KeyPair, NetworkInfo, RequestSpec, VmState, Wire as _,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::event::{Fault, InstanceAction, InstanceEvent, StateUpdate};
use super::fields;

/// What payloads have only where it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shows {
    /// `[notifications] include_share_mapping`
    pub(super) has_shares: bool,
}

/// The payload of `instance.<action>.<phase>`.
pub(super) fn instance_event(
    shows: &Shows,
    context: &RequestContext,
    instance: &Instance,
    event: &InstanceEvent<'_>,
) -> Value {
    let mut data = instance_data(shows, context, instance, event.bdms);
    data.insert("fault".to_owned(), event.fault.map_or(Value::Null, exception));
    if let Some(new_flavor) = event.new_flavor {
        data.insert("new_flavor".to_owned(), flavor(new_flavor));
        return object("InstanceActionResizePrepPayload", "1.4", Value::Object(data));
    }
    let certificates = instance.trusted_certs.as_ref().and_then(|certs| certs.pointer("/nova_object.data/ids"));
    match event.action {
        InstanceAction::Create => {}
        InstanceAction::Snapshot => {
            data.insert("snapshot_image_id".to_owned(), json!(event.snapshot_image_id));
            return object("InstanceActionSnapshotPayload", "1.10", Value::Object(data));
        }
        InstanceAction::Rescue => {
            data.insert("rescue_image_ref".to_owned(), json!(event.rescue_image_ref));
            return object("InstanceActionRescuePayload", "1.4", Value::Object(data));
        }
        InstanceAction::Rebuild => {
            data.insert("trusted_image_certificates".to_owned(), certificates.cloned().unwrap_or_default());
            return object("InstanceActionRebuildPayload", "1.10", Value::Object(data));
        }
        _ => return object("InstanceActionPayload", "1.9", Value::Object(data)),
    }
    data.insert("keypairs".to_owned(), instance.keypairs.objects.iter().map(keypair).collect());
    data.insert("tags".to_owned(), tags(instance));
    data.insert("trusted_image_certificates".to_owned(), certificates.cloned().unwrap_or_default());
    data.insert("instance_name".to_owned(), json!(instance.name()));
    object("InstanceCreatePayload", "1.13", Value::Object(data))
}

/// The payload of `instance.update`.
pub(super) fn instance_update(
    shows: &Shows,
    context: &RequestContext,
    instance: &Instance,
    update: &StateUpdate,
    (begin, end): (DateTime<Utc>, DateTime<Utc>),
) -> Value {
    let states = json!({
        "old_state": update.old_state.to_wire(),
        "state": update.state.to_wire(),
        "old_task_state": update.old_task_state.to_wire(),
        "new_task_state": update.new_task_state.to_wire(),
    });
    let mut data = instance_data(shows, context, instance, None);
    data.insert("state_update".to_owned(), object("InstanceStateUpdatePayload", "1.0", states));
    data.insert("audit_period".to_owned(), audit_period((begin, end)));
    data.insert("old_display_name".to_owned(), json!(update.old_display_name));
    data.insert("tags".to_owned(), tags(instance));
    object("InstanceUpdatePayload", "2.1", Value::Object(data))
}

/// The payload of `instance.exists`.
pub(super) fn instance_exists(
    shows: &Shows,
    context: &RequestContext,
    instance: &Instance,
    period: (DateTime<Utc>, DateTime<Utc>),
) -> Value {
    let mut data = instance_data(shows, context, instance, None);
    data.insert("audit_period".to_owned(), audit_period(period));
    object("InstanceExistsPayload", "2.1", Value::Object(data))
}

fn audit_period((begin, end): (DateTime<Utc>, DateTime<Utc>)) -> Value {
    let period = json!({"audit_period_beginning": begin.to_wire(), "audit_period_ending": end.to_wire()});
    object("AuditPeriodPayload", "1.0", period)
}

/// The payload of `compute_task.<method>.error`.
pub(super) fn compute_task(instance_uuid: Uuid, spec: Option<&RequestSpec>, state: VmState, reason: &Fault) -> Value {
    let data = json!({
        "instance_uuid": instance_uuid,
        "request_spec": spec.map(request_spec),
        "state": state.to_wire(),
        "reason": exception(reason),
    });
    object("ComputeTaskPayload", "1.0", data)
}

fn object(name: &str, version: &str, data: Value) -> Value {
    json!({
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    })
}

/// What `InstancePayload` has.
fn instance_data(
    shows: &Shows,
    context: &RequestContext,
    instance: &Instance,
    bdms: Option<&[BlockDeviceMapping]>,
) -> Map<String, Value> {
    // A periodic task has an id that no user knows.
    let request_id = context.request_id.as_ref().filter(|_| context.project_id.is_some() && context.user_id.is_some());
    fields(json!({
        "uuid": instance.uuid,
        "user_id": instance.user_id,
        "tenant_id": instance.project_id,
        "reservation_id": instance.reservation_id,
        "display_name": instance.display_name,
        "display_description": instance.display_description,
        "host_name": instance.hostname,
        "host": instance.host,
        "node": instance.node,
        "os_type": instance.os_type,
        "architecture": instance.architecture,
        "availability_zone": instance.availability_zone,
        "flavor": instance.flavor.as_ref().map(flavor),
        "image_uuid": instance.image_ref,
        "key_name": instance.key_name,
        "kernel_id": instance.kernel_id,
        "ramdisk_id": instance.ramdisk_id,
        "created_at": instance.created_at.to_wire(),
        "launched_at": instance.launched_at.to_wire(),
        "terminated_at": instance.terminated_at.to_wire(),
        "deleted_at": instance.deleted_at.to_wire(),
        "updated_at": instance.updated_at.to_wire(),
        "state": instance.vm_state.to_wire(),
        "power_state": instance.power_state.as_str(),
        "task_state": instance.task_state.to_wire(),
        "progress": instance.progress,
        "ip_addresses": ip_addresses(&instance.network_info()),
        "block_devices": bdms.map(block_devices),
        "metadata": instance.metadata,
        "locked": instance.locked,
        "auto_disk_config": if instance.auto_disk_config { "AUTO" } else { "MANUAL" },
        "request_id": request_id,
        "action_initiator_user": context.user_id,
        "action_initiator_project": context.project_id,
        "locked_reason": instance.system_metadata.get("locked_reason"),
        // Nothing here has shares.
        "shares": shows.has_shares.then(Vec::<Value>::new),
    }))
}

fn flavor(flavor: &Flavor) -> Value {
    const FIELDS: [&str; 14] = [
        "flavorid",
        "memory_mb",
        "vcpus",
        "root_gb",
        "ephemeral_gb",
        "name",
        "swap",
        "rxtx_factor",
        "vcpu_weight",
        "disabled",
        "is_public",
        "extra_specs",
        "projects",
        "description",
    ];
    picked("FlavorPayload", "1.4", &flavor.data(), &FIELDS)
}

/// An object with some fields of another; what that does not have is null.
fn picked(name: &str, version: &str, data: &Map<String, Value>, fields: &[&str]) -> Value {
    let field = |name: &&str| ((*name).to_owned(), data.get(*name).cloned().unwrap_or_default());
    object(name, version, Value::Object(fields.iter().map(field).collect()))
}

fn ip_addresses(network_info: &NetworkInfo) -> Vec<Value> {
    let vifs = network_info.0.iter();
    let ips = vifs.flat_map(|vif| vif.network.subnets.iter().flat_map(|subnet| &subnet.ips).map(move |ip| (vif, ip)));
    let shown = ips.map(|(vif, ip)| {
        let data = json!({
            "label": vif.network.label,
            "mac": vif.address,
            "meta": vif.meta,
            "port_uuid": vif.id,
            "version": ip.version,
            "address": ip.address,
            "device_name": vif.devname,
        });
        object("IpPayload", "1.0", data)
    });
    shown.collect()
}

/// The volumes among the disks.
fn block_devices(bdms: &[BlockDeviceMapping]) -> Vec<Value> {
    let volumes = bdms.iter().filter(|bdm| bdm.volume_id.is_some());
    let shown = volumes.map(|bdm| {
        let data = json!({
            "device_name": bdm.device_name,
            "boot_index": bdm.boot_index,
            "delete_on_termination": bdm.delete_on_termination,
            "volume_id": bdm.volume_id,
            "tag": bdm.tag,
        });
        object("BlockDevicePayload", "1.0", data)
    });
    shown.collect()
}

fn keypair(keypair: &KeyPair) -> Value {
    let data = json!({
        "user_id": keypair.user_id,
        "name": keypair.name,
        "public_key": keypair.public_key,
        "fingerprint": keypair.fingerprint,
        "type": keypair.r#type,
    });
    object("KeypairPayload", "1.0", data)
}

fn tags(instance: &Instance) -> Value {
    instance.tags.iter().flat_map(|tags| &tags.objects).map(|tag| json!(tag.tag)).collect()
}

fn exception(fault: &Fault) -> Value {
    let data = json!({
        "module_name": fault.module,
        "function_name": fault.function,
        "exception": fault.class,
        "exception_message": fault.message,
        "traceback": fault.traceback,
    });
    object("ExceptionPayload", "1.1", data)
}

/// Nova makes this payload from a dict of older days, in which hints, groups, retries, destinations and forced hosts do
/// not survive: readers find them empty whatever was asked for.
fn request_spec(spec: &RequestSpec) -> Value {
    let data = json!({
        "instance_uuid": spec.instance_uuid,
        "project_id": spec.project_id,
        "user_id": spec.user_id,
        "availability_zone": spec.availability_zone,
        "num_instances": spec.num_instances,
        "flavor": flavor(&spec.flavor),
        "image": spec.image.as_ref().map(image),
        "numa_topology": spec.numa_topology.as_ref().map(|topology| numa_topology(topology, spec.instance_uuid)),
        "pci_requests": spec.pci_requests.as_ref().map(|asked| pci_requests(&asked.requests, spec.instance_uuid)),
        "scheduler_hints": {},
        "security_groups": [],
        "ignore_hosts": null,
        "force_hosts": null,
        "force_nodes": null,
        "instance_group": null,
        "requested_destination": null,
        "retry": null,
    });
    object("RequestSpecPayload", "1.1", data)
}

/// By Nova's rule it is raised together with that of `ImageMetaProps`: 1.19 was 1.43's.
const IMAGE_PROPERTIES_VERSION: &str = "1.20";

fn image(image: &ImageMeta) -> Value {
    const FIELDS: [&str; 17] = [
        "id",
        "name",
        "status",
        "visibility",
        "protected",
        "checksum",
        "owner",
        "size",
        "virtual_size",
        "container_format",
        "disk_format",
        "created_at",
        "updated_at",
        "tags",
        "direct_url",
        "min_ram",
        "min_disk",
    ];
    let mut payload = picked("ImageMetaPayload", "1.0", &image.data(), &FIELDS);
    let properties = image.properties.0.iter().filter(|(name, _)| *name != "hw_ephemeral_encryption_secret_uuid");
    let properties = properties.map(|(name, value)| (name.clone(), value.clone())).collect();
    payload["nova_object.data"]["properties"] =
        object("ImageMetaPropsPayload", IMAGE_PROPERTIES_VERSION, Value::Object(properties));
    payload
}

// NUMA topologies and PCI requests are objects that pass through here unread.

fn data_of(object: &Value) -> Map<String, Value> {
    object.get("nova_object.data").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn numa_topology(topology: &Value, instance_uuid: Uuid) -> Value {
    const CELL: [&str; 9] = [
        "id",
        "cpuset",
        "pcpuset",
        "cpuset_reserved",
        "memory",
        "pagesize",
        "cpu_pinning_raw",
        "cpu_policy",
        "cpu_thread_policy",
    ];
    let topology = data_of(topology);
    let cells = topology.get("cells").and_then(Value::as_array).into_iter().flatten().map(|cell| {
        let cell = data_of(cell);
        let cpus = cell.get("cpu_topology").filter(|cpus| !cpus.is_null());
        let cpus =
            cpus.map(|cpus| picked("VirtCPUTopologyPayload", "1.0", &data_of(cpus), &["sockets", "cores", "threads"]));
        let mut payload = picked("InstanceNUMACellPayload", "1.2", &cell, &CELL);
        payload["nova_object.data"]["cpu_topology"] = json!(cpus);
        payload
    });
    let data = json!({
        "instance_uuid": instance_uuid,
        "cells": cells.collect::<Vec<_>>(),
        "emulator_threads_policy": topology.get("emulator_threads_policy"),
    });
    object("InstanceNUMATopologyPayload", "1.0", data)
}

fn pci_requests(requests: &[Value], instance_uuid: Uuid) -> Value {
    const REQUEST: [&str; 5] = ["count", "spec", "alias_name", "request_id", "numa_policy"];
    let requests = requests.iter().map(|asked| picked("InstancePCIRequestPayload", "1.1", &data_of(asked), &REQUEST));
    let data = json!({"instance_uuid": instance_uuid, "requests": requests.collect::<Vec<_>>()});
    object("InstancePCIRequestsPayload", "1.0", data)
}
