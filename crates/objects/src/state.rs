//! The states of an instance: the enums, what the API shows for them, and the table of what is allowed when.
//!
//! Names and rules are Nova's (its `vm_states`, `task_states`, `power_state` and the checks of its compute API).

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::wire::{Wire, WireError};

macro_rules! state_enum {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $( $variant:ident = $text:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $( #[doc = concat!("`", $text, "`")] $variant, )*
        }

        impl $name {
            /// Every state.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// Nova's word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = WireError;

            fn from_str(text: &str) -> Result<Self, WireError> {
                let found = Self::ALL.iter().find(|state| state.as_str() == text);
                found.copied().ok_or_else(|| WireError::type_of($what, &json!(text)))
            }
        }

        impl Wire for $name {
            fn to_wire(&self) -> Value {
                json!(self.as_str())
            }
            fn from_wire(value: &Value) -> Result<Self, WireError> {
                value.as_str().ok_or_else(|| WireError::type_of($what, value))?.parse()
            }
            fn when_unset() -> Option<Self> {
                None
            }
        }
    };
}

state_enum!(
    /// What an instance is, between tasks.
    VmState, "a vm_state", {
        Active = "active",
        Building = "building",
        Paused = "paused",
        Suspended = "suspended",
        Stopped = "stopped",
        Rescued = "rescued",
        Resized = "resized",
        SoftDeleted = "soft-delete",
        Deleted = "deleted",
        Error = "error",
        Shelved = "shelved",
        ShelvedOffloaded = "shelved_offloaded",
    }
);

#[expect(clippy::derivable_impls, reason = "the enum comes from a macro that knows no default")]
impl Default for VmState {
    fn default() -> Self {
        Self::Building
    }
}

state_enum!(
    /// What is being done to an instance.
    TaskState, "a task_state", {
        Scheduling = "scheduling",
        BlockDeviceMapping = "block_device_mapping",
        Networking = "networking",
        Spawning = "spawning",
        ImageSnapshot = "image_snapshot",
        ImageSnapshotPending = "image_snapshot_pending",
        ImagePendingUpload = "image_pending_upload",
        ImageUploading = "image_uploading",
        ImageBackup = "image_backup",
        UpdatingPassword = "updating_password",
        ResizePrep = "resize_prep",
        ResizeMigrating = "resize_migrating",
        ResizeMigrated = "resize_migrated",
        ResizeFinish = "resize_finish",
        ResizeReverting = "resize_reverting",
        ResizeConfirming = "resize_confirming",
        Rebooting = "rebooting",
        RebootPending = "reboot_pending",
        RebootStarted = "reboot_started",
        RebootingHard = "rebooting_hard",
        RebootPendingHard = "reboot_pending_hard",
        RebootStartedHard = "reboot_started_hard",
        Pausing = "pausing",
        Unpausing = "unpausing",
        Suspending = "suspending",
        Resuming = "resuming",
        PoweringOff = "powering-off",
        PoweringOn = "powering-on",
        Rescuing = "rescuing",
        Unrescuing = "unrescuing",
        Rebuilding = "rebuilding",
        RebuildBlockDeviceMapping = "rebuild_block_device_mapping",
        RebuildSpawning = "rebuild_spawning",
        Migrating = "migrating",
        Deleting = "deleting",
        SoftDeleting = "soft-deleting",
        Restoring = "restoring",
        Shelving = "shelving",
        ShelvingImagePendingUpload = "shelving_image_pending_upload",
        ShelvingImageUploading = "shelving_image_uploading",
        ShelvingOffloading = "shelving_offloading",
        Unshelving = "unshelving",
    }
);

impl TaskState {
    /// The tasks of a move between hosts that is carried out: each belongs to a workflow.
    pub const fn is_move(self) -> bool {
        matches!(
            self,
            Self::ResizePrep
                | Self::ResizeMigrating
                | Self::ResizeMigrated
                | Self::ResizeFinish
                | Self::ResizeReverting
                | Self::Migrating
                | Self::Rebuilding
                | Self::RebuildBlockDeviceMapping
                | Self::RebuildSpawning
        )
    }
}

/// What the hypervisor says of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PowerState {
    /// 0: nothing is known, or there is no guest.
    #[default]
    NoState,
    /// 1
    Running,
    /// 3
    Paused,
    /// 4
    Shutdown,
    /// 6
    Crashed,
    /// 7
    Suspended,
}

impl PowerState {
    /// Nova's number for it.
    pub const fn number(self) -> i64 {
        match self {
            Self::NoState => 0,
            Self::Running => 1,
            Self::Paused => 3,
            Self::Shutdown => 4,
            Self::Crashed => 6,
            Self::Suspended => 7,
        }
    }

