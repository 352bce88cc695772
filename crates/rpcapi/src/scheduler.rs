//! The scheduler's methods: topic `scheduler`.

use std::sync::Arc;

use kilonova_core::RequestContext;
use kilonova_messaging::{ClientOptions, RpcClient, Transport, Version};
use kilonova_objects::{RequestSpec, Selection, Wire as _};
use uuid::Uuid;

use crate::RpcError;
use crate::method::{RpcMethod, rpc_method};

/// The topic of the schedulers.
pub const TOPIC: &str = "scheduler";
/// The newest version that our scheduler serves.
pub const VERSION: Version = Version::new(4, 5);

rpc_method! {
    /// Chooses, and claims, a host for each instance: per instance the chosen one and then the alternates.
    SelectDestinations = "select_destinations", None, (4, 5), {
        spec_obj: RequestSpec,
        instance_uuids: Vec<Uuid>,
        return_objects: bool,
        return_alternates: bool,
    } -> Vec<Vec<Selection>>
}

/// Calls methods of the scheduler. Cheap to clone.
#[derive(Clone)]
pub struct SchedulerApi {
    client: RpcClient,
}

impl SchedulerApi {
    /// A client on `transport`.
    pub fn new(transport: Arc<dyn Transport>, options: ClientOptions) -> Self {
        Self { client: RpcClient::new(transport, crate::target(TOPIC).version(Version::new(4, 0)), options) }
    }

    /// Asks any scheduler and waits for its answer.
    pub async fn call<M: RpcMethod>(&self, context: &RequestContext, method: M) -> Result<M::Reply, RpcError> {
        let call = self.client.prepare().version(M::VERSION);
        let reply = call.call(&context.to_map(), M::NAME, method.to_args()).await?;
        M::Reply::from_wire(&reply).map_err(|source| RpcError::Reply { method: M::NAME, source })
    }
}
