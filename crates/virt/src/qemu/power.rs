//! A guest's power: on, off, reboot, and what it is now.
//!
//! ```text
//!             start                      guest powers off, or is killed: QEMU ends
//!   no QEMU ─────────> prelaunch ──cont──> running ─────────────────────────> no QEMU
//! ```
//!
//! A guest that is off is a directory without a process. A paused one is a QEMU that was told to `stop`.

use std::time::Duration;

use kilonova_objects::PowerState;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::guest_dir::{Content, GuestDir};
use super::locks::Operation;
use super::process::Process;
use super::qmp::{Qmp, QmpError};
use super::record::GuestRecord;
use super::{QemuDriver, launch, suspend};
use crate::driver::{DriverError, GuestInfo, RebootKind};

/// A guest that still boots does not see its power button: it is pressed again.
const PRESS_AGAIN: Duration = Duration::from_secs(10);
/// How long QEMU may take to flush its disks and end.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn guest_info(driver: &QemuDriver, uuid: Uuid) -> Result<GuestInfo, DriverError> {
    let dir = driver.dir(uuid);
    if dir.content()? != Content::Guest {
        return Err(DriverError::InstanceNotFound(uuid));
    }
    let (power_state, pid) = match Process::find(&dir) {
        None => (PowerState::Shutdown, None),
        Some(process) => match power_state(driver, &dir, &process).await {
            PowerState::Shutdown => (PowerState::Shutdown, None),
            state => (state, Some(process.pid)),
        },
    };
    Ok(GuestInfo { uuid, power_state, pid })
}

pub(super) async fn power_off(driver: &QemuDriver, uuid: Uuid, grace: Duration) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let _operation = driver.locks.operation(uuid).await;
    GuestRecord::read(&dir)?;
    match Process::find(&dir) {
        Some(process) => stop(driver, &dir, &process, grace).await,
        None => Ok(()),
    }
}

pub(super) async fn power_on(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let operation = driver.locks.operation(uuid).await;
    ensure_running(driver, &dir, &operation).await.map(drop)
}

pub(super) async fn reboot(driver: &QemuDriver, uuid: Uuid, kind: RebootKind) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let grace = match kind {
        RebootKind::Soft => driver.config.soft_reboot_grace,
        RebootKind::Hard => {
            // Before its turn: a soft reboot that waits for the guest then has nothing to wait for.
            if let Some(process) = Process::find(&dir) {
                stop(driver, &dir, &process, Duration::ZERO).await?;
            }
            Duration::ZERO
        }
    };
    let operation = driver.locks.operation(uuid).await;
    GuestRecord::read(&dir)?;
    if let Some(process) = Process::find(&dir) {
        stop(driver, &dir, &process, grace).await?;
    }
    ensure_running(driver, &dir, &operation).await.map(drop)
}

/// Gives a guest's QEMU a command that it takes whether the guest is paused or not: `stop`, `cont`, `inject-nmi`.
pub(super) async fn tell_running(driver: &QemuDriver, uuid: Uuid, command: &'static str) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let _operation = driver.locks.operation(uuid).await;
    GuestRecord::read(&dir)?;
    let process = Process::find(&dir).ok_or(DriverError::InstanceNotRunning(uuid))?;
    match exchange(driver, &dir, command).await {
        Ok(_) => Ok(()),
        // It ended meanwhile.
        Err(QmpError::Io(_)) if process.wait(Duration::ZERO).await => Err(DriverError::InstanceNotRunning(uuid)),
        Err(error) => Err(DriverError::Hypervisor(error.to_string())),
    }
}

/// Starts a guest that is off, and one that a killed agent left stopped before its first instruction.
pub(super) async fn ensure_running(
    driver: &QemuDriver,
    dir: &GuestDir,
    operation: &Operation,
) -> Result<GuestRecord, DriverError> {
    let mut record = GuestRecord::read(dir)?;
    if let Some(process) = Process::find(dir) {
        continue_prelaunch(driver, dir, &process).await?;
        return Ok(record);
    }
    suspend::forget(driver, dir, operation, &mut record).await?;
    start(driver, dir, operation, &mut record).await?;
    Ok(record)
}

