//! Messages recorded from Nova 34: every object in them that Kilonova knows is read and written back unchanged.

use kilonova_objects::wire::{VersionedObject, Wire};
use kilonova_objects::{
    BlockDeviceMapping, BlockDeviceMappingList, BuildRequest, ComputeNode, Flavor, ImageMeta, Instance, InstanceFault,
    InstanceInfoCache, InstanceList, RequestSpec, Service,
};
use serde_json::{Value, json};

fn samples() -> Value {
    serde_json::from_str(include_str!("data/rpc-samples.json")).expect("the recorded messages are JSON")
}

/// Every object of `T` anywhere in `value`.
fn find<T: VersionedObject>(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(map) => {
            if map.get("nova_object.name") == Some(&json!(T::NAME)) {
                found.push(value.clone());
            }
            map.values().for_each(|inner| find::<T>(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| find::<T>(inner, found)),
        _ => {}
    }
}

/// The same without `nova_object.changes`, which belongs to the sender's history and not to the object.
fn without_changes(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, _)| *key != "nova_object.changes")
                .map(|(key, value)| (key.clone(), without_changes(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_changes).collect()),
        other => other.clone(),
    }
}

fn survives<T: VersionedObject>() {
    let mut objects = Vec::new();
    find::<T>(&samples(), &mut objects);
    assert!(!objects.is_empty(), "no sample holds a {}", T::NAME);
    for sample in objects {
        let object = T::from_wire(&sample).unwrap_or_else(|error| panic!("{error}\n{sample}"));
        assert_eq!(without_changes(&object.to_wire()), without_changes(&sample), "{}", T::NAME);
    }
}

#[test]
fn recorded_objects_are_read_and_written_back_unchanged() {
    survives::<Instance>();
    survives::<RequestSpec>();
    survives::<BuildRequest>();
    survives::<Flavor>();
    survives::<ImageMeta>();
    survives::<BlockDeviceMapping>();
    survives::<BlockDeviceMappingList>();
    survives::<Service>();
    survives::<ComputeNode>();
    survives::<InstanceFault>();
    survives::<InstanceInfoCache>();
    survives::<InstanceList>();
}

#[test]
fn an_object_made_here_has_every_field_that_nova_sets() {
    let wire = Instance::default().to_wire();
    let data = wire["nova_object.data"].as_object().unwrap();
    for name in ["host", "task_state", "vm_state", "locked", "deleted", "launched_at"] {
        assert!(data.contains_key(name), "{name}");
    }
    for name in ["fault", "services", "id"] {
        assert!(!data.contains_key(name), "{name}");
    }
}

#[test]
fn a_newer_object_and_a_foreign_one_are_refused() {
    let newer = json!({"nova_object.name": "Flavor", "nova_object.version": "1.3", "nova_object.data": {}});
    assert!(Flavor::from_wire(&newer).unwrap_err().to_string().contains("1.3"));
    let foreign = json!({"nova_object.name": "Port", "nova_object.version": "1.0", "nova_object.data": {}});
    assert!(Flavor::from_wire(&foreign).is_err());
}

#[test]
fn an_instance_without_its_uuid_is_refused() {
    let headless = json!({"nova_object.name": "Instance", "nova_object.version": "2.8",
        "nova_object.data": {"vm_state": "active"}});
    assert_eq!(Instance::from_wire(&headless).unwrap_err().to_string(), "Instance.uuid: the field is not set");
}
