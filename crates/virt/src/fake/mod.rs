//! A driver without a hypervisor: guests are records. For tests, and for trying the cloud on any machine.
//!
//! Guests of a real hypervisor outlive the agent. So the records are in a [`FakeHypervisor`], which a test keeps while
//! it makes a new [`FakeDriver`] on it, and which can keep them in a directory, so that they are found again after the
//! process was killed. Images are not looked at.

mod hooks;
mod hypervisor;
mod moves;
mod screen;
mod spice;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_objects::network_model::Vif;
use kilonova_objects::{
    CpuDiagnostics, Diagnostics, DiskDiagnostics, Flavor, Instance, LiveMigrateData, MemoryDiagnostics, NetworkInfo,
    NicDiagnostics, PowerState,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::console_server::{Connect, ConsoleServer, ConsoleServerConfig, Stream};
use crate::driver::{
    Capabilities, ConsoleAddress, ConsoleKind, ConsoleLog, DiskImage, Driver, DriverError, FinishMigration, GuestInfo,
    HostResources, LiveMigration, RebootKind, Rescue, RescueDevice, Snapshot, Spawn,
};
use crate::uptime::host_uptime;
pub use hooks::FakeOperation;
use hooks::Hooks;
pub use hypervisor::{FakeGuest, FakeHypervisor, FakeRescue};
use moves::LiveMigrations;
use spice::SpiceServer;

/// As QEMU's.
const BUSES: [&str; 6] = ["virtio", "ide", "scsi", "usb", "fdc", "sata"];
/// The driver `fake`. One value for one host.
#[derive(Debug, Default)]
pub struct FakeDriver {
    hypervisor: FakeHypervisor,
    hooks: Hooks,
    /// Keys of the images that a real driver would have in its cache.
    cached_images: Mutex<BTreeSet<String>>,
    live_migrations: LiveMigrations,
    /// Guests have consoles that one can connect to.
    consoles: Option<(ConsoleServerConfig, ConsoleServer)>,
    spice: SpiceServer,
}

impl FakeDriver {
    /// A driver on an empty hypervisor in memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// A driver on a hypervisor that outlives it.
    pub fn with_hypervisor(hypervisor: FakeHypervisor) -> Self {
        Self { hypervisor, ..Self::default() }
    }

    /// A driver on a hypervisor of its own, whose guests are kept in `dir` if one is given.
    pub fn open(dir: Option<PathBuf>) -> Result<Self, DriverError> {
        Ok(Self::with_hypervisor(FakeHypervisor::open(dir)?))
    }

    /// With consoles that one can connect to; else they have the addresses of Nova's fake driver, where nobody listens.
    pub fn with_consoles(self, config: ConsoleServerConfig) -> Self {
        Self { consoles: Some((config.clone(), ConsoleServer::new(config))), ..self }
    }

    /// What the guests are kept in.
    pub fn hypervisor(&self) -> &FakeHypervisor {
        &self.hypervisor
    }

    /// Lets the next call of `operation` fail without an effect; several failures queue up.
    pub fn fail_next(&self, operation: FakeOperation, error: DriverError) {
        self.hooks.fail_next(operation, error);
    }

    /// Lets every call of `operation` take that long from now on, before it does anything.
    pub fn delay(&self, operation: FakeOperation, delay: Duration) {
        self.hooks.delay(operation, delay);
    }
}

/// To the screen of a guest, or to its serial port.
fn connect(guest: FakeGuest, kind: ConsoleKind) -> Connect {
    const BUFFER: usize = 64 * 1024;
    Box::new(move || {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        tokio::spawn(async move {
            let served = match kind {
                ConsoleKind::Serial => screen::serial(theirs, guest.console).await,
                _ => screen::vnc(theirs, guest.name).await,
            };
            tracing::debug!(uuid = %guest.uuid, ?served, "a client of a fake console has gone");
        });
        Box::pin(std::future::ready(Ok(Box::new(ours) as Box<dyn Stream>)))
    })
}

#[async_trait]
impl Driver for FakeDriver {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            guests_outlive_agent: true,
            has_console_log: true,
            supports_attach_interface: true,
            supports_tagged_attach_interface: true,
            supports_tagged_attach_volume: true,
            supports_multiattach: true,
            supports_evacuate: true,
            supports_migrate_to_same_host: true,
            supports_migrate_to_other_host: true,
            supports_trusted_certs: true,
        }
    }

    fn requires_config_drive(&self) -> bool {
        false
    }

    async fn recover(&self) -> Result<Vec<GuestInfo>, DriverError> {
        self.hooks.enter(FakeOperation::Recover).await?;
        Ok(self.hypervisor.list())
    }

    async fn host_resources(&self) -> Result<HostResources, DriverError> {
        self.hooks.enter(FakeOperation::HostResources).await?;
        Ok(host_resources())
    }

    async fn list_guests(&self) -> Result<Vec<GuestInfo>, DriverError> {
        self.hooks.enter(FakeOperation::ListGuests).await?;
        Ok(self.hypervisor.list())
    }

    async fn guest_info(&self, uuid: Uuid) -> Result<GuestInfo, DriverError> {
        self.hooks.enter(FakeOperation::GuestInfo).await?;
        let guest = self.hypervisor.guest(uuid);
        Ok(guest.ok_or(DriverError::InstanceNotFound(uuid))?.info())
    }

    async fn spawn(&self, spawn: Spawn<'_>) -> Result<BTreeMap<String, String>, DriverError> {
        self.hooks.enter(FakeOperation::Spawn).await?;
        self.hypervisor.spawn(FakeGuest::new(&spawn))?;
        Ok(BTreeMap::new())
    }

    async fn snapshot(&self, uuid: Uuid) -> Result<Snapshot, DriverError> {
        self.hooks.enter(FakeOperation::Snapshot).await?;
        Ok(Snapshot { file: self.hypervisor.snapshot(uuid)?, disk_format: "raw".to_owned() })
    }

    async fn destroy(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Destroy).await?;
        self.hypervisor.destroy(uuid)
    }

    async fn power_off(&self, uuid: Uuid, _grace: Duration) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::PowerOff).await?;
        self.hypervisor.change(uuid, FakeGuest::stop)
    }

    async fn power_on(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::PowerOn).await?;
        self.hypervisor.change(instance.uuid, |guest| {
            guest.plug(network_info);
            guest.start();
        })
    }

    async fn reboot(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
        kind: RebootKind,
    ) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Reboot).await?;
        self.hypervisor.change(instance.uuid, |guest| {
            guest.stop();
            if kind == RebootKind::Hard {
                guest.plug(network_info);
            }
            guest.start();
        })
    }

    async fn host_power_action(&self, action: &str) -> Result<String, DriverError> {
        Ok(action.to_owned())
    }

    async fn host_maintenance_mode(&self, mode: bool) -> Result<String, DriverError> {
        Ok(if mode { "on_maintenance" } else { "off_maintenance" }.to_owned())
    }

    async fn cache_image(&self, image: &DiskImage) -> Result<bool, DriverError> {
        self.hooks.enter(FakeOperation::CacheImage).await?;
        let mut cached = self.cached_images.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cached.insert(image.cache_key.clone()))
    }

    async fn console_log(&self, uuid: Uuid, max_bytes: u64) -> Result<ConsoleLog, DriverError> {
        self.hooks.enter(FakeOperation::ConsoleLog).await?;
        let guest = self.hypervisor.guest(uuid);
        let log = guest.ok_or(DriverError::InstanceNotFound(uuid))?.console.into_bytes();
        let kept = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(log.len());
        Ok(ConsoleLog(log[log.len() - kept..].to_vec()))
    }

    async fn attach_interface(&self, instance: &Instance, vif: &Vif) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::AttachInterface).await?;
        self.hypervisor.change(instance.uuid, |guest| {
            guest.interfaces.insert(vif.id);
        })
    }

    async fn detach_interface(&self, instance: &Instance, vif: &Vif) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::DetachInterface).await?;
        self.hypervisor.change(instance.uuid, |guest| {
            guest.interfaces.remove(&vif.id);
        })
    }

    fn volume_connector(&self, _instance: &Instance, host: &str, ip: &str) -> Result<Value, DriverError> {
        Ok(json!({"ip": ip, "initiator": "fake", "host": host}))
    }

    async fn attach_volume(
        &self,
        instance: &Instance,
        connection_info: &Value,
        mountpoint: &str,
    ) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::AttachVolume).await?;
        let (mountpoint, serial) = (mountpoint.to_owned(), serial(connection_info));
        self.hypervisor.change(instance.uuid, |guest| {
            guest.volumes.insert(mountpoint, serial);
        })
    }

    async fn detach_volume(
        &self,
        instance: &Instance,
        _connection_info: &Value,
        mountpoint: &str,
    ) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::DetachVolume).await?;
        self.hypervisor.change(instance.uuid, |guest| {
            guest.volumes.remove(mountpoint);
        })
    }

    async fn swap_volume(
        &self,
        instance: &Instance,
        _old_connection_info: &Value,
        new_connection_info: &Value,
        mountpoint: &str,
        _resize_to_gb: Option<i64>,
    ) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::SwapVolume).await?;
        let (mountpoint, serial) = (mountpoint.to_owned(), serial(new_connection_info));
        self.hypervisor.change(instance.uuid, |guest| {
            guest.volumes.insert(mountpoint, serial);
        })
    }

    async fn power_update_event(&self, instance: &Instance, is_on: bool) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::PowerUpdateEvent).await?;
        self.hypervisor.change(instance.uuid, if is_on { FakeGuest::start } else { FakeGuest::stop })
    }

    async fn console(&self, instance: &Instance, kind: ConsoleKind) -> Result<ConsoleAddress, DriverError> {
        self.hooks.enter(FakeOperation::Console).await?;
        let guest = self.hypervisor.guest(instance.uuid);
        let guest = guest.ok_or(DriverError::InstanceNotFound(instance.uuid))?;
        match (&self.consoles, kind) {
            (Some((_, consoles)), ConsoleKind::Vnc | ConsoleKind::Serial) => {
                return consoles.permit(connect(guest, kind)).await;
            }
            (Some((config, _)), ConsoleKind::Spice) => {
                let port = self.spice.port(config.listen).await?;
                let host = config.proxyclient_address.clone();
                return Ok(ConsoleAddress { host, port, ..ConsoleAddress::default() });
            }
            _ => {}
        }
        let host = match kind {
            ConsoleKind::Vnc => "fakevncconsole.com",
            ConsoleKind::Spice => "fakespiceconsole.com",
            ConsoleKind::Serial => "fakerdpconsole.com",
            ConsoleKind::Mks => "fakemksconsole.com",
        };
        Ok(ConsoleAddress {
            host: host.to_owned(),
            port: 6969,
            tls_port: (kind == ConsoleKind::Spice).then_some(6970),
            internal_access_path: Some(guest.uuid.to_string()),
        })
    }

    async fn pause(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Pause).await?;
        self.hypervisor.try_change(uuid, |guest| running(guest).map(|guest| guest.is_paused = true))
    }

    async fn unpause(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Unpause).await?;
        self.hypervisor.try_change(uuid, |guest| running(guest).map(|guest| guest.is_paused = false))
    }

    async fn suspend(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Suspend).await?;
        self.hypervisor.try_change(uuid, |guest| running_or_suspended(guest).map(FakeGuest::suspend))
    }

    async fn resume(&self, instance: &Instance, _network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Resume).await?;
        self.hypervisor.try_change(instance.uuid, |guest| running_or_suspended(guest).map(FakeGuest::resume))
    }

    async fn rescue(&self, rescue: Rescue<'_>) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Rescue).await?;
        let device = RescueDevice::of(&rescue.image_properties, self.name(), &BUSES)?;
        let with = FakeRescue { image_id: rescue.image.image_id, device };
        self.hypervisor.change(rescue.instance.uuid, |guest| {
            guest.boot_from(Some(with));
            guest.admin_password = rescue.admin_password.map(str::to_owned);
        })
    }

    async fn unrescue(&self, instance: &Instance, _network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::Unrescue).await?;
        self.hypervisor.change(instance.uuid, |guest| {
            if guest.rescue.is_some() {
                guest.boot_from(None);
            } else {
                guest.start();
            }
        })
    }

    async fn set_admin_password(&self, instance: &Instance, password: &str) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::SetAdminPassword).await?;
        let password = Some(password.to_owned());
        self.hypervisor.try_change(instance.uuid, |guest| running(guest).map(|guest| guest.admin_password = password))
    }

    async fn trigger_crash_dump(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::TriggerCrashDump).await?;
        self.hypervisor.try_change(uuid, |guest| running(guest).map(|guest| guest.crash_dumps += 1))
    }

    async fn inject_network_info(&self, instance: &Instance, _network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::InjectNetworkInfo).await?;
        self.hypervisor.change(instance.uuid, |guest| guest.network_injections += 1)
    }

    async fn diagnostics(&self, instance: &Instance) -> Result<Diagnostics, DriverError> {
        self.hooks.enter(FakeOperation::Diagnostics).await?;
        let mut guest = self.hypervisor.guest(instance.uuid).ok_or(DriverError::InstanceNotFound(instance.uuid))?;
        running(&mut guest)?;
        Ok(diagnostics(&guest, instance))
    }

    async fn migrate_disk_and_power_off(
        &self,
        instance: &Instance,
        _dest: &str,
        _flavor: &Flavor,
        _grace: Duration,
    ) -> Result<String, DriverError> {
        self.hooks.enter(FakeOperation::MigrateDisk).await?;
        moves::to_text(&self.hypervisor.keep(instance.uuid)?)
    }

    async fn finish_migration(&self, finish: FinishMigration<'_>) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::FinishMigration).await?;
        self.hypervisor.adopt(moves::from_text(finish.disk_info)?, finish.power_on)
    }

    async fn confirm_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::ConfirmMigration).await?;
        self.hypervisor.forget_kept(uuid)
    }

    async fn revert_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::RevertMigration).await?;
        self.hypervisor.remove_guest(uuid)
    }

    async fn finish_revert_migration(
        &self,
        instance: &Instance,
        _network_info: &NetworkInfo,
        power_on: bool,
    ) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::FinishRevertMigration).await?;
        let uuid = instance.uuid;
        match self.hypervisor.kept(uuid) {
            Some(kept) => self.hypervisor.adopt(kept, power_on)?,
            None if self.hypervisor.guest(uuid).is_none() => return Err(DriverError::InstanceNotFound(uuid)),
            None => {}
        }
        self.hypervisor.forget_kept(uuid)
    }

    async fn list_kept(&self) -> Result<Vec<Uuid>, DriverError> {
        Ok(self.hypervisor.list_kept())
    }

    async fn check_can_live_migrate_destination(
        &self,
        _instance: &Instance,
        block_migration: Option<bool>,
        disk_over_commit: Option<bool>,
    ) -> Result<LiveMigrateData, DriverError> {
        self.hooks.enter(FakeOperation::CheckDestination).await?;
        Ok(LiveMigrateData {
            block_migration: block_migration.unwrap_or(true),
            disk_over_commit: disk_over_commit.unwrap_or(false),
            ..LiveMigrateData::default()
        })
    }

    /// The disks of fake guests are shared by no two hosts.
    async fn check_can_live_migrate_source(
        &self,
        instance: &Instance,
        data: LiveMigrateData,
    ) -> Result<LiveMigrateData, DriverError> {
        self.hooks.enter(FakeOperation::CheckSource).await?;
        if self.hypervisor.guest(instance.uuid).is_none() {
            return Err(DriverError::InstanceNotFound(instance.uuid));
        }
        Ok(LiveMigrateData { block_migration: true, ..data })
    }

    async fn instance_disk_info(&self, uuid: Uuid) -> Result<String, DriverError> {
        moves::to_text(&self.hypervisor.guest(uuid).ok_or(DriverError::InstanceNotFound(uuid))?)
    }

    async fn pre_live_migration(
        &self,
        _instance: &Instance,
        _network_info: &NetworkInfo,
        disk_info: Option<&str>,
        data: LiveMigrateData,
    ) -> Result<LiveMigrateData, DriverError> {
        self.hooks.enter(FakeOperation::PreLiveMigration).await?;
        self.hypervisor.expect(moves::from_text(disk_info.unwrap_or_default())?);
        Ok(data)
    }

    async fn live_migration(
        &self,
        instance: &Instance,
        _dest: &str,
        _data: &LiveMigrateData,
    ) -> Result<LiveMigration, DriverError> {
        self.live_migrations.run(instance.uuid, self.hooks.enter(FakeOperation::LiveMigration)).await
    }

    async fn live_migration_abort(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.live_migrations.end(uuid, moves::End::Abort)
    }

    async fn live_migration_force_complete(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.live_migrations.end(uuid, moves::End::ForceComplete)
    }

    async fn post_live_migration_at_destination(
        &self,
        instance: &Instance,
        _network_info: &NetworkInfo,
    ) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::PostLiveMigration).await?;
        match self.hypervisor.expect_no_more(instance.uuid) {
            // It has run all the time: no boot.
            Some(guest) => self.hypervisor.adopt(guest, false),
            None if self.hypervisor.guest(instance.uuid).is_some() => Ok(()),
            None => Err(DriverError::InstanceNotFound(instance.uuid)),
        }
    }

    async fn rollback_live_migration_at_destination(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.hypervisor.expect_no_more(uuid);
        Ok(())
    }
}