/// Starts a guest that is off, with the memory that was saved when it was suspended, if it was.
pub(super) async fn start(
    driver: &QemuDriver,
    dir: &GuestDir,
    operation: &Operation,
    record: &mut GuestRecord,
) -> Result<(), DriverError> {
    let before = record.ssh_port;
    launch::start(driver, dir, record).await?;
    if record.ssh_port != before {
        tracing::info!(
            uuid = %record.uuid, before, now = record.ssh_port,
            "the guest's ssh port was taken while it was off; it has another one"
        );
        record.write_in(operation, dir).await?;
    }
    Ok(())
}

/// Lets a guest run whose QEMU was started and not told to go.
pub(super) async fn continue_prelaunch(
    driver: &QemuDriver,
    dir: &GuestDir,
    process: &Process,
) -> Result<(), DriverError> {
    let status = exchange(driver, dir, "query-status").await;
    let is_prelaunch = matches!(status.as_ref().map(status_name), Ok("prelaunch"));
    if !is_prelaunch {
        return Ok(());
    }
    tracing::info!(uuid = %dir.uuid, pid = process.pid, "starting a guest that was left at its first instruction");
    exchange(driver, dir, "cont").await.map(drop).map_err(|error| DriverError::Hypervisor(error.to_string()))
}

/// Shuts a guest down: by its power button while `grace` lasts, then by ending QEMU, then by killing it.
pub(super) async fn stop(
    driver: &QemuDriver,
    dir: &GuestDir,
    process: &Process,
    grace: Duration,
) -> Result<(), DriverError> {
    if press_until_off(driver, dir, process, grace).await {
        return Ok(());
    }
    quit(driver, dir, process).await
}

/// Ends QEMU.
pub(super) async fn quit(driver: &QemuDriver, dir: &GuestDir, process: &Process) -> Result<(), DriverError> {
    // Unlike a kill, this writes out what QEMU holds of the disks.
    if let Err(error) = exchange(driver, dir, "quit").await {
        tracing::debug!(uuid = %dir.uuid, %error, "QEMU did not take quit");
    }
    if process.wait(QUIT_TIMEOUT).await {
        return Ok(());
    }
    tracing::warn!(uuid = %dir.uuid, pid = process.pid, "QEMU does not quit and is killed");
    process.kill().await
}

async fn press_until_off(driver: &QemuDriver, dir: &GuestDir, process: &Process, grace: Duration) -> bool {
    let deadline = Instant::now() + grace;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        if let Err(error) = exchange(driver, dir, "system_powerdown").await {
            tracing::debug!(uuid = %dir.uuid, %error, "the power button could not be pressed");
        }
        if process.wait(left.min(PRESS_AGAIN)).await {
            return true;
        }
    }
}

async fn power_state(driver: &QemuDriver, dir: &GuestDir, process: &Process) -> PowerState {
    match exchange(driver, dir, "query-status").await {
        Ok(status) => state_of(status_name(&status)),
        // It ended between the two looks.
        Err(_) if process.wait(Duration::ZERO).await => PowerState::Shutdown,
        Err(error) => {
            tracing::warn!(uuid = %dir.uuid, pid = process.pid, %error, "QEMU runs and does not say in which state");
            PowerState::NoState
        }
    }
}

/// Gives QEMU a command without arguments.
pub(super) async fn exchange(driver: &QemuDriver, dir: &GuestDir, command: &'static str) -> Result<Value, QmpError> {
    exchange_with(driver, dir, command, json!({})).await
}

/// Gives QEMU a command.
pub(super) async fn exchange_with(
    driver: &QemuDriver,
    dir: &GuestDir,
    command: &'static str,
    arguments: Value,
) -> Result<Value, QmpError> {
    let _monitor = driver.locks.monitor(dir.uuid).await;
    let mut qmp = Qmp::connect(dir, driver.config.limits.qmp_timeout).await?;
    qmp.execute(command, arguments).await
}

fn status_name(status: &Value) -> &str {
    status.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// QEMU's `RunState` as Nova's power state.
fn state_of(status: &str) -> PowerState {
    match status {
        "running" => PowerState::Running,
        "suspended" => PowerState::Suspended,
        "internal-error" | "guest-panicked" => PowerState::Crashed,
        "shutdown" => PowerState::Shutdown,
        // Paused, stopped by an error of a disk, or before its first instruction.
        _ => PowerState::Paused,
    }
}
