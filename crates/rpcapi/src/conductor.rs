//! The conductor's methods: topic `conductor`, namespace `compute_task` for orchestration and none for objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use kilonova_core::RequestContext;
use kilonova_messaging::{ClientOptions, RpcClient, Transport, Version};
use kilonova_objects::{
    Aggregate, BlockDeviceMappingList, BuildRequest, Flavor, Instance, NetworkRequestList, RequestSpec, Selection,
    TagList, Wire as _,
};
use serde_json::Value;

use crate::RpcError;
use crate::base::Ping;
use crate::compute::{LONG_TIMEOUT, MONITOR_TIMEOUT};
use crate::method::{RpcMethod, rpc_method};

/// The topic of the conductors.
pub const TOPIC: &str = "conductor";
/// The newest version that our conductor serves without a namespace.
pub const VERSION: Version = Version::new(3, 0);
/// Namespace of the orchestration methods.
pub const TASK_NAMESPACE: &str = "compute_task";
/// The newest version that our conductor serves in that namespace.
pub const TASK_VERSION: Version = Version::new(1, 26);

rpc_method! {
    /// Places new servers and has them built.
    ScheduleAndBuildInstances = "schedule_and_build_instances", Some(TASK_NAMESPACE), (1, 17), {
        build_requests: Vec<BuildRequest>,
        request_specs: Vec<RequestSpec>,
        image: Value,
        admin_password: Option<String>,
        injected_files: Vec<Value>,
        requested_networks: Option<NetworkRequestList>,
        block_device_mapping: BlockDeviceMappingList,
        tags: TagList,
    } -> ()
}

rpc_method! {
    /// Has instances built that a host gave back; compute sends it when its build failed.
    BuildInstances = "build_instances", Some(TASK_NAMESPACE), (1, 19), {
        instances: Vec<Instance>,
        image: Value,
        filter_properties: Value,
        admin_password: Option<String>,
        injected_files: Vec<Value>,
        requested_networks: Option<NetworkRequestList>,
        security_groups: Vec<String>,
        request_spec: Option<RequestSpec>,
        host_lists: Vec<Vec<Selection>>,
    } -> ()
}

rpc_method! {
    /// Has the hosts of an aggregate fetch images before they need them.
    CacheImages = "cache_images", Some(TASK_NAMESPACE), (1, 21), { aggregate: Aggregate, image_ids: Vec<String> } -> ()
}

rpc_method! {
    /// Moves an instance to another host: off, with a `flavor`; or `live`. Compute sends it when its claim failed, with the
    /// further hosts to try.
    MigrateServer = "migrate_server", Some(TASK_NAMESPACE), (1, 20), {
        instance: Instance,
        scheduler_hint: Value,
        live: bool,
        rebuild: bool,
        flavor: Option<Flavor>,
        block_migration: Option<bool>,
        disk_over_commit: Option<bool>,
        reservations: Value,
        clean_shutdown: bool,
        request_spec: Option<RequestSpec>,
        host_list: Option<Vec<Selection>>,
    } -> ()
}

rpc_method! {
    /// Moves an instance to another host while it runs. The host that is forced is in `scheduler_hint`.
    LiveMigrateInstance = "live_migrate_instance", Some(TASK_NAMESPACE), (1, 15), {
        instance: Instance,
        scheduler_hint: Value,
        block_migration: Option<bool>,
        disk_over_commit: Option<bool>,
        request_spec: Option<RequestSpec>,
    } -> ()
}

rpc_method! {
    /// Has an instance made anew: on its host if there is a `host`, else where the scheduler says. With `recreate` it is an
    /// evacuation: its host is down, and it goes to another one.
    RebuildInstance = "rebuild_instance", Some(TASK_NAMESPACE), (1, 25), {
        instance: Instance,
        new_pass: Option<String>,
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
        /// The only host that it may go to.
        host: Option<String>,
        request_spec: Option<RequestSpec>,
        reimage_boot_volume: bool,
        target_state: Option<String>,
    } -> ()
}

