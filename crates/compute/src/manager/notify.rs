//! What is told of the operations on this host, by [`kilonova_rpcapi::notifications`]. The instance is shown as Nova
//! shows it at that moment, also where ours is a step ahead of it. Where nobody listens nothing is made.
//!
//! ```text
//!   build      create.start ──> create.end | create.error
//!   terminate  delete.start, shutdown.start ──> shutdown.end ──> delete.end
//!   start      power_on.start ──> power_on.end
//!   stop       power_off.start ──> power_off.end
//!   snapshot   snapshot.start ──> snapshot.end, also of a backup
//!   rebuild    rebuild.start ──> rebuild.end | rebuild.error
//!   shelve     shelve.start ──> shelve.end, shelve_offload.start ──> shelve_offload.end
//!   unshelve   unshelve.start ──> unshelve.end
//!   reboot     reboot.start ──> reboot.end | reboot.error, and reboot.end if the guest runs all the same
//!   attach, detach   interface_attach.start ──> .end | .error, interface_detach.start ──> .end
//! ```

use std::borrow::Cow;

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{BlockDeviceMapping, Instance, PowerState, TaskState, VmState};
use kilonova_rpcapi::compute::BuildAndRunInstance;
use kilonova_rpcapi::notifications::{Fault, InstanceAction, InstanceEvent};
use kilonova_rpcapi::{Notifications, RpcError};
use kilonova_virt::DriverError;
use serde_json::json;
use uuid::Uuid;

use super::{Manager, ManagerError};

impl Manager {
    /// A build begins. Nova says so before the instance is the host's.
    pub(super) fn tell_create_start(&self, context: &RequestContext, instance: &Instance, build: &BuildAndRunInstance) {
        if !self.notifications.is_enabled() {
            return;
        }
        let unclaimed = Instance { host: None, node: None, task_state: None, ..instance.clone() };
        let image_name = json!(build.image.get("name"));
        let event = InstanceEvent::start(InstanceAction::Create).with_usage("image_name", image_name);
        let disks = build.block_device_mapping.objects.as_slice();
        self.notifications.instance(context, &unclaimed, &event.with_disks(Some(disks)));
    }

    /// A build that began is over on this host, by whatever way. Nova has given up the claim when it says of an error.
    pub(super) fn tell_create_result(
        &self,
        context: &RequestContext,
        instance: &Instance,
        build: &BuildAndRunInstance,
        result: &Result<(), ManagerError>,
    ) {
        if !self.notifications.is_enabled() {
            return;
        }
        let disks = Some(build.block_device_mapping.objects.as_slice());
        match result {
            Ok(()) => {
                let event = InstanceEvent::end(InstanceAction::Create).with_usage("message", json!("Success"));
                self.notifications.instance(context, instance, &event.with_fixed_ips().with_disks(disks));
            }
            Err(error) => {
                let unclaimed = Instance { host: None, node: None, ..instance.clone() };
                let fault = fault(error, "_build_and_run_instance");
                let event = InstanceEvent::error(InstanceAction::Create, &fault).with_disks(disks);
                self.notifications.instance(context, &unclaimed, &event);
            }
        }
    }

    /// A delete begins.
    pub(super) fn tell_delete_start(&self, context: &RequestContext, instance: &Instance, bdms: &[BlockDeviceMapping]) {
        if !self.notifications.is_enabled() {
            return;
        }
        let start = |action| InstanceEvent::start(action).with_disks(Some(bdms));
        self.notifications.instance(context, instance, &start(InstanceAction::Delete));
        self.notifications.instance(&context.elevated(), instance, &start(InstanceAction::Shutdown));
    }

    /// The guest and its ports are gone.
    pub(super) fn tell_shutdown_end(&self, context: &RequestContext, instance: &Instance, bdms: &[BlockDeviceMapping]) {
        if !self.notifications.is_enabled() {
            return;
        }
        let without_ports = Instance { info_cache: None, ..instance.clone() };
        let event = InstanceEvent::end(InstanceAction::Shutdown).with_disks(Some(bdms));
        self.notifications.instance(&context.elevated(), &without_ports, &event);
    }

    /// A delete is done; `deleted` is what the conductor says of the instance now.
    pub(super) fn tell_delete_end(&self, context: &RequestContext, deleted: Instance, bdms: &[BlockDeviceMapping]) {
        if !self.notifications.is_enabled() {
            return;
        }
        let now = Some(utcnow());
        let deleted = Instance {
            deleted: true,
            vm_state: VmState::Deleted,
            task_state: None,
            power_state: PowerState::NoState,
            info_cache: None,
            terminated_at: deleted.terminated_at.or(now),
            deleted_at: deleted.deleted_at.or(now),
            ..deleted
        };
        let event = InstanceEvent::end(InstanceAction::Delete).with_disks(Some(bdms));
        self.notifications.instance(context, &deleted, &event);
    }

