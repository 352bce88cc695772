//! ServerGroupSoftAffinityWeigher: with the policy `soft-affinity`, more members of the group are better.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct ServerGroupSoftAffinityWeigher;

impl HostWeigher for ServerGroupSoftAffinityWeigher {
    fn weigh(&self, host: &HostState, spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(super::group_members(host, spec, "soft-affinity"))
    }
}
