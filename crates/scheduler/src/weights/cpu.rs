//! CPUWeigher: more free vCPUs are better.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct CpuWeigher;

impl HostWeigher for CpuWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.free("VCPU") as f64)
    }

    fn counts_from_zero(&self) -> bool {
        true
    }
}
