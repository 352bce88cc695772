//! Databases to test on, and servers to put into them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use kilonova_db::instances::{self, Create, Deleted, NewInstance, QuotaLimits, Save, SaveError};
use kilonova_db::{Db, DbError};
use kilonova_objects::wire::VersionedObject;
use kilonova_objects::{
    BlockDeviceMapping, Flavor, Instance, InstanceInfoCache, InstancePciRequests, KeyPair, RequestSpec, SecurityGroup,
    Tag,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::backend::TestDatabase;

pub(crate) const PROJECT: &str = "demo";
pub(crate) const USER: &str = "alice";
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// Runs a test on an empty database.
pub(crate) async fn on_database(test: impl AsyncFn(&Db)) {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    test(&db).await;
    db.close().await.unwrap();
    database.drop().await;
}

/// A database with its schema.
pub(crate) async fn open(database: &TestDatabase) -> Db {
    Db::open(&database.url()).await.unwrap()
}

pub(crate) fn flavor() -> Flavor {
    Flavor {
        name: Some("m1.small".into()),
        flavorid: "2".into(),
        memory_mb: 2048,
        vcpus: 2,
        root_gb: 20,
        rxtx_factor: Some(1.0),
        is_public: true,
        extra_specs: BTreeMap::from([("hw:cpu_policy".into(), "shared".into())]),
        ..Flavor::default()
    }
}

/// A server with little in it.
pub(crate) fn instance(name: &str) -> Instance {
    Instance {
        uuid: Uuid::new_v4(),
        project_id: Some(PROJECT.into()),
        user_id: Some(USER.into()),
        display_name: Some(name.into()),
        vcpus: Some(2),
        memory_mb: Some(2048),
        flavor: Some(flavor()),
        ..Instance::default()
    }
}

/// A server with something in nearly every field.
pub(crate) fn full_instance() -> Instance {
    let uuid = Uuid::new_v4();
    let text = |text: &str| Some(text.to_owned());
    let tag = Tag { resource_id: Some(uuid.to_string()), tag: "web \"%_".into(), ..Tag::default() };
    let group = SecurityGroup { name: "default".into(), ..SecurityGroup::default() };
    let keypair = KeyPair {
        name: "key".into(),
        public_key: text("ssh-ed25519 AAAA"),
        r#type: "ssh".into(),
        ..KeyPair::default()
    };
    Instance {
        uuid,
        image_ref: text("a5b7ee5c-2e3c-4d25-8b53-cf54a4a0aa1b"),
        kernel_id: text("kernel"),
        ramdisk_id: text("ramdisk"),
        hostname: text("web-1"),
        launch_index: Some(3),
        key_name: text("key"),
        key_data: text("ssh-ed25519 AAAA"),
        task_state: Some(kilonova_objects::TaskState::Scheduling),
        root_gb: Some(20),
        ephemeral_gb: Some(0),
        ephemeral_key_uuid: Some(Uuid::new_v4()),
        host: text("node1"),
        node: text("node1.example"),
        compute_id: Some(7),
        instance_type_id: Some(2),
        user_data: Some("x".repeat(65_535)),
        reservation_id: text("r-12345678"),
        launched_at: Some(at(1_000_001)),
        availability_zone: text("nova"),
        display_description: text("a web server"),
        launched_on: text("node1"),
        locked: true,
        locked_by: text("admin"),
        os_type: text("linux"),
        architecture: text("x86_64"),
        vm_mode: text("hvm"),
        root_device_name: text("/dev/vda"),
        default_ephemeral_device: text("/dev/vdb"),
        default_swap_device: text("/dev/vdc"),
        config_drive: text("True"),
        access_ip_v4: text("192.0.2.1"),
        access_ip_v6: text("2001:db8::1"),
        auto_disk_config: true,
        progress: Some(50),
        shutdown_terminate: true,
        disable_terminate: true,
        cell_name: text("cell1"),
        metadata: BTreeMap::from([("env".into(), "prod".into()), ("päth".into(), String::new())]),
        system_metadata: BTreeMap::from([("image_os".into(), text("debian")), ("none".into(), None)]),
        info_cache: Some(InstanceInfoCache {
            instance_uuid: uuid,
            network_info: text("[]"),
            ..InstanceInfoCache::default()
        }),
        security_groups: vec![group].into(),
        cleaned: true,
        numa_topology: Some(json!({"cells": []})),
        pci_requests: Some(InstancePciRequests::default()),
        tags: Some(vec![tag].into()),
        old_flavor: Some(Flavor { flavorid: "1".into(), ..flavor() }),
        keypairs: vec![keypair].into(),
        trusted_certs: Some(json!({"ids": ["a"]})),
        ..instance("web-1")
    }
}

/// Microseconds after 2026 began.
pub(crate) fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_225_600_000_000 + micros).unwrap()
}

