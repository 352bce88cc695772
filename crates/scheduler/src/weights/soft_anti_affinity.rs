//! ServerGroupSoftAntiAffinityWeigher: with the policy `soft-anti-affinity`, fewer members of the group are better.

use kilonova_objects::RequestSpec;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct ServerGroupSoftAntiAffinityWeigher;

impl HostWeigher for ServerGroupSoftAntiAffinityWeigher {
    fn weigh(&self, host: &HostState, spec: &RequestSpec) -> Result<f64, SchedulerError> {
        Ok(-super::group_members(host, spec, "soft-anti-affinity"))
    }
}
