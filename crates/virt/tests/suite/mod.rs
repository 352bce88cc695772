//! What every driver must do. `driver_suite!` makes a test of each case for one driver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kilonova_objects::network_model::{FixedIp, Ip, Network, NetworkInfo, Subnet, Vif};
use kilonova_objects::{Flavor, Instance, InstanceInfoCache, PowerState};
use kilonova_virt::{DiskImage, Driver, DriverError, FinishMigration, GuestInfo, Injected, RebootKind, Rescue, Spawn};
use uuid::Uuid;

/// A driver under test, with what it needs around it.
pub trait Harness: Sized {
    /// The driver.
    fn driver(&self) -> Arc<dyn Driver>;
    /// The same hypervisor with a new driver, as after a restart of the agent. Nobody may hold the old one.
    fn restarted(self) -> Self;
    /// A small disk.
    fn image(&self) -> Option<DiskImage>;
}

/// A server to be, with what the compute manager would hand over.
pub struct Server {
    pub instance: Instance,
    pub network_info: NetworkInfo,
    pub image: Option<DiskImage>,
    pub image_properties: BTreeMap<String, String>,
    pub injected: Injected,
}

impl Server {
    pub fn new(image: Option<DiskImage>) -> Self {
        let flavor = Flavor { memory_mb: 64, vcpus: 1, root_gb: 1, ..Flavor::default() };
        let instance = Instance {
            id: 42,
            uuid: Uuid::new_v4(),
            hostname: Some("vm".to_owned()),
            display_name: Some("VM".to_owned()),
            flavor: Some(flavor),
            ..Instance::default()
        };
        Self {
            instance,
            network_info: NetworkInfo(vec![vif(1)]),
            image,
            image_properties: BTreeMap::new(),
            injected: Injected::default(),
        }
    }

    pub fn uuid(&self) -> Uuid {
        self.instance.uuid
    }

    pub async fn spawn(&self, driver: &dyn Driver) -> Result<BTreeMap<String, String>, DriverError> {
        let spawn = Spawn {
            instance: &self.instance,
            image: self.image.clone(),
            image_properties: self.image_properties.clone(),
            network_info: &self.network_info,
            injected: self.injected.clone(),
            has_config_drive: true,
        };
        driver.spawn(spawn).await
    }

    pub async fn power_on(&self, driver: &dyn Driver) -> Result<(), DriverError> {
        driver.power_on(&self.instance, &self.network_info).await
    }

    pub async fn reboot(&self, driver: &dyn Driver, kind: RebootKind) -> Result<(), DriverError> {
        driver.reboot(&self.instance, &self.network_info, kind).await
    }

    /// Rescues it with an image that has these properties.
    pub async fn rescue(
        &self,
        driver: &dyn Driver,
        image: DiskImage,
        properties: &[(&str, &str)],
    ) -> Result<(), DriverError> {
        let rescue = Rescue {
            instance: &self.instance,
            image,
            image_properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            network_info: &self.network_info,
            admin_password: Some("of the rescue"),
            grace: Duration::ZERO,
        };
        driver.rescue(rescue).await
    }

    /// Gives it away for a flavor of twice its size.
    pub async fn give_away(&self, driver: &dyn Driver) -> Result<String, DriverError> {
        let flavor = self.larger().instance.flavor.unwrap();
        driver.migrate_disk_and_power_off(&self.instance, "127.0.0.1", &flavor, Duration::ZERO).await
    }

    /// Makes it again in that flavor.
    pub async fn finish(&self, driver: &dyn Driver, disk_info: &str, power_on: bool) -> Result<(), DriverError> {
        let larger = self.larger();
        let finish = FinishMigration {
            instance: &larger.instance,
            disk_info,
            network_info: &self.network_info,
            resizes_disks: true,
            power_on,
        };
        driver.finish_migration(finish).await
    }

    pub async fn take_back(&self, driver: &dyn Driver, power_on: bool) -> Result<(), DriverError> {
        driver.finish_revert_migration(&self.instance, &self.network_info, power_on).await
    }

