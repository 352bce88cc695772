//! DiskWeigher: more free disk is better.

use kilonova_objects::RequestSpec;

use crate::host_state::HostState;

pub(super) fn weigh(host: &HostState, _spec: &RequestSpec) -> f64 {
    host.free("DISK_GB") as f64
}
