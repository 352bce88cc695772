//! QEMU's jobs: what it does beside the guest and takes long, such as copying a disk.
//!
//! ```text
//!   command with `job-id` ──> created, running … ──> concluded, perhaps with an error ──job-dismiss──> gone
//! ```
//!
//! The monitor is free between two looks, so that others can ask after the guest meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::QemuDriver;
use super::guest_dir::GuestDir;
use super::power::{exchange, exchange_with};
use super::qmp::QmpError;
use crate::driver::DriverError;

/// Between two looks at a job.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a job that was cancelled may take to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a command that starts a job, and waits until that has ended well. `arguments` is an object without `job-id`.
pub(super) async fn run(
    driver: &QemuDriver,
    dir: &GuestDir,
    command: &'static str,
    mut arguments: Value,
    timeout: Duration,
) -> Result<(), DriverError> {
    let id = format!("{command}-{}", Uuid::new_v4().simple());
    arguments["job-id"] = json!(id);
    exchange_with(driver, dir, command, arguments).await.map_err(refused)?;
    let ended = wait(driver, dir, &id, timeout).await;
    if ended.is_err() {
        cancel(driver, dir, &id).await;
    }
    ended
}

/// Ends what a killed agent left.
pub(super) async fn clear(driver: &QemuDriver, dir: &GuestDir) -> Result<(), DriverError> {
    let jobs = exchange(driver, dir, "query-jobs").await.map_err(refused)?;
    for job in jobs.as_array().into_iter().flatten() {
        let id = job["id"].as_str().unwrap_or_default();
        tracing::info!(uuid = %dir.uuid, id, "ending a job that was left");
        cancel(driver, dir, id).await;
    }
    Ok(())
}

async fn wait(driver: &QemuDriver, dir: &GuestDir, id: &str, timeout: Duration) -> Result<(), DriverError> {
    let deadline = Instant::now() + timeout;
    loop {
        let jobs = exchange(driver, dir, "query-jobs").await.map_err(refused)?;
        let job = jobs.as_array().into_iter().flatten().find(|job| job["id"] == id);
        let job = job.ok_or_else(|| DriverError::Hypervisor(format!("QEMU lost the job {id}")))?;
        if job["status"] == "concluded" {
            exchange_with(driver, dir, "job-dismiss", json!({ "id": id })).await.map_err(refused)?;
            return match job["error"].as_str() {
                None => Ok(()),
                Some(error) => Err(DriverError::Hypervisor(format!("QEMU's job {id} failed: {error}"))),
            };
        }
        if Instant::now() >= deadline {
            let seconds = timeout.as_secs();
            return Err(DriverError::Hypervisor(format!("QEMU's job {id} did not end within {seconds} seconds")));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// As far as it goes: a job that has ended cannot be cancelled, and some cannot be at all.
async fn cancel(driver: &QemuDriver, dir: &GuestDir, id: &str) {
    let _ = exchange_with(driver, dir, "job-cancel", json!({ "id": id })).await;
    // Its error is that it was cancelled; one that is dismissed already is lost.
    if let Err(error) = Box::pin(wait(driver, dir, id, CANCEL_TIMEOUT)).await {
        tracing::debug!(uuid = %dir.uuid, %error, "a job was cancelled");
    }
}

pub(super) fn refused(error: QmpError) -> DriverError {
    DriverError::Hypervisor(error.to_string())
}
