//! AggregateInstanceExtraSpecsFilter: extra specs of the flavor against the metadata of the host's aggregates.
//!
//! `aggregate_instance_extra_specs:KEY` and keys without a scope are compared; other scopes are somebody else's.

use super::{HostFilter, extra_specs_ops};
use crate::aggregates;
use crate::asked::Asked;
use crate::host_state::HostState;

const SCOPE: &str = "aggregate_instance_extra_specs";

#[derive(Debug)]
pub(super) struct AggregateInstanceExtraSpecsFilter;

impl HostFilter for AggregateInstanceExtraSpecsFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let metadata = aggregates::metadata(host);
        asked.spec.flavor.extra_specs.iter().filter_map(|(key, requirement)| Some((own(key)?, requirement))).all(
            |(key, requirement)| {
                let values = metadata.get(key);
                values.is_some_and(|values| values.iter().any(|value| extra_specs_ops::matches(value, requirement)))
            },
        )
    }
}

/// The key in the metadata, if the extra spec is about one.
fn own(key: &str) -> Option<&str> {
    match key.split_once(':') {
        None => Some(key),
        Some((scope, key)) => (scope == SCOPE).then_some(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::{asked, host_in, with_extra_specs};

    #[test]
    fn every_key_of_ours_must_match_one_value_of_an_aggregate() {
        let host = host_in("a", &[&[("ssd", "true"), ("racks", "r1, r2")], &[("ssd", "fast")], &[("size", "8")]]);
        for (extra_specs, passed) in [
            (&[] as &[(&str, &str)], true),
            (&[("aggregate_instance_extra_specs:ssd", "true")], true),
            (&[("aggregate_instance_extra_specs:ssd", "fast")], true),
            (&[("aggregate_instance_extra_specs:ssd", "slow")], false),
            (&[("ssd", "true")], true),
            (&[("ssd", "false")], false),
            (&[("aggregate_instance_extra_specs:racks", "<or> r2 <or> r3")], true),
            (&[("aggregate_instance_extra_specs:size", ">= 8")], true),
            (&[("aggregate_instance_extra_specs:size", ">= 9")], false),
            (&[("aggregate_instance_extra_specs:pony", "1")], false),
            (&[("aggregate_instance_extra_specs:ssd", "true"), ("pony", "1")], false),
            (&[("hw:cpu_policy", "dedicated"), ("capabilities:ssd", "no")], true),
        ] {
            let spec = with_extra_specs(extra_specs);
            assert_eq!(AggregateInstanceExtraSpecsFilter.passes(&host, &asked(&spec)), passed, "{extra_specs:?}");
        }
    }

    #[test]
    fn a_host_in_no_aggregate_has_no_key() {
        let spec = with_extra_specs(&[("ssd", "true")]);
        assert!(!AggregateInstanceExtraSpecsFilter.passes(&host_in("a", &[]), &asked(&spec)));
    }
}