/// What a guest would see as the serial number of the disk.
fn serial(connection_info: &Value) -> String {
    connection_info["serial"].as_str().unwrap_or_default().to_owned()
}

fn running(guest: &mut FakeGuest) -> Result<&mut FakeGuest, DriverError> {
    if guest.is_running { Ok(guest) } else { Err(DriverError::InstanceNotRunning(guest.uuid)) }
}

fn running_or_suspended(guest: &mut FakeGuest) -> Result<&mut FakeGuest, DriverError> {
    if guest.is_suspended { Ok(guest) } else { running(guest) }
}

/// What is counted of a guest that never does anything.
fn diagnostics(guest: &FakeGuest, instance: &Instance) -> Diagnostics {
    let none = Some(0);
    let vcpus = instance.flavor.as_ref().map(|flavor| flavor.vcpus).or(instance.vcpus);
    let cpu = |id| CpuDiagnostics { id: Some(id), time: none, utilisation: none, ..Default::default() };
    let network_info = instance.network_info();
    let nics = network_info.0.iter().map(|vif| NicDiagnostics {
        mac_address: Some(vif.address.clone()),
        rx_octets: none,
        rx_errors: none,
        rx_drop: none,
        rx_packets: none,
        rx_rate: none,
        tx_octets: none,
        tx_errors: none,
        tx_drop: none,
        tx_packets: none,
        tx_rate: none,
        ..Default::default()
    });
    let disk = DiskDiagnostics {
        read_bytes: none,
        read_requests: none,
        write_bytes: none,
        write_requests: none,
        errors_count: none,
        ..Default::default()
    };
    let memory_mb = instance.flavor.as_ref().map(|flavor| flavor.memory_mb).or(instance.memory_mb);
    Diagnostics {
        uptime: Some(i64::try_from(guest.uptime_s()).unwrap_or(i64::MAX)),
        config_drive: guest.has_config_drive,
        memory_details: MemoryDiagnostics { maximum: memory_mb, used: none, ..Default::default() },
        ..Diagnostics::new(guest.power_state(), "fake").with_devices(
            (0..vcpus.unwrap_or_default()).map(cpu).collect(),
            nics.collect(),
            vec![disk],
        )
    }
}