    /// For telling of a power action. Its disks are asked for where they are to be shown.
    pub(super) async fn telling<'a>(
        &'a self,
        context: &'a RequestContext,
        instance_uuid: Uuid,
        action: InstanceAction,
    ) -> Telling<'a> {
        let is_reboot = action == InstanceAction::Reboot && self.notifications.is_enabled();
        // Nova reboots in the name of an administrator.
        let told = if is_reboot { Cow::Owned(context.elevated()) } else { Cow::Borrowed(context) };
        let disks =
            if self.notifications.shows_disks(action) { self.disks(context, instance_uuid).await } else { None };
        Telling { notifications: &self.notifications, context: told, action, disks }
    }

    async fn disks(&self, context: &RequestContext, instance_uuid: Uuid) -> Option<Vec<BlockDeviceMapping>> {
        match Box::pin(self.conductor.block_devices(context, instance_uuid)).await {
            Ok(disks) => Some(disks),
            Err(error) => {
                tracing::debug!(instance = %instance_uuid, %error, "the notifications of an action will not show the disks");
                None
            }
        }
    }
}

/// Tells of one power action.
pub(super) struct Telling<'a> {
    notifications: &'a Notifications,
    context: Cow<'a, RequestContext>,
    action: InstanceAction,
    disks: Option<Vec<BlockDeviceMapping>>,
}

impl Telling<'_> {
    /// It begins, in the task that Nova begins it in.
    pub(super) fn start(&self, instance: &Instance, task_state: TaskState) {
        if self.notifications.is_enabled() {
            let begun = Instance { task_state: Some(task_state), ..instance.clone() };
            self.tell(&begun, InstanceEvent::start(self.action));
        }
    }

    /// It begins, and is no task.
    pub(super) fn begin(&self, instance: &Instance) {
        self.tell(instance, InstanceEvent::start(self.action));
    }

    /// An interface could not be plugged in.
    pub(super) fn attach_error(&self, instance: &Instance, error: &ManagerError) {
        if self.notifications.is_enabled() {
            let fault = fault(error, "_attach_interface");
            self.tell(instance, InstanceEvent::error(self.action, &fault));
        }
    }

    /// It is done.
    pub(super) fn end(&self, instance: &Instance) {
        self.tell(instance, InstanceEvent::end(self.action));
    }

    /// It failed. Only reboots and rebuilds have an error of their own: Nova tells it of a guest that still runs, and of
    /// others that there was an exception.
    pub(super) fn error(&self, instance: &Instance, error: &ManagerError) {
        let function = match self.action {
            InstanceAction::Reboot => "_reboot_instance",
            InstanceAction::Rebuild => "rebuild_instance",
            _ => return,
        };
        if self.notifications.is_enabled() {
            let fault = fault(error, function);
            self.tell(instance, InstanceEvent::error(self.action, &fault));
        }
    }

    /// A reboot that failed is over, by Nova's rule, if the guest runs all the same.
    pub(super) fn end_after_error(&self, instance: &Instance) {
        if self.action == InstanceAction::Reboot && instance.power_state == PowerState::Running {
            self.end(instance);
        }
    }

    fn tell<'b>(&'b self, instance: &Instance, event: InstanceEvent<'b>) {
        self.notifications.instance(&self.context, instance, &event.with_disks(self.disks.as_deref()));
    }
}

/// An error as Nova shows one that was raised in `function`.
fn fault(error: &ManagerError, function: &'static str) -> Fault {
    let class = match error {
        ManagerError::Driver(DriverError::ImageUnacceptable { .. }) => "ImageUnacceptable",
        ManagerError::Driver(DriverError::FlavorDiskSmallerThanImage { .. }) => "FlavorDiskSmallerThanImage",
        ManagerError::Driver(DriverError::InstanceNotFound(_)) => "InstanceNotFound",
        ManagerError::Rpc(RpcError::Remote(exception)) | ManagerError::Raised(exception) => &exception.class,
        ManagerError::Invalid(_) => "BuildAbortException",
        _ => "NovaException",
    };
    Fault {
        class: class.to_owned(),
        message: error.to_string(),
        code: super::fault_code(error),
        module: "kilonova_compute::manager",
        function,
        traceback: super::details(error),
    }
}
