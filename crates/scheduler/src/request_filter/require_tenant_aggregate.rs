//! The aggregates that are there for the project of the request (`limit_tenants_to_placement_aggregate`).

use std::collections::BTreeSet;
use std::sync::Arc;

use kilonova_objects::{Aggregate, RequestSpec};
use uuid::Uuid;

/// A key begins with this, and its value is the project.
const KEY: &str = "filter_tenant_id";

pub(super) fn aggregates(spec: &RequestSpec, aggregates: &[Arc<Aggregate>]) -> BTreeSet<Uuid> {
    let names_project = |aggregate: &&Arc<Aggregate>| {
        let mut metadata = aggregate.metadata.iter().flatten();
        metadata.any(|(key, value)| key.starts_with(KEY) && Some(value) == spec.project_id.as_ref())
    };
    aggregates.iter().filter(names_project).map(|aggregate| aggregate.uuid).collect()
}
