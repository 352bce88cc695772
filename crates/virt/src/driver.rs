//! The driver trait: what the compute manager can ask of a hypervisor.
//!
//! A guest's life, as far as every driver knows it (`spawn` to `destroy` are idempotent: asked again after a crash,
//! they finish what was begun):
//!
//! ```text
//!            spawn              power_off
//!   (none) ────────> running <───────────> shut down
//!     ^                 │      power_on        │
//!     └──── destroy ────┴──────────────────────┘
//! ```
//!
//! A running guest may be paused (its memory stays) or suspended (its memory goes to disk), and any guest may be
//! rescued: started from another image, with its own disk beside it. Not every driver does these; a caller gets
//! [`DriverError::NotSupported`] from one that does not, which has then done nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kilonova_core::ConfigError;
use kilonova_objects::network_model::Vif;
use kilonova_objects::{Diagnostics, Flavor, Instance, LiveMigrateData, NetworkInfo, PowerState};
use serde_json::Value;
use uuid::Uuid;

/// What a driver cannot do, by what the caller can do about it. `Display` is what the server's fault shows: a sentence
/// that a person can act on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The hypervisor has no such guest.
    #[error("Instance {0} could not be found.")]
    InstanceNotFound(Uuid),
    /// The disk image cannot be used.
    #[error("Image {image_id} is unacceptable: {reason}")]
    ImageUnacceptable {
        /// Which.
        image_id: String,
        /// Why.
        reason: String,
    },
    /// The image's bytes cannot be had.
    #[error(transparent)]
    ImageFetch(FetchError),
    /// The image does not fit the flavor's disk.
    #[error(
        "Flavor's disk is too small for requested image. Flavor disk is {flavor_bytes} bytes, image is {image_bytes} bytes."
    )]
    FlavorDiskSmallerThanImage {
        /// The flavor's root disk.
        flavor_bytes: u64,
        /// What the image needs.
        image_bytes: u64,
    },
    /// The host lacks something: a program, space, memory.
    #[error("{0}")]
    Host(String),
    /// The hypervisor refused or failed.
    #[error("{0}")]
    Hypervisor(String),
    /// The driver does not do that.
    #[error("{0} is not supported by this driver")]
    NotSupported(&'static str),
    /// The guest must run for that.
    #[error("Instance {0} is not running.")]
    InstanceNotRunning(Uuid),
    /// What a rescue image wants to be attached as.
    #[error("Requested rescue device '{0}' is not supported")]
    UnsupportedRescueDevice(String),
    /// What a rescue image wants to be attached by.
    #[error("Requested rescue bus '{bus}' is not supported by the '{virt}' virt driver")]
    UnsupportedRescueBus {
        /// `hw_rescue_bus`
        bus: String,
        /// The driver.
        virt: &'static str,
    },
    /// The guest cannot become what is asked; it is as it was.
    #[error("Resize error: {0}")]
    Resize(&'static str),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// What the host has, for the resource tracker.
#[derive(Clone, Debug, PartialEq)]
pub struct HostResources {
    /// Processors.
    pub vcpus: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GiB, of the file system that holds the guests.
    pub local_gb: i64,
    /// GiB that are still free there.
    pub disk_available_least: i64,
    /// `QEMU`, `fake`.
    pub hypervisor_type: String,
    /// 7.2.22 is 7002022.
    pub hypervisor_version: i64,
    /// JSON text: `arch`, `model`, `vendor`, `features`, `topology`.
    pub cpu_info: String,
    /// (architecture, hypervisor type, vm mode), for `supported_hv_specs`.
    pub supported_instances: Vec<(String, String, String)>,
    /// Traits of the provider, such as `COMPUTE_NODE`.
    pub traits: Vec<String>,
    /// How long the host has been up, in a sentence.
    pub uptime: Option<String>,
}

/// What a driver can do beyond the methods that all have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Guests outlive the agent and are found again.
    pub guests_outlive_agent: bool,
    /// There is a console log.
    pub has_console_log: bool,
    /// Interfaces can be added to guests, and taken from them.
    pub supports_attach_interface: bool,
    /// An interface that is added can have a tag, which the guest can read.
    pub supports_tagged_attach_interface: bool,
    /// A volume that is attached can have a tag, which the guest can read.
    pub supports_tagged_attach_volume: bool,
    /// A volume can be attached that other guests have, too.
    pub supports_multiattach: bool,
    /// Guests of a host that is down can be made again here.
    pub supports_evacuate: bool,
    /// A guest can move to the host that it is on, without being resized.
    pub supports_migrate_to_same_host: bool,
    /// A guest of another host can come here.
    pub supports_migrate_to_other_host: bool,
    /// The certificates of an image's signature are looked at.
    pub supports_trusted_certs: bool,
}

impl Capabilities {
    /// Their names in placement, by which the scheduler finds a host that has them.
    pub fn traits(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.supports_attach_interface, "COMPUTE_NET_ATTACH_INTERFACE"),
            (self.supports_tagged_attach_interface, "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG"),
            (self.supports_tagged_attach_volume, "COMPUTE_VOLUME_ATTACH_WITH_TAG"),
            (self.supports_multiattach, "COMPUTE_VOLUME_MULTI_ATTACH"),
            (self.supports_migrate_to_same_host, "COMPUTE_SAME_HOST_COLD_MIGRATE"),
            (self.supports_trusted_certs, "COMPUTE_TRUSTED_CERTS"),
        ]
        .into_iter()
        .filter_map(|(has_it, name)| has_it.then_some(name))
    }
}

