//! What is counted of a server, since 2.48.

use kilonova_objects::{CpuDiagnostics, Diagnostics, DiskDiagnostics, MemoryDiagnostics, NicDiagnostics};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct ServerDiagnostics<'a> {
    state: &'a str,
    driver: &'a str,
    hypervisor: Option<&'a str>,
    hypervisor_os: Option<&'a str>,
    uptime: Option<i64>,
    config_drive: bool,
    num_cpus: i64,
    num_nics: i64,
    num_disks: i64,
    disk_details: Vec<Disk>,
    cpu_details: Vec<Cpu>,
    nic_details: Vec<Nic<'a>>,
    memory_details: Memory,
}

#[derive(Serialize)]
struct Disk {
    read_bytes: Option<i64>,
    read_requests: Option<i64>,
    write_bytes: Option<i64>,
    write_requests: Option<i64>,
    errors_count: Option<i64>,
}

#[derive(Serialize)]
struct Cpu {
    id: Option<i64>,
    time: Option<i64>,
    utilisation: Option<i64>,
}

#[derive(Serialize)]
struct Nic<'a> {
    mac_address: Option<&'a str>,
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

#[derive(Serialize)]
struct Memory {
    maximum: Option<i64>,
    used: Option<i64>,
}

impl<'a> From<&'a Diagnostics> for ServerDiagnostics<'a> {
    fn from(counted: &'a Diagnostics) -> Self {
        Self {
            state: &counted.state,
            driver: &counted.driver,
            hypervisor: counted.hypervisor.as_deref(),
            hypervisor_os: counted.hypervisor_os.as_deref(),
            uptime: counted.uptime,
            config_drive: counted.config_drive,
            num_cpus: counted.num_cpus,
            num_nics: counted.num_nics,
            num_disks: counted.num_disks,
            disk_details: counted.disk_details.iter().map(disk).collect(),
            cpu_details: counted.cpu_details.iter().map(cpu).collect(),
            nic_details: counted.nic_details.iter().map(nic).collect(),
            memory_details: memory(&counted.memory_details),
        }
    }
}

fn disk(disk: &DiskDiagnostics) -> Disk {
    let &DiskDiagnostics { read_bytes, read_requests, write_bytes, write_requests, errors_count, .. } = disk;
    Disk { read_bytes, read_requests, write_bytes, write_requests, errors_count }
}

fn cpu(cpu: &CpuDiagnostics) -> Cpu {
    let &CpuDiagnostics { id, time, utilisation, .. } = cpu;
    Cpu { id, time, utilisation }
}

fn nic(nic: &NicDiagnostics) -> Nic<'_> {
    Nic {
        mac_address: nic.mac_address.as_deref(),
        rx_octets: nic.rx_octets,
        rx_errors: nic.rx_errors,
        rx_drop: nic.rx_drop,
        rx_packets: nic.rx_packets,
        rx_rate: nic.rx_rate,
        tx_octets: nic.tx_octets,
        tx_errors: nic.tx_errors,
        tx_drop: nic.tx_drop,
        tx_packets: nic.tx_packets,
        tx_rate: nic.tx_rate,
    }
}

fn memory(memory: &MemoryDiagnostics) -> Memory {
    let &MemoryDiagnostics { maximum, used, .. } = memory;
    Memory { maximum, used }
}
