//! How an instance lies in its row.
//!
//! What SQL filters, sorts, compares or sums is a column. What many instances have in common and is long to decode
//! (flavor, security groups, key pairs) is JSON text of its own, so that a list decodes each distinct text once. The
//! network model stays text, as the object has it. The rest is one JSON text, `record`, with only what is not null.
//! Metadata and faults have tables of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use kilonova_objects::wire::{FieldSet, VersionedObject, Wire};
use kilonova_objects::{Flavor, Instance, InstanceInfoCache, KeyPairList, SecurityGroupList, Tag, TagList};
use sea_orm::{DbErr, QueryResult, Value as SqlValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::DbError;
use crate::sql::{SortColumn, columns};

pub(super) const TABLE: &str = "instances";

columns!(
    Instance,
    [
        id,
        uuid,
        project_id,
        user_id,
        created_at,
        updated_at,
        deleted_at,
        deleted,
        hidden,
        vm_state,
        task_state,
        power_state,
        host,
        node,
        memory_mb,
        vcpus,
        instance_type_id,
        image_ref,
        kernel_id,
        ramdisk_id,
        hostname,
        launch_index,
        key_name,
        reservation_id,
        launched_at,
        terminated_at,
        availability_zone,
        display_name,
        display_description,
        locked,
        locked_by,
        root_device_name,
        config_drive,
        access_ip_v4,
        access_ip_v6,
        auto_disk_config,
        progress,
    ]
);

/// The columns after [`COLUMNS`] that are read.
const TEXTS: &[&str] = &["flavor", "security_groups", "keypairs", "network_info", "record"];

/// The columns that Nova sorts by and that may be null.
const NULLABLE: &[&str] = &[
    "project_id",
    "user_id",
    "updated_at",
    "task_state",
    "host",
    "node",
    "memory_mb",
    "vcpus",
    "instance_type_id",
    "image_ref",
    "kernel_id",
    "ramdisk_id",
    "hostname",
    "launch_index",
    "key_name",
    "reservation_id",
    "launched_at",
    "terminated_at",
    "availability_zone",
    "display_name",
    "display_description",
    "locked_by",
    "root_device_name",
    "config_drive",
    "access_ip_v4",
    "access_ip_v6",
    "progress",
    "deleted_at",
];

/// What is read, in the order of [`Decoder::instance`].
pub(super) fn read_list() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().chain(TEXTS).copied()
}

/// The column behind one of Nova's sort keys.
pub(super) fn sort_column(key: &str, desc: bool) -> Result<SortColumn, DbError> {
    let name = COLUMNS.iter().copied().find(|name| *name == key);
    let name = name.ok_or_else(|| DbError::corrupt("sort key", key, "there is no such column"))?;
    Ok(SortColumn { name, nullable: NULLABLE.contains(&name), desc })
}

/// The values that an instance has in the columns that are sorted by.
pub(super) fn sort_values(instance: &Instance, sort: &[SortColumn]) -> Vec<SqlValue> {
    let all = values(instance);
    let place = |column: &SortColumn| COLUMNS.iter().position(|name| *name == column.name);
    sort.iter().filter_map(place).filter_map(|at| all.get(at).cloned()).collect()
}

/// Columns and their values, all but `id`.
pub(super) fn write(instance: &Instance) -> Result<Vec<(&'static str, SqlValue)>, DbError> {
    let mut row: Vec<_> = COLUMNS.iter().copied().zip(values(instance)).skip(1).collect();
    let flavorid = instance.flavor.as_ref().map(|flavor| flavor.flavorid.clone());
    let network_info =
        instance.info_cache.as_ref().map(|cache| cache.network_info.clone().unwrap_or_else(|| "[]".to_owned()));
    row.extend([
        ("flavorid", flavorid.into()),
        ("flavor", instance.flavor.as_ref().map(object_text).into()),
        ("security_groups", list_text(&instance.security_groups).into()),
        ("keypairs", list_text(&instance.keypairs).into()),
        ("network_info", network_info.into()),
        ("record", Record::of(instance).text(instance.uuid)?.into()),
    ]);
    Ok(row)
}

