//! What can be told of an instance.

use kilonova_objects::{BlockDeviceMapping, Flavor, Instance, TaskState, VmState};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What is done to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum InstanceAction {
    Create,
    Delete,
    /// The guest's part of a delete.
    Shutdown,
    PowerOn,
    PowerOff,
    Reboot,
    InterfaceAttach,
    InterfaceDetach,
    Snapshot,
    Rebuild,
    Shelve,
    ShelveOffload,
    Unshelve,
    SoftDelete,
    Restore,
    Pause,
    Unpause,
    Suspend,
    Resume,
    Rescue,
    Unrescue,
    TriggerCrashDump,
    ResizePrep,
    Resize,
    ResizeFinish,
    ResizeConfirm,
    ResizeRevert,
    LiveMigrationPre,
    LiveMigrationPost,
    LiveMigrationPostDest,
    LiveMigrationAbort,
    LiveMigrationForceComplete,
    LiveMigrationRollback,
    LiveMigrationRollbackDest,
    Evacuate,
}

impl InstanceAction {
    /// Nova has the disks at hand whatever is configured.
    pub(super) const fn has_disks(self) -> bool {
        matches!(
            self,
            Self::Reboot | Self::Resume | Self::Rebuild | Self::Shelve | Self::ShelveOffload | Self::Unshelve
        )
    }

    /// As event types have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Shutdown => "shutdown",
            Self::PowerOn => "power_on",
            Self::PowerOff => "power_off",
            Self::Reboot => "reboot",
            Self::InterfaceAttach => "interface_attach",
            Self::InterfaceDetach => "interface_detach",
            Self::Snapshot => "snapshot",
            Self::Rebuild => "rebuild",
            Self::Shelve => "shelve",
            Self::ShelveOffload => "shelve_offload",
            Self::Unshelve => "unshelve",
            Self::SoftDelete => "soft_delete",
            Self::Restore => "restore",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::TriggerCrashDump => "trigger_crash_dump",
            Self::ResizePrep => "resize_prep",
            Self::Resize => "resize",
            Self::ResizeFinish => "resize_finish",
            Self::ResizeConfirm => "resize_confirm",
            Self::ResizeRevert => "resize_revert",
            Self::LiveMigrationPre => "live_migration_pre",
            Self::LiveMigrationPost => "live_migration_post",
            Self::LiveMigrationPostDest => "live_migration_post_dest",
            Self::LiveMigrationAbort => "live_migration_abort",
            Self::LiveMigrationForceComplete => "live_migration_force_complete",
            Self::LiveMigrationRollback => "live_migration_rollback",
            Self::LiveMigrationRollbackDest => "live_migration_rollback_dest",
            Self::Evacuate => "evacuate",
        }
    }

    /// As event types without a version have it.
    pub(super) const fn unversioned_str(self) -> &'static str {
        match self {
            Self::ResizePrep => "resize.prep",
            Self::ResizeFinish => "finish_resize",
            Self::ResizeConfirm => "resize.confirm",
            Self::ResizeRevert => "resize.revert",
            Self::LiveMigrationPre => "live_migration.pre",
            Self::LiveMigrationPost => "live_migration._post",
            Self::LiveMigrationPostDest => "live_migration.post.dest",
            Self::LiveMigrationAbort => "live.migration.abort",
            Self::LiveMigrationForceComplete => "live.migration.force.complete",
            Self::LiveMigrationRollback => "live_migration._rollback",
            Self::LiveMigrationRollbackDest => "live_migration.rollback.dest",
            other => other.as_str(),
        }
    }

    /// Whether Nova tells of it only with a version.
    pub(super) const fn is_versioned_only(self) -> bool {
        matches!(self, Self::InterfaceAttach | Self::InterfaceDetach)
    }
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Phase {
    Start,
    End,
    Error,
}

impl Phase {
    /// As event types have it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
            Self::Error => "error",
        }
    }
}