    fn larger(&self) -> Self {
        let mut instance = self.instance.clone();
        let flavor = instance.flavor.as_mut().unwrap();
        (flavor.id, flavor.memory_mb, flavor.vcpus, flavor.root_gb) = (2, 128, 2, 2);
        Self {
            instance,
            network_info: self.network_info.clone(),
            image: None,
            image_properties: BTreeMap::new(),
            injected: Injected::default(),
        }
    }

    pub async fn info(&self, driver: &dyn Driver) -> GuestInfo {
        driver.guest_info(self.uuid()).await.unwrap()
    }
}

/// An interface on a subnet of its own.
pub fn vif(number: u8) -> Vif {
    let ip = |host: u8, kind: &str| Ip {
        address: Some(format!("10.{number}.0.{host}")),
        ip_type: kind.to_owned(),
        version: Some(4),
        meta: Default::default(),
    };
    let subnet = Subnet {
        cidr: format!("10.{number}.0.0/24"),
        dns: vec![ip(53, "dns")],
        gateway: Some(ip(1, "gateway")),
        ips: vec![FixedIp {
            address: format!("10.{number}.0.17"),
            ip_type: "fixed".to_owned(),
            version: 4,
            meta: Default::default(),
            floating_ips: Vec::new(),
        }],
        routes: Vec::new(),
        version: 4,
        meta: Default::default(),
    };
    Vif {
        id: Uuid::new_v4(),
        address: format!("fa:16:3e:00:00:{number:02x}"),
        network: Network {
            id: Uuid::new_v4(),
            bridge: None,
            label: "private".to_owned(),
            subnets: vec![subnet],
            meta: Default::default(),
        },
        vif_type: Some("user".to_owned()),
        details: Default::default(),
        devname: None,
        ovs_interfaceid: None,
        qbh_params: None,
        qbg_params: None,
        active: false,
        vnic_type: Some("normal".to_owned()),
        profile: Default::default(),
        preserve_on_delete: false,
        delegate_create: false,
        meta: Default::default(),
    }
}

/// Waits until `condition` gives something.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = condition().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still waiting for {what}");
}

/// From spawn to destroy; everything twice, since whoever asks may have been killed after the first time.
pub async fn a_guest_lives_from_spawn_to_destroy(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    let first = server.spawn(driver).await.unwrap();
    let spawned = server.info(driver).await;
    assert_eq!(spawned.power_state, PowerState::Running);
    assert_eq!(server.spawn(driver).await.unwrap(), first);
    assert_eq!(driver.guest_metadata(server.uuid()).await.unwrap(), first);
    assert_eq!(driver.list_guests().await.unwrap(), [spawned]);

    let console = eventually("a console log", async || {
        let log = driver.console_log(server.uuid(), 1 << 20).await.unwrap();
        (log.0.len() > 10).then_some(log.0)
    });
    console.await;
    let end = driver.console_log(server.uuid(), 10).await.unwrap();
    assert_eq!(end.0.len(), 10);

    for _ in 0..2 {
        driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
        let info = server.info(driver).await;
        assert_eq!(info.power_state, PowerState::Shutdown);
        assert_eq!(info.pid, None);
        assert_eq!(driver.list_guests().await.unwrap(), [info]);
    }
    for _ in 0..2 {
        server.power_on(driver).await.unwrap();
        assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    }
    assert_eq!(driver.guest_metadata(server.uuid()).await.unwrap(), first);
    for kind in [RebootKind::Hard, RebootKind::Soft] {
        server.reboot(driver, kind).await.unwrap();
        assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    }
    for _ in 0..2 {
        driver.destroy(server.uuid()).await.unwrap();
        assert_eq!(driver.list_guests().await.unwrap(), []);
    }
}

/// A reboot of a guest that is off starts it.
pub async fn a_reboot_starts_a_guest_that_is_off(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    server.spawn(driver).await.unwrap();
    for kind in [RebootKind::Hard, RebootKind::Soft] {
        driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
        server.reboot(driver, kind).await.unwrap();
        assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    }
    driver.destroy(server.uuid()).await.unwrap();
}