fn object_text<T: VersionedObject>(object: &T) -> String {
    Value::Object(object.data()).to_string()
}

/// Null for the empty list, which then need not be decoded.
fn list_text<T: VersionedObject + Default + PartialEq>(list: &T) -> Option<String> {
    (*list != T::default()).then(|| object_text(list))
}

/// The fields that no SQL needs. Short in the row: only what differs from the default is there.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    #[serde(skip_serializing_if = "is_default")]
    key_data: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    root_gb: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    ephemeral_gb: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    ephemeral_key_uuid: Option<Uuid>,
    #[serde(skip_serializing_if = "is_default")]
    compute_id: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    user_data: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    launched_on: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    os_type: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    architecture: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    vm_mode: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    default_ephemeral_device: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    default_swap_device: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    shutdown_terminate: bool,
    #[serde(skip_serializing_if = "is_default")]
    disable_terminate: bool,
    #[serde(skip_serializing_if = "is_default")]
    cell_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    cleaned: bool,
    #[serde(skip_serializing_if = "is_default")]
    system_metadata: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "is_default")]
    tags: Option<Vec<String>>,
    /// Objects that few instances have, in their wire form.
    #[serde(skip_serializing_if = "is_default")]
    objects: Map<String, Value>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Copies the fields of that name both ways.
macro_rules! same_fields {
    ($from:expr, $to:expr, [$($field:ident),* $(,)?]) => {
        $( $to.$field = $from.$field; )*
    };
}

macro_rules! record_fields {
    ($from:expr, $to:expr) => {
        same_fields!(
            $from,
            $to,
            [
                key_data,
                root_gb,
                ephemeral_gb,
                ephemeral_key_uuid,
                compute_id,
                user_data,
                launched_on,
                os_type,
                architecture,
                vm_mode,
                default_ephemeral_device,
                default_swap_device,
                shutdown_terminate,
                disable_terminate,
                cell_name,
                cleaned,
                system_metadata,
            ]
        )
    };
}

/// The fields that lie in [`Record::objects`].
macro_rules! for_objects {
    ($do:ident) => {
        $do!(
            pci_devices,
            numa_topology,
            pci_requests,
            device_metadata,
            old_flavor,
            new_flavor,
            vcpu_model,
            ec2_ids,
            migration_context,
            trusted_certs,
            resources
        )
    };
}

impl Record {
    fn of(instance: &Instance) -> Self {
        let mut record = Self::default();
        record_fields!(instance.clone(), record);
        record.tags = instance.tags.as_ref().map(|tags| tags.objects.iter().map(|tag| tag.tag.clone()).collect());
        macro_rules! put {
            ($($field:ident),*) => {$(
                if let Some(object) = &instance.$field {
                    record.objects.insert(stringify!($field).to_owned(), object.to_wire());
                }
            )*};
        }
        for_objects!(put);
        record
    }

    fn text(&self, uuid: Uuid) -> Result<String, DbError> {
        serde_json::to_string(self).map_err(|error| DbError::corrupt("instance", uuid, error))
    }

    fn put_into(self, instance: &mut Instance) -> Result<(), DbError> {
        let uuid = instance.uuid;
        instance.tags = self.tags.map(|tags| tag_list(uuid, tags));
        if !self.objects.is_empty() {
            macro_rules! take {
                ($($field:ident),*) => {$(
                    if let Some(object) = self.objects.get(stringify!($field)) {
                        instance.$field = Wire::from_wire(object).map_err(|error| {
                            DbError::corrupt("instance", uuid, error)
                        })?;
                    }
                )*};
            }
            for_objects!(take);
        }
        record_fields!(self, instance);
        Ok(())
    }
}

fn tag_list(uuid: Uuid, tags: Vec<String>) -> TagList {
    let resource_id = Some(uuid.to_string());
    let tag = |tag| Tag { resource_id: resource_id.clone(), tag, ..Tag::default() };
    tags.into_iter().map(tag).collect::<Vec<_>>().into()
}

