//! Where the compute hosts come from. In a running cloud the conductor is asked, over RPC.

use async_trait::async_trait;
use kilonova_core::RequestContext;
use kilonova_objects::{ComputeNode, Service};

/// A hypervisor with the service that runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostInput {
    /// The hypervisor; its uuid is that of its resource provider.
    pub node: ComputeNode,
    /// The `nova-compute` of its host. Disabled and dead ones are given too: a filter decides.
    pub service: Service,
    /// From the host's aggregates; `None` is the default zone.
    pub availability_zone: Option<String>,
}

/// The source did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the compute hosts cannot be read")]
pub struct HostSourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Gives all compute hosts as they are now.
#[async_trait]
pub trait HostSource: Send + Sync + 'static {
    /// Every compute node that has a service. What is read was so at some moment after the call.
    async fn hosts(&self, context: &RequestContext) -> Result<Vec<HostInput>, HostSourceError>;
}
