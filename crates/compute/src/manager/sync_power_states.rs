//! The periodic comparison of what the database says with what the hypervisor says.

use std::collections::HashMap;
use std::sync::PoisonError;

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, PowerState, TaskState, Tracked, VmState};
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::DriverError;
use uuid::Uuid;

use super::{Manager, ManagerError};

/// What a driver says of a guest that is there and does not answer. (One that is not there is not in its list.)
const UNKNOWN: Option<PowerState> = Some(PowerState::NoState);

impl Manager {
    /// One pass over all instances of this host.
    pub async fn sync_power_states(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let guests = self.driver.list_guests().await?;
        let guests: HashMap<Uuid, PowerState> =
            guests.into_iter().map(|guest| (guest.uuid, guest.power_state)).collect();
        let mut marker = None;
        loop {
            let page = self.page_of_instances(context, &mut marker).await?;
            if page.is_empty() {
                return Ok(());
            }
            for instance in page {
                let power_state = guests.get(&instance.uuid).copied();
                if power_state != UNKNOWN && truth(&instance, power_state.unwrap_or_default()).is_some() {
                    self.correct(context, instance.uuid).await;
                }
            }
        }
    }

    /// A short look at the guests alone, between the passes over all instances: one whose power state is another than
    /// at the last look, or than the agent has told the conductor, went down, or came up, by itself.
    pub async fn watch_guests(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let guests = self.driver.list_guests().await?;
        let now: HashMap<Uuid, PowerState> = guests.into_iter().map(|guest| (guest.uuid, guest.power_state)).collect();
        let changed = {
            let mut seen = self.seen_guests.lock().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut *seen, now);
            let changed = before.into_iter().filter(|(uuid, before)| seen.get(uuid).is_some_and(|now| now != before));
            changed.collect::<Vec<_>>()
        };
        for (uuid, before) in changed {
            if !self.correct(context, uuid).await {
                self.saw(uuid, before);
            }
        }
        Ok(())
    }

    /// Notes the power state that the conductor has of a guest: the next look finds any other.
    pub(super) fn saw(&self, uuid: Uuid, power_state: PowerState) {
        self.seen_guests.lock().unwrap_or_else(PoisonError::into_inner).insert(uuid, power_state);
    }

    /// Looks again, alone on the instance: the guest may have been started or stopped since the pass began. False: it
    /// could not be looked at now.
    async fn correct(&self, context: &RequestContext, uuid: Uuid) -> bool {
        let Some(_lock) = self.locks.try_lock(uuid) else { return false };
        let (instance, power_state) = match self.look_at(context, uuid).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(instance = %uuid, %error, "not compared with the hypervisor");
                return false;
            }
        };
        if power_state == UNKNOWN {
            tracing::debug!(instance = %uuid, "the guest does not answer now");
            return true;
        }
        let power_state = power_state.unwrap_or_default();
        let Some(vm_state) = truth(&instance, power_state).filter(|_| self.is_mine(&instance)) else { return true };
        let mut instance = Tracked::new(instance);
        let (was, was_power) = (instance.vm_state, instance.power_state);
        instance.power_state = power_state;
        instance.vm_state = vm_state;
        let none: [Option<TaskState>; 1] = [None];
        let expected = Expected { task_states: Some(&none), vm_states: Some(&[was]) };
        match self.conductor.instance_save(context, &mut instance, expected).await {
            Ok(()) => {
                tracing::info!(instance = %instance.uuid, ?was, now = ?vm_state, ?was_power, ?power_state, "corrected to what the hypervisor says")
            }
            Err(error) => tracing::debug!(instance = %instance.uuid, %error, "the instance changed meanwhile"),
        }
        true
    }

    /// The row, and what the hypervisor says of the guest if there is one.
    async fn look_at(
        &self,
        context: &RequestContext,
        uuid: Uuid,
    ) -> Result<(Instance, Option<PowerState>), ManagerError> {
        let instance = self.conductor.instance_get(context, uuid).await?;
        match self.driver.guest_info(uuid).await {
            Ok(info) => Ok((instance, Some(info.power_state))),
            Err(DriverError::InstanceNotFound(_)) => Ok((instance, None)),
            Err(error) => Err(error.into()),
        }
    }
}

/// The vm_state that an instance should have, if anything about it is not true. Nothing is said of one that is being
/// worked on. A guest that somebody else has paused, or that has put itself to sleep, is still active, and one that is
/// suspended, rescued or soft-deleted stays so whatever its guest does: as in Nova only the power state follows.
fn truth(instance: &Instance, power_state: PowerState) -> Option<VmState> {
    if instance.task_state.is_some() {
        return None;
    }
    let vm_state = match (instance.vm_state, power_state) {
        (VmState::Active | VmState::Paused, PowerState::Shutdown | PowerState::Crashed | PowerState::NoState) => {
            VmState::Stopped
        }
        (VmState::Stopped, PowerState::Running) => VmState::Active,
        (VmState::Building | VmState::Deleted, _) => return None,
        (unchanged, _) => unchanged,
    };
    (vm_state != instance.vm_state || power_state != instance.power_state).then_some(vm_state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(vm_state: VmState, power_state: PowerState) -> Instance {
        Instance { vm_state, power_state, ..Instance::default() }
    }

    #[test]
    fn a_guest_that_went_down_by_itself_is_stopped() {
        let active = instance(VmState::Active, PowerState::Running);
        assert_eq!(truth(&active, PowerState::Shutdown), Some(VmState::Stopped));
        assert_eq!(truth(&active, PowerState::Running), None);
    }

    #[test]
    fn a_paused_guest_that_went_down_is_stopped_and_a_suspended_one_has_no_guest() {
        let paused = instance(VmState::Paused, PowerState::Paused);
        assert_eq!(truth(&paused, PowerState::Shutdown), Some(VmState::Stopped));
        assert_eq!(truth(&paused, PowerState::Paused), None);
        let active = instance(VmState::Active, PowerState::Running);
        assert_eq!(truth(&active, PowerState::Paused), Some(VmState::Active));
        for vm_state in [VmState::Suspended, VmState::Rescued, VmState::SoftDeleted] {
            for power_state in [PowerState::Running, PowerState::Shutdown, PowerState::NoState] {
                assert_eq!(truth(&instance(vm_state, PowerState::Suspended), power_state), Some(vm_state));
            }
        }
    }

    #[test]
    fn a_stopped_instance_whose_guest_runs_is_active() {
        let stopped = instance(VmState::Stopped, PowerState::Shutdown);
        assert_eq!(truth(&stopped, PowerState::Running), Some(VmState::Active));
    }

    #[test]
    fn an_instance_in_error_keeps_its_state_but_not_a_wrong_power_state() {
        let failed = instance(VmState::Error, PowerState::Running);
        assert_eq!(truth(&failed, PowerState::Shutdown), Some(VmState::Error));
    }

    #[test]
    fn what_is_being_worked_on_is_left_alone() {
        let stopping =
            Instance { task_state: Some(TaskState::PoweringOff), ..instance(VmState::Active, PowerState::Running) };
        assert_eq!(truth(&stopping, PowerState::Shutdown), None);
    }
}