/// The disk that a guest starts from. The driver keeps what it makes of it in a cache of its own, by `cache_key`.
#[derive(Clone, Debug)]
pub struct DiskImage {
    /// The image.
    pub image_id: Uuid,
    /// Its bytes, for a driver that does not have them yet.
    pub source: Arc<dyn ImageSource>,
    /// `raw`, `qcow2`, …: what the image service says; the driver does not believe it unseen.
    pub disk_format: String,
    /// Changes when the bytes change: the image's checksum.
    pub cache_key: String,
}

/// Where the bytes of an image come from.
#[async_trait]
pub trait ImageSource: fmt::Debug + Send + Sync {
    /// Gets them onto this host, which may take long.
    async fn fetch(&self) -> Result<ImageFile, FetchError>;
}

/// Why bytes cannot be had: the error of whoever has them.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// A file of this host with the bytes of an image: there while this value is, and not to be changed.
#[derive(Clone, Debug)]
pub struct ImageFile {
    path: PathBuf,
    _holds: Arc<dyn fmt::Debug + Send + Sync>,
}

impl ImageFile {
    /// The file at `path`, which is there as long as `holds` is.
    pub fn new(path: PathBuf, holds: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self { path, _holds: Arc::new(holds) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A copy of a guest's root disk.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The bytes.
    pub file: ImageFile,
    /// `raw`, `qcow2`, …
    pub disk_format: String,
}

/// A file that is there already.
#[async_trait]
impl ImageSource for PathBuf {
    async fn fetch(&self) -> Result<ImageFile, FetchError> {
        Ok(ImageFile::new(self.clone(), ()))
    }
}

/// What is put into a guest by its config drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// For `admin_pass`.
    pub admin_password: Option<String>,
    /// Path and bytes of each file of `personality`.
    pub files: Vec<(String, Vec<u8>)>,
}

/// All that a driver gets to make a guest.
#[derive(Clone, Debug)]
pub struct Spawn<'a> {
    /// The instance, with flavor, metadata, keypairs and user data set.
    pub instance: &'a Instance,
    /// The disk; none for a server without an image.
    pub image: Option<DiskImage>,
    /// Properties of the image (`hw_disk_bus`, …).
    pub image_properties: BTreeMap<String, String>,
    /// Its interfaces.
    pub network_info: &'a NetworkInfo,
    /// What goes on the config drive besides the instance itself.
    pub injected: Injected,
    /// Whether there is a config drive.
    pub has_config_drive: bool,
}

/// All that a driver gets to rescue a guest.
#[derive(Clone, Debug)]
pub struct Rescue<'a> {
    /// The instance.
    pub instance: &'a Instance,
    /// What the guest starts from.
    pub image: DiskImage,
    /// Properties of that image: [`RescueDevice::of`] them.
    pub image_properties: BTreeMap<String, String>,
    /// Its interfaces.
    pub network_info: &'a NetworkInfo,
    /// For the administrator of the rescue system.
    pub admin_password: Option<&'a str>,
    /// How long the guest may take to shut itself down before.
    pub grace: Duration,
}

/// As what the image of a stable rescue is attached, beside all the disks that the guest has; they keep their names. In
/// a rescue that is not stable the image takes the place of the root disk, which comes second.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RescueDevice {
    /// `hw_rescue_device`: `disk`, unless the image says so.
    pub device: String,
    /// `hw_rescue_bus`; none: as the driver attaches such a device.
    pub bus: Option<String>,
}

