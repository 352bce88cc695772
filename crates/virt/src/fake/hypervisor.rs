//! The guests of the fake driver: records in memory and, if wanted, one small file for each.
//!
//! A file is written under another name and renamed, so a kill at any moment leaves the old or the new one. Nothing is
//! synced: it shall survive the process, not the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kilonova_objects::NetworkInfo;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::driver::{DriverError, GuestInfo, ImageFile, RescueDevice, Spawn};

/// The ending of the file of a guest that was given away.
const KEPT: &str = "kept";

/// Longer logs lose their beginning.
const CONSOLE_MAX_BYTES: usize = 16 * 1024;

/// A guest of the fake driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FakeGuest {
    /// The instance.
    pub uuid: Uuid,
    /// `instance-00000001`
    pub name: String,
    /// What its login prompt would say.
    pub hostname: String,
    /// Or shut down.
    pub is_running: bool,
    /// How often it was started.
    pub boots: u64,
    /// The image that it was made from.
    #[serde(default)]
    pub image_id: Option<Uuid>,
    /// Whether it was asked for with a config drive.
    pub has_config_drive: bool,
    /// What it wrote.
    pub console: String,
    /// The ports that its interfaces are plugged into.
    #[serde(default)]
    pub interfaces: BTreeSet<Uuid>,
    /// By the name of the disk: the serial of the volume that it is.
    #[serde(default)]
    pub volumes: BTreeMap<String, String>,
    /// Whether it stands still, though it runs.
    #[serde(default)]
    pub is_paused: bool,
    /// Whether its memory is on disk; then it does not run.
    #[serde(default)]
    pub is_suspended: bool,
    /// What it is rescued with.
    #[serde(default)]
    pub rescue: Option<FakeRescue>,
    /// Seconds since 1970 at its last start.
    #[serde(default)]
    pub started_at: u64,
    /// How often it was told to dump its memory.
    #[serde(default)]
    pub crash_dumps: u64,
    /// How often it was told its addresses.
    #[serde(default)]
    pub network_injections: u64,
    /// The last password that was set; not kept in a file.
    #[serde(skip)]
    pub admin_password: Option<String>,
}

/// What a guest is rescued with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FakeRescue {
    /// The image that it runs from.
    pub image_id: Uuid,
    /// As what that is attached, in a stable rescue.
    pub device: Option<RescueDevice>,
}

impl FakeGuest {
    pub(super) fn new(spawn: &Spawn<'_>) -> Self {
        let instance = spawn.instance;
        Self {
            uuid: instance.uuid,
            name: instance.name(),
            hostname: instance.hostname.clone().unwrap_or_default(),
            is_running: false,
            boots: 0,
            image_id: spawn.image.as_ref().map(|image| image.image_id),
            has_config_drive: spawn.has_config_drive,
            console: String::new(),
            interfaces: ports(spawn.network_info),
            volumes: BTreeMap::new(),
            is_paused: false,
            is_suspended: false,
            rescue: None,
            started_at: 0,
            crash_dumps: 0,
            network_injections: 0,
            admin_password: None,
        }
    }

    /// Replaces its interfaces, as a new start by the hypervisor does.
    pub(super) fn plug(&mut self, network_info: &NetworkInfo) {
        self.interfaces = ports(network_info);
    }

    pub(super) fn start(&mut self) {
        if self.is_running {
            return;
        }
        // A memory on disk is of no use to a guest that boots.
        (self.is_running, self.is_paused, self.is_suspended) = (true, false, false);
        self.boots += 1;
        self.started_at = unix_time();
        self.print(&format!("fake guest {}: boot {}", self.name, self.boots));
        for step in ["processor", "memory", "disk", "network"] {
            self.print(&format!("checking {step}: there is none, all well"));
        }
        self.print(&format!("{}{} login: ", self.hostname, if self.rescue.is_some() { " (rescue)" } else { "" }));
    }

    pub(super) fn stop(&mut self) {
        self.is_suspended = false;
        if self.is_running {
            (self.is_running, self.is_paused) = (false, false);
            self.print("power off");
        }
    }

    /// Writes the memory to disk.
    pub(super) fn suspend(&mut self) {
        if self.is_running {
            (self.is_running, self.is_paused, self.is_suspended) = (false, false, true);
        }
    }

    /// Reads the memory from disk.
    pub(super) fn resume(&mut self) {
        if self.is_suspended {
            (self.is_running, self.is_suspended) = (true, false);
        }
    }

