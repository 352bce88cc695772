//! Starts QEMU for a guest: the command line, the process, and its monitor.
//!
//! QEMU gets a session of its own (by `setsid`, which becomes QEMU without a new pid), so that it outlives the agent and
//! its terminal. Its own `-daemonize` does not go with a sandbox that forbids forking. It starts with the processors
//! stopped, so that nothing runs before all is well.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::QemuDriver;
use super::errors::{blocking, host_error, last_words};
use super::guest_dir::GuestDir;
use super::hardware::DiskBus;
use super::process::Process;
use super::qmp::{Qmp, QmpError};
use super::record::{GuestRecord, RescueDisk};
use super::suspend::SUSPENDED;
use super::tools::Tool;
use crate::driver::DriverError;

/// Between two looks whether QEMU answers.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A forwarded port that another process takes between our look and QEMU's start is rare; three times is a fault.
const PORT_ATTEMPTS: usize = 3;

enum LaunchError {
    PortTaken,
    Driver(DriverError),
}

impl From<DriverError> for LaunchError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// Starts the guest of `record` and lets it run. Its ssh port is the recorded one if that is free, else another, which
/// is then in the record.
pub(super) async fn start(driver: &QemuDriver, dir: &GuestDir, record: &mut GuestRecord) -> Result<(), DriverError> {
    for _ in 0..PORT_ATTEMPTS {
        if !record.nics.is_empty() {
            record.ssh_port = Some(driver.ports.reserve(record.uuid, record.ssh_port)?);
        }
        match launch(driver, dir, record).await {
            Ok(()) => return Ok(()),
            Err(LaunchError::Driver(error)) => return Err(error),
            Err(LaunchError::PortTaken) => {
                tracing::debug!(uuid = %record.uuid, port = record.ssh_port, "the ssh port was taken");
            }
        }
    }
    Err(DriverError::Hypervisor(
        "QEMU found the ssh port taken, again and again: does something else listen in [qemu] ssh_forward_ports?"
            .to_owned(),
    ))
}

async fn launch(driver: &QemuDriver, dir: &GuestDir, record: &mut GuestRecord) -> Result<(), LaunchError> {
    let _monitor = driver.locks.monitor(dir.uuid).await;
    let mut child = spawn_process(driver, dir, record)?;
    let launched = async {
        let mut qmp = wait_for_monitor(driver, dir, &mut child).await?;
        if record.is_suspended {
            // From the first instruction on the disk is newer than the saved memory, which must never be used again.
            record.is_suspended = false;
            let (written, to) = (record.clone(), dir.clone());
            blocking(move || written.write(&to)).await?;
        }
        qmp.execute("cont", json!({})).await.map_err(|error| DriverError::Hypervisor(error.to_string()))?;
        Ok(())
    }
    .await;
    if launched.is_err()
        && let Some(process) = child.id().and_then(|pid| Process::open(pid, dir))
    {
        process.kill().await?;
    }
    launched
}

fn spawn_process(driver: &QemuDriver, dir: &GuestDir, record: &GuestRecord) -> Result<Child, DriverError> {
    let socket = dir.qmp_socket();
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(host_error("remove", &socket, &error));
        }
        _ => {}
    }
    let log = create_log(dir)?;
    let words = log.try_clone().map_err(|error| host_error("open", &dir.qemu_log(), &error))?;
    Command::new("setsid")
        .arg(&driver.config.qemu_system)
        .args(arguments(driver, dir, record))
        // Where relative paths, such as the socket's, begin.
        .current_dir(dir.path())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(words)
        .spawn()
        .map_err(|error| {
            let setsid = Tool { program: "setsid", package: "util-linux" };
            setsid.start_error(&error)
        })
}

fn create_log(dir: &GuestDir) -> Result<File, DriverError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(dir.qemu_log())
        .map_err(|error| host_error("create", &dir.qemu_log(), &error))
}

