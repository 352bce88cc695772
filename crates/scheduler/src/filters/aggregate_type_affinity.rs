//! AggregateTypeAffinityFilter: a host of aggregates that name flavors (`instance_type`) takes those flavors only.

use super::HostFilter;
use crate::aggregates;
use crate::asked::Asked;
use crate::host_state::HostState;

const KEY: &str = "instance_type";

#[derive(Debug)]
pub(super) struct AggregateTypeAffinityFilter;

impl HostFilter for AggregateTypeAffinityFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let flavors = aggregates::values(host, KEY);
        let mut names = flavors.iter().flat_map(|names| names.split(',')).map(str::trim);
        flavors.is_empty() || names.any(|name| Some(name) == asked.spec.flavor.name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::{Flavor, RequestSpec};

    use super::*;
    use crate::filters::testing::{asked, host_in};

    #[test]
    fn named_flavors_come_in_and_all_come_where_none_is_named() {
        for (aggregates, passed) in [
            (&[] as &[&[(&str, &str)]], true),
            (&[&[("flavor", "large")]], true),
            (&[&[("instance_type", "small")]], true),
            (&[&[("instance_type", "large , small")]], true),
            (&[&[("instance_type", "large")]], false),
            (&[&[("instance_type", "smaller")]], false),
            (&[&[("instance_type", "large")], &[("instance_type", "small")]], true),
            (&[&[("instance_type", "")]], false),
        ] {
            let flavor = Flavor { name: Some("small".to_owned()), ..Flavor::default() };
            let spec = RequestSpec { flavor, ..RequestSpec::default() };
            let host = host_in("a", aggregates);
            assert_eq!(AggregateTypeAffinityFilter.passes(&host, &asked(&spec)), passed, "{aggregates:?}");
        }
    }
}