    /// Boots from an image, or with `None` from its own disk.
    pub(super) fn boot_from(&mut self, rescue: Option<FakeRescue>) {
        self.stop();
        self.rescue = rescue;
        self.start();
    }

    /// Seconds since its last start.
    pub(super) fn uptime_s(&self) -> u64 {
        unix_time().saturating_sub(self.started_at)
    }

    fn print(&mut self, line: &str) {
        self.console.push_str(line);
        self.console.push('\n');
        if self.console.len() > CONSOLE_MAX_BYTES {
            let middle = self.console.len() - CONSOLE_MAX_BYTES / 2;
            if let Some(end_of_line) = self.console[middle..].find('\n') {
                self.console.drain(..=middle + end_of_line);
            }
        }
    }
}

/// The guests of one host; outlives the driver. Cheap to clone, and the clones are the same hypervisor.
#[derive(Clone, Debug, Default)]
pub struct FakeHypervisor {
    guests: Arc<Mutex<BTreeMap<Uuid, FakeGuest>>>,
    /// Guests that were given away and may come back.
    kept: Arc<Mutex<BTreeMap<Uuid, FakeGuest>>>,
    /// Guests that are on their way here while they run; the agent's end ends that.
    awaited: Arc<Mutex<BTreeMap<Uuid, FakeGuest>>>,
    dir: Option<Arc<PathBuf>>,
}

impl FakeHypervisor {
    /// In memory only.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the guests that `dir` holds, and to be kept there; in memory only without a `dir`.
    pub fn open(dir: Option<PathBuf>) -> Result<Self, DriverError> {
        let Some(dir) = dir else {
            return Ok(Self::new());
        };
        let guests = read_all(&dir, "json").map_err(|error| failed(&dir, &error))?;
        let kept = read_all(&dir, KEPT).map_err(|error| failed(&dir, &error))?;
        let shared = |guests| Arc::new(Mutex::new(guests));
        Ok(Self { guests: shared(guests), kept: shared(kept), awaited: Arc::default(), dir: Some(Arc::new(dir)) })
    }

    /// One guest.
    pub fn guest(&self, uuid: Uuid) -> Option<FakeGuest> {
        self.lock().get(&uuid).cloned()
    }

    /// Changes a guest behind the driver's back, as a user inside of it or an operator on the host could.
    pub fn change(&self, uuid: Uuid, change: impl FnOnce(&mut FakeGuest)) -> Result<(), DriverError> {
        self.try_change(uuid, |guest| {
            change(guest);
            Ok(())
        })
    }

    /// The same for a change that may be impossible, which then leaves the guest as it was.
    pub(super) fn try_change(
        &self,
        uuid: Uuid,
        change: impl FnOnce(&mut FakeGuest) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let mut guests = self.lock();
        let guest = guests.get_mut(&uuid).ok_or(DriverError::InstanceNotFound(uuid))?;
        let mut changed = guest.clone();
        change(&mut changed)?;
        if changed != *guest {
            self.write(&changed)?;
            *guest = changed;
        }
        Ok(())
    }

    pub(super) fn list(&self) -> Vec<GuestInfo> {
        self.lock().values().map(FakeGuest::info).collect()
    }

    /// Adds and starts a guest, or starts the one that is there.
    pub(super) fn spawn(&self, guest: FakeGuest) -> Result<(), DriverError> {
        let mut guests = self.lock();
        let mut guest = guests.get(&guest.uuid).cloned().unwrap_or(guest);
        guest.start();
        self.write(&guest)?;
        guests.insert(guest.uuid, guest);
        Ok(())
    }

    /// A file that says what the guest's disk would hold.
    pub(super) fn snapshot(&self, uuid: Uuid) -> Result<ImageFile, DriverError> {
        let guest = self.guest(uuid).ok_or(DriverError::InstanceNotFound(uuid))?;
        let dir = self.dir.as_ref().map_or_else(std::env::temp_dir, |dir| dir.to_path_buf());
        let path = dir.join(format!("{}.tmp", Uuid::new_v4()));
        let written = std::fs::write(&path, format!("the disk of {} after boot {}\n", guest.name, guest.boots));
        written.map_err(|error| failed(&dir, &error))?;
        Ok(ImageFile::new(path.clone(), Temporary(path)))
    }

    pub(super) fn destroy(&self, uuid: Uuid) -> Result<(), DriverError> {
        self.expect_no_more(uuid);
        self.forget_kept(uuid)?;
        self.remove_guest(uuid)
    }