    /// Nova's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoState => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::Crashed => "crashed",
            Self::Suspended => "suspended",
        }
    }

    /// From Nova's number.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::NoState),
            1 => Some(Self::Running),
            3 => Some(Self::Paused),
            4 => Some(Self::Shutdown),
            6 => Some(Self::Crashed),
            7 => Some(Self::Suspended),
            _ => None,
        }
    }
}

impl Wire for PowerState {
    fn to_wire(&self) -> Value {
        json!(self.number())
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        if value.is_null() {
            return Ok(Self::NoState);
        }
        value.as_i64().and_then(Self::from_number).ok_or_else(|| WireError::type_of("a power_state", value))
    }
    fn when_unset() -> Option<Self> {
        Some(Self::NoState)
    }
}

/// The `status` that the API shows.
pub fn api_status(vm_state: VmState, task_state: Option<TaskState>) -> &'static str {
    use TaskState as T;
    match (vm_state, task_state) {
        (VmState::Active, Some(T::Rebooting | T::RebootPending | T::RebootStarted)) => "REBOOT",
        (VmState::Active, Some(T::UpdatingPassword)) => "PASSWORD",
        (VmState::Active | VmState::Paused, Some(T::Migrating)) => "MIGRATING",
        (_, Some(T::RebootingHard | T::RebootPendingHard | T::RebootStartedHard)) if has_hard_reboot(vm_state) => {
            "HARD_REBOOT"
        }
        (
            VmState::Active | VmState::Stopped | VmState::Error,
            Some(T::Rebuilding | T::RebuildBlockDeviceMapping | T::RebuildSpawning),
        ) => "REBUILD",
        (
            VmState::Active | VmState::Stopped,
            Some(T::ResizePrep | T::ResizeMigrating | T::ResizeMigrated | T::ResizeFinish),
        ) => "RESIZE",
        (VmState::Resized, Some(T::ResizeReverting)) => "REVERT_RESIZE",
        (VmState::Active, _) => "ACTIVE",
        (VmState::Building, _) => "BUILD",
        (VmState::Stopped, _) => "SHUTOFF",
        (VmState::Resized, _) => "VERIFY_RESIZE",
        (VmState::Paused, _) => "PAUSED",
        (VmState::Suspended, _) => "SUSPENDED",
        (VmState::Rescued, _) => "RESCUE",
        (VmState::Error, _) => "ERROR",
        (VmState::Deleted, _) => "DELETED",
        (VmState::SoftDeleted, _) => "SOFT_DELETED",
        (VmState::Shelved, _) => "SHELVED",
        (VmState::ShelvedOffloaded, _) => "SHELVED_OFFLOADED",
    }
}

fn has_hard_reboot(vm_state: VmState) -> bool {
    matches!(vm_state, VmState::Active | VmState::Stopped | VmState::Paused | VmState::Suspended | VmState::Error)
}

/// The vm_states and task_states whose `status` is `status`, for the list filter: `None` among the task states means
/// any task. Empty when no state has that status.
pub fn states_of_status(status: &str) -> Vec<(VmState, Vec<Option<TaskState>>)> {
    let tasks = || std::iter::once(None).chain(TaskState::ALL.iter().copied().map(Some));
    let wanted = status.to_ascii_uppercase();
    VmState::ALL
        .iter()
        .map(|vm_state| (*vm_state, tasks().filter(|task| api_status(*vm_state, *task) == wanted).collect()))
        .filter(|(_, tasks): &(VmState, Vec<Option<TaskState>>)| !tasks.is_empty())
        .collect()
}

/// What can be asked of an existing instance, and depends on its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `os-start`
    Start,
    /// `os-stop`
    Stop,
    /// `reboot` SOFT
    SoftReboot,
    /// `reboot` HARD
    HardReboot,
    /// `DELETE /servers/{id}`
    Delete,
    /// `restore`
    Restore,
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
    /// `changePassword`
    ChangePassword,
    /// `trigger_crash_dump`
    TriggerCrashDump,
    /// Change of metadata
    UpdateMetadata,
    /// `POST /servers/{id}/os-interface`
    AttachInterface,
    /// `DELETE /servers/{id}/os-interface/{port}`
    DetachInterface,
    /// `POST /servers/{id}/os-volume_attachments`
    AttachVolume,
    /// `DELETE /servers/{id}/os-volume_attachments/{volume}`
    DetachVolume,
    /// `PUT /servers/{id}/os-volume_attachments/{volume}` with another volume
    SwapVolume,
    /// `createImage`
    Snapshot,
    /// `createBackup`
    Backup,
    /// `rebuild`
    Rebuild,
    /// `shelve`
    Shelve,
    /// `shelveOffload`
    ShelveOffload,
    /// `unshelve`
    Unshelve,
    /// `resize`
    Resize,
    /// `migrate`
    Migrate,
    /// `confirmResize`
    ConfirmResize,
    /// `revertResize`
    RevertResize,
    /// `os-migrateLive`
    LiveMigrate,
    /// `force_complete` of a live migration
    ForceCompleteLiveMigration,
    /// `DELETE` of a live migration
    AbortLiveMigration,
    /// `evacuate`
    Evacuate,
}

