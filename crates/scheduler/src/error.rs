//! Why there is no destination.

use kilonova_clients::ClientError;
use kilonova_core::ConfigError;

use crate::HostSourceError;

/// Why the scheduler cannot start, or did not choose.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The text is what the user reads in the server's fault.
    #[error("No valid host was found. {reason}")]
    NoValidHost {
        /// Nova's sentence, then what was refused by whom.
        reason: String,
    },
    /// A metric is weighed that a host does not have. Nova's message.
    #[error("Metric {name} could not be found on the compute host node {host}.{node}.")]
    ComputeHostMetricNotFound {
        /// The metric.
        name: String,
        /// The host.
        host: String,
        /// Its hypervisor.
        node: String,
    },
    /// An option makes no sense; the scheduler does not start with it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Placement did not answer.
    #[error("placement cannot be asked")]
    Placement(#[source] ClientError),
    /// The hosts cannot be read.
    #[error(transparent)]
    Hosts(#[from] HostSourceError),
}
