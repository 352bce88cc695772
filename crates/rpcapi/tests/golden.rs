//! Every RPC method against a message as Nova sends it: recorded ones where there is a recording, else written from
//! the signature in Nova's API. A method without a row here fails the last test.

use kilonova_objects::{BlockDeviceMapping, Wire as _};
use kilonova_rpcapi::RpcMethod;
use kilonova_rpcapi::base::Ping;
use kilonova_rpcapi::compute::{
    AddFixedIpToInstance, AttachInterface, AttachVolume, BackupInstance, BuildAndRunInstance, CacheImages,
    CheckCanLiveMigrateDestination, CheckCanLiveMigrateSource, ConfirmResize, DetachInterface, DetachVolume,
    ExternalInstanceEvent, FinishResize, FinishRevertResize, GetConsoleOutput, GetDiagnostics, GetInstanceDiagnostics,
    GetMksConsole, GetSerialConsole, GetSpiceConsole, GetVncConsole, HostMaintenanceMode, HostPowerAction,
    InjectNetworkInfo, LiveMigration, LiveMigrationAbort, LiveMigrationForceComplete, PauseInstance,
    PostLiveMigrationAtDestination, PreLiveMigration, PrepResize, RebootInstance, RebuildInstance,
    RemoveFixedIpFromInstance, RescueInstance, ReserveBlockDeviceName, ResizeInstance, RestoreInstance, ResumeInstance,
    RevertResize, RollbackLiveMigrationAtDestination, SetAdminPassword, SetHostEnabled, ShelveInstance,
    ShelveOffloadInstance, SnapshotInstance, SoftDeleteInstance, StartInstance, StopInstance, SuspendInstance,
    SwapVolume, TerminateInstance, TriggerCrashDump, UnpauseInstance, UnrescueInstance, UnshelveInstance,
    VolumeSnapshotCreate, VolumeSnapshotDelete,
};
use kilonova_rpcapi::conductor::{
    self, BuildInstances, LiveMigrateInstance, MigrateServer, ObjectAction, ObjectClassActionVersions,
    ScheduleAndBuildInstances,
};
use kilonova_rpcapi::scheduler::SelectDestinations;
use serde_json::{Map, Value, json};

fn recorded() -> Value {
    let text = include_str!("../../objects/tests/data/rpc-samples.json");
    serde_json::from_str(text).expect("the recorded messages are JSON")
}

/// The same without `nova_object.changes`, which belongs to the sender's history and not to the message.
fn without_changes(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| *key != "nova_object.changes");
            Value::Object(kept.map(|(key, value)| (key.clone(), without_changes(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_changes).collect()),
        other => other.clone(),
    }
}

fn args_survive<M: RpcMethod>(args: &Value) {
    let map: Map<String, Value> = args.as_object().expect("arguments are a dict").clone();
    let method = M::from_args(&map).unwrap_or_else(|error| panic!("{}: {error}", M::NAME));
    assert_eq!(without_changes(&Value::Object(method.to_args())), without_changes(args), "{}", M::NAME);
}

fn as_recorded<M: RpcMethod>(topic: &str) {
    let message = recorded()["rpc"][format!("{topic}.{}", M::NAME)].clone();
    assert_eq!(message["namespace"].as_str(), M::NAMESPACE, "{}", M::NAME);
    assert_eq!(message["version"], json!(M::VERSION.to_string()), "{}", M::NAME);
    args_survive::<M>(&message["args"]);
}

fn an_instance() -> Value {
    recorded()["rpc"]["compute.stop_instance"]["args"]["instance"].clone()
}

#[test]
fn recorded_messages_are_read_and_written_back_unchanged() {
    as_recorded::<BuildAndRunInstance>("compute");
    as_recorded::<TerminateInstance>("compute");
    as_recorded::<StopInstance>("compute");
    as_recorded::<RebootInstance>("compute");
    as_recorded::<PrepResize>("compute");
    as_recorded::<CheckCanLiveMigrateDestination>("compute");
    as_recorded::<LiveMigration>("compute-alt");
    as_recorded::<RebuildInstance>("compute");
    as_recorded::<ScheduleAndBuildInstances>("conductor");
    as_recorded::<SelectDestinations>("scheduler");
}

