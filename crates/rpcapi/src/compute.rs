//! The compute agent's methods: topic `compute`, and `compute.<host>` for one host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_messaging::{ClientOptions, RpcClient, Transport, Version};
use kilonova_objects::{
    BlockDeviceMapping, BlockDeviceMappingList, Diagnostics, Flavor, Instance, InstanceExternalEvent, LiveMigrateData,
    Migration, NetworkRequestList, RequestSpec, SchedulerLimits, Selection, Wire as _,
};
use serde_json::Value;
use uuid::Uuid;

use crate::RpcError;
use crate::conductor::ConductorApi;
use crate::method::{RpcMethod, rpc_method};

/// The topic of the compute agents.
pub const TOPIC: &str = "compute";
/// The newest version that our agent serves.
pub const VERSION: Version = Version::new(6, 5);

/// How long a long call may take: Nova's default of `long_rpc_timeout`.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(1800);
/// How long its callee may be silent: Nova's default of `rpc_response_timeout`.
pub(crate) const MONITOR_TIMEOUT: Duration = Duration::from_secs(60);

rpc_method! {
    /// Builds an instance on this host.
    BuildAndRunInstance = "build_and_run_instance", None, (6, 0), {
        instance: Instance,
        /// Image properties as the image service gave them.
        image: Value,
        request_spec: Option<RequestSpec>,
        /// `retry` and `limits`, as older schedulers passed them.
        filter_properties: Value,
        admin_password: Option<String>,
        /// `[path, base64]` pairs.
        injected_files: Vec<Value>,
        requested_networks: Option<NetworkRequestList>,
        security_groups: Vec<String>,
        block_device_mapping: BlockDeviceMappingList,
        node: Option<String>,
        limits: Value,
        /// Further hosts to try.
        host_list: Vec<Selection>,
        accel_uuids: Vec<Value>,
    } -> ()
}

rpc_method! {
    /// Deletes an instance and all that it has on this host.
    TerminateInstance = "terminate_instance", None, (6, 0), { instance: Instance, bdms: BlockDeviceMappingList } -> ()
}

rpc_method! {
    /// Starts a stopped instance.
    StartInstance = "start_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Stops a running instance.
    StopInstance = "stop_instance", None, (6, 0), { instance: Instance, clean_shutdown: bool } -> ()
}

rpc_method! {
    /// Reboots an instance.
    RebootInstance = "reboot_instance", None, (6, 0), {
        instance: Instance,
        block_device_info: Option<Value>,
        /// `SOFT` or `HARD`.
        reboot_type: String,
    } -> ()
}

rpc_method! {
    /// Makes an image of an instance.
    SnapshotInstance = "snapshot_instance", None, (6, 0), { instance: Instance, image_id: Uuid } -> ()
}

rpc_method! {
    /// Makes an image of an instance and deletes the oldest of its backups.
    BackupInstance = "backup_instance", None, (6, 0), {
        instance: Instance,
        image_id: Uuid,
        /// `daily`, `weekly`, or whatever else the user says.
        backup_type: String,
        /// How many backups of that type there may be.
        rotation: i64,
    } -> ()
}

rpc_method! {
    /// Makes an instance anew from an image.
    RebuildInstance = "rebuild_instance", None, (6, 2), {
        instance: Instance,
        new_pass: Option<String>,
        /// `[path, base64]` pairs.
        injected_files: Option<Vec<Value>>,
        image_ref: Option<String>,
        orig_image_ref: Option<String>,
        /// Of the image that it was made from.
        orig_sys_metadata: Value,
        bdms: Option<BlockDeviceMappingList>,
        /// An evacuation.
        recreate: bool,
        on_shared_storage: Option<bool>,
        preserve_ephemeral: bool,
        migration: Option<Migration>,
        scheduled_node: Option<String>,
        limits: Value,
        request_spec: Option<RequestSpec>,
        accel_uuids: Vec<Value>,
        reimage_boot_volume: Option<bool>,
        target_state: Option<String>,
    } -> ()
}

rpc_method! {
    /// Shuts an instance down and makes an image of it; removes it from the host at once where that is wanted.
    ShelveInstance = "shelve_instance", None, (6, 0), {
        instance: Instance,
        image_id: Uuid,
        clean_shutdown: bool,
        accel_uuids: Vec<Value>,
    } -> ()
}

