//! Resizes and migrations that nobody confirms: Nova's `_poll_unconfirmed_resizes`. In Nova each agent looks after what
//! came to it; here a conductor does, for all of them, by the same compare-and-swap that a user's request goes through.
//! So of a confirmation by the clock and a revert by the user one happens, whoever comes first, and of several
//! conductors one confirms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kilonova_core::time::utcnow;
use kilonova_core::{RequestContext, Supervisor};
use kilonova_db::DbError;
use kilonova_db::instances::{self, Deleted, MoveRecord, SaveError, StartMove};
use kilonova_db::server_migrations::{self, MigrationQuery};
use kilonova_db::workflows::{NewWorkflow, WorkflowKind};
use kilonova_objects::migration::status;
use kilonova_objects::state::Action;
use kilonova_objects::{Migration, VmState};
use kilonova_rpcapi::compute::ConfirmResize;
use kilonova_rpcapi::workflow::{MovePayload, STEP_CONFIRM_RESIZE};
use serde_json::Map;
use uuid::Uuid;

use crate::Conductor;
use crate::tasks::TaskError;

/// Between looks, or less where the window is shorter: Nova's default pace.
const INTERVAL: Duration = Duration::from_secs(60);

impl Conductor {
    /// Starts the passes, if there is a window.
    pub(crate) fn start_confirming_resizes(self: &Arc<Self>, supervisor: &Supervisor) {
        let Some(window) = self.config.resize_confirm_window else { return };
        let conductor = self.clone();
        supervisor.periodic("poll_unconfirmed_resizes", window.min(INTERVAL), move || {
            let conductor = conductor.clone();
            async move {
                if let Err(error) = conductor.poll_unconfirmed_resizes(window).await {
                    tracing::warn!(%error, "resizes could not be looked at; the next pass looks again");
                }
            }
        });
    }

    /// Confirms what has waited for longer than `window`. What cannot be confirmed now, the next pass looks at again.
    async fn poll_unconfirmed_resizes(&self, window: Duration) -> Result<(), TaskError> {
        let waiting = MigrationQuery { statuses: Some(vec![status::FINISHED.to_owned()]), ..MigrationQuery::default() };
        let waiting = server_migrations::list(&self.db, &waiting).await?;
        for migration in due(waiting, window, utcnow()) {
            let uuid = migration.instance_uuid;
            if let Err(error) = Box::pin(self.confirm_by_the_clock(migration)).await {
                tracing::warn!(instance = %uuid, %error, "a resize was not confirmed; the next pass tries again");
            }
        }
        Ok(())
    }

    async fn confirm_by_the_clock(&self, migration: Migration) -> Result<(), TaskError> {
        let uuid = migration.instance_uuid;
        let instance = match instances::get(&self.db, uuid, Deleted::No).await {
            Err(DbError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        if instance.vm_state != VmState::Resized || instance.task_state.is_some() {
            tracing::debug!(instance = %uuid, "a finished resize whose server is busy, or was set to another state");
            return Ok(());
        }
        let source = migration.source_compute.clone().unwrap_or_default();
        if !self.is_compute_up(&source).await? {
            tracing::info!(instance = %uuid, host = source, "the confirmation of a resize waits for a host that is down");
            return Ok(());
        }
        let context = RequestContext::admin();
        let message = ConfirmResize { instance, migration };
        let (now, record) = match instances::start_move(&self.db, self.confirmation(&context, &message)).await {
            Ok(begun) => begun,
            Err(SaveError::Db(error)) if !matches!(error, DbError::NotFound { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::info!(instance = %uuid, %error, "a resize was confirmed or reverted by somebody else");
                return Ok(());
            }
        };
        tracing::info!(instance = %uuid, "confirming a resize that nobody has confirmed");
        let message = ConfirmResize { instance: *now, migration: record.unwrap_or(message.migration) };
        if let Err(error) = self.compute.cast(&context, &source, message).await {
            tracing::warn!(instance = %uuid, %error, "a confirmation was not handed over and waits for the workflow pass");
            self.nudge.notify_one();
        }
        Ok(())
    }

    /// What the API writes for a user.
    fn confirmation(&self, context: &RequestContext, message: &ConfirmResize) -> StartMove {
        let (uuid, id) = (message.instance.uuid, message.migration.id);
        StartMove {
            uuid,
            action: Action::ConfirmResize.method(),
            changes: Map::new(),
            expected_vm_states: Some(vec![VmState::Resized]),
            expected_task_states: Some(vec![None]),
            request_id: context.request_id().to_owned(),
            user_id: context.user_id().to_owned(),
            project_id: context.project_id().to_owned(),
            record: MoveRecord::Advance { id, from: status::FINISHED, to: status::CONFIRMING },
            workflow: NewWorkflow {
                kind: WorkflowKind::Move,
                instance_uuid: uuid,
                step: STEP_CONFIRM_RESIZE.to_owned(),
                payload: MovePayload::of(context, Some(id), message).to_value(),
                lease_owner: self.owner.clone(),
                lease: self.lease(),
            },
        }
    }
}

/// The newest of each server's, where that is long enough finished. An older one is what a reset of the state left.
fn due(finished: Vec<Migration>, window: Duration, now: DateTime<Utc>) -> Vec<Migration> {
    let window = TimeDelta::from_std(window).unwrap_or(TimeDelta::MAX);
    let mut newest: HashMap<Uuid, Migration> = HashMap::new();
    for migration in finished {
        let other = newest.get(&migration.instance_uuid).map(|other| other.id);
        if other.is_none_or(|other| other < migration.id) {
            newest.insert(migration.instance_uuid, migration);
        }
    }
    let finished_at = |migration: &Migration| migration.updated_at.or(migration.created_at);
    let is_due = |migration: &Migration| finished_at(migration).is_some_and(|at| now - at >= window);
    let mut due: Vec<_> = newest.into_values().filter(is_due).collect();
    due.sort_by_key(|migration| migration.id);
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(id: i64, instance: u128, seconds_ago: i64, now: DateTime<Utc>) -> Migration {
        Migration {
            id,
            instance_uuid: Uuid::from_u128(instance),
            updated_at: Some(now - TimeDelta::seconds(seconds_ago)),
            ..Migration::default()
        }
    }

    #[test]
    fn a_resize_is_due_at_the_end_of_its_window_and_only_the_newest_of_its_server() {
        let now = utcnow();
        let window = Duration::from_secs(60);
        let migrations = vec![
            finished(1, 1, 60, now),
            finished(2, 2, 59, now),
            // Left by a reset; the newer one is not due.
            finished(3, 3, 500, now),
            finished(4, 3, 10, now),
            finished(6, 4, 70, now),
            finished(5, 4, 500, now),
        ];
        let due: Vec<i64> = due(migrations, window, now).into_iter().map(|migration| migration.id).collect();
        assert_eq!(due, [1, 6]);
    }

    #[test]
    fn one_that_was_never_updated_counts_from_its_creation() {
        let now = utcnow();
        let made = |ago| Migration { updated_at: None, created_at: Some(now - ago), ..Migration::default() };
        let window = Duration::from_secs(60);
        assert_eq!(due(vec![made(TimeDelta::seconds(61))], window, now).len(), 1);
        assert_eq!(due(vec![made(TimeDelta::seconds(1))], window, now).len(), 0);
        assert_eq!(due(vec![Migration::default()], window, now).len(), 0);
    }
}
