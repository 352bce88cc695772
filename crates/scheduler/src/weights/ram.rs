//! RAMWeigher: more free memory is better.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct RamWeigher;

impl HostWeigher for RamWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.free("MEMORY_MB") as f64)
    }

    fn counts_from_zero(&self) -> bool {
        true
    }
}
