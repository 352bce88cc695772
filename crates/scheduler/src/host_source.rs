//! Where the compute hosts come from. In a running cloud the conductor is asked, over RPC.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kilonova_core::RequestContext;
use kilonova_objects::{Aggregate, ComputeNode, Service};

/// A hypervisor with the service that runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostInput {
    /// The hypervisor; its uuid is that of its resource provider.
    pub node: ComputeNode,
    /// The `nova-compute` of its host. Disabled and dead ones are given too: a filter decides.
    pub service: Service,
    /// From the host's aggregates; `None` is the default zone.
    pub availability_zone: Option<String>,
    /// The aggregates that its host is in.
    pub aggregates: Vec<Arc<Aggregate>>,
    /// For each server on the host the properties of its image. Only where they are weighed
    /// (`image_props_weight_multiplier`).
    pub image_properties: Vec<BTreeMap<String, String>>,
}

/// One look at the compute hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostInventory {
    /// Every compute node that has a service.
    pub hosts: Vec<Arc<HostInput>>,
    /// Every aggregate, those without a host too.
    pub aggregates: Vec<Arc<Aggregate>>,
}

/// The source did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the compute hosts cannot be read")]
pub struct HostSourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Gives all compute hosts as they are now.
#[async_trait]
pub trait HostSource: Send + Sync + 'static {
    /// What is read was so at some moment after the call.
    async fn hosts(&self, context: &RequestContext) -> Result<HostInventory, HostSourceError>;
}