#[test]
fn methods_without_a_recording_have_the_arguments_of_novas_signature() {
    args_survive::<StartInstance>(&json!({"instance": an_instance()}));
    args_survive::<GetConsoleOutput>(&json!({"instance": an_instance(), "tail_length": 10}));
    args_survive::<CacheImages>(&json!({"image_ids": ["3d3a6b25-3f0c-4a1c-8a4e-0d8c5f5e7a11"]}));
    args_survive::<SetHostEnabled>(&json!({"enabled": false}));
    args_survive::<HostPowerAction>(&json!({"action": "reboot"}));
    args_survive::<HostMaintenanceMode>(&json!({"host": "node1", "mode": true}));
    let create_info = json!({"snapshot_id": "s", "type": "qcow2", "new_file": "f"});
    args_survive::<VolumeSnapshotCreate>(&json!({
        "instance": an_instance(), "volume_id": "v", "create_info": create_info,
    }));
    args_survive::<VolumeSnapshotDelete>(&json!({
        "instance": an_instance(), "volume_id": "v", "snapshot_id": "s", "delete_info": {"volume_id": "v"},
    }));
    let aggregate = json!({
        "nova_object.name": "Aggregate", "nova_object.namespace": "nova", "nova_object.version": "1.3",
        "nova_object.data": {
            "id": 1, "uuid": "0f5c7e9e-6f0c-4d4b-9f0e-0d3c1c6a5b11", "name": "a", "hosts": ["node1"], "metadata": {},
            "created_at": null, "updated_at": null, "deleted_at": null, "deleted": false,
        },
    });
    args_survive::<conductor::CacheImages>(&json!({"aggregate": aggregate, "image_ids": ["i"]}));
    args_survive::<AttachInterface>(&json!({
        "instance": an_instance(), "network_id": "5328de1c-6288-4783-a75a-8ea3d1781e17", "port_id": null,
        "requested_ip": "10.0.0.9", "tag": null,
    }));
    args_survive::<DetachInterface>(&json!({"instance": an_instance(), "port_id": "x"}));
    args_survive::<AddFixedIpToInstance>(&json!({"instance": an_instance(), "network_id": "x"}));
    args_survive::<RemoveFixedIpFromInstance>(&json!({"instance": an_instance(), "address": "10.0.0.9"}));
    let console = json!({"instance": an_instance(), "console_type": "novnc"});
    args_survive::<GetVncConsole>(&console);
    args_survive::<GetSpiceConsole>(&console);
    args_survive::<GetSerialConsole>(&console);
    args_survive::<GetMksConsole>(&console);
    let event = json!({
        "nova_object.name": "InstanceExternalEvent", "nova_object.namespace": "nova", "nova_object.version": "1.5",
        "nova_object.data": {
            "instance_uuid": "5328de1c-6288-4783-a75a-8ea3d1781e17", "name": "network-changed", "status": "completed",
            "tag": "ce531f90-199f-48c0-816c-13e38010b442",
        },
    });
    args_survive::<ExternalInstanceEvent>(&json!({"instances": [an_instance()], "events": [event]}));
    let image_id = "00000000-0000-0000-0000-000000000001";
    args_survive::<SnapshotInstance>(&json!({"instance": an_instance(), "image_id": image_id}));
    args_survive::<BackupInstance>(&json!({
        "instance": an_instance(), "image_id": image_id, "backup_type": "daily", "rotation": 1,
    }));
    args_survive::<RebuildInstance>(&json!({
        "instance": an_instance(), "new_pass": "pw", "injected_files": [], "image_ref": image_id,
        "orig_image_ref": image_id, "orig_sys_metadata": {"image_min_ram": "0"}, "bdms": null, "recreate": false,
        "on_shared_storage": false, "preserve_ephemeral": false, "migration": null, "scheduled_node": "node1",
        "limits": {}, "request_spec": null, "accel_uuids": [], "reimage_boot_volume": true, "target_state": null,
    }));
    args_survive::<conductor::RebuildInstance>(&json!({
        "instance": an_instance(), "new_pass": "pw", "injected_files": null, "image_ref": null, "orig_image_ref": null,
        "orig_sys_metadata": null, "bdms": null, "recreate": true, "on_shared_storage": null,
        "preserve_ephemeral": false, "host": null, "request_spec": null, "reimage_boot_volume": false,
        "target_state": "stopped",
    }));
    args_survive::<ShelveInstance>(&json!({
        "instance": an_instance(), "image_id": image_id, "clean_shutdown": true, "accel_uuids": [],
    }));
    args_survive::<ShelveOffloadInstance>(&json!({
        "instance": an_instance(), "clean_shutdown": true, "accel_uuids": [],
    }));
    args_survive::<UnshelveInstance>(&json!({
        "instance": an_instance(), "image": {"id": image_id}, "filter_properties": {}, "node": "node1",
        "request_spec": null, "accel_uuids": [],
    }));
    args_survive::<conductor::UnshelveInstance>(&json!({"instance": an_instance(), "request_spec": null}));
    args_survive::<PauseInstance>(&json!({"instance": an_instance()}));
    args_survive::<UnpauseInstance>(&json!({"instance": an_instance()}));
    args_survive::<SuspendInstance>(&json!({"instance": an_instance()}));
    args_survive::<ResumeInstance>(&json!({"instance": an_instance()}));
    args_survive::<RescueInstance>(&json!({
        "instance": an_instance(), "rescue_password": "secret", "rescue_image_ref": null, "clean_shutdown": true,
    }));
    args_survive::<UnrescueInstance>(&json!({"instance": an_instance()}));
    args_survive::<SoftDeleteInstance>(&json!({"instance": an_instance()}));
    args_survive::<RestoreInstance>(&json!({"instance": an_instance()}));
    args_survive::<SetAdminPassword>(&json!({"instance": an_instance(), "new_pass": "secret"}));
    args_survive::<TriggerCrashDump>(&json!({"instance": an_instance()}));
    args_survive::<InjectNetworkInfo>(&json!({"instance": an_instance()}));
    args_survive::<GetDiagnostics>(&json!({"instance": an_instance()}));
    args_survive::<GetInstanceDiagnostics>(&json!({"instance": an_instance()}));
    args_survive::<ReserveBlockDeviceName>(&json!({
        "instance": an_instance(), "device": null, "volume_id": image_id, "disk_bus": null, "device_type": null,
        "tag": "t", "multiattach": false,
    }));
    args_survive::<AttachVolume>(&json!({"instance": an_instance(), "bdm": BlockDeviceMapping::default().to_wire()}));
    args_survive::<DetachVolume>(&json!({"instance": an_instance(), "volume_id": image_id, "attachment_id": null}));
    args_survive::<SwapVolume>(&json!({
        "instance": an_instance(), "old_volume_id": image_id, "new_volume_id": image_id, "new_attachment_id": image_id,
    }));
    args_survive::<conductor::AttachVolume>(&json!({
        "instance": an_instance(), "volume": {"id": image_id, "multiattach": false}, "device": null, "disk_bus": null,
        "device_type": null, "tag": null, "supports_multiattach": true, "delete_on_termination": false,
    }));
    args_survive::<Ping>(&json!({"arg": "1.21 GigaWatts"}));
    args_survive::<BuildInstances>(&json!({
        "instances": [an_instance()], "image": {"id": "x"}, "filter_properties": {"retry": {"num_attempts": 1}},
        "admin_password": null, "injected_files": [], "requested_networks": null, "security_groups": ["default"],
        "request_spec": null, "host_lists": [[]],
    }));
    let call = &recorded()["remotable"]["InstanceActionEvent.event_start"];
    args_survive::<ObjectClassActionVersions>(&json!({
        "objname": "InstanceActionEvent", "objmethod": "event_start",
        "object_versions": {"InstanceActionEvent": "1.4"}, "args": call["args"], "kwargs": call["kwargs"],
    }));
    let call = &recorded()["remotable"]["Instance.save"];
    let args = json!({"objinst": call["objinst"], "objmethod": "save", "args": [], "kwargs": call["kwargs"]});
    args_survive::<ObjectAction>(&args);
}

