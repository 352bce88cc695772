//! The steps of each kind of workflow.

pub(crate) mod build;
mod cache_images;
pub(crate) mod delete;

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_db::services;
use kilonova_db::workflows::Workflow;

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
