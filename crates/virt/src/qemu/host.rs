//! What the host has, for the resource tracker.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::QemuDriver;
use super::accelerator::Accelerator;
use super::errors::{blocking, host_error};
use super::tools::{Bounds, ToolError};
use crate::driver::{DriverError, HostResources};
use crate::uptime::host_uptime;

const GIB: u64 = 1 << 30;

pub(super) async fn resources(driver: &QemuDriver) -> Result<HostResources, DriverError> {
    let hypervisor_version = version(driver).await;
    let root = driver.config.instances_dir.clone();
    let promised = driver.promised_bytes().await?;
    let accelerator = driver.accelerator;
    blocking(move || {
        let disk = rustix::fs::statvfs(&root).map_err(|error| host_error("look at", &root, &error.into()))?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        let least = signed(available).saturating_sub(signed(promised));
        let cpuinfo = read("/proc/cpuinfo")?;
        let vcpus = signed(std::thread::available_parallelism().map_or(1, usize::from) as u64);
        Ok(HostResources {
            vcpus,
            memory_mb: memory_mb(&read("/proc/meminfo")?),
            local_gb: signed(total / GIB),
            disk_available_least: least.div_euclid(signed(GIB)),
            hypervisor_type: "QEMU".to_owned(),
            hypervisor_version,
            cpu_info: cpu_info(&cpuinfo, vcpus),
            supported_instances: supported_instances(accelerator),
            traits: ["COMPUTE_NODE", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW"].map(str::to_owned).into(),
            uptime: host_uptime(),
        })
    })
    .await
}

/// Bytes that a disk may still grow by.
pub(super) fn growth(disk: &Path, virtual_size: u64) -> u64 {
    let Ok(metadata) = std::fs::metadata(disk) else {
        return 0;
    };
    virtual_size.saturating_sub(metadata.blocks().saturating_mul(512))
}

/// The virtual size of one of our own qcow2 disks.
pub(super) fn disk_size(disk: &Path) -> Option<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut size = [0; 8];
    std::fs::File::open(disk).ok()?.read_exact_at(&mut size, 24).ok()?;
    Some(u64::from_be_bytes(size))
}

/// QEMU's version as Nova's number; 0 while there is no QEMU. The host is there without, and each guest's fault then
/// says what to install, which a host that is missing could not.
async fn version(driver: &QemuDriver) -> i64 {
    let bounds = Bounds::time(Duration::from_secs(30));
    let asked = driver.version.get_or_try_init(|| async {
        let output = driver.emulator().run(["--version"], &driver.config.instances_dir, bounds).await?;
        parse_version(&String::from_utf8_lossy(&output))
            .ok_or_else(|| ToolError::Refused { code: None, words: "qemu --version tells no version".to_owned() })
    });
    match asked.await {
        Ok(version) => *version,
        Err(error) => {
            let error = error.into_driver_error();
            tracing::warn!(%error, "QEMU cannot be used on this host");
            0
        }
    }
}

/// `QEMU emulator version 7.2.22 (Debian …)`
fn parse_version(text: &str) -> Option<i64> {
    let version = text.split_once("version ")?.1;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<i64>().ok());
    let mut next = || numbers.next().flatten();
    Some(next()? * 1_000_000 + next()? * 1_000 + next().unwrap_or_default())
}

fn supported_instances(accelerator: Accelerator) -> Vec<(String, String, String)> {
    let types = match accelerator {
        Accelerator::Kvm => &["kvm", "qemu"][..],
        Accelerator::Tcg => &["qemu"],
    };
    let of = |(arch, kind): (&str, &str)| (arch.to_owned(), kind.to_owned(), "hvm".to_owned());
    ["x86_64", "i686"].into_iter().flat_map(|arch| types.iter().map(move |kind| (arch, *kind))).map(of).collect()
}

fn memory_mb(meminfo: &str) -> i64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<i64>().ok())
        .unwrap_or_default()
        / 1024
}

fn cpu_info(cpuinfo: &str, vcpus: i64) -> String {
    let value = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    let features: Vec<&str> = value("flags").unwrap_or_default().split_ascii_whitespace().collect();
    json!({
        "arch": "x86_64",
        "model": value("model name"),
        "vendor": value("vendor_id"),
        "features": features,
        "topology": { "cells": 1, "sockets": 1, "cores": vcpus, "threads": 1 },
    })
    .to_string()
}

fn read(path: &str) -> Result<String, DriverError> {
    std::fs::read_to_string(path).map_err(|error| host_error("read", Path::new(path), &error))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_version_is_novas_number() {
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright\n";
        assert_eq!(parse_version(text), Some(7_002_022));
        assert_eq!(parse_version("QEMU emulator version 10.1\n"), Some(10_001_000));
        assert_eq!(parse_version("usage:"), None);
    }

    #[test]
    fn memory_is_in_mebibytes() {
        assert_eq!(memory_mb("MemTotal:       24681016 kB\nMemFree: 1 kB\n"), 24102);
    }
}