impl RescueDevice {
    const DEVICES: [&'static str; 4] = ["disk", "cdrom", "floppy", "lun"];

    /// By the properties of the rescue image: none, where the rescue is not to be a stable one. `buses` are those that
    /// the driver `virt` has.
    pub fn of(
        properties: &BTreeMap<String, String>,
        virt: &'static str,
        buses: &[&str],
    ) -> Result<Option<Self>, DriverError> {
        let (device, bus) = (properties.get("hw_rescue_device"), properties.get("hw_rescue_bus"));
        if device.is_none() && bus.is_none() {
            return Ok(None);
        }
        let device = device.map_or("disk", String::as_str);
        if !Self::DEVICES.contains(&device) {
            return Err(DriverError::UnsupportedRescueDevice(device.to_owned()));
        }
        match bus {
            Some(bus) if !buses.contains(&bus.as_str()) => {
                Err(DriverError::UnsupportedRescueBus { bus: bus.clone(), virt })
            }
            _ => Ok(Some(Self { device: device.to_owned(), bus: bus.cloned() })),
        }
    }
}

/// All that a driver gets to make a guest that another host, or this one, gave away.
#[derive(Clone, Debug)]
pub struct FinishMigration<'a> {
    /// The instance, in its new flavor.
    pub instance: &'a Instance,
    /// What [`Driver::migrate_disk_and_power_off`] said.
    pub disk_info: &'a str,
    /// Its interfaces.
    pub network_info: &'a NetworkInfo,
    /// Whether the flavor's disks are others than before.
    pub resizes_disks: bool,
    /// Whether it shall run.
    pub power_on: bool,
}

/// How a live migration ended on its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveMigration {
    /// The guest runs on the other host.
    Completed,
    /// It runs here still: somebody aborted.
    Aborted,
}

/// What a hypervisor says of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestInfo {
    /// The instance.
    pub uuid: Uuid,
    /// What it does.
    pub power_state: PowerState,
    /// Its process, where a guest is one.
    pub pid: Option<u32>,
}

/// How to reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebootKind {
    /// Ask the guest; if it does not obey in time, as `Hard`.
    Soft,
    /// As pulling the plug.
    Hard,
}

/// A kind of console that one connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleKind {
    /// A screen, by VNC.
    Vnc,
    /// A screen, by SPICE.
    Spice,
    /// A serial port.
    Serial,
    /// A screen, by VMware's protocol.
    Mks,
}

/// Where a console is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleAddress {
    /// The host, as a proxy reaches it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The port that speaks TLS, where SPICE has one.
    pub tls_port: Option<u16>,
    /// What a proxy asks the host for before the protocol begins.
    pub internal_access_path: Option<String>,
}

/// The end of a console log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleLog(pub Vec<u8>);

