//! What QEMU and the kernel count of a guest.

use std::time::SystemTime;

use kilonova_objects::{CpuDiagnostics, Diagnostics, DiskDiagnostics, MemoryDiagnostics, NicDiagnostics};
use serde_json::Value;
use uuid::Uuid;

use super::QemuDriver;
use super::accelerator::Accelerator;
use super::power::{self, exchange};
use super::record::GuestRecord;
use crate::driver::DriverError;

/// Of a running guest. The user-mode network counts nothing, and how much of its memory a guest uses it alone knows.
pub(super) async fn of(driver: &QemuDriver, uuid: Uuid) -> Result<Diagnostics, DriverError> {
    let dir = driver.dir(uuid);
    let record = GuestRecord::read(&dir)?;
    let info = power::guest_info(driver, uuid).await?;
    let pid = info.pid.ok_or(DriverError::InstanceNotRunning(uuid))?;
    let failed = |error: super::qmp::QmpError| DriverError::Hypervisor(error.to_string());
    let cpus = exchange(driver, &dir, "query-cpus-fast").await.map_err(failed)?;
    let blocks = exchange(driver, &dir, "query-blockstats").await.map_err(failed)?;
    // QEMU writes it when it starts.
    let started = std::fs::metadata(dir.pidfile()).and_then(|file| file.modified()).ok();
    let uptime = started.and_then(|started| SystemTime::now().duration_since(started).ok());
    let nic = |mac: &str| NicDiagnostics { mac_address: Some(mac.to_owned()), ..Default::default() };
    Ok(Diagnostics {
        uptime: uptime.and_then(|uptime| i64::try_from(uptime.as_secs()).ok()),
        config_drive: record.has_config_drive,
        memory_details: MemoryDiagnostics { maximum: i64::try_from(record.memory_mb).ok(), ..Default::default() },
        ..Diagnostics::new(info.power_state, hypervisor(driver.accelerator)).with_devices(
            list(&cpus).map(|cpu| processor(pid, cpu)).collect(),
            record.nics.iter().map(|own| nic(&own.mac)).collect(),
            list(&blocks).filter_map(disk).collect(),
        )
    })
}

/// Nova's `virt_type`.
fn hypervisor(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "qemu",
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A processor is a thread of QEMU, whose time on the host's processors the kernel counts.
fn processor(pid: u32, cpu: &Value) -> CpuDiagnostics {
    let thread = cpu.get("thread-id").and_then(Value::as_i64);
    let counted =
        thread.and_then(|thread| std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok());
    let time = counted.and_then(|text| text.split_whitespace().next()?.parse().ok());
    CpuDiagnostics { id: cpu.get("cpu-index").and_then(Value::as_i64), time, ..Default::default() }
}

/// A drive with a medium; the firmware's are none.
fn disk(block: &Value) -> Option<DiskDiagnostics> {
    block.get("qdev").and_then(Value::as_str).filter(|device| !device.is_empty())?;
    let stats = block.get("stats")?;
    let count = |name: &str| stats.get(name).and_then(Value::as_i64);
    let errors = ["failed_rd_operations", "failed_wr_operations", "failed_flush_operations"];
    Some(DiskDiagnostics {
        read_bytes: count("rd_bytes"),
        read_requests: count("rd_operations"),
        write_bytes: count("wr_bytes"),
        write_requests: count("wr_operations"),
        errors_count: errors.iter().map(|name| count(name)).sum(),
        ..Default::default()
    })
}
