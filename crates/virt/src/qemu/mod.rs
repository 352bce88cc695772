//! Guests as QEMU processes, spoken to by QMP.
//!
//! A guest is a directory (see `guest_dir`) and, while it runs, a process that depends on nothing of the agent's. The
//! network is QEMU's user mode, so no privilege is needed. What the agent knows of a guest it reads from the directory
//! and the process each time; only ports and locks are in memory.

mod accelerator;
mod config;
mod config_drive;
mod console;
mod diagnostics;
mod disk;
mod errors;
mod guest_dir;
mod hardware;
mod host;
mod image_cache;
mod image_inspect;
mod jobs;
mod launch;
mod locks;
mod network;
mod ports;
mod power;
mod process;
mod qmp;
mod record;
mod recover;
mod remote_console;
mod rescue;
mod resize;
mod snapshot;
mod spawn;
mod suspend;
mod tools;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use kilonova_objects::{Diagnostics, Flavor, Instance, NetworkInfo};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::console_server::ConsoleServer;
use crate::driver::{
    Capabilities, ConsoleAddress, ConsoleKind, ConsoleLog, DiskImage, Driver, DriverError, FinishMigration, GuestInfo,
    HostResources, RebootKind, Rescue, Snapshot, Spawn,
};
use accelerator::Accelerator;
pub use config::{QemuConfig, QemuLimits, VirtType};
use errors::{blocking, host_error};
use guest_dir::{Content, GuestDir};
use image_cache::ImageCache;
use locks::Locks;
use ports::SshPorts;
use record::GuestRecord;
use tools::Tool;

/// The driver `qemu`.
#[derive(Debug)]
pub struct QemuDriver {
    config: QemuConfig,
    accelerator: Accelerator,
    images: ImageCache,
    locks: Locks,
    ports: SshPorts,
    version: OnceCell<i64>,
    consoles: ConsoleServer,
    /// Held while the driver lives: two agents would clean up each other's unfinished guests.
    _instances_dir_lock: File,
}

impl QemuDriver {
    /// A driver for the guests in `config.instances_dir`, which is made if it is not there. Fails where another agent
    /// has that directory.
    pub fn new(mut config: QemuConfig) -> Result<Self, DriverError> {
        let wanted = config.instances_dir.clone();
        let lock = open_instances_dir(&wanted)?;
        // Processes are recognised by this path, so it must have one spelling.
        config.instances_dir = wanted.canonicalize().map_err(|error| host_error("open", &wanted, &error))?;
        let driver = Self {
            accelerator: Accelerator::detect(config.virt_type)?,
            images: ImageCache::new(&config),
            locks: Locks::default(),
            ports: SshPorts::new(config.ssh_forward_address, config.ssh_forward_ports.clone()),
            version: OnceCell::new(),
            consoles: ConsoleServer::new(config.consoles.clone()),
            _instances_dir_lock: lock,
            config,
        };
        driver.adopt_ports()?;
        Ok(driver)
    }

    fn adopt_ports(&self) -> Result<(), DriverError> {
        for dir in guests(&self.config.instances_dir)? {
            match GuestRecord::read(&dir) {
                Ok(record) => {
                    if let Some(port) = record.ssh_port {
                        self.ports.adopt(record.uuid, port);
                    }
                }
                Err(error) => {
                    tracing::error!(uuid = %dir.uuid, %error, "a guest cannot be started again")
                }
            }
        }
        Ok(())
    }

    fn dir(&self, uuid: Uuid) -> GuestDir {
        GuestDir::new(&self.config.instances_dir, uuid)
    }

