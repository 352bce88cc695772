//! CrossCellWeigher: a server that may move to another cell rather stays in its own.

use kilonova_objects::RequestSpec;
use serde_json::Value;

use super::HostWeigher;
use crate::host_state::HostState;
use crate::{CELL_UUID, SchedulerError};

#[derive(Debug)]
pub(super) struct CrossCellWeigher;

impl HostWeigher for CrossCellWeigher {
    fn weigh(&self, _host: &HostState, spec: &RequestSpec) -> Result<f64, SchedulerError> {
        let destination = spec.requested_destination.as_ref().filter(|destination| destination.allow_cross_cell_move);
        let Some(preferred) = destination.and_then(|destination| destination.cell.as_ref()) else {
            return Ok(0.0);
        };
        // All hosts are in the one cell.
        let uuid = preferred.pointer("/nova_object.data/uuid").and_then(Value::as_str);
        Ok(if uuid.and_then(|uuid| uuid.parse().ok()) == Some(CELL_UUID) { 1.0 } else { -1.0 })
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::Destination;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::filters::testing::host;

    #[test]
    fn the_preferred_cell_counts_only_for_a_move_that_may_leave_it() {
        for (cell, may_leave, weight) in [
            (Some(CELL_UUID), true, 1.0),
            (Some(Uuid::from_u128(7)), true, -1.0),
            (Some(CELL_UUID), false, 0.0),
            (None, true, 0.0),
        ] {
            let mapping = |uuid| json!({"nova_object.name": "CellMapping", "nova_object.data": {"uuid": uuid}});
            let destination =
                Destination { cell: cell.map(mapping), allow_cross_cell_move: may_leave, ..Destination::default() };
            let spec = RequestSpec { requested_destination: Some(destination), ..RequestSpec::default() };
            assert_eq!(CrossCellWeigher.weigh(&host("a"), &spec).unwrap(), weight, "{cell:?} {may_leave}");
        }
        assert_eq!(CrossCellWeigher.weigh(&host("a"), &RequestSpec::default()).unwrap(), 0.0);
    }
}