/// Decodes the rows of one query; equal texts are decoded once.
pub(super) struct Decoder {
    flavors: HashMap<String, Flavor>,
    security_groups: HashMap<String, SecurityGroupList>,
    keypairs: HashMap<String, KeyPairList>,
    set: FieldSet,
}

impl Decoder {
    /// For rows with, or without, what lies in other tables.
    pub(super) fn new(metadata: bool, fault: bool) -> Self {
        let set = match (metadata, fault) {
            (false, false) => LOADED.rows,
            (true, false) => LOADED.with_metadata,
            (false, true) => LOADED.with_fault,
            (true, true) => LOADED.whole,
        };
        Self { flavors: HashMap::new(), security_groups: HashMap::new(), keypairs: HashMap::new(), set }
    }

    /// An instance from a row of [`read_list`], without metadata and fault.
    pub(super) fn instance(&mut self, row: &QueryResult) -> Result<Instance, DbError> {
        let mut instance = Instance { set: self.set, ..Instance::default() };
        let at = read_columns(row, &mut instance)?;
        let uuid = instance.uuid;
        instance.flavor = decode(&mut self.flavors, text(row, at)?, uuid)?;
        let groups = decode(&mut self.security_groups, text(row, at + 1)?, uuid)?;
        instance.security_groups = groups.unwrap_or_default();
        let keypairs = decode(&mut self.keypairs, text(row, at + 2)?, uuid)?;
        instance.keypairs = keypairs.unwrap_or_default();
        instance.info_cache = text(row, at + 3)?.map(|network_info| InstanceInfoCache {
            instance_uuid: uuid,
            network_info: Some(network_info),
            ..InstanceInfoCache::default()
        });
        let record: String = row.try_get_by_index(at + 4)?;
        let record: Record =
            serde_json::from_str(&record).map_err(|error| DbError::corrupt("instance", uuid, error))?;
        record.put_into(&mut instance)?;
        Ok(instance)
    }
}

fn text(row: &QueryResult, at: usize) -> Result<Option<String>, DbErr> {
    row.try_get_by_index(at)
}

fn decode<T: VersionedObject>(
    known: &mut HashMap<String, T>,
    text: Option<String>,
    uuid: Uuid,
) -> Result<Option<T>, DbError> {
    let Some(text) = text else { return Ok(None) };
    if let Some(object) = known.get(&text) {
        return Ok(Some(object.clone()));
    }
    let object: T = serde_json::from_str::<Map<String, Value>>(&text)
        .map_err(|error| error.to_string())
        .and_then(|data| T::from_data(&data).map_err(|error| error.to_string()))
        .map_err(|reason| DbError::corrupt("instance", uuid, reason))?;
    known.insert(text, object.clone());
    Ok(Some(object))
}

/// Which fields count as set in an instance that was read: a Python service asks again for those that are not.
struct Loaded {
    rows: FieldSet,
    with_metadata: FieldSet,
    with_fault: FieldSet,
    whole: FieldSet,
}

/// Fields that start unset and are read with the row.
const LAZY: &[&str] = &[
    "id",
    "default_ephemeral_device",
    "default_swap_device",
    "system_metadata",
    "info_cache",
    "security_groups",
    "cleaned",
    "numa_topology",
    "pci_requests",
    "device_metadata",
    "tags",
    "flavor",
    "old_flavor",
    "new_flavor",
    "vcpu_model",
    "migration_context",
    "keypairs",
    "trusted_certs",
    "resources",
    "deleted_at",
];

static LOADED: LazyLock<Loaded> = LazyLock::new(|| {
    let every = Instance { set: FieldSet::ALL, ..Instance::default() }.data();
    let set = |more: &[&str]| {
        let mut data = Instance::default().data();
        for name in LAZY.iter().chain(more) {
            if let Some(value) = every.get(*name) {
                data.insert((*name).to_owned(), value.clone());
            }
        }
        Instance::from_data(&data).map_or(FieldSet::ALL, |instance| instance.set)
    };
    Loaded {
        rows: set(&[]),
        with_metadata: set(&["metadata"]),
        with_fault: set(&["fault"]),
        whole: set(&["metadata", "fault"]),
    }
});