    fn emulator(&self) -> Tool<'_> {
        Tool { program: &self.config.qemu_system, package: "qemu-system-x86" }
    }

    async fn guests(&self) -> Result<Vec<GuestDir>, DriverError> {
        let root = self.config.instances_dir.clone();
        blocking(move || guests(&root)).await
    }

    async fn infos(&self) -> Result<Vec<GuestInfo>, DriverError> {
        let dirs = self.guests().await?;
        let infos = dirs.iter().map(|dir| power::guest_info(self, dir.uuid));
        let mut found = Vec::new();
        for info in futures::future::join_all(infos).await {
            match info {
                // Destroyed between the two looks.
                Err(DriverError::InstanceNotFound(_)) => {}
                other => found.push(other?),
            }
        }
        Ok(found)
    }

    /// Bytes by which the disks of all guests may still grow.
    async fn promised_bytes(&self) -> Result<u64, DriverError> {
        let root = self.config.instances_dir.clone();
        blocking(move || {
            let (guests, kept) = (guests(&root)?, kept(&root)?);
            let growths = guests.iter().chain(&kept).map(|dir| {
                let disk = dir.disk();
                host::disk_size(&disk).map_or(0, |size| host::growth(&disk, size))
            });
            Ok(growths.fold(0, u64::saturating_add))
        })
        .await
    }

    /// Bounds the console logs: QEMU only ever appends.
    async fn trim_console_logs(&self) -> Result<(), DriverError> {
        let dirs = self.guests().await?;
        let max_bytes = self.config.limits.console_log_max_bytes;
        blocking(move || {
            for dir in dirs {
                if let Err(error) = console::trim(&dir.console_log(), max_bytes) {
                    tracing::warn!(uuid = %dir.uuid, %error, "a console log could not be cut");
                }
            }
            Ok(())
        })
        .await
    }
}

/// Makes and locks the directory of all guests.
fn open_instances_dir(path: &Path) -> Result<File, DriverError> {
    let failed = |error| host_error("open", path, &error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let dir = File::open(path).map_err(failed)?;
    flock(&dir, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        DriverError::Host(format!(
            "another kilonova runs guests in {}: stop it, or give this one another [DEFAULT] instances_path",
            path.display()
        ))
    })?;
    Ok(dir)
}

/// The complete guests.
fn guests(root: &Path) -> Result<Vec<GuestDir>, DriverError> {
    complete(root, |name| Some(GuestDir::new(root, recover::uuid_of(name)?)))
}

/// What complete guests were, that wait for the confirmation of a resize.
fn kept(root: &Path) -> Result<Vec<GuestDir>, DriverError> {
    complete(root, |name| Some(GuestDir::new(root, guest_dir::kept_uuid_of(name)?).kept()))
}

fn complete(root: &Path, dir_of: impl Fn(&OsStr) -> Option<GuestDir>) -> Result<Vec<GuestDir>, DriverError> {
    let failed = |error| host_error("list", root, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(dir) = dir_of(&name)
            && dir.content()? == Content::Guest
        {
            found.push(dir);
        }
    }
    Ok(found)
}

