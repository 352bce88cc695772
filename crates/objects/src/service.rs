//! The processes that make up a cloud.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

crate::versioned_object! {
    /// A service process on a host.
    Service, "Service", "1.22", {
        [lazy] id: i64,
        [lazy] uuid: Option<Uuid>,
        host: Option<String>,
        /// `nova-compute`, `nova-conductor`, `nova-scheduler`.
        binary: Option<String>,
        topic: Option<String>,
        /// Heartbeats so far.
        report_count: i64,
        disabled: bool,
        disabled_reason: Option<String>,
        [lazy] availability_zone: Option<String>,
        [lazy] compute_node: Option<Value>,
        last_seen_up: Option<DateTime<Utc>>,
        forced_down: bool,
        /// Nova's service version: what the process can do. 74 is 2026.2.
        version: i64,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}

crate::object_list!(
    /// Several services.
    ServiceList, "1.19", Service
);

impl Service {
    /// Whether the last heartbeat is at most `service_down_time_s` old and nobody forced the service down.
    pub fn is_up(&self, now: DateTime<Utc>, service_down_time_s: i64) -> bool {
        let seen = self.last_seen_up.or(self.created_at);
        let fresh = seen.is_some_and(|seen| (now - seen).num_seconds().abs() <= service_down_time_s);
        fresh && !self.forced_down
    }
}