/// A hypervisor.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Its name in `compute_driver`.
    fn name(&self) -> &'static str;

    /// What it can do beyond what all can.
    fn capabilities(&self) -> Capabilities;

    /// Config drives are always made, whether asked for or not.
    fn requires_config_drive(&self) -> bool;

    /// Finds the guests that are still there after the agent started again, and cleans up what a crash left half done
    /// of anything else.
    async fn recover(&self) -> Result<Vec<GuestInfo>, DriverError>;

    /// What the host has now.
    async fn host_resources(&self) -> Result<HostResources, DriverError>;

    /// Every guest of the hypervisor.
    async fn list_guests(&self) -> Result<Vec<GuestInfo>, DriverError>;

    /// One guest; [`DriverError::InstanceNotFound`] if there is none.
    async fn guest_info(&self, uuid: Uuid) -> Result<GuestInfo, DriverError>;

    /// What `spawn` returned for this guest, as it is now: an address may have had to change while it was off. Empty
    /// where a driver has nothing to say.
    async fn guest_metadata(&self, uuid: Uuid) -> Result<BTreeMap<String, String>, DriverError> {
        let _ = uuid;
        Ok(BTreeMap::new())
    }

    /// Makes and starts a guest, and returns what it wants to have in `system_metadata`-like server metadata (such as
    /// a forwarded ssh port), by key. Undoes what it began when it fails. A guest that is already running is success.
    async fn spawn(&self, spawn: Spawn<'_>) -> Result<BTreeMap<String, String>, DriverError>;

    /// Copies the root disk of a guest, which runs on or stays off, as it is. What is copied goes away with the last
    /// who holds it.
    async fn snapshot(&self, uuid: Uuid) -> Result<Snapshot, DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("A snapshot"))
    }

    /// Stops and removes a guest with its disks. Nothing there is success.
    async fn destroy(&self, uuid: Uuid) -> Result<(), DriverError>;

    /// Shuts a guest down: asks it (unless `grace` is zero) and pulls the plug after `grace`. Already off is success.
    async fn power_off(&self, uuid: Uuid, grace: Duration) -> Result<(), DriverError>;

    /// Starts a guest that is shut down. Already running is success.
    async fn power_on(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError>;

    /// Reboots.
    async fn reboot(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
        kind: RebootKind,
    ) -> Result<(), DriverError>;

    /// Lets the host take new guests or not; answers `enabled` or `disabled`, or why not. A hypervisor that has no such
    /// switch leaves it to the scheduler.
    async fn set_host_enabled(&self, enabled: bool) -> Result<String, DriverError> {
        Ok(if enabled { "enabled" } else { "disabled" }.to_owned())
    }

    /// `startup`, `shutdown` or `reboot` of the host; answers what it does now.
    async fn host_power_action(&self, action: &str) -> Result<String, DriverError> {
        let _ = action;
        Err(DriverError::NotSupported("a power action of the host"))
    }

    /// Begins or ends the maintenance of the host; answers `on_maintenance` or `off_maintenance`, or why not.
    async fn host_maintenance_mode(&self, mode: bool) -> Result<String, DriverError> {
        let _ = mode;
        Err(DriverError::NotSupported("a maintenance mode of the host"))
    }

    /// Has the changes of a volume's file written into another file from now on.
    async fn volume_snapshot_create(
        &self,
        instance: &Instance,
        volume_id: &str,
        create_info: &Value,
    ) -> Result<(), DriverError> {
        let _ = (instance, volume_id, create_info);
        Err(DriverError::NotSupported("a snapshot of a volume"))
    }

    /// Has the files of a volume's snapshot merged.
    async fn volume_snapshot_delete(
        &self,
        instance: &Instance,
        volume_id: &str,
        snapshot_id: &str,
        delete_info: &Value,
    ) -> Result<(), DriverError> {
        let _ = (instance, volume_id, snapshot_id, delete_info);
        Err(DriverError::NotSupported("a snapshot of a volume"))
    }

    /// Has the bytes of an image ready for guests that will start from it; false: it had them.
    async fn cache_image(&self, image: &DiskImage) -> Result<bool, DriverError> {
        let _ = image;
        Err(DriverError::NotSupported("caching an image"))
    }

    /// The last `max_bytes` of the console log.
    async fn console_log(&self, uuid: Uuid, max_bytes: u64) -> Result<ConsoleLog, DriverError>;

    /// Plugs an interface into a guest, running or not. One that is there already is success.
    async fn attach_interface(&self, instance: &Instance, vif: &Vif) -> Result<(), DriverError> {
        let _ = (instance, vif);
        Err(DriverError::NotSupported("attach_interface"))
    }

    /// Takes an interface from a guest, running or not. One that is not there is success.
    async fn detach_interface(&self, instance: &Instance, vif: &Vif) -> Result<(), DriverError> {
        let _ = (instance, vif);
        Err(DriverError::NotSupported("detach_interface"))
    }

    /// What the volume service must know of this host to export a volume to it. `ip`: where the host is reached by
    /// storage.
    fn volume_connector(&self, instance: &Instance, host: &str, ip: &str) -> Result<Value, DriverError> {
        let _ = (instance, host, ip);
        Err(DriverError::NotSupported("a volume"))
    }

    /// Gives a guest, running or not, a volume as the disk `mountpoint`. `connection_info`: how to connect to it. One that
    /// is there already is success.
    async fn attach_volume(
        &self,
        instance: &Instance,
        connection_info: &Value,
        mountpoint: &str,
    ) -> Result<(), DriverError> {
        let _ = (instance, connection_info, mountpoint);
        Err(DriverError::NotSupported("attach_volume"))
    }

    /// Takes a volume from a guest, running or not. One that is not there is success.
    async fn detach_volume(
        &self,
        instance: &Instance,
        connection_info: &Value,
        mountpoint: &str,
    ) -> Result<(), DriverError> {
        let _ = (instance, connection_info, mountpoint);
        Err(DriverError::NotSupported("detach_volume"))
    }

    /// Copies a volume of a guest to another one, which takes its place; `resize_to_gb`: as large as it is from then on.
    async fn swap_volume(
        &self,
        instance: &Instance,
        old_connection_info: &Value,
        new_connection_info: &Value,
        mountpoint: &str,
        resize_to_gb: Option<i64>,
    ) -> Result<(), DriverError> {
        let _ = (instance, old_connection_info, new_connection_info, mountpoint, resize_to_gb);
        Err(DriverError::NotSupported("swap_volume"))
    }

    /// Somebody else has switched a guest on or off, and the driver shall follow.
    async fn power_update_event(&self, instance: &Instance, is_on: bool) -> Result<(), DriverError> {
        let _ = (instance, is_on);
        Err(DriverError::NotSupported("power_update_event"))
    }

    /// Where a console of a guest is; [`DriverError::InstanceNotFound`] if there is no guest.
    async fn console(&self, instance: &Instance, kind: ConsoleKind) -> Result<ConsoleAddress, DriverError> {
        let _ = (instance, kind);
        Err(DriverError::NotSupported("A console of that kind"))
    }

    /// Stops a running guest where it is. Already paused is success.
    async fn pause(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("pause"))
    }

    /// Lets a paused guest go on. Already running is success.
    async fn unpause(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("unpause"))
    }

    /// Writes the memory of a running guest to disk and ends it. Already suspended is success.
    async fn suspend(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("suspend"))
    }

    /// Lets a suspended guest go on. Already running is success.
    async fn resume(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        let _ = (instance, network_info);
        Err(DriverError::NotSupported("resume"))
    }

    /// Shuts a guest down and starts it from another image, with its own disks attached. Asked again it starts once
    /// more.
    async fn rescue(&self, rescue: Rescue<'_>) -> Result<(), DriverError> {
        let _ = rescue;
        Err(DriverError::NotSupported("rescue"))
    }

    /// Starts a guest from its own disks again, and removes what a rescue left. A guest that is not rescued is started
    /// if it is off.
    async fn unrescue(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        let _ = (instance, network_info);
        Err(DriverError::NotSupported("unrescue"))
    }

    /// Sets the password of the administrator inside of a running guest.
    async fn set_admin_password(&self, instance: &Instance, password: &str) -> Result<(), DriverError> {
        let _ = (instance, password);
        Err(DriverError::NotSupported("set_admin_password"))
    }

    /// Sends a running guest a non-maskable interrupt, upon which its system may dump its memory.
    async fn trigger_crash_dump(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("trigger_crash_dump"))
    }

    /// Tells a guest its addresses, where there is a way to; by Nova's rule no way is success too.
    async fn inject_network_info(&self, instance: &Instance, network_info: &NetworkInfo) -> Result<(), DriverError> {
        let _ = (instance, network_info);
        Ok(())
    }

    /// What is counted of a running guest.
    async fn diagnostics(&self, instance: &Instance) -> Result<Diagnostics, DriverError> {
        let _ = instance;
        Err(DriverError::NotSupported("diagnostics"))
    }

    // Moves between hosts. Each can be asked again after a crash. Of a cold one:
    //
    //   source   migrate_disk_and_power_off ─> kept ─┬─ confirm_migration ─> (none)
    //                                                └─ finish_revert_migration ─> as before
    //   dest     finish_migration ─> guest ──────────── revert_migration ─> (none)
    //
    // Source and destination may be one host: what is kept is another thing than the guest.

    /// Shuts a guest down and keeps it aside. Returns what `dest` needs to make it there: asked again, the same.
    async fn migrate_disk_and_power_off(
        &self,
        instance: &Instance,
        dest: &str,
        flavor: &Flavor,
        grace: Duration,
    ) -> Result<String, DriverError> {
        let _ = (instance, dest, flavor, grace);
        Err(DriverError::NotSupported("migration"))
    }

    /// Makes a guest that was given away. One that is there already is success.
    async fn finish_migration(&self, finish: FinishMigration<'_>) -> Result<(), DriverError> {
        let _ = finish;
        Err(DriverError::NotSupported("migration"))
    }

    /// What is kept of a guest goes. Nothing there is success.
    async fn confirm_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("migration"))
    }

    /// The guest that `finish_migration` made goes; what is kept of it stays. Nothing there is success.
    async fn revert_migration(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("migration"))
    }

    /// The guest that is kept is here again. One that is here already is success.
    async fn finish_revert_migration(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
        power_on: bool,
    ) -> Result<(), DriverError> {
        let _ = (instance, network_info, power_on);
        Err(DriverError::NotSupported("migration"))
    }

    /// The guests of which something is kept.
    async fn list_kept(&self) -> Result<Vec<Uuid>, DriverError> {
        Ok(Vec::new())
    }

    // Of a live one:
    //
    //   dest     check_…_destination            pre_live_migration ─> awaited ─┬─ post_…_at_destination ─> guest
    //                  │                                                       └─ rollback_…_at_destination ─> (none)
    //   source   check_…_source   instance_disk_info        live_migration ─> given away ─ destroy ─> (none)

    /// Whether a guest may come here while it runs, and what its source must know. `None`: the driver decides.
    async fn check_can_live_migrate_destination(
        &self,
        instance: &Instance,
        block_migration: Option<bool>,
        disk_over_commit: Option<bool>,
    ) -> Result<LiveMigrateData, DriverError> {
        let _ = (instance, block_migration, disk_over_commit);
        Err(DriverError::NotSupported("live migration"))
    }

    /// Whether a guest may leave, by what its destination said, and what that must know.
    async fn check_can_live_migrate_source(
        &self,
        instance: &Instance,
        data: LiveMigrateData,
    ) -> Result<LiveMigrateData, DriverError> {
        let _ = (instance, data);
        Err(DriverError::NotSupported("live migration"))
    }

    /// What the destination needs to know of the disks of a guest that brings them along.
    async fn instance_disk_info(&self, uuid: Uuid) -> Result<String, DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("live migration"))
    }

    /// Makes room for a guest that comes.
    async fn pre_live_migration(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
        disk_info: Option<&str>,
        data: LiveMigrateData,
    ) -> Result<LiveMigrateData, DriverError> {
        let _ = (instance, network_info, disk_info, data);
        Err(DriverError::NotSupported("live migration"))
    }

    /// Sends a guest to `dest`; returns when it runs there, or does not.
    async fn live_migration(
        &self,
        instance: &Instance,
        dest: &str,
        data: &LiveMigrateData,
    ) -> Result<LiveMigration, DriverError> {
        let _ = (instance, dest, data);
        Err(DriverError::NotSupported("live migration"))
    }

    /// Ends a live migration that goes on; the guest stays.
    async fn live_migration_abort(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("live migration"))
    }

    /// Lets a live migration that goes on end soon, at the guest's cost.
    async fn live_migration_force_complete(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("live migration"))
    }

    /// The guest has come: it is one of this host. One that is already is success.
    async fn post_live_migration_at_destination(
        &self,
        instance: &Instance,
        network_info: &NetworkInfo,
    ) -> Result<(), DriverError> {
        let _ = (instance, network_info);
        Err(DriverError::NotSupported("live migration"))
    }

    /// The guest does not come: what was made for it goes. Nothing there is success.
    async fn rollback_live_migration_at_destination(&self, uuid: Uuid) -> Result<(), DriverError> {
        let _ = uuid;
        Err(DriverError::NotSupported("live migration"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(pairs: &[(&str, &str)]) -> Result<Option<RescueDevice>, String> {
        let properties = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RescueDevice::of(&properties, "qemu", &["virtio", "usb"]).map_err(|error| error.to_string())
    }

    fn stable(device: &str, bus: Option<&str>) -> Result<Option<RescueDevice>, String> {
        Ok(Some(RescueDevice { device: device.to_owned(), bus: bus.map(str::to_owned) }))
    }

    #[test]
    fn one_property_of_a_rescue_image_makes_the_rescue_a_stable_one() {
        assert_eq!(device(&[("hw_disk_bus", "virtio")]), Ok(None));
        assert_eq!(device(&[("hw_rescue_bus", "usb")]), stable("disk", Some("usb")));
        assert_eq!(device(&[("hw_rescue_device", "cdrom")]), stable("cdrom", None));
        assert_eq!(
            device(&[("hw_rescue_device", "disk"), ("hw_rescue_bus", "virtio")]),
            stable("disk", Some("virtio"))
        );
    }

    #[test]
    fn devices_and_buses_that_there_are_not_are_refused() {
        assert_eq!(device(&[("hw_rescue_device", "fs")]).unwrap_err(), "Requested rescue device 'fs' is not supported");
        assert_eq!(
            device(&[("hw_rescue_bus", "xen")]).unwrap_err(),
            "Requested rescue bus 'xen' is not supported by the 'qemu' virt driver"
        );
    }
}
