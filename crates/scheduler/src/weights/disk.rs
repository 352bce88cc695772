//! DiskWeigher: more free disk is better.

use crate::host_state::HostState;

pub(super) fn weigh(host: &HostState) -> f64 {
    host.free("DISK_GB") as f64
}
