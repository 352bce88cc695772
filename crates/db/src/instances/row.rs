//! How an instance lies in its row.
//!
//! A list of servers reads four cells of each row and decodes them, because every cell of a row costs as much as a
//! whole field of JSON:
//!
//! | column | holds |
//! |---|---|
//! | `id` | |
//! | `record` | all fields of the instance but the following ones, as JSON with only what is not null |
//! | `shared` | flavor, security groups and key pairs, which many instances have in common: decoded once per text |
//! | `network_info` | the network model, the text that the object has |
//!
//! The other columns, and the table `instance_metadata`, repeat what SQL filters, sorts or sums by. They are never
//! read back, and written by [`write`] only, together with what they repeat. Faults have a table of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use kilonova_objects::wire::{FieldSet, VersionedObject as _, Wire};
use kilonova_objects::{
    Flavor, Instance, InstanceInfoCache, KeyPairList, PowerState, SecurityGroupList, Tag, TagList, TaskState, VmState,
};
use sea_orm::{QueryResult, Value as SqlValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Expand;
use crate::DbError;
use crate::sql::{SortColumn, columns};

pub(super) const TABLE: &str = "instances";

columns!(
    only_written: Instance,
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

/// The columns that are read, in the order of [`Decoder::instance`].
pub(super) const READ: [&str; 4] = ["id", "shared", "network_info", "record"];

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
        ("shared", Shared::text(instance).into()),
        ("network_info", network_info.into()),
        ("record", Record::of(instance).text(instance.uuid)?.into()),
    ]);
    Ok(row)
}

/// What many instances have in common, as wire forms under the names of the fields.
#[derive(Clone, Default)]
struct Shared {
    flavor: Option<Flavor>,
    security_groups: SecurityGroupList,
    keypairs: KeyPairList,
}

impl Shared {
    fn text(instance: &Instance) -> String {
        let mut fields = Map::new();
        if let Some(flavor) = &instance.flavor {
            fields.insert("flavor".to_owned(), flavor.to_wire());
        }
        if instance.security_groups != SecurityGroupList::default() {
            fields.insert("security_groups".to_owned(), instance.security_groups.to_wire());
        }
        if instance.keypairs != KeyPairList::default() {
            fields.insert("keypairs".to_owned(), instance.keypairs.to_wire());
        }
        Value::Object(fields).to_string()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self {
            flavor: from_field(&fields, "flavor")?,
            security_groups: from_field(&fields, "security_groups")?.unwrap_or_default(),
            keypairs: from_field(&fields, "keypairs")?.unwrap_or_default(),
        })
    }
}

fn from_field<T: Wire>(fields: &Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    let value = fields.get(name);
    value.map(|value| T::from_wire(value)).transpose().map_err(|error| error.to_string())
}

/// All that is in `record`. Short in the row: only what differs from the default is there.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    #[serde(skip_serializing_if = "is_default")]
    uuid: Uuid,
    #[serde(skip_serializing_if = "is_default")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "is_default", with = "chrono::serde::ts_microseconds_option")]
    created_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "is_default", with = "chrono::serde::ts_microseconds_option")]
    updated_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "is_default", with = "chrono::serde::ts_microseconds_option")]
    deleted_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "is_default")]
    deleted: bool,
    #[serde(skip_serializing_if = "is_default")]
    hidden: bool,
    #[serde(skip_serializing_if = "is_default", with = "word")]
    vm_state: VmState,
    #[serde(skip_serializing_if = "is_default", with = "word_or_none")]
    task_state: Option<TaskState>,
    #[serde(skip_serializing_if = "is_default", with = "number")]
    power_state: PowerState,
    #[serde(skip_serializing_if = "is_default")]
    host: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    node: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    memory_mb: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    vcpus: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    root_gb: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    ephemeral_gb: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    ephemeral_key_uuid: Option<Uuid>,
    #[serde(skip_serializing_if = "is_default")]
    compute_id: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    instance_type_id: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    image_ref: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    kernel_id: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    ramdisk_id: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    launch_index: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    key_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    key_data: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    user_data: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    reservation_id: Option<String>,
    #[serde(skip_serializing_if = "is_default", with = "chrono::serde::ts_microseconds_option")]
    launched_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "is_default", with = "chrono::serde::ts_microseconds_option")]
    terminated_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "is_default")]
    launched_on: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    availability_zone: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    display_description: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    locked: bool,
    #[serde(skip_serializing_if = "is_default")]
    locked_by: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    os_type: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    architecture: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    vm_mode: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    root_device_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    default_ephemeral_device: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    default_swap_device: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    config_drive: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    access_ip_v4: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    access_ip_v6: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    auto_disk_config: bool,
    #[serde(skip_serializing_if = "is_default")]
    progress: Option<i64>,
    #[serde(skip_serializing_if = "is_default")]
    shutdown_terminate: bool,
    #[serde(skip_serializing_if = "is_default")]
    disable_terminate: bool,
    #[serde(skip_serializing_if = "is_default")]
    cell_name: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    cleaned: bool,
    #[serde(skip_serializing_if = "is_default")]
    metadata: BTreeMap<String, String>,
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