rpc_method! {
    /// Has a shelved instance run again: on its host if it still has one, else where the scheduler says.
    UnshelveInstance = "unshelve_instance", Some(TASK_NAMESPACE), (1, 14), {
        instance: Instance,
        request_spec: Option<RequestSpec>,
    } -> ()
}

rpc_method! {
    /// Reserves a volume for an instance and has its host attach it; answers the name that the disk has.
    AttachVolume = "attach_volume", Some(TASK_NAMESPACE), (1, 26), {
        instance: Instance,
        /// As Nova's services pass a volume to each other.
        volume: Value,
        /// The name that the disk should have.
        device: Option<String>,
        disk_bus: Option<String>,
        device_type: Option<String>,
        tag: Option<String>,
        /// Whether the caller knows of volumes that several servers have.
        supports_multiattach: bool,
        delete_on_termination: bool,
    } -> Option<String>
}

rpc_method! {
    /// Runs a class method of an object where the database is.
    ObjectClassActionVersions = "object_class_action_versions", None, (3, 0), {
        objname: String,
        objmethod: String,
        object_versions: BTreeMap<String, String>,
        args: Vec<Value>,
        kwargs: BTreeMap<String, Value>,
    } -> Value
}

rpc_method! {
    /// Runs a method of an object where the database is; answers `[updates, result]`.
    ObjectAction = "object_action", None, (3, 0), {
        objinst: Value,
        objmethod: String,
        args: Vec<Value>,
        kwargs: BTreeMap<String, Value>,
    } -> Value
}

/// Calls methods of the conductor. Cheap to clone. The typed object methods are in [`crate::objects`].
#[derive(Clone)]
pub struct ConductorApi {
    client: RpcClient,
}

impl ConductorApi {
    /// A client on `transport`.
    pub fn new(transport: Arc<dyn Transport>, options: ClientOptions) -> Self {
        Self { client: RpcClient::new(transport, crate::target(TOPIC), options) }
    }

    pub(crate) fn client(&self) -> &RpcClient {
        &self.client
    }

    /// `baseapi.ping`: whether any conductor answers.
    pub async fn ping(&self, context: &RequestContext) -> Result<(), RpcError> {
        self.call(context, Ping { arg: Value::from("anybody there?") }).await.map(drop)
    }

    /// Sends `method` to any conductor and does not wait for it.
    pub async fn cast<M: RpcMethod>(&self, context: &RequestContext, method: M) -> Result<(), RpcError> {
        let call = self.client.prepare().namespace(M::NAMESPACE).version(M::VERSION);
        Ok(call.cast(&context.to_map(), M::NAME, method.to_args()).await?)
    }

    /// As [`ConductorApi::call`], for what asks a host that may take long: see [`crate::ComputeApi::long_call`].
    pub async fn long_call<M: RpcMethod>(&self, context: &RequestContext, method: M) -> Result<M::Reply, RpcError> {
        let call = self.client.prepare().namespace(M::NAMESPACE).version(M::VERSION);
        let call = call.call_monitor_timeout(MONITOR_TIMEOUT).timeout(LONG_TIMEOUT);
        let reply = call.call(&context.to_map(), M::NAME, method.to_args()).await?;
        M::Reply::from_wire(&reply).map_err(|source| RpcError::Reply { method: M::NAME, source })
    }

    /// Asks any conductor and waits for its answer.
    pub async fn call<M: RpcMethod>(&self, context: &RequestContext, method: M) -> Result<M::Reply, RpcError> {
        let call = self.client.prepare().namespace(M::NAMESPACE).version(M::VERSION);
        let reply = call.call(&context.to_map(), M::NAME, method.to_args()).await?;
        M::Reply::from_wire(&reply).map_err(|source| RpcError::Reply { method: M::NAME, source })
    }
}
