//! The fake driver with what it lacks: metadata of guests, and a gate that holds spawns up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_objects::network_model::Vif;
use kilonova_objects::{Diagnostics, Flavor, Instance, LiveMigrateData, NetworkInfo};
use kilonova_virt::fake::FakeDriver;
use kilonova_virt::{
    Capabilities, ConsoleAddress, ConsoleKind, ConsoleLog, DiskImage, Driver, DriverError, FinishMigration, GuestInfo,
    HostResources, Injected, LiveMigration, RebootKind, Rescue, Snapshot, Spawn,
};
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub struct TestDriver {
    pub fake: FakeDriver,
    /// What is said of every guest.
    pub metadata: Mutex<BTreeMap<String, String>>,
    /// Spawns take a permit to get through; plenty from the start.
    pub gate: Semaphore,
    pub at_gate: AtomicUsize,
    pub most_at_gate: AtomicUsize,
    /// What the last spawn was given.
    pub injected: Mutex<Option<Injected>>,
    pub reboots: Mutex<Vec<RebootKind>>,
    pub graces: Mutex<Vec<Duration>>,
    /// Nobody looks at signatures.
    pub has_no_certificates: AtomicBool,
}

impl TestDriver {
    pub fn new(fake: FakeDriver) -> Self {
        Self {
            fake,
            metadata: Mutex::default(),
            gate: Semaphore::new(1000),
            at_gate: AtomicUsize::new(0),
            most_at_gate: AtomicUsize::new(0),
            injected: Mutex::default(),
            reboots: Mutex::default(),
            graces: Mutex::default(),
            has_no_certificates: AtomicBool::new(false),
        }
    }

    /// Spawns wait from now on, until `open_gate`.
    pub fn close_gate(&self) {
        self.gate.forget_permits(1000);
    }

    pub fn open_gate(&self) {
        self.gate.add_permits(1000);
    }
}

