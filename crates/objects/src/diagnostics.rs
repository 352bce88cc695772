//! What a hypervisor counts of a guest.
//!
//! Nova's form since 2.48 is [`Diagnostics`]. Before that it was whatever the driver said; here it is the same numbers
//! under the names that libvirt's driver gives them.

use serde_json::{Map, Value, json};

use crate::state::PowerState;

crate::versioned_object! {
    /// One processor of a guest.
    CpuDiagnostics, "CpuDiagnostics", "1.0", {
        id: Option<i64>,
        /// Nanoseconds.
        time: Option<i64>,
        /// Percent.
        utilisation: Option<i64>,
    }
}

crate::versioned_object! {
    /// One interface of a guest.
    NicDiagnostics, "NicDiagnostics", "1.0", {
        mac_address: Option<String>,
        /// Bytes, as the other octets.
        rx_octets: Option<i64>,
        rx_errors: Option<i64>,
        rx_drop: Option<i64>,
        rx_packets: Option<i64>,
        rx_rate: Option<i64>,
        tx_octets: Option<i64>,
        tx_errors: Option<i64>,
        tx_drop: Option<i64>,
        tx_packets: Option<i64>,
        tx_rate: Option<i64>,
    }
}

crate::versioned_object! {
    /// One disk of a guest.
    DiskDiagnostics, "DiskDiagnostics", "1.0", {
        read_bytes: Option<i64>,
        read_requests: Option<i64>,
        write_bytes: Option<i64>,
        write_requests: Option<i64>,
        errors_count: Option<i64>,
    }
}

crate::versioned_object! {
    /// The memory of a guest, in MiB.
    MemoryDiagnostics, "MemoryDiagnostics", "1.0", {
        maximum: Option<i64>,
        used: Option<i64>,
    }
}

crate::versioned_object! {
    /// What a hypervisor counts of a guest; null is what it does not count.
    Diagnostics, "Diagnostics", "1.0", {
        /// `running`, …: [`PowerState::as_str`].
        state: String,
        /// One of Nova's drivers: `libvirt` for whatever runs guests as libvirt does.
        driver: String,
        hypervisor: Option<String>,
        hypervisor_os: Option<String>,
        /// Seconds.
        uptime: Option<i64>,
        config_drive: bool,
        memory_details: MemoryDiagnostics,
        cpu_details: Vec<CpuDiagnostics>,
        nic_details: Vec<NicDiagnostics>,
        disk_details: Vec<DiskDiagnostics>,
        num_cpus: i64,
        num_nics: i64,
        num_disks: i64,
    }
}

impl Diagnostics {
    /// Of a guest in `state`, under libvirt's name and with nothing counted yet.
    pub fn new(state: PowerState, hypervisor: &str) -> Self {
        Self {
            state: state.as_str().to_owned(),
            driver: "libvirt".to_owned(),
            hypervisor: Some(hypervisor.to_owned()),
            hypervisor_os: Some("linux".to_owned()),
            ..Self::default()
        }
    }

    /// With its processors, interfaces and disks.
    #[must_use]
    pub fn with_devices(
        self,
        cpus: Vec<CpuDiagnostics>,
        nics: Vec<NicDiagnostics>,
        disks: Vec<DiskDiagnostics>,
    ) -> Self {
        let count = |devices: usize| i64::try_from(devices).unwrap_or(i64::MAX);
        Self {
            num_cpus: count(cpus.len()),
            num_nics: count(nics.len()),
            num_disks: count(disks.len()),
            cpu_details: cpus,
            nic_details: nics,
            disk_details: disks,
            ..self
        }
    }

    /// The form before 2.48: what is counted, by name (`cpu0_time`, `vda_read`, `vnet0_rx`, `memory` in KiB).
    pub fn legacy(&self) -> Map<String, Value> {
        let mut counted = Map::new();
        let mut add = |device: String, name: &str, value: Option<i64>| {
            if let Some(value) = value {
                counted.insert(format!("{device}{name}"), json!(value));
            }
        };
        for (place, cpu) in self.cpu_details.iter().enumerate() {
            let id = cpu.id.unwrap_or_else(|| i64::try_from(place).unwrap_or_default());
            add(format!("cpu{id}"), "_time", cpu.time);
        }
        for (letter, disk) in ('a'..='z').zip(&self.disk_details) {
            let device = || format!("vd{letter}");
            add(device(), "_read_req", disk.read_requests);
            add(device(), "_read", disk.read_bytes);
            add(device(), "_write_req", disk.write_requests);
            add(device(), "_write", disk.write_bytes);
            add(device(), "_errors", disk.errors_count);
        }
        for (place, nic) in self.nic_details.iter().enumerate() {
            let device = || format!("vnet{place}");
            add(device(), "_rx", nic.rx_octets);
            add(device(), "_rx_packets", nic.rx_packets);
            add(device(), "_rx_errors", nic.rx_errors);
            add(device(), "_rx_drop", nic.rx_drop);
            add(device(), "_tx", nic.tx_octets);
            add(device(), "_tx_packets", nic.tx_packets);
            add(device(), "_tx_errors", nic.tx_errors);
            add(device(), "_tx_drop", nic.tx_drop);
        }
        add("memory".to_owned(), "", self.memory_details.maximum.map(|mib| mib.saturating_mul(1024)));
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wire as _;

    fn counted() -> Diagnostics {
        let diagnostics = Diagnostics::new(PowerState::Running, "qemu").with_devices(
            vec![CpuDiagnostics { id: Some(0), time: Some(17), ..Default::default() }],
            vec![NicDiagnostics { mac_address: Some("fa:16:3e:00:00:01".to_owned()), ..Default::default() }],
            vec![DiskDiagnostics { read_bytes: Some(1), write_requests: Some(2), ..Default::default() }],
        );
        Diagnostics {
            memory_details: MemoryDiagnostics { maximum: Some(512), used: None, ..Default::default() },
            ..diagnostics
        }
    }

    #[test]
    fn the_old_form_has_what_is_counted_and_nothing_else() {
        let expected = json!({"cpu0_time": 17, "vda_read": 1, "vda_write_req": 2, "memory": 524_288});
        assert_eq!(Value::Object(counted().legacy()), expected);
    }

    #[test]
    fn the_object_survives_the_wire_with_its_devices_counted() {
        let counted = counted();
        assert_eq!((counted.num_cpus, counted.num_nics, counted.num_disks), (1, 1, 1));
        let wire = counted.to_wire();
        assert_eq!(wire["nova_object.data"]["cpu_details"][0]["nova_object.name"], "CpuDiagnostics");
        assert_eq!(Diagnostics::from_wire(&wire).unwrap().to_wire(), wire);
    }
}