rpc_method! {
    /// Pauses a running instance.
    PauseInstance = "pause_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Lets a paused instance go on.
    UnpauseInstance = "unpause_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Suspends a running instance: its memory goes to disk.
    SuspendInstance = "suspend_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Lets a suspended instance go on.
    ResumeInstance = "resume_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Starts an instance from another image, to have its disk repaired.
    RescueInstance = "rescue_instance", None, (6, 0), {
        instance: Instance,
        rescue_password: Option<String>,
        rescue_image_ref: Option<String>,
        clean_shutdown: bool,
    } -> ()
}

rpc_method! {
    /// Removes a shelved instance from this host.
    ShelveOffloadInstance = "shelve_offload_instance", None, (6, 0), {
        instance: Instance,
        clean_shutdown: bool,
        accel_uuids: Vec<Value>,
    } -> ()
}

rpc_method! {
    /// Makes a shelved instance on this host again.
    UnshelveInstance = "unshelve_instance", None, (6, 0), {
        instance: Instance,
        /// The image that was made when it was shelved.
        image: Option<Value>,
        filter_properties: Value,
        node: Option<String>,
        request_spec: Option<RequestSpec>,
        accel_uuids: Vec<Value>,
    } -> ()
}

rpc_method! {
    /// Starts a rescued instance from its own disk again.
    UnrescueInstance = "unrescue_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Powers an instance off that is deleted unless it is restored in time.
    SoftDeleteInstance = "soft_delete_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Brings a soft-deleted instance back.
    RestoreInstance = "restore_instance", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Sets the administrator's password of an instance.
    SetAdminPassword = "set_admin_password", None, (6, 0), { instance: Instance, new_pass: Option<String> } -> ()
}

rpc_method! {
    /// Has the system of an instance dump its memory, by an interrupt.
    TriggerCrashDump = "trigger_crash_dump", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Tells an instance its addresses, by whatever way the hypervisor has.
    InjectNetworkInfo = "inject_network_info", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// What the hypervisor counts of an instance, in the driver's own words.
    GetDiagnostics = "get_diagnostics", None, (6, 0), { instance: Instance } -> Value
}

rpc_method! {
    /// What the hypervisor counts of an instance, in words that all drivers share.
    GetInstanceDiagnostics = "get_instance_diagnostics", None, (6, 0), { instance: Instance } -> Diagnostics
}

rpc_method! {
    /// The end of the console log: `tail_length` lines, or all there is.
    GetConsoleOutput = "get_console_output", None, (6, 0), { instance: Instance, tail_length: Option<i64> } -> String
}

rpc_method! {
    /// Has images ready on this host; by each, `cached`, `existing`, `unsupported` or `error`.
    CacheImages = "cache_images", None, (6, 0), { image_ids: Vec<String> } -> BTreeMap<String, String>
}

rpc_method! {
    /// Lets this host take new servers or not; answers `enabled` or `disabled`, or why not.
    SetHostEnabled = "set_host_enabled", None, (6, 0), { enabled: bool } -> String
}

rpc_method! {
    /// `startup`, `shutdown` or `reboot` of this host; answers what it does now.
    HostPowerAction = "host_power_action", None, (6, 0), { action: String } -> String
}

rpc_method! {
    /// Begins or ends the maintenance of a host; answers `on_maintenance` or `off_maintenance`, or why not.
    HostMaintenanceMode = "host_maintenance_mode", None, (6, 0), { host: String, mode: bool } -> String
}

rpc_method! {
    /// Has the changes of a volume's file written into another file from now on.
    VolumeSnapshotCreate = "volume_snapshot_create", None, (6, 0), {
        instance: Instance,
        volume_id: String,
        create_info: Value,
    } -> ()
}

rpc_method! {
    /// Claims this host for an instance that comes; asked of the destination.
    PrepResize = "prep_resize", None, (6, 0), {
        image: Value,
        instance: Instance,
        /// The new one, or the same.
        flavor: Flavor,
        request_spec: Option<RequestSpec>,
        filter_properties: Value,
        node: Option<String>,
        clean_shutdown: bool,
        migration: Migration,
        /// Further hosts to try.
        host_list: Vec<Selection>,
    } -> ()
}

rpc_method! {
    /// Plugs a new interface into an instance; answers with it, as the network model has it.
    AttachInterface = "attach_interface", None, (6, 0), {
        instance: Instance,
        network_id: Option<String>,
        port_id: Option<String>,
        requested_ip: Option<String>,
        tag: Option<String>,
    } -> Value
}