/// A host on which thousands of small servers fit.
fn host_resources() -> HostResources {
    HostResources {
        vcpus: 4_000,
        memory_mb: 8_000_000,
        local_gb: 600_000,
        disk_available_least: 600_000,
        hypervisor_type: "fake".to_owned(),
        hypervisor_version: 1_000_000,
        cpu_info: r#"{"arch": "x86_64", "model": "fake", "vendor": "fake", "features": [], "topology": {"cells": 1, "sockets": 1, "cores": 4000, "threads": 1}}"#.to_owned(),
        supported_instances: vec![("x86_64".to_owned(), "fake".to_owned(), "hvm".to_owned())],
        traits: vec!["COMPUTE_NODE".to_owned(), "COMPUTE_RESCUE_BFV".to_owned()],
        uptime: host_uptime(),
    }
}

impl FakeGuest {
    fn info(&self) -> GuestInfo {
        GuestInfo { uuid: self.uuid, power_state: self.power_state(), pid: None }
    }

    fn power_state(&self) -> PowerState {
        match (self.is_running, self.is_paused, self.is_suspended) {
            (true, true, _) => PowerState::Paused,
            (true, false, _) => PowerState::Running,
            (false, _, true) => PowerState::Suspended,
            (false, _, false) => PowerState::Shutdown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_injected_failure_hits_one_call_and_leaves_nothing() {
        let driver = FakeDriver::new();
        driver.fail_next(FakeOperation::Spawn, DriverError::Host("out of paper".to_owned()));
        let instance = Instance::default();
        let network_info = NetworkInfo::default();
        let request = || Spawn {
            instance: &instance,
            image: None,
            image_properties: BTreeMap::new(),
            network_info: &network_info,
            injected: Default::default(),
            has_config_drive: false,
        };
        let error = driver.spawn(request()).await.unwrap_err();
        assert_eq!(error.to_string(), "out of paper");
        assert_eq!(driver.list_guests().await.unwrap(), []);
        driver.spawn(request()).await.unwrap();
        assert_eq!(driver.guest_info(instance.uuid).await.unwrap().power_state, PowerState::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_holds_up_its_operation_only() {
        let driver = FakeDriver::new();
        driver.delay(FakeOperation::ListGuests, Duration::from_secs(5));
        let start = tokio::time::Instant::now();
        driver.host_resources().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        driver.list_guests().await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn guests_kept_in_a_directory_are_found_by_a_new_hypervisor_and_torn_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::default();
        let network_info = NetworkInfo::default();
        let driver = FakeDriver::open(Some(dir.path().to_owned())).unwrap();
        let spawn = Spawn {
            instance: &instance,
            image: None,
            image_properties: BTreeMap::new(),
            network_info: &network_info,
            injected: Default::default(),
            has_config_drive: false,
        };
        driver.spawn(spawn).await.unwrap();
        driver.power_off(instance.uuid, Duration::ZERO).await.unwrap();
        std::fs::write(dir.path().join(format!("{}.tmp", Uuid::new_v4())), "{").unwrap();

        let again = FakeDriver::open(Some(dir.path().to_owned())).unwrap();
        let found = again.recover().await.unwrap();
        assert_eq!(found, driver.list_guests().await.unwrap());
        assert_eq!(found[0].power_state, PowerState::Shutdown);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

        again.destroy(instance.uuid).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
