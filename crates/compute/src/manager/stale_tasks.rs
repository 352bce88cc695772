//! Power actions that nobody carries out: the message got lost, or the conductor could not be told how it ended.
//!
//! Builds and deletes have workflows for that. Here the row says that an action is going on, and this host, which alone
//! could carry it out, does not: what is the same in two passes is repaired as after a restart. Should the message
//! come after all, it finds the action done.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState, VmState};
use uuid::Uuid;

use super::init_host::CONCURRENT_REPAIRS;
use super::{Manager, ManagerError};

/// What an unfinished action looked like.
type Sight = (Option<TaskState>, Option<DateTime<Utc>>);

/// What the last pass saw.
#[derive(Default)]
pub(super) struct StaleTasks(Mutex<HashMap<Uuid, Sight>>);

impl StaleTasks {
    /// Keeps what is seen now; returns those that were seen exactly so before.
    fn seen_again(&self, now: Vec<Instance>) -> Vec<Instance> {
        let sight = |instance: &Instance| (instance.task_state, instance.updated_at);
        let seen = now.iter().map(|instance| (instance.uuid, sight(instance))).collect();
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), seen);
        now.into_iter().filter(|instance| before.get(&instance.uuid) == Some(&sight(instance))).collect()
    }
}

impl Manager {
    /// One pass over all instances of this host.
    pub async fn repair_stale_tasks(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let mut unfinished = Vec::new();
        let mut marker = None;
        loop {
            let page = self.page_of_instances(context, &mut marker).await?;
            if page.is_empty() {
                break;
            }
            unfinished.extend(page.into_iter().filter(is_unfinished));
        }
        let is_idle = |instance: &Instance| self.locks.try_lock(instance.uuid).is_some();
        let stale = self.stale.seen_again(unfinished).into_iter().filter(is_idle);
        let repairs = futures::stream::iter(stale);
        repairs.for_each_concurrent(CONCURRENT_REPAIRS, |instance| self.init_instance(context, instance)).await;
        Ok(())
    }
}

/// Whether a message to this agent ends the task. Of a delete that is true where the agent began it by itself.
fn is_unfinished(instance: &Instance) -> bool {
    use TaskState as T;
    let Some(task) = instance.task_state else { return false };
    matches!(
        task,
        T::PoweringOff
            | T::PoweringOn
            | T::Pausing
            | T::Unpausing
            | T::Suspending
            | T::Resuming
            | T::Rescuing
            | T::Unrescuing
            | T::UpdatingPassword
            | T::SoftDeleting
            | T::Restoring
            | T::Rebooting
            | T::RebootPending
            | T::RebootStarted
            | T::RebootingHard
            | T::RebootPendingHard
            | T::RebootStartedHard
    ) || is_image_action(task)
        || (task == T::Deleting && instance.vm_state == VmState::SoftDeleted)
}

/// The same for what is done with images.
fn is_image_action(task: TaskState) -> bool {
    use TaskState as T;
    matches!(
        task,
        T::ImageSnapshotPending
            | T::ImageSnapshot
            | T::ImageBackup
            | T::ImagePendingUpload
            | T::ImageUploading
            | T::Rebuilding
            | T::RebuildBlockDeviceMapping
            | T::RebuildSpawning
            | T::Shelving
            | T::ShelvingImagePendingUpload
            | T::ShelvingImageUploading
            | T::ShelvingOffloading
            | T::Unshelving
            | T::Spawning
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(uuid: Uuid, updated_at: i64) -> Instance {
        Instance {
            uuid,
            task_state: Some(TaskState::PoweringOff),
            updated_at: DateTime::from_timestamp(updated_at, 0),
            ..Instance::default()
        }
    }

    #[test]
    fn an_action_is_stale_when_two_passes_in_a_row_see_it_unchanged() {
        let (stale, uuid) = (StaleTasks::default(), Uuid::new_v4());
        assert_eq!(stale.seen_again(vec![stopping(uuid, 1)]), []);
        assert_eq!(stale.seen_again(vec![stopping(uuid, 2)]), []);
        assert_eq!(stale.seen_again(vec![stopping(uuid, 2)]), [stopping(uuid, 2)]);
        assert_eq!(stale.seen_again(vec![]), []);
        assert_eq!(stale.seen_again(vec![stopping(uuid, 2)]), []);
    }
}