/// A spawn that is asked again finds the guest, on or off, and never makes a second one.
pub async fn a_spawn_of_a_guest_that_is_there_starts_it_at_most(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    let together = [server.spawn(driver), server.spawn(driver)];
    for result in futures::future::join_all(together).await {
        result.unwrap();
    }
    let before = server.info(driver).await;
    server.spawn(driver).await.unwrap();
    assert_eq!(server.info(driver).await, before);
    driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
    server.spawn(driver).await.unwrap();
    assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    driver.destroy(server.uuid()).await.unwrap();
}

/// Only `destroy` is content with nothing.
pub async fn what_is_not_there_is_not_found(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    let uuid = server.uuid();
    let errors = [
        driver.guest_info(uuid).await.map(drop),
        driver.console_log(uuid, 1).await.map(drop),
        driver.power_off(uuid, Duration::ZERO).await,
        server.power_on(driver).await,
        server.reboot(driver, RebootKind::Soft).await,
        server.reboot(driver, RebootKind::Hard).await,
    ];
    for error in errors {
        assert!(matches!(error, Err(DriverError::InstanceNotFound(found)) if found == uuid), "{error:?}");
    }
    driver.destroy(uuid).await.unwrap();
    assert_eq!(driver.recover().await.unwrap(), []);
}

/// Twice each, as everything.
pub async fn a_paused_guest_stands_still_until_it_goes_on(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    server.spawn(driver).await.unwrap();
    let state = async || server.info(driver).await.power_state;
    for _ in 0..2 {
        driver.pause(server.uuid()).await.unwrap();
        assert_eq!(state().await, PowerState::Paused);
    }
    driver.recover().await.unwrap();
    assert_eq!(state().await, PowerState::Paused);
    for _ in 0..2 {
        driver.unpause(server.uuid()).await.unwrap();
        assert_eq!(state().await, PowerState::Running);
    }
    driver.pause(server.uuid()).await.unwrap();
    server.reboot(driver, RebootKind::Hard).await.unwrap();
    assert_eq!(state().await, PowerState::Running);
    driver.pause(server.uuid()).await.unwrap();
    driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
    let off = driver.unpause(server.uuid()).await;
    assert!(matches!(off, Err(DriverError::InstanceNotRunning(uuid)) if uuid == server.uuid()), "{off:?}");
    driver.destroy(server.uuid()).await.unwrap();
    let gone = driver.pause(server.uuid()).await;
    assert!(matches!(gone, Err(DriverError::InstanceNotFound(_))), "{gone:?}");
}

/// Suspended, it is off; resumed, it runs. A start of its own forgets what was suspended.
pub async fn a_suspended_guest_is_off_until_it_is_resumed(harness: impl Harness) {
    let server = Server::new(harness.image());
    server.spawn(&*harness.driver()).await.unwrap();
    for _ in 0..2 {
        harness.driver().suspend(server.uuid()).await.unwrap();
        assert_ne!(server.info(&*harness.driver()).await.power_state, PowerState::Running);
        harness.driver().resume(&server.instance, &server.network_info).await.unwrap();
        assert_eq!(server.info(&*harness.driver()).await.power_state, PowerState::Running);
    }
    harness.driver().suspend(server.uuid()).await.unwrap();
    let harness = harness.restarted();
    let driver = &*harness.driver();
    driver.recover().await.unwrap();
    assert_ne!(server.info(driver).await.power_state, PowerState::Running);
    driver.resume(&server.instance, &server.network_info).await.unwrap();
    assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    driver.suspend(server.uuid()).await.unwrap();
    server.reboot(driver, RebootKind::Hard).await.unwrap();
    assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
    let off = driver.suspend(server.uuid()).await;
    assert!(matches!(off, Err(DriverError::InstanceNotRunning(uuid)) if uuid == server.uuid()), "{off:?}");
    driver.destroy(server.uuid()).await.unwrap();
    let gone = driver.suspend(server.uuid()).await;
    assert!(matches!(gone, Err(DriverError::InstanceNotFound(_))), "{gone:?}");
}

