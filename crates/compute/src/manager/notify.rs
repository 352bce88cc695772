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
//!   pause, suspend, rescue, restore, … likewise; a soft delete ends also if it failed
//!   resize     resize_prep.*, resize.*, resize_finish.*, resize_confirm.*, resize_revert.*, each on its host
//!   live       live_migration_pre.*, _post.*, _post_dest.*; _abort.*, _force_complete.*, _rollback.*, _rollback_dest.*
//! ```

use std::borrow::Cow;

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{BlockDeviceMapping, Flavor, Instance, PowerState, TaskState, VmState};
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

    /// For telling of a power action; `None`: of one that nobody is told of. Its disks are asked for where they are to
    /// be shown.
    pub(super) async fn telling<'a>(
        &'a self,
        context: &'a RequestContext,
        instance_uuid: Uuid,
        action: Option<InstanceAction>,
    ) -> Telling<'a> {
        let action = action.filter(|_| self.notifications.is_enabled());
        let told = match action {
            Some(action) if is_told_by_admin(action) => Cow::Owned(context.elevated()),
            _ => Cow::Borrowed(context),
        };
        let disks = match action {
            Some(action) if self.notifications.shows_disks(action) => self.disks(context, instance_uuid).await,
            _ => None,
        };
        Telling { notifications: &self.notifications, context: told, action, disks, rescue_image: None }
    }

    /// The preparation of a resize begins, or is over, also where it failed.
    pub(super) fn tell_resize_prep(
        &self,
        context: &RequestContext,
        instance: &Instance,
        flavor: &Flavor,
        is_start: bool,
    ) {
        if !self.notifications.is_enabled() {
            return;
        }
        let action = InstanceAction::ResizePrep;
        let event = if is_start {
            InstanceEvent::start(action)
        } else {
            let event = InstanceEvent::end(action).with_usage("new_instance_type", json!(flavor.name));
            event.with_usage("new_instance_type_id", json!(flavor.id))
        };
        self.notifications.instance(context, instance, &event.with_new_flavor(flavor));
    }

    /// A step of a move failed in Nova's `function`.
    pub(super) fn tell_move_error(
        &self,
        context: &RequestContext,
        instance: &Instance,
        action: InstanceAction,
        error: &ManagerError,
        function: &'static str,
    ) {
        if self.notifications.is_enabled() {
            let fault = fault(error, function);
            self.notifications.instance(context, instance, &InstanceEvent::error(action, &fault));
        }
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

/// Nova does these in the name of an administrator.
fn is_told_by_admin(action: InstanceAction) -> bool {
    use InstanceAction as A;
    matches!(action, A::Reboot | A::Pause | A::Unpause | A::Suspend | A::Resume | A::Rescue | A::Unrescue)
}

/// Tells of one power action.
pub(super) struct Telling<'a> {
    notifications: &'a Notifications,
    context: Cow<'a, RequestContext>,
    action: Option<InstanceAction>,
    disks: Option<Vec<BlockDeviceMapping>>,
    rescue_image: Option<RescueImage>,
}

/// What a rescue is told with.
pub(super) struct RescueImage {
    /// The image that the user named.
    pub(super) image_ref: Option<String>,
    /// The name of the image that is taken.
    pub(super) name: String,
}

impl Telling<'_> {
    /// With what is told of a rescue.
    pub(super) fn with_rescue_image(self, rescue_image: RescueImage) -> Self {
        Self { rescue_image: Some(rescue_image), ..self }
    }

    /// It begins, in the task that Nova begins it in.
    pub(super) fn start(&self, instance: &Instance, task_state: TaskState) {
        if let Some(action) = self.action {
            let begun = Instance { task_state: Some(task_state), ..instance.clone() };
            self.tell(&begun, InstanceEvent::start(action));
        }
    }

    /// It begins, without a task of its own.
    pub(super) fn start_now(&self, instance: &Instance) {
        if let Some(action) = self.action {
            self.tell(instance, InstanceEvent::start(action));
        }
    }

    /// An interface could not be plugged in.
    pub(super) fn attach_error(&self, instance: &Instance, error: &ManagerError) {
        self.tell_error(instance, error, "_attach_interface");
    }

    /// It is done.
    pub(super) fn end(&self, instance: &Instance) {
        if let Some(action) = self.action {
            self.tell(instance, InstanceEvent::end(action));
        }
    }

    /// It failed. Only reboots and rebuilds have an error of their own: Nova tells it of a guest that still runs, and of
    /// others that there was an exception.
    pub(super) fn error(&self, instance: &Instance, error: &ManagerError) {
        match self.action {
            Some(InstanceAction::Reboot) => self.tell_error(instance, error, "_reboot_instance"),
            Some(InstanceAction::Rebuild) => self.tell_error(instance, error, "rebuild_instance"),
            _ => {}
        }
    }

    /// By Nova's rule a reboot that failed is over if the guest runs all the same, and a soft delete always.
    pub(super) fn end_after_error(&self, instance: &Instance) {
        let is_over = match self.action {
            Some(InstanceAction::Reboot) => instance.power_state == PowerState::Running,
            Some(InstanceAction::SoftDelete) => true,
            _ => false,
        };
        if is_over {
            self.end(instance);
        }
    }

    /// `function`: where Nova raises it.
    fn tell_error(&self, instance: &Instance, error: &ManagerError, function: &'static str) {
        if let Some(action) = self.action {
            self.tell(instance, InstanceEvent::error(action, &fault(error, function)));
        }
    }

    fn tell<'b>(&'b self, instance: &Instance, event: InstanceEvent<'b>) {
        let event = event.with_disks(self.disks.as_deref());
        let event = match &self.rescue_image {
            Some(RescueImage { image_ref, name }) => {
                event.with_rescue_image_ref(image_ref.as_deref()).with_usage("rescue_image_name", json!(name))
            }
            None => event,
        };
        self.notifications.instance(&self.context, instance, &event);
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
