//! What a request is made narrower by before hosts are looked at: Nova's request filters (pre-filters).
//!
//! ```text
//! request ─ traits: image type, image metadata, features ─> placement
//!         └ aggregates: destination, project, isolation  ─> hosts whose aggregates fit
//! ```
//!
//! Nova has host aggregates mirrored in placement, and asks it for them; here the scheduler looks at the aggregates
//! itself. The availability zone is a filter of its own, and disabled hosts are always avoided (`resources.rs`).

mod aggregate_demands;
mod features;
mod isolate_aggregates;
mod require_image_type_support;
mod require_tenant_aggregate;
mod transform_image_metadata;

use std::collections::BTreeSet;
use std::sync::Arc;

use kilonova_core::{Config, ConfigError};
use kilonova_objects::{Aggregate, RequestSpec};

pub(crate) use self::aggregate_demands::AggregateDemands;
use crate::SchedulerError;

const GROUP: &str = "scheduler";

/// Options of `[scheduler]` that enable request filters.
#[derive(Debug)]
pub(crate) struct RequestFilters {
    limit_tenants_to_placement_aggregate: bool,
    placement_aggregate_required_for_tenants: bool,
    query_placement_for_image_type_support: bool,
    enable_isolated_aggregate_filtering: bool,
    image_metadata_prefilter: bool,
}

