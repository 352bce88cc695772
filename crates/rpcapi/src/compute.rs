//! The compute agent's methods: topic `compute`, and `compute.<host>` for one host.

use std::sync::Arc;

use kilonova_core::RequestContext;
use kilonova_messaging::{ClientOptions, RpcClient, Transport, Version};
use kilonova_objects::{BlockDeviceMappingList, Instance, NetworkRequestList, RequestSpec, Selection, Wire as _};
use serde_json::Value;
use uuid::Uuid;

use crate::RpcError;
use crate::method::{RpcMethod, rpc_method};

/// The topic of the compute agents.
pub const TOPIC: &str = "compute";
/// The newest version that our agent serves.
pub const VERSION: Version = Version::new(6, 5);

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
        migration: Option<Value>,
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
    /// The end of the console log: `tail_length` lines, or all there is.
    GetConsoleOutput = "get_console_output", None, (6, 0), { instance: Instance, tail_length: Option<i64> } -> String
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

    /// Sends `method` to the agent of `host` and does not wait for it.
    pub async fn cast<M: RpcMethod>(&self, context: &RequestContext, host: &str, method: M) -> Result<(), RpcError> {
        let call = self.client.prepare().server(host).version(M::VERSION);
        Ok(call.cast(&context.to_map(), M::NAME, method.to_args()).await?)
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