rpc_method! {
    /// Takes an interface from an instance.
    DetachInterface = "detach_interface", None, (6, 0), { instance: Instance, port_id: String } -> ()
}

rpc_method! {
    /// Gives an instance one address more on a network that it is on.
    AddFixedIpToInstance = "add_fixed_ip_to_instance", None, (6, 0), { instance: Instance, network_id: String } -> ()
}

rpc_method! {
    /// Takes an address from an instance.
    RemoveFixedIpFromInstance = "remove_fixed_ip_from_instance", None, (6, 0), {
        instance: Instance,
        address: String,
    } -> ()
}

rpc_method! {
    /// Makes the mapping of a volume that will be attached, with a name that no other disk has.
    ReserveBlockDeviceName = "reserve_block_device_name", None, (6, 0), {
        instance: Instance,
        /// The name that the disk should have.
        device: Option<String>,
        volume_id: String,
        disk_bus: Option<String>,
        device_type: Option<String>,
        tag: Option<String>,
        /// Whether several servers may have the volume.
        multiattach: bool,
    } -> BlockDeviceMapping
}

rpc_method! {
    /// Gives an instance the volume of a mapping.
    AttachVolume = "attach_volume", None, (6, 0), { instance: Instance, bdm: BlockDeviceMapping } -> ()
}

rpc_method! {
    /// Takes a volume from an instance.
    DetachVolume = "detach_volume", None, (6, 0), {
        instance: Instance,
        volume_id: String,
        attachment_id: Option<String>,
    } -> ()
}

rpc_method! {
    /// Puts a volume in the place of another one.
    SwapVolume = "swap_volume", None, (6, 0), {
        instance: Instance,
        old_volume_id: String,
        new_volume_id: String,
        /// Reserved.
        new_attachment_id: Option<String>,
    } -> ()
}

rpc_method! {
    /// Gives an instance away; asked of the source.
    ResizeInstance = "resize_instance", None, (6, 0), {
        instance: Instance,
        migration: Migration,
        image: Value,
        flavor: Flavor,
        clean_shutdown: bool,
        request_spec: Option<RequestSpec>,
    } -> ()
}

rpc_method! {
    /// Has the files of a volume's snapshot merged.
    VolumeSnapshotDelete = "volume_snapshot_delete", None, (6, 0), {
        instance: Instance,
        volume_id: String,
        snapshot_id: String,
        delete_info: Value,
    } -> ()
}

rpc_method! {
    /// Makes an instance that was given away; asked of the destination.
    FinishResize = "finish_resize", None, (6, 0), {
        instance: Instance,
        migration: Migration,
        image: Value,
        /// What the source's driver says: a text.
        disk_info: Value,
        request_spec: Option<RequestSpec>,
    } -> ()
}

rpc_method! {
    /// What other services tell of instances of this host.
    ExternalInstanceEvent = "external_instance_event", None, (6, 0), {
        instances: Vec<Instance>,
        events: Vec<InstanceExternalEvent>,
    } -> ()
}

rpc_method! {
    /// Lets go of what was given away; asked of the source.
    ConfirmResize = "confirm_resize", None, (6, 0), { instance: Instance, migration: Migration } -> ()
}

rpc_method! {
    /// Gives an instance back; asked of the destination.
    RevertResize = "revert_resize", None, (6, 0), {
        instance: Instance,
        migration: Migration,
        request_spec: Option<RequestSpec>,
    } -> ()
}

rpc_method! {
    /// How to connect to the VNC console: `access_url`, `token`, `host`, `port`, `internal_access_path`.
    GetVncConsole = "get_vnc_console", None, (6, 0), { instance: Instance, console_type: String } -> Value
}

rpc_method! {
    /// The same for SPICE, with `tlsPort`.
    GetSpiceConsole = "get_spice_console", None, (6, 0), { instance: Instance, console_type: String } -> Value
}

rpc_method! {
    /// The same for the serial console.
    GetSerialConsole = "get_serial_console", None, (6, 0), { instance: Instance, console_type: String } -> Value
}

rpc_method! {
    /// The same for MKS.
    GetMksConsole = "get_mks_console", None, (6, 0), { instance: Instance, console_type: String } -> Value
}

rpc_method! {
    /// Takes back what was given away; asked of the source.
    FinishRevertResize = "finish_revert_resize", None, (6, 0), {
        instance: Instance,
        migration: Migration,
        request_spec: Option<RequestSpec>,
    } -> ()
}

