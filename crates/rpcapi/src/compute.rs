//! The compute agent's methods: topic `compute`, and `compute.<host>` for one host.

use std::sync::Arc;

use kilonova_core::RequestContext;
use kilonova_messaging::{ClientOptions, RpcClient, Transport, Version};
use kilonova_objects::{
    BlockDeviceMappingList, Diagnostics, Instance, NetworkRequestList, RequestSpec, Selection, Wire as _,
};
use serde_json::Value;

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