/// A rescue begins and ends with a start, and lasts over others.
pub async fn a_rescued_guest_runs_until_it_is_its_own_again(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    server.spawn(driver).await.unwrap();
    let state = async || server.info(driver).await.power_state;
    // A driver whose guests need no image does not look into one.
    let any = || DiskImage {
        image_id: Uuid::new_v4(),
        cache_key: "any".to_owned(),
        source: Arc::new(std::path::PathBuf::from("any")),
        disk_format: "raw".to_owned(),
    };
    let image = || harness.image().unwrap_or_else(any);
    for properties in [&[][..], &[("hw_rescue_device", "cdrom"), ("hw_rescue_bus", "sata")]] {
        server.rescue(driver, image(), properties).await.unwrap();
        assert_eq!(state().await, PowerState::Running);
        driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
        server.power_on(driver).await.unwrap();
        assert_eq!(state().await, PowerState::Running);
        for _ in 0..2 {
            driver.unrescue(&server.instance, &server.network_info).await.unwrap();
            assert_eq!(state().await, PowerState::Running);
        }
    }
    let device = server.rescue(driver, image(), &[("hw_rescue_device", "tape")]).await;
    assert!(matches!(device, Err(DriverError::UnsupportedRescueDevice(_))), "{device:?}");
    let bus = server.rescue(driver, image(), &[("hw_rescue_bus", "pigeon")]).await;
    assert!(matches!(bus, Err(DriverError::UnsupportedRescueBus { .. })), "{bus:?}");
    assert_eq!(state().await, PowerState::Running);
    driver.destroy(server.uuid()).await.unwrap();
    let gone = server.rescue(driver, image(), &[]).await;
    assert!(matches!(gone, Err(DriverError::InstanceNotFound(_))), "{gone:?}");
}

/// Given away and made again, it runs, and what it was is kept until that is confirmed. Twice each, as everything.
pub async fn a_resized_guest_is_kept_until_the_resize_is_confirmed(harness: impl Harness) {
    let server = Server::new(harness.image());
    let uuid = server.uuid();
    let driver = harness.driver();
    server.spawn(&*driver).await.unwrap();
    let disk_info = server.give_away(&*driver).await.unwrap();
    drop(driver);
    let harness = harness.restarted();
    let driver = &*harness.driver();
    assert_eq!(driver.recover().await.unwrap(), []);
    assert_eq!(server.give_away(driver).await.unwrap(), disk_info);
    assert_eq!(driver.list_kept().await.unwrap(), [uuid]);
    for _ in 0..2 {
        server.finish(driver, &disk_info, true).await.unwrap();
        assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    }
    // Also a late question for what was given away changes nothing.
    let before = server.info(driver).await;
    assert_eq!(server.give_away(driver).await.unwrap(), disk_info);
    assert_eq!(driver.recover().await.unwrap(), std::slice::from_ref(&before));
    assert_eq!(driver.list_kept().await.unwrap(), [uuid]);
    for _ in 0..2 {
        driver.confirm_migration(uuid).await.unwrap();
        assert!(driver.list_kept().await.unwrap().is_empty());
    }
    assert_eq!(server.info(driver).await, before);
    driver.destroy(uuid).await.unwrap();
}