    /// A guest that was given away and may come back.
    pub fn kept(&self, uuid: Uuid) -> Option<FakeGuest> {
        lock(&self.kept).get(&uuid).cloned()
    }

    /// A guest that is on its way here.
    pub fn awaited(&self, uuid: Uuid) -> Option<FakeGuest> {
        lock(&self.awaited).get(&uuid).cloned()
    }

    pub(super) fn list_kept(&self) -> Vec<Uuid> {
        lock(&self.kept).keys().copied().collect()
    }

    /// Stops a guest and puts it aside; the one that was put aside before, where it is no guest any more.
    pub(super) fn keep(&self, uuid: Uuid) -> Result<FakeGuest, DriverError> {
        if let Some(kept) = self.kept(uuid) {
            return Ok(kept);
        }
        let mut guest = self.guest(uuid).ok_or(DriverError::InstanceNotFound(uuid))?;
        guest.stop();
        self.write_as(&guest, KEPT)?;
        lock(&self.kept).insert(uuid, guest.clone());
        self.remove_guest(uuid)?;
        Ok(guest)
    }

    pub(super) fn forget_kept(&self, uuid: Uuid) -> Result<(), DriverError> {
        if let Some(dir) = &self.dir {
            remove(&file_of(dir, uuid, KEPT)).map_err(|error| failed(dir, &error))?;
        }
        lock(&self.kept).remove(&uuid);
        Ok(())
    }

    /// A guest from elsewhere, unless it is here already.
    pub(super) fn adopt(&self, mut guest: FakeGuest, power_on: bool) -> Result<(), DriverError> {
        let mut guests = self.lock();
        if guests.contains_key(&guest.uuid) {
            return Ok(());
        }
        if power_on {
            guest.start();
        }
        self.write(&guest)?;
        guests.insert(guest.uuid, guest);
        Ok(())
    }

    pub(super) fn expect(&self, guest: FakeGuest) {
        lock(&self.awaited).insert(guest.uuid, guest);
    }

    pub(super) fn expect_no_more(&self, uuid: Uuid) -> Option<FakeGuest> {
        lock(&self.awaited).remove(&uuid)
    }

    /// A guest, and not what is kept of it.
    pub(super) fn remove_guest(&self, uuid: Uuid) -> Result<(), DriverError> {
        let mut guests = self.lock();
        if let Some(dir) = &self.dir {
            remove(&file_of(dir, uuid, "json")).map_err(|error| failed(dir, &error))?;
        }
        guests.remove(&uuid);
        Ok(())
    }

    // Under the lock and on the caller's thread: one write of some hundred bytes, cheaper than handing it over.
    fn write(&self, guest: &FakeGuest) -> Result<(), DriverError> {
        self.write_as(guest, "json")
    }

    fn write_as(&self, guest: &FakeGuest, ending: &str) -> Result<(), DriverError> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let temporary = dir.join(format!("{}.tmp", guest.uuid));
        let written = serde_json::to_vec(guest)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&temporary, text))
            .and_then(|()| std::fs::rename(&temporary, file_of(dir, guest.uuid, ending)));
        written.map_err(|error| failed(dir, &error))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, FakeGuest>> {
        lock(&self.guests)
    }
}

fn ports(network_info: &NetworkInfo) -> BTreeSet<Uuid> {
    network_info.0.iter().map(|vif| vif.id).collect()
}

/// A file that goes away with whoever holds it.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a snapshot was not removed");
        }
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn lock(guests: &Mutex<BTreeMap<Uuid, FakeGuest>>) -> MutexGuard<'_, BTreeMap<Uuid, FakeGuest>> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_of(dir: &Path, uuid: Uuid, ending: &str) -> PathBuf {
    dir.join(format!("{uuid}.{ending}"))
}

/// The guests in files of that ending. What a kill left half written goes.
fn read_all(dir: &Path, ending: &str) -> std::io::Result<BTreeMap<Uuid, FakeGuest>> {
    std::fs::create_dir_all(dir)?;
    let mut guests = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(found) if found == ending => {
                let guest: FakeGuest = serde_json::from_slice(&std::fs::read(&path)?)?;
                guests.insert(guest.uuid, guest);
            }
            Some("tmp") => remove(&path)?,
            _ => {}
        }
    }
    Ok(guests)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(dir: &Path, error: &std::io::Error) -> DriverError {
    DriverError::Host(format!("the fake hypervisor cannot keep its guests in {}: {error}", dir.display()))
}
