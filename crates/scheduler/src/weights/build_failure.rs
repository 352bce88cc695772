//! BuildFailureWeigher: hosts whose builds failed of late are the last resort. Its multiplier is taken with the other sign.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct BuildFailureWeigher;

impl HostWeigher for BuildFailureWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.stat("failed_builds").unwrap_or_default() as f64)
    }
}
