//! What an agent does before it takes its first message: find its guests, and finish or undo what a crash left.

use futures::StreamExt as _;
use kilonova_core::RequestContext;
use kilonova_objects::{Instance, PowerState, TaskState, Tracked, VmState};
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::RebootKind;
use uuid::Uuid;

use super::{Manager, ManagerError};

/// Instances that are read in one go: bounds the memory that a host with many takes.
const PAGE: usize = 100;
/// Instances that are repaired at the same time: a guest that is asked to shut down may take its time.
pub(super) const CONCURRENT_REPAIRS: usize = 16;

/// What is done about an instance that the agent finds at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    /// It is as it should be, or the conductor's workflow takes care.
    None,
    /// The action did not happen; the instance is as before.
    ClearTask,
    /// The action is done again.
    Stop,
    /// The action is done again.
    Start,
    /// The action is done again, the hard way.
    HardReboot,
    /// The image was not finished and goes; the instance is as before.
    DropImage,
    /// What was destroyed for it is lost: in error.
    FailRebuild,
    /// The action is done again.
    ShelveOffload,
    /// The action is done again.
    Unshelve,
    /// The host was rebooted and the guest should run: `resume_guests_state_on_host_boot`.
    Resume,
    /// The action is done again.
    Pause,
    /// The action is done again.
    Unpause,
    /// The action is done again.
    Suspend,
    /// `resume` is done again.
    Wake,
    /// The action is done again; or the opposite was begun, and nobody knows any more with which image.
    Unrescue,
    /// The action is done again.
    SoftDelete,
    /// The action is done again.
    Restore,
    /// This agent began to delete it: it goes on.
    Reclaim,
}

impl Manager {
    /// Adopts the guests that outlived the last agent and repairs what it left half done.
    pub async fn init_host(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let guests = self.driver.recover().await?;
        tracing::info!(guests = guests.len(), driver = self.driver.name(), "guests adopted");
        let mut marker = None;
        loop {
            let page = self.page_of_instances(context, &mut marker).await?;
            if page.is_empty() {
                break;
            }
            let page = futures::stream::iter(page);
            let repair = async |instance: Instance| {
                let as_found = instance.clone();
                Box::pin(self.init_instance(context, instance)).await;
                Box::pin(self.repair_volumes(context, &as_found)).await;
            };
            page.for_each_concurrent(CONCURRENT_REPAIRS, repair).await;
        }
        self.finish_left_moves(context).await;
        self.remove_orphans(context, &guests).await;
        Ok(())
    }

    /// Some instances of this host: the ones after `marker`, which moves on. Empty: those were all.
    pub(super) async fn page_of_instances(
        &self,
        context: &RequestContext,
        marker: &mut Option<Uuid>,
    ) -> Result<Vec<Instance>, ManagerError> {
        let page = self.conductor.instances_by_host(context, &self.config.host, *marker, PAGE).await?;
        *marker = page.last().map(|last| last.uuid);
        Ok(page)
    }