#[async_trait]
impl Driver for TestDriver {
    fn name(&self) -> &'static str {
        self.fake.name()
    }

    fn capabilities(&self) -> Capabilities {
        let lacks = self.has_no_certificates.load(Ordering::SeqCst);
        let all = self.fake.capabilities();
        Capabilities { supports_trusted_certs: all.supports_trusted_certs && !lacks, ..all }
    }

    fn requires_config_drive(&self) -> bool {
        self.fake.requires_config_drive()
    }

    async fn recover(&self) -> Result<Vec<GuestInfo>, DriverError> {
        self.fake.recover().await
    }

    async fn host_resources(&self) -> Result<HostResources, DriverError> {
        self.fake.host_resources().await
    }

    async fn list_guests(&self) -> Result<Vec<GuestInfo>, DriverError> {
        self.fake.list_guests().await
    }

    async fn guest_info(&self, uuid: Uuid) -> Result<GuestInfo, DriverError> {
        self.fake.guest_info(uuid).await
    }

    async fn guest_metadata(&self, _uuid: Uuid) -> Result<BTreeMap<String, String>, DriverError> {
        Ok(self.metadata.lock().unwrap().clone())
    }

    async fn spawn(&self, spawn: Spawn<'_>) -> Result<BTreeMap<String, String>, DriverError> {
        let now = self.at_gate.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_gate.fetch_max(now, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.at_gate.fetch_sub(1, Ordering::SeqCst);
        *self.injected.lock().unwrap() = Some(spawn.injected.clone());
        self.fake.spawn(spawn).await?;
        Ok(self.metadata.lock().unwrap().clone())
    }

    async fn snapshot(&self, uuid: Uuid) -> Result<Snapshot, DriverError> {
        self.fake.snapshot(uuid).await
    }

    async fn destroy(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.destroy(uuid).await
    }

    async fn power_off(&self, uuid: Uuid, grace: Duration) -> Result<(), DriverError> {
        self.graces.lock().unwrap().push(grace);
        self.fake.power_off(uuid, grace).await
    }

    async fn power_on(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.fake.power_on(instance, network_info).await
    }

    async fn reboot(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
        kind: RebootKind,
    ) -> Result<(), DriverError> {
        self.reboots.lock().unwrap().push(kind);
        self.fake.reboot(instance, network_info, kind).await
    }

    async fn host_power_action(&self, action: &str) -> Result<String, DriverError> {
        self.fake.host_power_action(action).await
    }

    async fn host_maintenance_mode(&self, mode: bool) -> Result<String, DriverError> {
        self.fake.host_maintenance_mode(mode).await
    }

    async fn cache_image(&self, image: &DiskImage) -> Result<bool, DriverError> {
        self.fake.cache_image(image).await
    }

    async fn console_log(&self, uuid: Uuid, max_bytes: u64) -> Result<ConsoleLog, DriverError> {
        self.fake.console_log(uuid, max_bytes).await
    }

    async fn attach_interface(&self, instance: &Instance, vif: &Vif) -> Result<(), DriverError> {
        self.fake.attach_interface(instance, vif).await
    }

    async fn detach_interface(&self, instance: &Instance, vif: &Vif) -> Result<(), DriverError> {
        self.fake.detach_interface(instance, vif).await
    }

    fn volume_connector(&self, instance: &Instance, host: &str, ip: &str) -> Result<Value, DriverError> {
        self.fake.volume_connector(instance, host, ip)
    }

    async fn attach_volume(&self, instance: &Instance, info: &Value, mountpoint: &str) -> Result<(), DriverError> {
        self.fake.attach_volume(instance, info, mountpoint).await
    }

    async fn detach_volume(&self, instance: &Instance, info: &Value, mountpoint: &str) -> Result<(), DriverError> {
        self.fake.detach_volume(instance, info, mountpoint).await
    }

    async fn swap_volume(
        &self,
        instance: &Instance,
        old: &Value,
        new: &Value,
        mountpoint: &str,
        resize_to_gb: Option<i64>,
    ) -> Result<(), DriverError> {
        self.fake.swap_volume(instance, old, new, mountpoint, resize_to_gb).await
    }

    async fn power_update_event(&self, instance: &Instance, is_on: bool) -> Result<(), DriverError> {
        self.fake.power_update_event(instance, is_on).await
    }

    async fn console(&self, instance: &Instance, kind: ConsoleKind) -> Result<ConsoleAddress, DriverError> {
        self.fake.console(instance, kind).await
    }

    async fn pause(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.pause(uuid).await
    }

    async fn unpause(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.unpause(uuid).await
    }

    async fn suspend(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.suspend(uuid).await
    }

    async fn resume(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.fake.resume(instance, network_info).await
    }

    async fn rescue(&self, rescue: Rescue<'_>) -> Result<(), DriverError> {
        self.graces.lock().unwrap().push(rescue.grace);
        self.fake.rescue(rescue).await
    }

    async fn unrescue(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.fake.unrescue(instance, network_info).await
    }

    async fn set_admin_password(&self, instance: &Instance, password: &str) -> Result<(), DriverError> {
        self.fake.set_admin_password(instance, password).await
    }

    async fn trigger_crash_dump(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.trigger_crash_dump(uuid).await
    }

    async fn inject_network_info(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        self.fake.inject_network_info(instance, network_info).await
    }

    async fn diagnostics(&self, instance: &Instance) -> Result<Diagnostics, DriverError> {
        self.fake.diagnostics(instance).await
    }

    async fn migrate_disk_and_power_off(
        &self,
        instance: &Instance,
        dest: &str,
        flavor: &Flavor,
        grace: Duration,
    ) -> Result<String, DriverError> {
        self.graces.lock().unwrap().push(grace);
        self.fake.migrate_disk_and_power_off(instance, dest, flavor, grace).await
    }

    async fn finish_migration(&self, finish: FinishMigration<'_>) -> Result<(), DriverError> {
        self.fake.finish_migration(finish).await
    }

    async fn confirm_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.confirm_migration(uuid).await
    }

    async fn revert_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.revert_migration(uuid).await
    }

    async fn finish_revert_migration(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
        power_on: bool,
    ) -> Result<(), DriverError> {
        self.fake.finish_revert_migration(instance, network_info, power_on).await
    }

    async fn list_kept(&self) -> Result<Vec<Uuid>, DriverError> {
        self.fake.list_kept().await
    }

    async fn instance_disk_info(&self, uuid: Uuid) -> Result<String, DriverError> {
        self.fake.instance_disk_info(uuid).await
    }

    async fn live_migration(
        &self,
        instance: &Instance,
        dest: &str,
        data: &LiveMigrateData,
    ) -> Result<LiveMigration, DriverError> {
        self.fake.live_migration(instance, dest, data).await
    }

    async fn live_migration_abort(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.live_migration_abort(uuid).await
    }

    async fn live_migration_force_complete(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.fake.live_migration_force_complete(uuid).await
    }
}