/// Taken back, it is what it was; a guest of which nothing is kept is not taken for one that was resized.
pub async fn a_resized_guest_is_what_it_was_when_it_is_taken_back(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    let uuid = server.uuid();
    server.spawn(driver).await.unwrap();
    for power_on in [false, true] {
        let disk_info = server.give_away(driver).await.unwrap();
        server.finish(driver, &disk_info, power_on).await.unwrap();
        let state = if power_on { PowerState::Running } else { PowerState::Shutdown };
        assert_eq!(server.info(driver).await.power_state, state);
        for _ in 0..2 {
            driver.revert_migration(uuid).await.unwrap();
            assert_eq!(driver.list_guests().await.unwrap(), []);
        }
        for _ in 0..2 {
            server.take_back(driver, power_on).await.unwrap();
            assert_eq!(server.info(driver).await.power_state, state);
        }
        assert!(driver.list_kept().await.unwrap().is_empty());
    }
    // What goes while it is resized goes whole.
    let disk_info = server.give_away(driver).await.unwrap();
    server.finish(driver, &disk_info, true).await.unwrap();
    driver.destroy(uuid).await.unwrap();
    assert_eq!((driver.list_kept().await.unwrap(), driver.list_guests().await.unwrap()), (vec![], vec![]));
    for gone in [server.give_away(driver).await.map(drop), server.take_back(driver, true).await] {
        assert!(matches!(gone, Err(DriverError::InstanceNotFound(found)) if found == uuid), "{gone:?}");
    }
}

/// A running guest is counted, and takes an interrupt.
pub async fn a_running_guest_is_looked_into(harness: impl Harness) {
    let driver = &*harness.driver();
    let mut server = Server::new(harness.image());
    server.instance.info_cache = Some(InstanceInfoCache::new(server.uuid(), &server.network_info));
    server.spawn(driver).await.unwrap();
    let counted = driver.diagnostics(&server.instance).await.unwrap();
    let flavor = server.instance.flavor.as_ref().unwrap();
    assert_eq!((counted.state.as_str(), counted.driver.as_str()), ("running", "libvirt"));
    assert_eq!((counted.num_cpus, counted.memory_details.maximum), (flavor.vcpus, Some(flavor.memory_mb)));
    assert!(counted.cpu_details.iter().all(|cpu| cpu.time.is_some()), "{counted:?}");
    assert!(counted.num_disks >= 1 && counted.disk_details.iter().all(|disk| disk.read_bytes.is_some()), "{counted:?}");
    assert!(counted.uptime.is_some_and(|uptime| (0..60).contains(&uptime)), "{counted:?}");
    let macs: Vec<_> = counted.nic_details.iter().map(|nic| nic.mac_address.clone().unwrap()).collect();
    let own: Vec<_> = server.network_info.0.iter().map(|vif| vif.address.clone()).collect();
    assert_eq!(macs, own);
    driver.trigger_crash_dump(server.uuid()).await.unwrap();
    driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
    for off in [driver.diagnostics(&server.instance).await.map(drop), driver.trigger_crash_dump(server.uuid()).await] {
        assert!(matches!(off, Err(DriverError::InstanceNotRunning(_))), "{off:?}");
    }
    driver.destroy(server.uuid()).await.unwrap();
}

/// Guests outlive the agent: the same processes, running or off.
pub async fn guests_are_found_again_after_a_restart(harness: impl Harness) {
    let running = Server::new(harness.image());
    let off = Server::new(harness.image());
    let mut before = Vec::new();
    {
        let driver = harness.driver();
        running.spawn(&*driver).await.unwrap();
        off.spawn(&*driver).await.unwrap();
        driver.power_off(off.uuid(), Duration::ZERO).await.unwrap();
        for server in [&running, &off] {
            before.push(server.info(&*driver).await);
        }
    }
    let harness = harness.restarted();
    let driver = &*harness.driver();
    let mut recovered = driver.recover().await.unwrap();
    for infos in [&mut before, &mut recovered] {
        infos.sort_by_key(|info| info.uuid);
    }
    assert_eq!(recovered, before);
    off.power_on(driver).await.unwrap();
    assert_eq!(off.info(driver).await.power_state, PowerState::Running);
    for server in [&running, &off] {
        driver.destroy(server.uuid()).await.unwrap();
    }
    assert_eq!(driver.list_guests().await.unwrap(), []);
}

