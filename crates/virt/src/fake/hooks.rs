//! Failures and delays that a test injects, by operation.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::driver::DriverError;

/// A method of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FakeOperation {
    /// `recover`
    Recover,
    /// `host_resources`
    HostResources,
    /// `list_guests`
    ListGuests,
    /// `guest_info`
    GuestInfo,
    /// `spawn`
    Spawn,
    /// `snapshot`
    Snapshot,
    /// `destroy`
    Destroy,
    /// `power_off`
    PowerOff,
    /// `power_on`
    PowerOn,
    /// `reboot`
    Reboot,
    /// `console_log`
    ConsoleLog,
    /// `cache_image`
    CacheImage,
    /// `attach_interface`
    AttachInterface,
    /// `detach_interface`
    DetachInterface,
    /// `attach_volume`
    AttachVolume,
    /// `detach_volume`
    DetachVolume,
    /// `swap_volume`
    SwapVolume,
    /// `power_update_event`
    PowerUpdateEvent,
    /// `console`
    Console,
    /// `pause`
    Pause,
    /// `unpause`
    Unpause,
    /// `suspend`
    Suspend,
    /// `resume`
    Resume,
    /// `rescue`
    Rescue,
    /// `unrescue`
    Unrescue,
    /// `set_admin_password`
    SetAdminPassword,
    /// `trigger_crash_dump`
    TriggerCrashDump,
    /// `inject_network_info`
    InjectNetworkInfo,
    /// `diagnostics`
    Diagnostics,
    /// `migrate_disk_and_power_off`
    MigrateDisk,
    /// `finish_migration`
    FinishMigration,
    /// `confirm_migration`
    ConfirmMigration,
    /// `revert_migration`
    RevertMigration,
    /// `finish_revert_migration`
    FinishRevertMigration,
    /// `check_can_live_migrate_destination`
    CheckDestination,
    /// `check_can_live_migrate_source`
    CheckSource,
    /// `pre_live_migration`
    PreLiveMigration,
    /// `live_migration`: an abort and a force-complete end its delay.
    LiveMigration,
    /// `post_live_migration_at_destination`
    PostLiveMigration,
}

#[derive(Debug, Default)]
pub(super) struct Hooks(Mutex<HashMap<FakeOperation, Hook>>);

#[derive(Debug, Default)]
struct Hook {
    delay: Option<Duration>,
    failures: VecDeque<DriverError>,
}

impl Hooks {
    pub(super) fn fail_next(&self, operation: FakeOperation, error: DriverError) {
        self.with(operation, |hook| hook.failures.push_back(error));
    }

    pub(super) fn delay(&self, operation: FakeOperation, delay: Duration) {
        self.with(operation, |hook| hook.delay = Some(delay));
    }

    /// What every operation begins with.
    pub(super) async fn enter(&self, operation: FakeOperation) -> Result<(), DriverError> {
        let (delay, failure) = self.with(operation, |hook| (hook.delay, hook.failures.pop_front()));
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        failure.map_or(Ok(()), Err)
    }

    fn with<T>(&self, operation: FakeOperation, use_it: impl FnOnce(&mut Hook) -> T) -> T {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        use_it(hooks.entry(operation).or_default())
    }
}
