//! The steps of each kind of workflow.

mod attach_volume;
pub(crate) mod build;
mod cache_images;
pub(crate) mod cold_migrate;
pub(crate) mod delete;
pub(crate) mod evacuate;
pub(crate) mod live_migrate;
pub(crate) mod moves;
pub(crate) mod rebuild;
pub(crate) mod unshelve;
use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Save, SaveError};
use kilonova_db::workflows::Workflow;
use kilonova_db::{DbError, actions, faults, services};
use kilonova_objects::{Instance, InstanceFault, TaskState};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Conductor;

/// Why a step did not succeed. The workflow stays and is taken up again, unless the step itself gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Db(#[from] kilonova_db::DbError),
    #[error(transparent)]
    Save(#[from] kilonova_db::instances::SaveError),
    #[error(transparent)]
    Rpc(#[from] kilonova_rpcapi::RpcError),
    #[error(transparent)]
    Client(#[from] kilonova_clients::ClientError),
    #[error("the workflow's payload cannot be read")]
    Payload(#[from] kilonova_objects::WireError),
}

/// Between a step that could not be done and its next try.
const RETRY_DELAY: Duration = Duration::from_secs(5);

impl Conductor {
    /// Runs one step of an action between its start and finish events. A record that cannot be written stops nothing.
    pub(crate) async fn with_event<T>(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        event: &str,
        step: impl Future<Output = Result<T, TaskError>>,
    ) -> Result<T, TaskError> {
        let (db, request_id) = (&self.db, context.request_id());
        let begun = actions::event_start(db, instance_uuid, request_id, event, Some(&self.config.host)).await;
        let result = Box::pin(step).await;
        let failure = result.as_ref().err().map(|error| (error.to_string(), error.to_string()));
        if begun.is_ok()
            && let Err(error) = actions::event_finish(db, instance_uuid, request_id, event, failure).await
        {
            tracing::debug!(instance = %instance_uuid, event, %error, "the end of an event was not recorded");
        }
        result
    }

    /// Keeps why an instance is not what was asked for.
    pub(crate) async fn record_fault(&self, instance_uuid: Uuid, code: i64, message: &str) {
        let fault = InstanceFault {
            instance_uuid,
            code,
            message: Some(message.to_owned()),
            details: Some(message.to_owned()),
            ..InstanceFault::default()
        };
        if let Err(error) = faults::create(&self.db, &fault).await {
            tracing::error!(instance = %instance_uuid, %error, "a fault could not be recorded");
        }
    }

    /// Saves an instance that is in `task_state`, and tells of it; `None` if it is in another task by now, or gone.
    pub(crate) async fn save_in_task(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        task_state: TaskState,
        changes: &Map<String, Value>,
    ) -> Result<Option<Instance>, TaskError> {
        let expected_task_state = Some(vec![Some(task_state)]);
        let save = Save { uuid, changes, expected_vm_state: None, expected_task_state };
        match instances::save_and_get_original(&self.db, save).await {
            Ok((before, after)) => {
                self.notifications.instance_saved(context, &before, &after);
                Ok(Some(*after))
            }
            Err(SaveError::Db(error)) if !matches!(error, DbError::NotFound { .. }) => Err(error.into()),
            Err(error) => {
                tracing::info!(instance = %uuid, %error, "overtaken by another action");
                Ok(None)
            }
        }
    }

    /// How long a step may take before somebody else takes it up.
    pub(crate) fn lease(&self) -> Duration {
        self.config.workflow_lease
    }

    /// Whether the agent of `host` reported lately.
    pub(crate) async fn is_compute_up(&self, host: &str) -> Result<bool, TaskError> {
        let service = services::get_by_host_and_binary(&self.db, host, "nova-compute").await?;
        let now = kilonova_core::time::utcnow();
        Ok(service.is_some_and(|service| service.is_up(now, self.config.service_down_time_s)))
    }

    /// A context to act for whoever asked, with the rights that a service has.
    pub(crate) fn acting_for(asked: &RequestContext) -> RequestContext {
        asked.elevated()
    }

    /// Takes over a workflow as it was just read; nothing if somebody else was faster. Each take has an owner of its
    /// own, so whoever held the workflow before, this process included, can no longer move it.
    pub(crate) async fn take(&self, workflow: Workflow) -> Result<Option<Workflow>, TaskError> {
        let attempts = workflow.attempts + 1;
        let owner = format!("{}/{attempts}", self.owner);
        let (id, lease) = (workflow.id, self.lease());
        let is_taken =
            kilonova_db::workflows::take(&self.db, id, &owner, lease, &workflow.owner, workflow.attempts).await?;
        Ok(is_taken.then_some(Workflow { owner, attempts, ..workflow }))
    }

    /// Leaves a workflow to a pass that comes soon: what stood in its way may be gone by then.
    pub(crate) async fn retry_soon(&self, workflow: &Workflow) {
        if let Err(error) = kilonova_db::workflows::release(&self.db, workflow.id, &workflow.owner, RETRY_DELAY).await {
            tracing::warn!(%error, "a workflow waits for the end of its lease");
        }
    }
}
