//! What can be told of an instance.

use kilonova_objects::{BlockDeviceMapping, Instance, TaskState, VmState};
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
}

impl InstanceAction {
    /// Nova has the disks at hand whatever is configured.
    pub(super) const fn has_disks(self) -> bool {
        matches!(self, Self::Reboot | Self::Rebuild | Self::Shelve | Self::ShelveOffload | Self::Unshelve)
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
    pub(super) usage: Map<String, Value>,
    pub(super) snapshot_image_id: Option<Uuid>,
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
