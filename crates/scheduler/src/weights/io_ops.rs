//! IoOpsWeigher: less that is being built, resized and copied is better, by a multiplier below 0.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct IoOpsWeigher;

impl HostWeigher for IoOpsWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.num_io_ops as f64)
    }

    fn counts_from_zero(&self) -> bool {
        true
    }
}
