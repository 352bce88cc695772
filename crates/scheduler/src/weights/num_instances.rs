//! NumInstancesWeigher: more servers are better, if its multiplier is more than 0; it is 0 by default.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct NumInstancesWeigher;

impl HostWeigher for NumInstancesWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(host.num_instances as f64)
    }
}
