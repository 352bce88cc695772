//! The pass over workflows that nobody works on: a message was lost, or a process died. Each is taken over, by one
//! conductor of possibly many, and goes on at its step.

use std::sync::Arc;

use futures::StreamExt as _;
use kilonova_core::Supervisor;
use kilonova_core::TaskKind;
use kilonova_core::time::utcnow;
use kilonova_db::DbError;
use kilonova_db::workflows::{self, Workflow, WorkflowKind};

use crate::Conductor;

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
            futures::stream::iter(&expired).for_each_concurrent(CONCURRENCY, |workflow| self.take_up(workflow)).await;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn take_up(&self, workflow: &Workflow) {
        match self.take(workflow).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "a workflow could not be taken over"),
        }
        let uuid = workflow.instance_uuid;
        tracing::info!(instance = %uuid, kind = ?workflow.kind, step = workflow.step, attempts = workflow.attempts, "taking up a workflow");
        let workflow = Workflow { owner: self.owner.clone(), attempts: workflow.attempts + 1, ..workflow.clone() };
        let result = match workflow.kind {
            WorkflowKind::Build => self.resume_build(&workflow).await,
            WorkflowKind::Delete => self.resume_delete(&workflow).await,
        };
        if let Err(error) = result {
            tracing::error!(instance = %uuid, kind = ?workflow.kind, %error, "a workflow did not get on; it will be taken up again");
        }
    }
}
