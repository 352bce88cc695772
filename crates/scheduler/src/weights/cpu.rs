//! CPUWeigher: more free vCPUs are better.

use kilonova_objects::RequestSpec;

use crate::host_state::HostState;

pub(super) fn weigh(host: &HostState, _spec: &RequestSpec) -> f64 {
    host.free("VCPU") as f64
}
