//! HypervisorVersionWeigher: a newer hypervisor is better.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct HypervisorVersionWeigher;

impl HostWeigher for HypervisorVersionWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.input.node.hypervisor_version as f64)
    }
}