    /// Repairs one instance; an error is logged, and [`Manager::repair_stale_tasks`] tries again.
    pub(super) async fn init_instance(&self, context: &RequestContext, instance: Instance) {
        let uuid = instance.uuid;
        self.saw(uuid, instance.power_state);
        let power_state = match self.guest_power_state(uuid).await {
            Ok(power_state) => power_state,
            // Without knowing, a guest that runs could be rebooted.
            Err(error) => {
                return tracing::error!(instance = %uuid, %error, "the hypervisor does not say how a guest is");
            }
        };
        let repair = repair(&instance, power_state, self.config.resume_guests_state_on_host_boot);
        if repair != Repair::None {
            tracing::info!(instance = %uuid, ?repair, task_state = ?instance.task_state, "repairing what a restart cut short");
        }
        let done = match repair {
            Repair::None => Ok(()),
            Repair::ClearTask => self.clear_task(context, instance, power_state).await,
            Repair::Stop => self.stop_instance(context, instance, true).await,
            Repair::Start => self.start_instance(context, instance).await,
            Repair::DropImage => Box::pin(self.drop_image(context, instance, power_state)).await,
            Repair::FailRebuild => self.fail_rebuild(context, instance, power_state).await,
            Repair::ShelveOffload => Box::pin(self.shelve_offload_instance(context, instance, false)).await,
            Repair::Unshelve => self.unshelve_again(context, instance).await,
            Repair::HardReboot | Repair::Resume => self.reboot_hard(context, instance).await,
            Repair::Pause => self.pause_instance(context, instance).await,
            Repair::Unpause => self.unpause_instance(context, instance).await,
            Repair::Suspend => self.suspend_instance(context, instance).await,
            Repair::Wake => self.resume_instance(context, instance).await,
            Repair::Unrescue => self.unrescue(context, instance).await,
            Repair::SoftDelete => self.soft_delete_instance(context, instance).await,
            Repair::Restore => self.restore_instance(context, instance).await,
            Repair::Reclaim => Box::pin(self.reclaim(context, instance)).await,
        };
        if let Err(error) = done {
            tracing::error!(instance = %uuid, error = %super::details(&error), "an instance could not be repaired");
        }
    }

    async fn clear_task(
        &self,
        context: &RequestContext,
        instance: Instance,
        power_state: PowerState,
    ) -> Result<(), ManagerError> {
        let expected = [instance.task_state];
        let mut instance = Tracked::new(instance);
        instance.task_state = None;
        instance.power_state = power_state;
        if power_state == PowerState::Running && instance.vm_state == VmState::Stopped {
            instance.vm_state = VmState::Active;
        }
        self.save(context, &mut instance, Expected::tasks(&expected)).await
    }

    /// A guest that was shut down to be shelved runs again.
    async fn drop_image(
        &self,
        context: &RequestContext,
        instance: Instance,
        power_state: PowerState,
    ) -> Result<(), ManagerError> {
        self.delete_unfinished_images(context, instance.uuid).await;
        let was_running = instance.vm_state == VmState::Active && instance.task_state.is_some_and(is_shelving);
        if was_running && power_state != PowerState::Running {
            return self.reboot_hard(context, instance).await;
        }
        self.clear_task(context, instance, power_state).await
    }

    /// An evacuation has the same tasks, and is a workflow.
    async fn fail_rebuild(
        &self,
        context: &RequestContext,
        instance: Instance,
        power_state: PowerState,
    ) -> Result<(), ManagerError> {
        if self.is_evacuated(context, instance.uuid).await? {
            return Ok(());
        }
        let expected = [instance.task_state];
        let mut instance = Tracked::new(instance);
        instance.vm_state = VmState::Error;
        instance.task_state = None;
        instance.power_state = power_state;
        self.save(context, &mut instance, Expected::tasks(&expected)).await?;
        let interrupted = ManagerError::Invalid("The rebuild was interrupted.".to_owned());
        self.record_fault(context, &instance, &interrupted).await;
        Ok(())
    }

    async fn reboot_hard(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let instance = self.in_task(context, instance, TaskState::RebootingHard).await?;
        self.reboot_instance(context, instance, RebootKind::Hard).await
    }

    /// Also for what nobody asked for.
    pub(super) async fn unrescue(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let instance = self.in_task(context, instance, TaskState::Unrescuing).await?;
        self.unrescue_instance(context, instance).await
    }

    /// The instance with another task than the one it was found in.
    async fn in_task(
        &self,
        context: &RequestContext,
        instance: Instance,
        task_state: TaskState,
    ) -> Result<Instance, ManagerError> {
        let expected = [instance.task_state];
        let mut instance = Tracked::new(instance);
        instance.task_state = Some(task_state);
        self.save(context, &mut instance, Expected::tasks(&expected)).await?;
        Ok(instance.into_inner())
    }
}

