//! PCIWeigher: fewer free PCI devices are better, up to a hundred: hosts with devices are kept for those who need them,
//! and then filled one after the other.

use kilonova_objects::RequestSpec;
use serde_json::Value;

use super::HostWeigher;
use crate::SchedulerError;
use crate::host_state::HostState;

const MAX_DEVS: i64 = 100;

#[derive(Debug)]
pub(super) struct PciWeigher;

impl HostWeigher for PciWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        let free = host.input.node.pci_device_pools.as_ref().map_or(0, free_devices);
        Ok((MAX_DEVS - free.min(MAX_DEVS - 1)) as f64)
    }
}

/// Of a `PciDevicePoolList`.
fn free_devices(pools: &Value) -> i64 {
    let pools = pools.pointer("/nova_object.data/objects").and_then(Value::as_array);
    let count = |pool: &Value| pool.pointer("/nova_object.data/count").and_then(Value::as_i64);
    pools.into_iter().flatten().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filters::testing::host_with;

    #[test]
    fn devices_of_all_pools_are_counted_up_to_the_hundredth() {
        for (counts, weight) in [(&[] as &[i64], 100.0), (&[0], 100.0), (&[3, 4], 93.0), (&[99], 1.0), (&[70, 70], 1.0)]
        {
            let pool = |count: &i64| json!({"nova_object.name": "PciDevicePool", "nova_object.data": {"count": count}});
            let pools: Vec<Value> = counts.iter().map(pool).collect();
            let list = json!({"nova_object.name": "PciDevicePoolList", "nova_object.data": {"objects": pools}});
            let host = host_with("a", |input| input.node.pci_device_pools = Some(list));
            assert_eq!(PciWeigher.weigh(&host, &RequestSpec::default()).unwrap(), weight, "{counts:?}");
        }
        let without = host_with("a", |input| input.node.pci_device_pools = None);
        assert_eq!(PciWeigher.weigh(&without, &RequestSpec::default()).unwrap(), 100.0);
    }
}
