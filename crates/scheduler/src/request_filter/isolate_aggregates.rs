//! The aggregates that are closed to the request (`enable_isolated_aggregate_filtering`): those that say
//! `trait:NAME=required` of a trait that neither flavor nor image requires.

use std::collections::BTreeSet;
use std::sync::Arc;

use kilonova_objects::Aggregate;
use uuid::Uuid;

pub(super) fn aggregates(traits: &[String], aggregates: &[Arc<Aggregate>]) -> BTreeSet<Uuid> {
    let is_closed = |aggregate: &&Arc<Aggregate>| {
        let required = aggregate.metadata.iter().flatten().filter(|(_, value)| *value == "required");
        let mut names = required.filter_map(|(key, _)| key.strip_prefix("trait:"));
        names.any(|name| !traits.iter().any(|own| own == name))
    };
    aggregates.iter().filter(is_closed).map(|aggregate| aggregate.uuid).collect()
}