#[test]
fn moves_without_a_recording_have_the_arguments_of_novas_signature() {
    let prepared = recorded()["rpc"]["compute.prep_resize"]["args"].clone();
    let live = recorded()["rpc"]["compute-alt.live_migration"]["args"].clone();
    let (instance, migration, spec) = (an_instance(), &prepared["migration"], &prepared["request_spec"]);
    let data = &live["migrate_data"];
    args_survive::<ResizeInstance>(&json!({
        "instance": instance, "migration": migration, "image": prepared["image"], "flavor": prepared["flavor"],
        "clean_shutdown": true, "request_spec": spec,
    }));
    args_survive::<FinishResize>(&json!({
        "instance": instance, "migration": migration, "image": {}, "disk_info": "[]", "request_spec": spec,
    }));
    args_survive::<ConfirmResize>(&json!({"instance": instance, "migration": migration}));
    let revert = json!({"instance": instance, "migration": migration, "request_spec": spec});
    args_survive::<RevertResize>(&revert);
    args_survive::<FinishRevertResize>(&revert);
    args_survive::<CheckCanLiveMigrateSource>(&json!({"instance": instance, "dest_check_data": data}));
    args_survive::<PreLiveMigration>(&json!({"instance": instance, "disk": null, "migrate_data": data}));
    args_survive::<PostLiveMigrationAtDestination>(&json!({"instance": instance, "block_migration": null}));
    args_survive::<RollbackLiveMigrationAtDestination>(
        &json!({"instance": instance, "destroy_disks": true, "migrate_data": data}),
    );
    args_survive::<LiveMigrationForceComplete>(&json!({"instance": instance}));
    args_survive::<LiveMigrationAbort>(&json!({"instance": instance, "migration_id": 1}));
    args_survive::<MigrateServer>(&json!({
        "instance": instance, "scheduler_hint": {"filter_properties": {"ignore_hosts": []}}, "live": false,
        "rebuild": false, "flavor": prepared["flavor"], "block_migration": null, "disk_over_commit": null,
        "reservations": null, "clean_shutdown": true, "request_spec": spec, "host_list": null,
    }));
    args_survive::<LiveMigrateInstance>(&json!({
        "instance": instance, "scheduler_hint": {"host": null}, "block_migration": null, "disk_over_commit": null,
        "request_spec": spec,
    }));
    args_survive::<conductor::RebuildInstance>(&json!({
        "instance": instance, "new_pass": "pw", "injected_files": null, "image_ref": null, "orig_image_ref": null,
        "orig_sys_metadata": null, "bdms": null, "recreate": true, "on_shared_storage": null,
        "preserve_ephemeral": false, "host": null, "request_spec": spec, "reimage_boot_volume": false,
        "target_state": "stopped",
    }));
}

