//! `_instance_usage_audit`: once in every period it is told of each instance that was there in it, for who bills it.

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::TaskLog;
use tokio::time::Instant;

use super::{Manager, ManagerError};

impl Manager {
    /// Tells of the last period that is over, unless that was done, or is being done, in the name of this host. A run
    /// that is cut off stays on record as running.
    pub async fn instance_usage_audit(&self, context: &RequestContext) -> Result<(), ManagerError> {
        const TASK: &str = TaskLog::INSTANCE_USAGE_AUDIT;
        let host = &self.config.host;
        let period = self.config.instance_usage_audit_period.last_completed(utcnow());
        if self.conductor.task_log_get(context, TASK, host, period).await?.is_some() {
            return Ok(());
        }
        let instances = self.conductor.instances_active_by_window(context, host, period).await?;
        let mut run = TaskLog {
            task_name: TASK.to_owned(),
            host: host.clone(),
            period_beginning: period.0,
            period_ending: period.1,
            task_items: i64::try_from(instances.len()).unwrap_or(i64::MAX),
            message: "Instance usage audit started...".to_owned(),
            ..TaskLog::default()
        };
        match self.conductor.task_log_begin(context, &run).await {
            // Somebody else in the name of this host was faster.
            Err(error) if error.is("TaskAlreadyRunning") => return Ok(()),
            begun => begun?,
        }
        let start = Instant::now();
        for instance in &instances {
            self.notifications.instance_exists(context, instance, period);
        }
        run.message = format!(
            "Instance usage audit ran for host {host}, {} instances in {} seconds.",
            instances.len(),
            start.elapsed().as_secs_f64()
        );
        Ok(self.conductor.task_log_end(context, &run).await?)
    }
}
