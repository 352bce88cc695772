//! The record of periodic tasks that are done once per period and host.

use chrono::{DateTime, Utc};

crate::versioned_object! {
    /// One run of a task on a host.
    TaskLog, "TaskLog", "1.0", {
        [lazy] id: i64,
        /// [`TaskLog::INSTANCE_USAGE_AUDIT`]
        task_name: String,
        /// `RUNNING` or `DONE`.
        [lazy] state: String,
        host: String,
        period_beginning: DateTime<Utc>,
        period_ending: DateTime<Utc>,
        /// How it went, for an operator.
        message: String,
        /// What it is about: instances.
        task_items: i64,
        /// How many of them it failed with.
        errors: i64,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        [lazy] deleted: bool,
    }
}

impl TaskLog {
    /// The task that tells of every instance that was there in a period.
    pub const INSTANCE_USAGE_AUDIT: &'static str = "instance_usage_audit";
}
