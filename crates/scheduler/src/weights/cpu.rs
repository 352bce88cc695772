//! CPUWeigher: more free vCPUs are better.

use crate::host_state::HostState;

pub(super) fn weigh(host: &HostState) -> f64 {
    host.free("VCPU") as f64
}
