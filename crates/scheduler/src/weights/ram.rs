//! RAMWeigher: more free memory is better.

use crate::host_state::HostState;

pub(super) fn weigh(host: &HostState) -> f64 {
    host.free("MEMORY_MB") as f64
}