#[async_trait]
impl Driver for QemuDriver {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { guests_outlive_agent: true, has_console_log: true, ..Capabilities::default() }
    }

    // The user-mode network has no metadata service.
    fn requires_config_drive(&self) -> bool {
        true
    }

    async fn recover(&self) -> Result<Vec<GuestInfo>, DriverError> {
        recover::recover(self).await
    }

    async fn host_resources(&self) -> Result<HostResources, DriverError> {
        // Asked for once a minute, which is what the logs need.
        self.trim_console_logs().await?;
        host::resources(self).await
    }

    async fn list_guests(&self) -> Result<Vec<GuestInfo>, DriverError> {
        self.infos().await
    }

    async fn guest_info(&self, uuid: Uuid) -> Result<GuestInfo, DriverError> {
        power::guest_info(self, uuid).await
    }

    async fn guest_metadata(&self, uuid: Uuid) -> Result<BTreeMap<String, String>, DriverError> {
        let record = GuestRecord::read(&self.dir(uuid))?;
        Ok(spawn::metadata(self, &record))
    }

    async fn spawn(&self, spawn: Spawn<'_>) -> Result<BTreeMap<String, String>, DriverError> {
        spawn::spawn(self, spawn).await
    }

    async fn snapshot(&self, uuid: Uuid) -> Result<Snapshot, DriverError> {
        snapshot::snapshot(self, uuid).await
    }

    async fn destroy(&self, uuid: Uuid) -> Result<(), DriverError> {
        spawn::destroy(self, uuid).await
    }

    async fn power_off(&self, uuid: Uuid, grace: Duration) -> Result<(), DriverError> {
        power::power_off(self, uuid, grace).await
    }

    async fn power_on(&self, instance: &Instance, _network_info: &NetworkInfo) -> Result<(), DriverError> {
        power::power_on(self, instance.uuid).await
    }

    async fn reboot(
        &self,
        instance: &Instance,
        _network_info: &NetworkInfo,
        kind: RebootKind,
    ) -> Result<(), DriverError> {
        power::reboot(self, instance.uuid, kind).await
    }

    async fn cache_image(&self, image: &DiskImage) -> Result<bool, DriverError> {
        let is_there = self.images.contains(image)?;
        self.images.fetch(&self.config, image, 0).await?;
        Ok(!is_there)
    }

    async fn console_log(&self, uuid: Uuid, max_bytes: u64) -> Result<ConsoleLog, DriverError> {
        let dir = self.dir(uuid);
        let found = blocking(move || match dir.content()? {
            Content::Guest => console::tail(&dir.console_log(), max_bytes),
            _ => Err(DriverError::InstanceNotFound(dir.uuid)),
        });
        found.await.map(ConsoleLog)
    }

    async fn console(&self, instance: &Instance, kind: ConsoleKind) -> Result<ConsoleAddress, DriverError> {
        remote_console::address(self, instance.uuid, kind).await
    }

    async fn pause(&self, uuid: Uuid) -> Result<(), DriverError> {
        power::tell_running(self, uuid, "stop").await
    }

    async fn unpause(&self, uuid: Uuid) -> Result<(), DriverError> {
        power::tell_running(self, uuid, "cont").await
    }

    async fn suspend(&self, uuid: Uuid) -> Result<(), DriverError> {
        suspend::suspend(self, uuid).await
    }

    async fn resume(&self, instance: &Instance, _network_info: &NetworkInfo) -> Result<(), DriverError> {
        suspend::resume(self, instance.uuid).await
    }

    async fn rescue(&self, rescue: Rescue<'_>) -> Result<(), DriverError> {
        rescue::rescue(self, rescue).await
    }

    async fn unrescue(&self, instance: &Instance, _network_info: &NetworkInfo) -> Result<(), DriverError> {
        rescue::unrescue(self, instance.uuid).await
    }

    async fn migrate_disk_and_power_off(
        &self,
        instance: &Instance,
        _dest: &str,
        flavor: &Flavor,
        grace: Duration,
    ) -> Result<String, DriverError> {
        resize::give_away(self, instance, flavor, grace).await
    }

    async fn finish_migration(&self, finish: FinishMigration<'_>) -> Result<(), DriverError> {
        resize::finish(self, finish).await
    }

    async fn confirm_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        resize::confirm(self, uuid).await
    }

    async fn revert_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        resize::revert(self, uuid).await
    }

    async fn finish_revert_migration(
        &self,
        instance: &Instance,
        _network_info: &NetworkInfo,
        power_on: bool,
    ) -> Result<(), DriverError> {
        resize::take_back(self, instance.uuid, power_on).await
    }

    async fn list_kept(&self) -> Result<Vec<Uuid>, DriverError> {
        let root = self.config.instances_dir.clone();
        blocking(move || Ok(kept(&root)?.iter().map(|dir| dir.uuid).collect())).await
    }

    async fn trigger_crash_dump(&self, uuid: Uuid) -> Result<(), DriverError> {
        power::tell_running(self, uuid, "inject-nmi").await
    }

    async fn diagnostics(&self, instance: &Instance) -> Result<Diagnostics, DriverError> {
        diagnostics::of(self, instance.uuid).await
    }
}