pub(crate) fn new(instance: Instance) -> NewInstance {
    let request_spec =
        RequestSpec { instance_uuid: instance.uuid, flavor: flavor(), num_instances: 1, ..RequestSpec::default() };
    let disk =
        BlockDeviceMapping { source_type: Some("image".into()), boot_index: Some(0), ..BlockDeviceMapping::default() };
    NewInstance { instance, block_devices: vec![disk], request_spec, workflow_payload: json!({"networks": "auto"}) }
}

pub(crate) fn request(instances: Vec<Instance>, quota: QuotaLimits) -> Create {
    Create {
        new: instances.into_iter().map(new).collect(),
        request_id: "req-create".into(),
        user_id: USER.into(),
        project_id: PROJECT.into(),
        quota,
        lease_owner: "host:1".into(),
        lease: LEASE,
    }
}

pub(crate) async fn create(db: &Db, instances: Vec<Instance>) -> Vec<Instance> {
    instances::create(db, request(instances, QuotaLimits::UNLIMITED)).await.unwrap()
}

pub(crate) async fn create_one(db: &Db, instance: Instance) -> Instance {
    create(db, vec![instance]).await.remove(0)
}

pub(crate) fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A save without conditions.
pub(crate) async fn save(db: &Db, uuid: Uuid, changes: Value) -> Result<Instance, SaveError> {
    let changes = fields(changes);
    let save = Save { uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    instances::save(db, save).await
}

pub(crate) async fn get(db: &Db, uuid: Uuid) -> Instance {
    instances::get(db, uuid, Deleted::Yes).await.unwrap()
}

/// Equal in all that the wire shows, which is every field that is set.
#[track_caller]
pub(crate) fn assert_same<T: VersionedObject>(left: &T, right: &T) {
    assert_eq!(Value::Object(left.data()), Value::Object(right.data()));
}

#[track_caller]
pub(crate) fn assert_not_found<T: std::fmt::Debug>(result: Result<T, DbError>, resource: &str, id: &str) {
    match result {
        Err(DbError::NotFound { resource: of, id: which }) => assert_eq!((of, which.as_str()), (resource, id)),
        other => panic!("expected {resource} {id} not to be found, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_exists<T: std::fmt::Debug>(result: Result<T, DbError>, resource: &str, id: &str) {
    match result {
        Err(DbError::Exists { resource: of, id: which }) => assert_eq!((of, which.as_str()), (resource, id)),
        other => panic!("expected {resource} {id} to exist, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_corrupt<T: std::fmt::Debug>(result: Result<T, DbError>, reason: &str) {
    match result {
        Err(DbError::Corrupt { reason: why, .. }) => assert!(why.contains(reason), "{why}"),
        other => panic!("expected an error about {reason}, got {other:?}"),
    }
}

/// What all of these tasks gave.
pub(crate) async fn join_all<T>(tasks: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    // Collected first: all of them run before the first one is waited for.
    for task in tasks.collect::<Vec<_>>() {
        results.push(task.await.unwrap());
    }
    results
}
