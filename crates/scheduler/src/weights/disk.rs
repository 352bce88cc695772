//! DiskWeigher: more free disk is better.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct DiskWeigher;

impl HostWeigher for DiskWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.free("DISK_GB") as f64)
    }

    fn counts_from_zero(&self) -> bool {
        true
    }
}