async fn wait_for_monitor(driver: &QemuDriver, dir: &GuestDir, child: &mut Child) -> Result<Qmp, LaunchError> {
    let limits = &driver.config.limits;
    let deadline = Instant::now() + limits.launch_timeout;
    loop {
        if let Some(status) = child.try_wait().map_err(lost)? {
            return Err(why_ended(driver, dir, status));
        }
        match Qmp::connect(dir, limits.launch_timeout).await {
            Ok(qmp) => return Ok(qmp),
            // Not listening yet, or ended while it was listening: the next look at the process tells.
            Err(QmpError::Io(_)) => {}
            Err(error) => return Err(DriverError::Hypervisor(error.to_string()).into()),
        }
        if Instant::now() >= deadline {
            let limit = limits.launch_timeout.as_secs();
            let message = format!("QEMU did not open its monitor within {limit} seconds");
            return Err(DriverError::Hypervisor(message).into());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn lost(error: std::io::Error) -> LaunchError {
    DriverError::Hypervisor(format!("QEMU was started and lost: {error}")).into()
}

fn why_ended(driver: &QemuDriver, dir: &GuestDir, status: ExitStatus) -> LaunchError {
    // What setsid exits with when there is no such program.
    const NOT_FOUND: i32 = 127;
    if status.code() == Some(NOT_FOUND) {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return driver.emulator().start_error(&missing).into();
    }
    let words = last_words(&std::fs::read(dir.qemu_log()).unwrap_or_default());
    if words.contains("Could not set up host forwarding rule") {
        return LaunchError::PortTaken;
    }
    DriverError::Hypervisor(format!("QEMU did not start ({status}): {words}")).into()
}

fn arguments(driver: &QemuDriver, dir: &GuestDir, record: &GuestRecord) -> Vec<OsString> {
    let accelerator = driver.accelerator;
    let mut args = Arguments::default();
    args.flag("-nodefaults").flag("-no-user-config").flag("-S");
    args.option("-name", format!("guest={}", record.name));
    args.option("-uuid", record.uuid.to_string());
    // Without graphics the firmware talks to the serial port: the console log shows why a disk does not boot.
    let machine = format!("q35,accel={},graphics=off,vmport=off,usb=off", accelerator.name());
    args.option("-machine", machine);
    args.option("-cpu", accelerator.cpu_model());
    args.option("-smp", record.vcpus.to_string());
    args.option("-m", format!("{}M", record.memory_mb));
    args.option("-rtc", "base=utc");
    args.option("-display", "none");
    args.option("-pidfile", dir.pidfile());
    args.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    args.option("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off");
    args.option("-mon", "chardev=qmp,mode=control");
    // The log has everything, whether somebody is connected or not.
    let serial = "socket,id=serial0,path=serial.sock,server=on,wait=off,logfile=console.log,logappend=on";
    args.option("-chardev", serial);
    args.option("-device", "isa-serial,chardev=serial0");
    args.option("-object", "rng-random,id=rng0,filename=/dev/urandom");
    args.option("-device", "virtio-rng-pci,rng=rng0");
    if record.hardware.has_screen {
        args.option("-device", "VGA");
        args.option("-vnc", "unix:vnc.sock");
    }
    if record.is_suspended {
        args.option("-loadvm", SUSPENDED);
    }
    add_disks(&mut args, record);
    add_nics(&mut args, record, driver.ports.address());
    args.0
}

fn add_disks(args: &mut Arguments, record: &GuestRecord) {
    let hardware = &record.hardware;
    let rescue_bus = match record.rescue {
        Some(RescueDisk::Last { bus, .. }) => Some(bus),
        _ => None,
    };
    if hardware.needs_scsi() || rescue_bus == Some(DiskBus::Scsi) {
        args.option("-device", "virtio-scsi-pci,id=scsi0");
    }
    let (bus, device) = (hardware.disk_bus, hardware.disk_bus.disk_device());
    if record.rescue == Some(RescueDisk::First) {
        add_qcow2(args, "rescue", "rescue.qcow2");
        args.option("-device", format!("{device},drive=rescue,bootindex=1{}", place(bus, 0)));
    }
    if record.has_disk && record.rescue != Some(RescueDisk::First) {
        let boot = if record.rescue.is_some() { "" } else { ",bootindex=1" };
        add_qcow2(args, "root", "disk.qcow2");
        args.option("-device", format!("{device},drive=root{boot}{}", place(bus, 0)));
    }
    let config_drive = if record.rescue.is_some() { "rescue.config" } else { "disk.config" };
    if record.rescue.is_some() || record.has_config_drive {
        let node = json!({
            "node-name": "config",
            "driver": "raw",
            "read-only": true,
            "file": { "driver": "file", "filename": config_drive, "read-only": true },
        });
        args.option("-blockdev", node.to_string());
        let device = hardware.config_drive_bus.config_drive_device();
        let place = place(hardware.config_drive_bus, 1);
        args.option("-device", format!("{device},drive=config{place}"));
    }
    match record.rescue {
        Some(RescueDisk::First) if record.has_disk => {
            add_qcow2(args, "root", "disk.qcow2");
            args.option("-device", format!("{device},drive=root{}", place(bus, 2)));
        }
        Some(RescueDisk::Last { bus, is_cdrom }) => {
            add_qcow2(args, "rescue", "rescue.qcow2");
            let device = if is_cdrom { bus.config_drive_device() } else { bus.disk_device() };
            args.option("-device", format!("{device},drive=rescue,bootindex=1{}", place(bus, 2)));
        }
        _ => {}
    }
}

fn add_qcow2(args: &mut Arguments, name: &str, file: &str) {
    let node = json!({
        "node-name": name,
        "driver": "qcow2",
        "discard": "unmap",
        "file": { "driver": "file", "filename": file, "discard": "unmap" },
    });
    args.option("-blockdev", node.to_string());
}

fn place(bus: DiskBus, index: usize) -> String {
    match bus {
        DiskBus::Virtio => String::new(),
        DiskBus::Scsi => format!(",bus=scsi0.0,scsi-id={index}"),
        DiskBus::Sata => format!(",bus=ide.{index}"),
    }
}

fn add_nics(args: &mut Arguments, record: &GuestRecord, listen: Ipv4Addr) {
    for (index, nic) in record.nics.iter().enumerate() {
        let ssh_port = record.ssh_port.filter(|_| index == 0);
        let id = format!("net{index}");
        args.option("-netdev", nic.netdev(&id, ssh_port.map(|port| (listen, port))));
        // No network boot: it delays a disk's boot, and hides why it failed.
        let mut device = format!("{},netdev={id},mac={},romfile=", record.hardware.nic_device, nic.mac);
        if let (Some(mtu), "virtio-net-pci") = (nic.mtu, record.hardware.nic_device.as_str()) {
            device.push_str(&format!(",host_mtu={mtu}"));
        }
        args.option("-device", device);
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}
