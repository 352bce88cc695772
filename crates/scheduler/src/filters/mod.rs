//! Filters: whether a host may be used at all. `[filter_scheduler] enabled_filters` names them, by Nova's names;
//! `rules` are the operator's own, in CEL.
//!
//! Room is not filtered here: placement's candidates have it. The availability zone is always looked at, for in Nova it
//! is a part of what placement is asked.

mod aggregate_image_properties_isolation;
mod aggregate_instance_extra_specs;
mod aggregate_io_ops;
mod aggregate_multitenancy_isolation;
mod aggregate_num_instances;
mod aggregate_type_affinity;
mod all_hosts;
mod availability_zone;
mod compute;
mod compute_capabilities;
pub(crate) mod destination;
mod different_host;
mod extra_specs_ops;
mod image_properties;
mod io_ops;
mod isolated_hosts;
mod json;
mod metrics;
mod num_instances;
mod rule;
mod same_host;
mod server_group_affinity;
mod server_group_anti_affinity;
mod simple_cidr_affinity;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt::Debug;

use kilonova_core::{Config, ConfigError};

use self::rule::Rule;
use crate::asked::Asked;
use crate::host_state::HostState;
use crate::report::Report;

const GROUP: &str = "filter_scheduler";
const AVAILABILITY_ZONE: &str = "AvailabilityZoneFilter";

/// What is enabled where the option is not set.
const DEFAULT: [&str; 8] = [
    "ComputeFilter",
    AVAILABILITY_ZONE,
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "SameHostFilter",
    "DifferentHostFilter",
];

const KNOWN: [&str; 21] = [
    "AggregateImagePropertiesIsolation",
    "AggregateInstanceExtraSpecsFilter",
    "AggregateIoOpsFilter",
    "AggregateMultiTenancyIsolation",
    "AggregateNumInstancesFilter",
    "AggregateTypeAffinityFilter",
    "AllHostsFilter",
    AVAILABILITY_ZONE,
    "ComputeCapabilitiesFilter",
    "ComputeFilter",
    "DifferentHostFilter",
    "ImagePropertiesFilter",
    "IoOpsFilter",
    "IsolatedHostsFilter",
    "JsonFilter",
    "MetricsFilter",
    "NumInstancesFilter",
    "SameHostFilter",
    "ServerGroupAffinityFilter",
    "ServerGroupAntiAffinityFilter",
    "SimpleCIDRAffinityFilter",
];

/// One rule.
pub(crate) trait HostFilter: Debug + Send + Sync {
    /// Whether the host may be used.
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool;

    /// Whether the answer stays the same while servers of one request are placed.
    fn run_filter_once_per_request(&self) -> bool {
        true
    }

