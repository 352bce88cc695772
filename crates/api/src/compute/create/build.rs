//! The objects of new servers, as they go into the database and onto the wire.

use std::collections::BTreeMap;

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::instances::NewInstance;
use kilonova_objects::{
    Destination, Instance, InstanceInfoCache, InstancePciRequests, KeyPairList, NetworkInfo, NetworkRequestList,
    RequestSpec, SecurityGroupList, Tag, TagList, TaskState, VmState,
};
use serde_json::Value;
use uuid::Uuid;

use super::{CreateServers, Found, RequestedNetworks, block_devices, files, image, names, workflow_payload};
use crate::compute::trusted_certs;
use crate::state::ApiState;

/// Everything that a request makes.
pub(super) struct Plan {
    pub new: Vec<NewInstance>,
    pub image: Value,
    pub admin_password: String,
    pub injected_files: Vec<Value>,
    pub networks: Option<NetworkRequestList>,
}

/// `count` servers.
pub(super) fn plan(
    state: &ApiState,
    context: &RequestContext,
    wanted: &CreateServers,
    found: &Found,
    reservation_id: &str,
    count: u32,
) -> Plan {
    let image = found.image.to_dict();
    let payload = workflow_payload(context, &image, wanted, found);
    let spec = request_spec(context, wanted, found, count);
    let trusted_certs = trusted_certs::of_request(state, wanted.trusted_certs.as_deref());
    let template = Instance { trusted_certs, ..instance(context, wanted, found, reservation_id) };
    let new = (0..count).map(|index| one(&template, &spec, wanted, found, index, count, &payload)).collect();
    Plan {
        new,
        image,
        admin_password: wanted.admin_password.clone(),
        injected_files: files::on_the_wire(&wanted.injected_files),
        networks: found.networks.clone(),
    }
}

fn one(
    template: &Instance,
    spec: &RequestSpec,
    wanted: &CreateServers,
    found: &Found,
    index: u32,
    count: u32,
    payload: &Value,
) -> NewInstance {
    let uuid = Uuid::new_v4();
    let (display_name, hostname) = names::of(&wanted.display_name, wanted.hostname.as_deref(), uuid, index, count);
    let tag = |tag: &String| Tag { resource_id: Some(uuid.to_string()), tag: tag.clone(), ..Tag::default() };
    let instance = Instance {
        uuid,
        display_name: Some(display_name),
        hostname: Some(hostname),
        launch_index: Some(i64::from(index)),
        info_cache: Some(InstanceInfoCache::new(uuid, &NetworkInfo::default())),
        tags: Some(TagList::from(wanted.tags.iter().map(tag).collect::<Vec<_>>())),
        ..template.clone()
    };
    NewInstance {
        instance,
        block_devices: block_devices::of(uuid, wanted.image_ref, &found.flavor, &wanted.block_devices),
        request_spec: RequestSpec { instance_uuid: uuid, ..spec.clone() },
        workflow_payload: payload.clone(),
    }
}

/// What all servers of a request have in common.
fn instance(context: &RequestContext, wanted: &CreateServers, found: &Found, reservation_id: &str) -> Instance {
    let (image, flavor) = (&found.image, &found.flavor);
    let property = |name: &str| image.properties.get(name).cloned();
    let (kernel, ramdisk) = image::kernel_and_ramdisk(image);
    let text = |text: Option<&str>| Some(text.unwrap_or_default().to_owned());
    Instance {
        user_id: context.user_id.clone(),
        project_id: context.project_id.clone(),
        image_ref: Some(image.id.to_string()),
        kernel_id: text(kernel),
        ramdisk_id: text(ramdisk),
        key_name: wanted.key_name.clone(),
        key_data: found.key_pair.as_ref().and_then(|pair| pair.public_key.clone()),
        keypairs: KeyPairList::from(found.key_pair.clone().into_iter().collect::<Vec<_>>()),
        vm_state: VmState::Building,
        task_state: Some(TaskState::Scheduling),
        memory_mb: Some(flavor.memory_mb),
        vcpus: Some(flavor.vcpus),
        root_gb: Some(flavor.root_gb),
        ephemeral_gb: Some(flavor.ephemeral_gb),
        instance_type_id: Some(flavor.id),
        flavor: Some(flavor.clone()),
        user_data: wanted.user_data.clone(),
        reservation_id: Some(reservation_id.to_owned()),
        availability_zone: wanted.zone.name.clone(),
        display_description: wanted.display_description.clone(),
        os_type: property("os_type"),
        architecture: property("architecture"),
        vm_mode: property("vm_mode"),
        root_device_name: property("root_device_name"),
        config_drive: Some(if wanted.config_drive { "True".to_owned() } else { String::new() }),
        access_ip_v4: wanted.access_ip_v4.clone(),
        access_ip_v6: wanted.access_ip_v6.clone(),
        auto_disk_config: wanted.auto_disk_config.unwrap_or_else(|| image::auto_disk_config(image)),
        progress: Some(0),
        metadata: wanted.metadata.clone(),
        system_metadata: system_metadata(context, found),
        security_groups: shown_groups(wanted, found),
        pci_requests: Some(InstancePciRequests::default()),
        created_at: Some(utcnow()),
        ..Instance::default()
    }
}

fn system_metadata(context: &RequestContext, found: &Found) -> BTreeMap<String, Option<String>> {
    let mut all = image::system_metadata(&found.image, &found.flavor);
    all.insert("owner_user_name".to_owned(), context.user_name.clone());
    all.insert("owner_project_name".to_owned(), context.project_name.clone());
    all
}

/// A server without a port is in no group.
fn shown_groups(wanted: &CreateServers, found: &Found) -> SecurityGroupList {
    match wanted.networks {
        RequestedNetworks::None => SecurityGroupList::default(),
        _ => found.security_groups.clone().into(),
    }
}

fn request_spec(context: &RequestContext, wanted: &CreateServers, found: &Found, count: u32) -> RequestSpec {
    let zone = &wanted.zone;
    let destination = (zone.requested_host.is_some() || zone.requested_node.is_some()).then(|| Destination {
        host: zone.requested_host.clone(),
        node: zone.requested_node.clone(),
        ..Destination::default()
    });
    RequestSpec {
        image: Some(image::meta(&found.image)),
        pci_requests: Some(InstancePciRequests::default()),
        project_id: context.project_id.clone(),
        user_id: context.user_id.clone(),
        availability_zone: zone.name.clone(),
        flavor: found.flavor.clone(),
        num_instances: i64::from(count),
        force_hosts: zone.forced_host.clone().map(|host| vec![host]),
        force_nodes: zone.forced_node.clone().map(|node| vec![node]),
        requested_destination: destination,
        instance_group: found.group.clone(),
        scheduler_hints: Some(wanted.scheduler_hints.clone()),
        security_groups: found.security_groups.clone().into(),
        is_bfv: false,
        requested_resources: Some(Vec::new()),
        requested_networks: found.networks.clone().unwrap_or_default(),
        ..RequestSpec::default()
    }
}
