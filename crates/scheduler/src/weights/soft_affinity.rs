//! ServerGroupSoftAffinityWeigher: with the policy `soft-affinity`, more members of the group are better.

use kilonova_objects::RequestSpec;

use crate::host_state::HostState;

pub(super) fn weigh(host: &HostState, spec: &RequestSpec) -> f64 {
    super::group_members(host, spec, "soft-affinity")
}