    /// Whether it is asked when a server gets another image on the host that it is on.
    fn run_on_rebuild(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Named {
    name: String,
    filter: Box<dyn HostFilter>,
}

/// The filters that are enabled.
#[derive(Debug)]
pub(crate) struct Filters(Vec<Named>);

impl Filters {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let mut names = config.list(GROUP, "enabled_filters", &DEFAULT);
        if !names.iter().any(|name| name == AVAILABILITY_ZONE) {
            names.push(AVAILABILITY_ZONE.to_owned());
        }
        let named = |name: String| Ok(Named { filter: filter(&name, config)?, name });
        let mut filters = names.into_iter().map(named).collect::<Result<Vec<_>, ConfigError>>()?;
        let rules = Rule::all(config)?;
        filters.extend(rules.into_iter().map(|(name, rule)| Named { name, filter: Box::new(rule) }));
        Ok(Self(filters))
    }

    /// The filters whose answer does not change.
    pub(crate) fn run_once(&self, asked: &Asked<'_>, hosts: &mut Vec<HostState>, report: &mut Report) {
        for Named { name, filter } in &self.0 {
            if filter.run_filter_once_per_request() {
                let of = hosts.len();
                hosts.retain(|host| filter.passes(host, asked));
                report.step(name, of, hosts.len());
            }
        }
    }

    /// The filters that another image is looked at by.
    pub(crate) fn run_on_rebuild(&self, asked: &Asked<'_>, hosts: &mut Vec<HostState>, report: &mut Report) {
        for Named { name, filter } in self.0.iter().filter(|named| named.filter.run_on_rebuild()) {
            let of = hosts.len();
            hosts.retain(|host| filter.passes(host, asked));
            report.step(name, of, hosts.len());
        }
    }

    /// Whether a host passes the filters that look at what the request has placed already.
    pub(crate) fn passes_each(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let mut each = self.0.iter().filter(|named| !named.filter.run_filter_once_per_request());
        each.all(|named| named.filter.passes(host, asked))
    }

    /// The same of many hosts, with a report.
    pub(crate) fn run_each(
        &self,
        asked: &Asked<'_>,
        hosts: &[HostState],
        places: &mut Vec<usize>,
        report: &mut Report,
    ) {
        for Named { name, filter } in &self.0 {
            if !filter.run_filter_once_per_request() {
                let of = places.len();
                places.retain(|place| filter.passes(&hosts[*place], asked));
                report.step(name, of, places.len());
            }
        }
    }
}

fn filter(name: &str, config: &Config) -> Result<Box<dyn HostFilter>, ConfigError> {
    Ok(match name {
        "AggregateImagePropertiesIsolation" => {
            Box::new(aggregate_image_properties_isolation::AggregateImagePropertiesIsolation::new(config))
        }
        "AggregateInstanceExtraSpecsFilter" => {
            Box::new(aggregate_instance_extra_specs::AggregateInstanceExtraSpecsFilter)
        }
        "AggregateIoOpsFilter" => Box::new(aggregate_io_ops::AggregateIoOpsFilter::new(config)?),
        "AggregateMultiTenancyIsolation" => Box::new(aggregate_multitenancy_isolation::AggregateMultiTenancyIsolation),
        "AggregateNumInstancesFilter" => Box::new(aggregate_num_instances::AggregateNumInstancesFilter::new(config)?),
        "AggregateTypeAffinityFilter" => Box::new(aggregate_type_affinity::AggregateTypeAffinityFilter),
        "AllHostsFilter" => Box::new(all_hosts::AllHostsFilter),
        AVAILABILITY_ZONE => Box::new(availability_zone::AvailabilityZoneFilter::new(config)),
        "ComputeCapabilitiesFilter" => Box::new(compute_capabilities::ComputeCapabilitiesFilter),
        "ComputeFilter" => Box::new(compute::ComputeFilter::new(config)?),
        "DifferentHostFilter" => Box::new(different_host::DifferentHostFilter),
        "ImagePropertiesFilter" => Box::new(image_properties::ImagePropertiesFilter::new(config)),
        "IoOpsFilter" => Box::new(io_ops::IoOpsFilter::new(config)?),
        "IsolatedHostsFilter" => Box::new(isolated_hosts::IsolatedHostsFilter::new(config)?),
        "JsonFilter" => Box::new(json::JsonFilter),
        "MetricsFilter" => Box::new(metrics::MetricsFilter::new(config)?),
        "NumInstancesFilter" => Box::new(num_instances::NumInstancesFilter::new(config)?),
        "SameHostFilter" => Box::new(same_host::SameHostFilter),
        "ServerGroupAffinityFilter" => Box::new(server_group_affinity::ServerGroupAffinityFilter),
        "ServerGroupAntiAffinityFilter" => Box::new(server_group_anti_affinity::ServerGroupAntiAffinityFilter),
        "SimpleCIDRAffinityFilter" => Box::new(simple_cidr_affinity::SimpleCidrAffinityFilter),
        other => {
            return Err(ConfigError::Value {
                group: GROUP.to_owned(),
                name: "enabled_filters".to_owned(),
                value: other.to_owned(),
                expected: format!("one of {}", KNOWN.join(", ")),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_a_filter_and_every_default_is_known() {
        for name in KNOWN {
            filter(name, &Config::empty()).unwrap();
        }
        assert!(DEFAULT.iter().all(|name| KNOWN.contains(name)));
    }

    #[test]
    fn an_unknown_filter_is_an_error_that_names_the_option() {
        let config = Config::from_text("[filter_scheduler]\nenabled_filters = ComputeFilter,Pony\n");
        let error = Filters::from_config(&config.unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("[filter_scheduler] enabled_filters: \"Pony\""), "{error}");
    }

    #[test]
    fn the_availability_zone_is_looked_at_even_where_it_is_not_listed() {
        let config = Config::from_text("[filter_scheduler]\nenabled_filters = ComputeFilter\n");
        let filters = Filters::from_config(&config.unwrap()).unwrap();
        let names: Vec<&str> = filters.0.iter().map(|named| named.name.as_str()).collect();
        assert_eq!(names, ["ComputeFilter", AVAILABILITY_ZONE]);
    }
}