/// Why something failed, in the terms of a Python exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Nova's exception class.
    pub class: String,
    /// What a user may see.
    pub message: String,
    /// HTTP status that the exception stands for.
    pub code: i64,
    /// Where it failed: a module path.
    pub module: &'static str,
    /// Where it failed: Nova's name of the method.
    pub function: &'static str,
    /// What an operator sees.
    pub traceback: String,
}

/// An action on an instance begins, ends or fails.
#[derive(Clone, Debug)]
pub struct InstanceEvent<'a> {
    pub(super) action: InstanceAction,
    pub(super) phase: Phase,
    pub(super) fault: Option<&'a Fault>,
    pub(super) bdms: Option<&'a [BlockDeviceMapping]>,
    pub(super) shows_fixed_ips: bool,
    pub(super) rescue_image_ref: Option<&'a str>,
    pub(super) usage: Map<String, Value>,
    pub(super) snapshot_image_id: Option<Uuid>,
    pub(super) new_flavor: Option<&'a Flavor>,
}

impl<'a> InstanceEvent<'a> {
    fn new(action: InstanceAction, phase: Phase) -> Self {
        Self {
            action,
            phase,
            fault: None,
            bdms: None,
            shows_fixed_ips: false,
            usage: Map::new(),
            snapshot_image_id: None,
            rescue_image_ref: None,
            new_flavor: None,
        }
    }

    /// It begins.
    pub fn start(action: InstanceAction) -> Self {
        Self::new(action, Phase::Start)
    }

    /// It is done.
    pub fn end(action: InstanceAction) -> Self {
        Self::new(action, Phase::End)
    }

    /// It failed.
    pub fn error(action: InstanceAction, fault: &'a Fault) -> Self {
        Self { fault: Some(fault), ..Self::new(action, Phase::Error) }
    }

    /// With the disks, of which those that are volumes are shown. `None`: they are not at hand.
    #[must_use]
    pub fn with_disks(self, bdms: Option<&'a [BlockDeviceMapping]>) -> Self {
        Self { bdms, ..self }
    }

    /// With the instance's addresses also in the unversioned form, which has them only at the end of a build.
    #[must_use]
    pub fn with_fixed_ips(self) -> Self {
        Self { shows_fixed_ips: true, ..self }
    }

    /// With the image that is made, in the versioned form of a snapshot.
    #[must_use]
    pub fn with_snapshot(self, image_id: Uuid) -> Self {
        Self { snapshot_image_id: Some(image_id), ..self }
    }

    /// With the image that the user wants to be rescued with, which only the versioned form of a rescue has.
    #[must_use]
    pub fn with_rescue_image_ref(self, image_ref: Option<&'a str>) -> Self {
        Self { rescue_image_ref: image_ref, ..self }
    }

    /// With the flavor that the instance will have: what the preparation of a resize tells.
    #[must_use]
    pub fn with_new_flavor(self, flavor: &'a Flavor) -> Self {
        Self { new_flavor: Some(flavor), ..self }
    }

    /// With one more value in the unversioned form: Nova's `extra_usage_info`.
    #[must_use]
    pub fn with_usage(mut self, name: &str, value: Value) -> Self {
        self.usage.insert(name.to_owned(), value);
        self
    }
}

/// How an instance's states changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateUpdate {
    pub(super) old_state: VmState,
    pub(super) state: VmState,
    pub(super) old_task_state: Option<TaskState>,
    pub(super) new_task_state: Option<TaskState>,
    pub(super) old_display_name: Option<String>,
}

impl StateUpdate {
    pub(super) fn between(before: &Instance, after: &Instance) -> Self {
        Self {
            old_state: before.vm_state,
            state: after.vm_state,
            // Nova takes no task for one that was not said, and says the present one instead.
            old_task_state: before.task_state.or(after.task_state),
            new_task_state: after.task_state,
            old_display_name: None,
        }
    }
}