rpc_method! {
    /// Whether an instance may come here while it runs; asks the source too.
    CheckCanLiveMigrateDestination = "check_can_live_migrate_destination", None, (6, 0), {
        instance: Instance,
        block_migration: Option<bool>,
        disk_over_commit: Option<bool>,
        migration: Migration,
        limits: Option<SchedulerLimits>,
    } -> LiveMigrateData
}

rpc_method! {
    /// Whether an instance may leave while it runs, by what the destination says.
    CheckCanLiveMigrateSource = "check_can_live_migrate_source", None, (6, 0), {
        instance: Instance,
        dest_check_data: LiveMigrateData,
    } -> LiveMigrateData
}

rpc_method! {
    /// Makes room for an instance that comes while it runs.
    PreLiveMigration = "pre_live_migration", None, (6, 0), {
        instance: Instance,
        /// What the source's driver says of the disks.
        disk: Value,
        migrate_data: LiveMigrateData,
    } -> LiveMigrateData
}

rpc_method! {
    /// Sends an instance away while it runs; asked of the source.
    LiveMigration = "live_migration", None, (6, 0), {
        instance: Instance,
        dest: String,
        block_migration: Option<bool>,
        migrate_data: LiveMigrateData,
        migration: Migration,
    } -> ()
}

rpc_method! {
    /// An instance has come: it is this host's now.
    PostLiveMigrationAtDestination = "post_live_migration_at_destination", None, (6, 0), {
        instance: Instance,
        block_migration: Option<bool>,
    } -> ()
}

rpc_method! {
    /// An instance does not come after all.
    RollbackLiveMigrationAtDestination = "rollback_live_migration_at_destination", None, (6, 0), {
        instance: Instance,
        destroy_disks: bool,
        migrate_data: LiveMigrateData,
    } -> ()
}

rpc_method! {
    /// Lets a live migration end soon, at the guest's cost; asked of the source.
    LiveMigrationForceComplete = "live_migration_force_complete", None, (6, 0), { instance: Instance } -> ()
}

rpc_method! {
    /// Ends a live migration; the guest stays. Asked of the source.
    LiveMigrationAbort = "live_migration_abort", None, (6, 0), { instance: Instance, migration_id: i64 } -> ()
}

/// Calls methods of compute agents. Cheap to clone.
#[derive(Clone)]
pub struct ComputeApi {
    client: RpcClient,
}

impl ComputeApi {
    /// A client on `transport`.
    pub fn new(transport: Arc<dyn Transport>, options: ClientOptions) -> Self {
        Self { client: RpcClient::new(transport, crate::target(TOPIC).version(Version::new(6, 0)), options) }
    }

    /// A client on the transport of `conductor`: what an agent asks other agents with.
    pub fn beside(conductor: &ConductorApi) -> Self {
        Self { client: conductor.client().of(crate::target(TOPIC).version(Version::new(6, 0))) }
    }

    /// Sends `method` to the agent of `host` and does not wait for it.
    pub async fn cast<M: RpcMethod>(&self, context: &RequestContext, host: &str, method: M) -> Result<(), RpcError> {
        let call = self.client.prepare().server(host).version(M::VERSION);
        Ok(call.cast(&context.to_map(), M::NAME, method.to_args()).await?)
    }

    /// As [`ComputeApi::call`], for what may take longer than other answers: as long as the agent says that it works
    /// on it, at most [`LONG_TIMEOUT`].
    pub async fn long_call<M: RpcMethod>(
        &self,
        context: &RequestContext,
        host: &str,
        method: M,
    ) -> Result<M::Reply, RpcError> {
        let call = self.client.prepare().server(host).version(M::VERSION);
        let call = call.call_monitor_timeout(MONITOR_TIMEOUT).timeout(LONG_TIMEOUT);
        let reply = call.call(&context.to_map(), M::NAME, method.to_args()).await?;
        M::Reply::from_wire(&reply).map_err(|source| RpcError::Reply { method: M::NAME, source })
    }

    /// Asks the agent of `host` and waits for its answer.
    pub async fn call<M: RpcMethod>(
        &self,
        context: &RequestContext,
        host: &str,
        method: M,
    ) -> Result<M::Reply, RpcError> {
        let call = self.client.prepare().server(host).version(M::VERSION);
        let reply = call.call(&context.to_map(), M::NAME, method.to_args()).await?;
        M::Reply::from_wire(&reply).map_err(|source| RpcError::Reply { method: M::NAME, source })
    }
}