/// States as Nova's words.
mod word {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(state: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(state)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        <&str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// States as Nova's words; without a state there is none.
mod word_or_none {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(state: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match state {
            Some(state) => to.collect_str(state),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        super::word::deserialize(from).map(Some)
    }
}

/// Power states as Nova's numbers.
mod number {
    use kilonova_objects::PowerState;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(state: &PowerState, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(state.number())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PowerState, D::Error> {
        let number = i64::deserialize(from)?;
        PowerState::from_number(number).ok_or_else(|| D::Error::custom("no such power state"))
    }
}

macro_rules! same_fields {
    (move $from:ident, $to:ident, [$($field:ident),* $(,)?]) => {
        $( $to.$field = $from.$field; )*
    };
    (clone $from:ident, $to:ident, [$($field:ident),* $(,)?]) => {
        $( $to.$field.clone_from(&$from.$field); )*
    };
}

/// Moves or clones the fields of the same name, both ways.
macro_rules! record_fields {
    ($how:tt $from:ident, $to:ident) => {
        same_fields!(
            $how $from,
            $to,
            [
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
                root_gb,
                ephemeral_gb,
                ephemeral_key_uuid,
                compute_id,
                instance_type_id,
                image_ref,
                kernel_id,
                ramdisk_id,
                hostname,
                launch_index,
                key_name,
                key_data,
                user_data,
                reservation_id,
                launched_at,
                terminated_at,
                launched_on,
                availability_zone,
                display_name,
                display_description,
                locked,
                locked_by,
                os_type,
                architecture,
                vm_mode,
                root_device_name,
                default_ephemeral_device,
                default_swap_device,
                config_drive,
                access_ip_v4,
                access_ip_v6,
                auto_disk_config,
                progress,
                shutdown_terminate,
                disable_terminate,
                cell_name,
                cleaned,
                metadata,
                system_metadata
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
        record_fields!(clone instance, record);
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
        let uuid = self.uuid;
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
        record_fields!(move self, instance);
        Ok(())
    }
}

fn tag_list(uuid: Uuid, tags: Vec<String>) -> TagList {
    let resource_id = Some(uuid.to_string());
    let tag = |tag| Tag { resource_id: resource_id.clone(), tag, ..Tag::default() };
    tags.into_iter().map(tag).collect::<Vec<_>>().into()
}

/// Decodes the rows of one query; equal texts of [`Shared`] are decoded once.
pub(super) struct Decoder {
    known: HashMap<String, Shared>,
    /// The row before mostly has the same.
    last: (String, Shared),
    metadata: bool,
    set: FieldSet,
}

impl Decoder {
    /// For instances with, or without, these.
    pub(super) fn new(with: Expand) -> Self {
        let set = match (with.metadata, with.faults) {
            (false, false) => LOADED.rows,
            (true, false) => LOADED.with_metadata,
            (false, true) => LOADED.with_fault,
            (true, true) => LOADED.whole,
        };
        Self { known: HashMap::new(), last: ("{}".to_owned(), Shared::default()), metadata: with.metadata, set }
    }

    /// An instance from a row of [`READ`], without its fault.
    pub(super) fn instance(&mut self, row: &QueryResult) -> Result<Instance, DbError> {
        let mut instance = Instance { id: row.try_get_by_index(0)?, set: self.set, ..Instance::default() };
        let record: String = row.try_get_by_index(3)?;
        let record: Record =
            serde_json::from_str(&record).map_err(|error| DbError::corrupt("instance", instance.id, error))?;
        record.put_into(&mut instance)?;
        if !self.metadata {
            instance.metadata.clear();
        }
        let shared = self.shared(row.try_get_by_index(1)?);
        let shared = shared.map_err(|reason| DbError::corrupt("instance", instance.uuid, reason))?;
        instance.flavor.clone_from(&shared.flavor);
        instance.security_groups.clone_from(&shared.security_groups);
        instance.keypairs.clone_from(&shared.keypairs);
        let network_info: Option<String> = row.try_get_by_index(2)?;
        instance.info_cache = network_info.map(|network_info| InstanceInfoCache {
            instance_uuid: instance.uuid,
            network_info: Some(network_info),
            ..InstanceInfoCache::default()
        });
        Ok(instance)
    }

    fn shared(&mut self, text: String) -> Result<&Shared, String> {
        if self.last.0 != text {
            let shared = match self.known.get(&text) {
                Some(shared) => shared.clone(),
                None => Shared::from_text(&text)?,
            };
            let (text, shared) = std::mem::replace(&mut self.last, (text, shared));
            self.known.insert(text, shared);
        }
        Ok(&self.last.1)
    }
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
