//! Host aggregates.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The key of an aggregate's metadata that makes its hosts an availability zone.
const AVAILABILITY_ZONE: &str = "availability_zone";

crate::versioned_object! {
    /// Hosts that have something in common.
    Aggregate, "Aggregate", "1.3", {
        id: i64,
        uuid: Uuid,
        name: String,
        hosts: Option<Vec<String>>,
        metadata: Option<BTreeMap<String, String>>,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}

crate::object_list!(
    /// Several aggregates.
    AggregateList, "1.3", Aggregate
);

impl Aggregate {
    /// The zone that its hosts are in.
    pub fn availability_zone(&self) -> Option<&str> {
        self.metadata.as_ref()?.get(AVAILABILITY_ZONE).map(String::as_str)
    }

    /// Its hosts.
    pub fn hosts(&self) -> &[String] {
        self.hosts.as_deref().unwrap_or_default()
    }
}

/// The zone of every host that is in one. The first aggregate that says so counts; the API lets no other say otherwise.
pub fn zones_by_host(aggregates: &[Aggregate]) -> BTreeMap<String, String> {
    let mut zones = BTreeMap::new();
    for aggregate in aggregates {
        let Some(zone) = aggregate.availability_zone() else { continue };
        for host in aggregate.hosts() {
            zones.entry(host.clone()).or_insert_with(|| zone.to_owned());
        }
    }
    zones
}
