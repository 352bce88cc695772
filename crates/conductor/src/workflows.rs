//! The pass over workflows that nobody works on: a message was lost, or a process died. Each is taken over, by one
//! conductor of possibly many, and goes on at its step.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{FutureExt as _, StreamExt as _};
use kilonova_core::Supervisor;
use kilonova_core::TaskKind;
use kilonova_core::time::utcnow;
use kilonova_db::DbError;
use kilonova_db::workflows::{self, Workflow, WorkflowKind};

use crate::Conductor;
use crate::tasks::TaskError;

/// Workflows that are looked at in one go.
const BATCH: u64 = 100;
/// Workflows that are worked on at the same time.
const CONCURRENCY: usize = 8;

impl Conductor {
    /// Starts the passes: at once, then after every interval, and whenever somebody rings.
    pub(crate) fn start_workflow_passes(self: &Arc<Self>, supervisor: &Supervisor) {
        let conductor = self.clone();
        supervisor.spawn(TaskKind::Critical, "workflow passes", async move {
            loop {
                if let Err(error) = conductor.workflow_pass().await {
                    tracing::error!(%error, "the workflows could not be read");
                }
                let interval = conductor.config.workflow_interval;
                // A timeout is the regular pass; a ring is an early one.
                let _ = tokio::time::timeout(interval, conductor.nudge.notified()).await;
            }
        });
    }

    /// Takes up everything whose lease is over, once.
    pub(crate) async fn workflow_pass(&self) -> Result<(), DbError> {
        loop {
            let expired = workflows::expired(&self.db, utcnow(), BATCH).await?;
            let is_last = expired.len() < BATCH as usize;
            let taken = AtomicBool::new(false);
            let work = futures::stream::iter(expired).for_each_concurrent(CONCURRENCY, async |workflow| {
                if self.take_up(workflow).await {
                    taken.store(true, Ordering::Relaxed);
                }
            });
            work.await;
            if is_last || !taken.into_inner() {
                return Ok(());
            }
        }
    }

    /// Whether the workflow was this conductor's to work on.
    async fn take_up(&self, workflow: Workflow) -> bool {
        let workflow = match self.take(workflow).await {
            Ok(Some(workflow)) => workflow,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "a workflow could not be taken over");
                return false;
            }
        };
        let uuid = workflow.instance_uuid;
        let Workflow { kind, attempts, .. } = workflow;
        tracing::info!(instance = %uuid, ?kind, step = workflow.step, attempts, "taking up a workflow");
        // One workflow that makes the code panic must not keep the others from being worked on.
        let result = AssertUnwindSafe(self.resume(&workflow)).catch_unwind().await;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(instance = %uuid, ?kind, %error, "a workflow did not get on; it will be taken up again");
                self.retry_soon(&workflow).await;
            }
            Err(_) => tracing::error!(instance = %uuid, ?kind, "a workflow's step panicked; it waits for its lease"),
        }
        true
    }

    async fn resume(&self, workflow: &Workflow) -> Result<(), TaskError> {
        match workflow.kind {
            WorkflowKind::Build => Box::pin(self.resume_build(workflow)).await,
            WorkflowKind::Delete => Box::pin(self.resume_delete(workflow)).await,
            WorkflowKind::Unshelve => Box::pin(self.resume_unshelve(workflow)).await,
            WorkflowKind::Move => Box::pin(self.resume_move(workflow)).await,
        }
    }
}