/// What a restart left of an instance, by Nova's rules for `_init_instance`. Builds, deletes and moves are workflows: the
/// conductor asks for them again.
fn repair(instance: &Instance, power_state: PowerState, resumes_guests: bool) -> Repair {
    use PowerState as P;
    use TaskState as T;
    if matches!(instance.vm_state, VmState::Building | VmState::Deleted) {
        return Repair::None;
    }
    match instance.task_state {
        None if resumes_guests && instance.vm_state == VmState::Active && power_state != P::Running => Repair::Resume,
        Some(T::Deleting) if instance.vm_state == VmState::SoftDeleted => Repair::Reclaim,
        None | Some(T::Deleting) => Repair::None,
        Some(T::SoftDeleting) => Repair::SoftDelete,
        Some(T::Restoring) => Repair::Restore,
        Some(T::Pausing) if power_state == P::Paused => Repair::Pause,
        Some(T::Unpausing) if matches!(power_state, P::Paused | P::Running) => Repair::Unpause,
        Some(T::Suspending) if power_state == P::Suspended => Repair::Suspend,
        Some(T::Resuming) if matches!(power_state, P::Suspended | P::Running) => Repair::Wake,
        Some(T::Unrescuing) => Repair::Unrescue,
        // A guest that is off was not started from the other image.
        Some(T::Rescuing) if power_state == P::Running => Repair::Unrescue,
        Some(T::Rebuilding | T::RebuildBlockDeviceMapping | T::RebuildSpawning) => Repair::FailRebuild,
        Some(T::ShelvingOffloading) => Repair::ShelveOffload,
        Some(T::Unshelving | T::Spawning) if instance.vm_state == VmState::ShelvedOffloaded => Repair::Unshelve,
        // Workflows.
        Some(T::Unshelving) => Repair::None,
        Some(task) if task.is_move() => Repair::None,
        Some(
            T::ImageSnapshotPending
            | T::ImageSnapshot
            | T::ImageBackup
            | T::ImagePendingUpload
            | T::ImageUploading
            | T::Shelving
            | T::ShelvingImagePendingUpload
            | T::ShelvingImageUploading,
        ) => Repair::DropImage,
        Some(T::PoweringOff) => Repair::Stop,
        Some(T::PoweringOn) => Repair::Start,
        Some(
            T::Rebooting
            | T::RebootPending
            | T::RebootStarted
            | T::RebootingHard
            | T::RebootPendingHard
            | T::RebootStartedHard,
        ) => {
            if power_state == PowerState::Running {
                Repair::ClearTask
            } else {
                Repair::HardReboot
            }
        }
        Some(_) => Repair::ClearTask,
    }
}

