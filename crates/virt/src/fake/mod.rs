//! A driver without a hypervisor: guests are records. For tests, and for trying the cloud on any machine.
//!
//! Guests of a real hypervisor outlive the agent. So the records are in a [`FakeHypervisor`], which a test keeps while
//! it makes a new [`FakeDriver`] on it, and which can keep them in a directory, so that they are found again after the
//! process was killed. Images are not looked at.

mod hooks;
mod hypervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_objects::network_model::Vif;
use kilonova_objects::{Instance, NetworkInfo, PowerState};
use uuid::Uuid;

use crate::driver::{
    Capabilities, ConsoleAddress, ConsoleKind, ConsoleLog, DiskImage, Driver, DriverError, GuestInfo, HostResources,
    RebootKind, Snapshot, Spawn,
};
use crate::uptime::host_uptime;
pub use hooks::FakeOperation;
use hooks::Hooks;
pub use hypervisor::{FakeGuest, FakeHypervisor};

/// The driver `fake`. One value for one host.
#[derive(Debug, Default)]
pub struct FakeDriver {
    hypervisor: FakeHypervisor,
    hooks: Hooks,
    /// Keys of the images that a real driver would have in its cache.
    cached_images: Mutex<BTreeSet<String>>,
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

    async fn power_update_event(&self, instance: &Instance, is_on: bool) -> Result<(), DriverError> {
        self.hooks.enter(FakeOperation::PowerUpdateEvent).await?;
        self.hypervisor.change(instance.uuid, if is_on { FakeGuest::start } else { FakeGuest::stop })
    }

    /// Nobody listens there; the addresses are those of Nova's fake driver.
    async fn console(&self, instance: &Instance, kind: ConsoleKind) -> Result<ConsoleAddress, DriverError> {
        self.hooks.enter(FakeOperation::Console).await?;
        let guest = self.hypervisor.guest(instance.uuid);
        let guest = guest.ok_or(DriverError::InstanceNotFound(instance.uuid))?;
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
        traits: vec!["COMPUTE_NODE".to_owned()],
        uptime: host_uptime(),
    }
}

impl FakeGuest {
    fn info(&self) -> GuestInfo {
        GuestInfo {
            uuid: self.uuid,
            power_state: if self.is_running { PowerState::Running } else { PowerState::Shutdown },
            pid: None,
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