#[test]
fn versions_and_namespaces_are_novas() {
    let of = |namespace: Option<&str>, version: String| (namespace.map(str::to_owned), version);
    assert_eq!(of(StartInstance::NAMESPACE, StartInstance::VERSION.to_string()), of(None, "6.0".into()));
    assert_eq!(of(GetConsoleOutput::NAMESPACE, GetConsoleOutput::VERSION.to_string()), of(None, "6.0".into()));
    let expected = of(Some("compute_task"), "1.19".into());
    assert_eq!(of(BuildInstances::NAMESPACE, BuildInstances::VERSION.to_string()), expected);
    assert_eq!(of(ObjectAction::NAMESPACE, ObjectAction::VERSION.to_string()), of(None, "3.0".into()));
    let version = ObjectClassActionVersions::VERSION.to_string();
    assert_eq!(of(ObjectClassActionVersions::NAMESPACE, version), of(None, "3.0".into()));
}

#[test]
fn a_null_in_place_of_an_instance_is_refused() {
    let args = json!({"instance": null}).as_object().cloned().unwrap_or_default();
    assert!(StartInstance::from_args(&args).is_err());
    assert!(().to_wire().is_null());
}

#[test]
fn every_method_has_a_row_here() {
    let here = include_str!("golden.rs");
    let sources = [
        include_str!("../src/compute.rs"),
        include_str!("../src/conductor.rs"),
        include_str!("../src/scheduler.rs"),
        include_str!("../src/base.rs"),
    ];
    let declared =
        sources.iter().flat_map(|source| source.lines()).filter(|line| line.ends_with('{') || line.contains("->"));
    let names: Vec<&str> = declared
        .filter(|line| line.starts_with("    ") && line.contains(" = \"") && line.contains("\", "))
        .filter_map(|line| line.trim().split(" = ").next())
        .collect();
    assert_eq!(names.len(), 70, "{names:?}");
    for name in names {
        let rows = [format!("as_recorded::<{name}>"), format!("args_survive::<{name}>")];
        assert!(rows.iter().any(|row| here.contains(row.as_str())), "{name} has no golden message");
    }
}