/// Why an action is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The vm_state does not allow it.
    VmState(VmState),
    /// Something else is being done (`None`: the task that it wants is not there).
    TaskState(Option<TaskState>),
    /// It was never running.
    NeverLaunched,
}

impl Action {
    /// Whether the action may start now.
    pub fn check(self, vm_state: VmState, task_state: Option<TaskState>, was_launched: bool) -> Result<(), Refusal> {
        if let Some(allowed) = self.vm_states()
            && !allowed.contains(&vm_state)
        {
            return Err(Refusal::VmState(vm_state));
        }
        if !self.allows_task(task_state) {
            return Err(Refusal::TaskState(task_state));
        }
        if self != Self::Delete && !was_launched {
            return Err(Refusal::NeverLaunched);
        }
        Ok(())
    }

    /// The word for the action in Nova's refusal, `Cannot '<word>' instance …`.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::SoftReboot | Self::HardReboot => "reboot",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::ChangePassword => "changePassword",
            Self::TriggerCrashDump => "trigger_crash_dump",
            Self::UpdateMetadata => "update metadata",
            Self::AttachInterface => "attach_interface",
            Self::DetachInterface => "detach_interface",
            Self::AttachVolume => "attach_volume",
            Self::DetachVolume => "detach_volume",
            Self::SwapVolume => "swap_volume",
            Self::Snapshot => "createImage",
            Self::Backup => "createBackup",
            Self::Rebuild => "rebuild",
            Self::Shelve => "shelve",
            Self::ShelveOffload => "shelveOffload",
            Self::Unshelve => "unshelve",
            Self::Resize => "resize",
            Self::Migrate => "migrate",
            Self::ConfirmResize => "confirmResize",
            Self::RevertResize => "revertResize",
            Self::LiveMigrate => "os-migrateLive",
            Self::ForceCompleteLiveMigration => "force_complete",
            Self::AbortLiveMigration => "abort live migration",
            Self::Evacuate => "evacuate",
        }
    }

    /// `None`: any.
    const fn vm_states(self) -> Option<&'static [VmState]> {
        use VmState::{
            Active, Error, Paused, Rescued, Resized, Shelved, ShelvedOffloaded, SoftDeleted, Stopped, Suspended,
        };

        match self {
            Self::Start => Some(&[Stopped]),
            Self::Stop => Some(&[Active, Error]),
            Self::SoftReboot => Some(&[Active]),
            Self::HardReboot => Some(&[Active, Stopped, Paused, Suspended, Error]),
            Self::UpdateMetadata => Some(&[Active, Paused, Suspended, Stopped]),
            Self::AttachInterface | Self::DetachInterface => Some(&[Active, Paused, Stopped]),
            Self::AttachVolume | Self::DetachVolume => {
                Some(&[Active, Paused, Stopped, Resized, SoftDeleted, Shelved, ShelvedOffloaded])
            }
            Self::SwapVolume => Some(&[Active, Paused, Resized]),
            Self::Snapshot | Self::Backup | Self::Shelve => Some(&[Active, Stopped, Paused, Suspended]),
            Self::Rebuild => Some(&[Active, Stopped, Error]),
            Self::ShelveOffload => Some(&[Shelved]),
            Self::Unshelve => Some(&[Shelved, ShelvedOffloaded]),
            Self::Restore => Some(&[SoftDeleted]),
            Self::Pause | Self::Suspend | Self::ChangePassword => Some(&[Active]),
            Self::Unpause => Some(&[Paused]),
            Self::Resume => Some(&[Suspended]),
            Self::Rescue => Some(&[Active, Stopped, Error]),
            Self::Unrescue => Some(&[Rescued]),
            Self::TriggerCrashDump => Some(&[Active, Paused, Rescued, Resized, Error]),
            Self::Resize | Self::Migrate => Some(&[Active, Stopped]),
            Self::ConfirmResize | Self::RevertResize => Some(&[Resized]),
            Self::LiveMigrate => Some(&[Active, Paused]),
            Self::ForceCompleteLiveMigration => Some(&[Active]),
            Self::Evacuate => Some(&[Active, Stopped, Error]),
            Self::Delete | Self::AbortLiveMigration => None,
        }
    }

    fn allows_task(self, task_state: Option<TaskState>) -> bool {
        use TaskState as T;
        match self {
            Self::Delete | Self::UpdateMetadata | Self::Evacuate => true,
            Self::ForceCompleteLiveMigration | Self::AbortLiveMigration => task_state == Some(T::Migrating),
            Self::HardReboot => matches!(
                task_state,
                None | Some(
                    T::Rebooting
                        | T::RebootPending
                        | T::RebootStarted
                        | T::RebootingHard
                        | T::Resuming
                        | T::Unpausing
                        | T::Pausing
                        | T::Suspending
                )
            ),
            Self::Start
            | Self::Stop
            | Self::SoftReboot
            | Self::Restore
            | Self::Pause
            | Self::Unpause
            | Self::Suspend
            | Self::Resume
            | Self::Rescue
            | Self::Unrescue
            | Self::ChangePassword
            | Self::TriggerCrashDump
            | Self::AttachInterface
            | Self::DetachInterface
            | Self::AttachVolume
            | Self::DetachVolume
            | Self::SwapVolume
            | Self::Snapshot
            | Self::Backup
            | Self::Rebuild
            | Self::Shelve
            | Self::ShelveOffload
            | Self::Unshelve
            | Self::Resize
            | Self::Migrate
            | Self::ConfirmResize
            | Self::RevertResize
            | Self::LiveMigrate => task_state.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_word() {
        for state in VmState::ALL {
            assert_eq!(state.as_str().parse::<VmState>().unwrap(), *state);
        }
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>().unwrap(), *state);
        }
        assert!("on fire".parse::<VmState>().is_err());
    }

    #[test]
    fn the_status_filter_is_the_inverse_of_the_status() {
        for vm_state in VmState::ALL {
            for task in std::iter::once(None).chain(TaskState::ALL.iter().copied().map(Some)) {
                let states = states_of_status(api_status(*vm_state, task));
                assert!(states.iter().any(|(vm, tasks)| vm == vm_state && tasks.contains(&task)));
            }
        }
        assert!(states_of_status("nonsense").is_empty());
    }

    #[test]
    fn a_stopped_instance_starts_but_does_not_stop() {
        assert_eq!(Action::Start.check(VmState::Stopped, None, true), Ok(()));
        assert_eq!(Action::Stop.check(VmState::Stopped, None, true), Err(Refusal::VmState(VmState::Stopped)));
    }

    #[test]
    fn one_task_at_a_time_but_delete_always_goes() {
        let busy = Some(TaskState::PoweringOff);
        assert_eq!(Action::Stop.check(VmState::Active, busy, true), Err(Refusal::TaskState(busy)));
        assert_eq!(Action::Delete.check(VmState::Building, Some(TaskState::Spawning), false), Ok(()));
    }

    #[test]
    fn a_resize_is_confirmed_once_and_only_after_it_is_done() {
        assert_eq!(Action::ConfirmResize.check(VmState::Resized, None, true), Ok(()));
        let active = Err(Refusal::VmState(VmState::Active));
        assert_eq!(Action::ConfirmResize.check(VmState::Active, None, true), active);
        let reverting = Some(TaskState::ResizeReverting);
        let refused = Err(Refusal::TaskState(reverting));
        assert_eq!(Action::ConfirmResize.check(VmState::Resized, reverting, true), refused);
    }

    #[test]
    fn a_live_migration_is_aborted_while_it_goes_on_and_an_evacuation_asks_for_no_task() {
        let migrating = Some(TaskState::Migrating);
        assert_eq!(Action::AbortLiveMigration.check(VmState::Paused, migrating, true), Ok(()));
        assert_eq!(Action::AbortLiveMigration.check(VmState::Active, None, true), Err(Refusal::TaskState(None)));
        let paused = Err(Refusal::VmState(VmState::Paused));
        assert_eq!(Action::ForceCompleteLiveMigration.check(VmState::Paused, migrating, true), paused);
        assert_eq!(Action::Evacuate.check(VmState::Stopped, migrating, true), Ok(()));
        assert_eq!(Action::Evacuate.check(VmState::Paused, None, true), Err(Refusal::VmState(VmState::Paused)));
    }

    #[test]
    fn what_never_ran_cannot_be_stopped() {
        assert_eq!(Action::Stop.check(VmState::Error, None, false), Err(Refusal::NeverLaunched));
    }

    #[test]
    fn a_hard_reboot_may_overtake_a_soft_one() {
        let soft = Some(TaskState::Rebooting);
        assert_eq!(Action::HardReboot.check(VmState::Active, soft, true), Ok(()));
        assert_eq!(Action::SoftReboot.check(VmState::Active, soft, true), Err(Refusal::TaskState(soft)));
    }
}
