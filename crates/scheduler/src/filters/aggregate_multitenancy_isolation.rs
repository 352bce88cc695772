//! AggregateMultiTenancyIsolation: a host of aggregates that name projects takes servers of those projects only.
//!
//! A key is `filter_tenant_id`, or begins so; its value is a list of project ids.

use super::HostFilter;
use crate::aggregates;
use crate::asked::Asked;
use crate::host_state::HostState;

const KEY: &str = "filter_tenant_id";

#[derive(Debug)]
pub(super) struct AggregateMultiTenancyIsolation;

impl HostFilter for AggregateMultiTenancyIsolation {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let metadata = aggregates::metadata(host);
        let mut named =
            metadata.iter().filter(|(key, _)| key.starts_with(KEY)).map(|(_, projects)| projects).peekable();
        let project = asked.spec.project_id.as_deref();
        named.peek().is_none() || named.any(|projects| project.is_some_and(|project| projects.contains(project)))
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_in};

    #[test]
    fn named_projects_come_in_and_all_come_where_none_is_named() {
        for (aggregates, passed) in [
            (&[] as &[&[(&str, &str)]], true),
            (&[&[("other", "x")]], true),
            (&[&[("filter_tenant_id", "me")]], true),
            (&[&[("filter_tenant_id", "you")]], false),
            (&[&[("filter_tenant_id", "you, me")]], true),
            (&[&[("filter_tenant_id", "you"), ("filter_tenant_id_2", "me")]], true),
            (&[&[("filter_tenant_id", "you")], &[("filter_tenant_id3", "me")]], true),
            (&[&[("filter_tenant_id", "you")], &[("other", "me")]], false),
        ] {
            let spec = RequestSpec { project_id: Some("me".to_owned()), ..RequestSpec::default() };
            let host = host_in("a", aggregates);
            assert_eq!(AggregateMultiTenancyIsolation.passes(&host, &asked(&spec)), passed, "{aggregates:?}");
        }
    }
}
