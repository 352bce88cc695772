//! The record of what was asked of an instance, and of the steps it took.

use chrono::{DateTime, Utc};
use uuid::Uuid;

crate::versioned_object! {
    /// One request that changed an instance.
    InstanceAction, "InstanceAction", "1.2", {
        id: i64,
        /// `create`, `stop`, `reboot`, …
        action: Option<String>,
        instance_uuid: Option<Uuid>,
        request_id: Option<String>,
        user_id: Option<String>,
        project_id: Option<String>,
        start_time: Option<DateTime<Utc>>,
        finish_time: Option<DateTime<Utc>>,
        /// `Error` when a step failed.
        message: Option<String>,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}

crate::versioned_object! {
    /// One step of an action.
    InstanceActionEvent, "InstanceActionEvent", "1.4", {
        id: i64,
        /// `compute__do_build_and_run_instance`, …
        event: Option<String>,
        action_id: Option<i64>,
        start_time: Option<DateTime<Utc>>,
        finish_time: Option<DateTime<Utc>>,
        /// `Success` or `Error`.
        result: Option<String>,
        traceback: Option<String>,
        host: Option<String>,
        details: Option<String>,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}