/// Several servers from one image at the same time.
pub async fn guests_of_one_image_are_spawned_together(harness: impl Harness) {
    let driver = &*harness.driver();
    let servers: Vec<Server> = (0..4).map(|_| Server::new(harness.image())).collect();
    let spawns = servers.iter().map(|server| server.spawn(driver));
    for result in futures::future::join_all(spawns).await {
        result.unwrap();
    }
    let guests = driver.list_guests().await.unwrap();
    assert_eq!(guests.len(), servers.len());
    for server in &servers {
        assert_eq!(server.info(driver).await.power_state, PowerState::Running);
    }
    let destroys = servers.iter().map(|server| driver.destroy(server.uuid()));
    for result in futures::future::join_all(destroys).await {
        result.unwrap();
    }
    assert_eq!(driver.list_guests().await.unwrap(), []);
}

/// A copy of the disk of a guest that is off: a new guest starts from it, and the file goes with who holds it.
pub async fn a_snapshot_is_a_disk_that_a_guest_starts_from(harness: impl Harness) {
    let driver = &*harness.driver();
    let server = Server::new(harness.image());
    server.spawn(driver).await.unwrap();
    for state in [PowerState::Running, PowerState::Running, PowerState::Shutdown] {
        if state == PowerState::Shutdown {
            driver.power_off(server.uuid(), Duration::ZERO).await.unwrap();
        }
        let snapshot = driver.snapshot(server.uuid()).await.unwrap();
        let path = snapshot.file.path().to_owned();
        assert!(std::fs::metadata(&path).unwrap().len() > 0);
        assert_eq!(server.info(driver).await.power_state, state);
        let image_id = Uuid::new_v4();
        let copy = Server::new(Some(DiskImage {
            image_id,
            source: Arc::new(path.clone()),
            disk_format: snapshot.disk_format.clone(),
            cache_key: image_id.simple().to_string(),
        }));
        copy.spawn(driver).await.unwrap();
        assert_eq!(copy.info(driver).await.power_state, PowerState::Running);
        drop(snapshot);
        assert!(!path.exists());
        driver.destroy(copy.uuid()).await.unwrap();
    }
    driver.destroy(server.uuid()).await.unwrap();
    let missing = driver.snapshot(server.uuid()).await;
    assert!(matches!(missing, Err(DriverError::InstanceNotFound(_))), "{missing:?}");
}

/// What the scheduler will believe.
pub async fn a_host_has_something_to_give(harness: impl Harness) {
    let host = harness.driver().host_resources().await.unwrap();
    assert!(host.vcpus > 0 && host.memory_mb > 0 && host.local_gb > 0);
    assert!(host.disk_available_least <= host.local_gb);
    assert!(!host.supported_instances.is_empty());
    assert!(host.traits.contains(&"COMPUTE_NODE".to_owned()));
    let cpu_info: serde_json::Value = serde_json::from_str(&host.cpu_info).unwrap();
    assert_eq!(cpu_info["arch"], "x86_64");
}

/// A test of each case, on the harness that `$harness` makes.
#[macro_export]
macro_rules! driver_suite {
    ($harness:expr; $( $case:ident ),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                suite::$case($harness).await;
            }
        )*
    };
    ($harness:expr) => {
        $crate::driver_suite!(
            $harness;
            a_guest_lives_from_spawn_to_destroy,
            a_reboot_starts_a_guest_that_is_off,
            a_spawn_of_a_guest_that_is_there_starts_it_at_most,
            what_is_not_there_is_not_found,
            a_paused_guest_stands_still_until_it_goes_on,
            a_suspended_guest_is_off_until_it_is_resumed,
            a_rescued_guest_runs_until_it_is_its_own_again,
            a_resized_guest_is_kept_until_the_resize_is_confirmed,
            a_resized_guest_is_what_it_was_when_it_is_taken_back,
            a_running_guest_is_looked_into,
            guests_are_found_again_after_a_restart,
            guests_of_one_image_are_spawned_together,
            a_snapshot_is_a_disk_that_a_guest_starts_from,
            a_host_has_something_to_give,
        );
    };
}