impl RequestFilters {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let flag = |name| config.flag(GROUP, name, false);
        Ok(Self {
            limit_tenants_to_placement_aggregate: flag("limit_tenants_to_placement_aggregate")?,
            placement_aggregate_required_for_tenants: flag("placement_aggregate_required_for_tenants")?,
            query_placement_for_image_type_support: flag("query_placement_for_image_type_support")?,
            enable_isolated_aggregate_filtering: flag("enable_isolated_aggregate_filtering")?,
            image_metadata_prefilter: flag("image_metadata_prefilter")?,
        })
    }

    /// Traits that the host must have beside those that flavor and image name.
    pub(crate) fn traits(&self, spec: &RequestSpec) -> Result<BTreeSet<String>, SchedulerError> {
        let mut traits = features::traits(spec)?;
        if self.query_placement_for_image_type_support {
            traits.extend(require_image_type_support::required_trait(spec));
        }
        if self.image_metadata_prefilter {
            traits.extend(transform_image_metadata::traits(spec));
        }
        Ok(traits)
    }

    /// Whether hosts are chosen by aggregate, so that a limit on placement's candidates could cut off the right ones.
    pub(crate) fn looks_at_aggregates(&self) -> bool {
        self.limit_tenants_to_placement_aggregate || self.enable_isolated_aggregate_filtering
    }

    /// The aggregates that a host must, and must not, be in. `traits`: those that flavor and image require.
    pub(crate) fn aggregates(
        &self,
        spec: &RequestSpec,
        traits: &[String],
        aggregates: &[Arc<Aggregate>],
    ) -> Result<AggregateDemands, SchedulerError> {
        let mut demands = AggregateDemands::of_destination(spec);
        if self.limit_tenants_to_placement_aggregate {
            let of_project = require_tenant_aggregate::aggregates(spec, aggregates);
            if !of_project.is_empty() {
                demands.require("aggregates of the project", of_project);
            } else if self.placement_aggregate_required_for_tenants {
                let reason = "Scheduling failed: No hosts available for tenant".to_owned();
                return Err(SchedulerError::NoValidHost { reason });
            }
        }
        if self.enable_isolated_aggregate_filtering {
            demands.forbid("isolated aggregates", isolate_aggregates::aggregates(traits, aggregates));
        }
        Ok(demands)
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::Destination;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::filters::testing::{host, host_in, with_image};
    use crate::host_state::HostState;
    use crate::report::Report;

    fn filters(lines: &str) -> RequestFilters {
        RequestFilters::from_config(&Config::from_text(&format!("[scheduler]\n{lines}\n")).unwrap()).unwrap()
    }

    fn left(lines: &str, spec: &RequestSpec, traits: &[&str], hosts: Vec<HostState>) -> Result<Vec<String>, String> {
        let mut hosts = hosts;
        let aggregates: Vec<Arc<Aggregate>> = hosts.iter().flat_map(|host| host.input.aggregates.clone()).collect();
        let traits: Vec<String> = traits.iter().map(|name| (*name).to_owned()).collect();
        let demands = filters(lines).aggregates(spec, &traits, &aggregates).map_err(|error| error.to_string())?;
        demands.apply(&mut hosts, &mut Report::default());
        Ok(hosts.iter().map(|host| host.host().to_owned()).collect())
    }

    /// The uuids of the aggregates of all of them differ.
    fn apart(mut hosts: Vec<HostState>) -> Vec<HostState> {
        for (number, host) in (100..).step_by(100).zip(&mut hosts) {
            for (place, aggregate) in (1..).zip(&mut Arc::make_mut(&mut host.input).aggregates) {
                Arc::make_mut(aggregate).uuid = Uuid::from_u128(number + place);
            }
        }
        hosts
    }

    fn of_project(project: &str) -> RequestSpec {
        RequestSpec { project_id: Some(project.to_owned()), ..RequestSpec::default() }
    }

    #[test]
    fn a_project_keeps_to_the_aggregates_that_name_it() {
        let hosts = || {
            apart(vec![
                host_in("a", &[&[("filter_tenant_id", "me")]]),
                host_in("b", &[&[("filter_tenant_id", "you"), ("filter_tenant_id2", "me")]]),
                host_in("c", &[&[("filter_tenant_id", "you"), ("other", "me")]]),
                host("d"),
            ])
        };
        let on = "limit_tenants_to_placement_aggregate = true";
        let required = format!("{on}\nplacement_aggregate_required_for_tenants = true");
        let all = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(left("", &of_project("me"), &[], hosts()).unwrap(), all);
        assert_eq!(left(on, &of_project("me"), &[], hosts()).unwrap(), ["a", "b"]);
        assert_eq!(left(on, &of_project("she"), &[], hosts()).unwrap(), all);
        assert_eq!(left(&required, &of_project("me"), &[], hosts()).unwrap(), ["a", "b"]);
        assert_eq!(
            left(&required, &of_project("she"), &[], hosts()).unwrap_err(),
            "No valid host was found. Scheduling failed: No hosts available for tenant"
        );
        assert_eq!(
            left("placement_aggregate_required_for_tenants = true", &of_project("she"), &[], hosts()).unwrap(),
            all
        );
    }

    #[test]
    fn an_aggregate_without_hosts_keeps_its_project_out_of_all_others() {
        let only = host_in("x", &[&[("filter_tenant_id", "me")]]).input.aggregates.clone();
        let filters = filters("limit_tenants_to_placement_aggregate = true");
        let demands = filters.aggregates(&of_project("me"), &[], &only).unwrap();
        let mut hosts = vec![host("a")];
        demands.apply(&mut hosts, &mut Report::default());
        assert!(hosts.is_empty());
    }

    #[test]
    fn isolated_aggregates_take_only_who_requires_all_their_traits() {
        let hosts = || {
            apart(vec![
                host_in("a", &[&[("trait:HW_A", "required")]]),
                host_in("b", &[&[("trait:HW_A", "required"), ("trait:HW_B", "required")]]),
                host_in("c", &[&[("trait:HW_A", "forbidden"), ("HW_A", "required")]]),
                host("d"),
            ])
        };
        let on = "enable_isolated_aggregate_filtering = true";
        let spec = RequestSpec::default();
        assert_eq!(left("", &spec, &[], hosts()).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(left(on, &spec, &[], hosts()).unwrap(), ["c", "d"]);
        assert_eq!(left(on, &spec, &["HW_A"], hosts()).unwrap(), ["a", "c", "d"]);
        assert_eq!(left(on, &spec, &["HW_A", "HW_B", "HW_C"], hosts()).unwrap(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_destination_names_aggregates_to_be_in_and_not_to_be_in() {
        let hosts = || vec![host_in("a", &[&[], &[]]), host_in("b", &[&[]]), host("c")];
        let id = |number| Uuid::from_u128(number).to_string();
        for (required, forbidden, expected) in [
            (None, None, &["a", "b", "c"] as &[&str]),
            (Some(vec![id(1)]), None, &["a", "b"]),
            (Some(vec![format!("{},{}", id(2), id(9))]), None, &["a"]),
            (Some(vec![id(1), id(2)]), None, &["a"]),
            (Some(vec![id(1), id(9)]), None, &[]),
            (Some(vec![]), Some(vec![id(2)]), &["b", "c"]),
            (Some(vec![id(1)]), Some(vec![id(2), id(9)]), &["b"]),
        ] {
            let destination = Destination {
                aggregates: required.clone(),
                forbidden_aggregates: forbidden.clone(),
                ..Destination::default()
            };
            let spec = RequestSpec { requested_destination: Some(destination), ..RequestSpec::default() };
            assert_eq!(left("", &spec, &[], hosts()).unwrap(), expected, "{required:?} {forbidden:?}");
        }
    }

    #[test]
    fn only_what_is_enabled_asks_for_traits() {
        let mut spec = with_image(json!({"hw_disk_bus": "scsi"}));
        spec.image.as_mut().unwrap().disk_format = "qcow2".to_owned();
        for (lines, expected) in [
            ("", &[] as &[&str]),
            ("query_placement_for_image_type_support = true", &["COMPUTE_IMAGE_TYPE_QCOW2"]),
            ("image_metadata_prefilter = true", &["COMPUTE_STORAGE_BUS_SCSI"]),
        ] {
            assert!(filters(lines).traits(&spec).unwrap().iter().eq(expected), "{lines}");
        }
    }

    #[test]
    fn an_option_that_is_no_boolean_is_an_error_that_names_it() {
        let config = Config::from_text("[scheduler]\nimage_metadata_prefilter = perhaps\n").unwrap();
        let error = RequestFilters::from_config(&config).unwrap_err().to_string();
        assert!(error.starts_with("[scheduler] image_metadata_prefilter: "), "{error}");
    }
}