fn is_shelving(task: TaskState) -> bool {
    use TaskState as T;
    matches!(task, T::Shelving | T::ShelvingImagePendingUpload | T::ShelvingImageUploading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(vm_state: VmState, task_state: Option<TaskState>) -> Instance {
        Instance { vm_state, task_state, ..Instance::default() }
    }

    #[test]
    fn power_actions_are_done_again() {
        let stopping = instance(VmState::Active, Some(TaskState::PoweringOff));
        assert_eq!(repair(&stopping, PowerState::Running, false), Repair::Stop);
        let starting = instance(VmState::Stopped, Some(TaskState::PoweringOn));
        assert_eq!(repair(&starting, PowerState::Shutdown, false), Repair::Start);
    }

    #[test]
    fn a_reboot_is_finished_only_where_the_guest_is_down() {
        let rebooting = instance(VmState::Active, Some(TaskState::RebootStarted));
        assert_eq!(repair(&rebooting, PowerState::Running, false), Repair::ClearTask);
        assert_eq!(repair(&rebooting, PowerState::Shutdown, false), Repair::HardReboot);
    }

    #[test]
    fn guests_that_went_down_with_the_host_come_back_where_that_is_wanted() {
        let active = instance(VmState::Active, None);
        assert_eq!(repair(&active, PowerState::Shutdown, true), Repair::Resume);
        assert_eq!(repair(&active, PowerState::Shutdown, false), Repair::None);
    }

    /// What a restart finds: the task, what the guest does, and what is done.
    #[test]
    fn what_was_begun_is_done_again_where_the_guest_shows_that_it_can_be() {
        use PowerState as P;
        use TaskState as T;
        for (vm_state, task, power_state, expected) in [
            (VmState::Active, T::Pausing, P::Paused, Repair::Pause),
            (VmState::Active, T::Pausing, P::Running, Repair::ClearTask),
            (VmState::Paused, T::Unpausing, P::Paused, Repair::Unpause),
            (VmState::Paused, T::Unpausing, P::Running, Repair::Unpause),
            (VmState::Paused, T::Unpausing, P::Shutdown, Repair::ClearTask),
            (VmState::Active, T::Suspending, P::Suspended, Repair::Suspend),
            (VmState::Active, T::Suspending, P::Running, Repair::ClearTask),
            (VmState::Suspended, T::Resuming, P::Suspended, Repair::Wake),
            (VmState::Suspended, T::Resuming, P::Running, Repair::Wake),
            (VmState::Suspended, T::Resuming, P::NoState, Repair::ClearTask),
            (VmState::Active, T::Rescuing, P::Running, Repair::Unrescue),
            (VmState::Stopped, T::Rescuing, P::Shutdown, Repair::ClearTask),
            (VmState::Rescued, T::Unrescuing, P::Running, Repair::Unrescue),
            (VmState::Rescued, T::Unrescuing, P::Shutdown, Repair::Unrescue),
            (VmState::Active, T::UpdatingPassword, P::Running, Repair::ClearTask),
            (VmState::Active, T::SoftDeleting, P::Running, Repair::SoftDelete),
            (VmState::SoftDeleted, T::SoftDeleting, P::Shutdown, Repair::SoftDelete),
            (VmState::SoftDeleted, T::Restoring, P::Shutdown, Repair::Restore),
            (VmState::SoftDeleted, T::Deleting, P::Shutdown, Repair::Reclaim),
        ] {
            assert_eq!(
                repair(&instance(vm_state, Some(task)), power_state, false),
                expected,
                "{task}, {power_state:?}"
            );
        }
        assert_eq!(repair(&instance(VmState::SoftDeleted, None), P::Shutdown, true), Repair::None);
    }

    #[test]
    fn what_was_done_with_images_is_undone_failed_or_done_again() {
        use TaskState as T;
        for (vm_state, task, expected) in [
            (VmState::Active, T::ImageSnapshotPending, Repair::DropImage),
            (VmState::Stopped, T::ImageUploading, Repair::DropImage),
            (VmState::Active, T::ImageBackup, Repair::DropImage),
            (VmState::Active, T::ShelvingImageUploading, Repair::DropImage),
            (VmState::Active, T::RebuildSpawning, Repair::FailRebuild),
            (VmState::Error, T::Rebuilding, Repair::FailRebuild),
            (VmState::Shelved, T::ShelvingOffloading, Repair::ShelveOffload),
            (VmState::ShelvedOffloaded, T::Unshelving, Repair::Unshelve),
            (VmState::ShelvedOffloaded, T::Spawning, Repair::Unshelve),
            (VmState::Shelved, T::Unshelving, Repair::None),
        ] {
            let found = repair(&instance(vm_state, Some(task)), PowerState::Shutdown, false);
            assert_eq!(found, expected, "{vm_state:?} {task:?}");
        }
    }

    #[test]
    fn builds_deletes_and_moves_are_left_to_their_workflows() {
        assert_eq!(
            repair(&instance(VmState::Building, Some(TaskState::Spawning)), PowerState::NoState, false),
            Repair::None
        );
        assert_eq!(
            repair(&instance(VmState::Active, Some(TaskState::Deleting)), PowerState::Running, false),
            Repair::None
        );
        for task in [TaskState::ResizeMigrating, TaskState::ResizeFinish, TaskState::Migrating] {
            assert_eq!(repair(&instance(VmState::Active, Some(task)), PowerState::Shutdown, true), Repair::None);
        }
    }
}
