//! Hosts and requests for the tests of filters and weighers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kilonova_clients::placement::{Candidate, CandidatesQuery, ResourceProvider, Resources};
use kilonova_core::Config;
use kilonova_core::time::utcnow;
use kilonova_objects::{Aggregate, ComputeNode, Flavor, ImageMeta, RequestSpec, Service};
use serde_json::Value;
use uuid::Uuid;

use crate::HostInput;
use crate::asked::Asked;
use crate::host_state::HostState;

/// A host that is up, with a uuid made of its name.
pub(crate) fn host(name: &str) -> HostState {
    host_with(name, |_| ())
}

pub(crate) fn host_with(name: &str, change: impl FnOnce(&mut HostInput)) -> HostState {
    let uuid = name.bytes().fold(0u128, |sum, byte| sum * 256 + u128::from(byte));
    let mut input = HostInput {
        node: ComputeNode {
            uuid: Uuid::from_u128(uuid),
            host: Some(name.to_owned()),
            hypervisor_hostname: Some(format!("{name}.node")),
            ..ComputeNode::default()
        },
        service: Service { host: Some(name.to_owned()), last_seen_up: Some(utcnow()), ..Service::default() },
        availability_zone: None,
        aggregates: Vec::new(),
        image_properties: Vec::new(),
    };
    change(&mut input);
    let provider = ResourceProvider { uuid: input.node.uuid, name: name.to_owned(), generation: 0 };
    let candidate = Candidate {
        provider,
        resources: Resources::new(),
        capacity: Resources::new(),
        used: Resources::new(),
        traits: Vec::new(),
    };
    HostState::new(Arc::new(input), candidate)
}

/// A host in aggregates with this metadata. Their uuids are 1, 2, …
pub(crate) fn host_in(name: &str, aggregates: &[&[(&str, &str)]]) -> HostState {
    let aggregate = |(number, metadata): (u128, &&[(&str, &str)])| {
        let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Arc::new(Aggregate {
            uuid: Uuid::from_u128(number),
            hosts: Some(vec![name.to_owned()]),
            metadata: Some(pairs.collect()),
            ..Aggregate::default()
        })
    };
    host_with(name, |input| input.aggregates = (1..).zip(aggregates).map(aggregate).collect())
}

/// A request for a flavor with these extra specs.
pub(crate) fn with_extra_specs(extra_specs: &[(&str, &str)]) -> RequestSpec {
    let extra_specs = extra_specs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    RequestSpec { flavor: Flavor { extra_specs, ..Flavor::default() }, ..RequestSpec::default() }
}

/// A request for an image with these properties.
pub(crate) fn with_image(properties: Value) -> RequestSpec {
    let mut image = ImageMeta::default();
    image.properties.0 = serde_json::from_value(properties).unwrap();
    RequestSpec { image: Some(image), ..RequestSpec::default() }
}

/// A request with one scheduler hint.
pub(crate) fn with_hint(name: &str, value: &str) -> RequestSpec {
    let hints = BTreeMap::from([(name.to_owned(), vec![value.to_owned()])]);
    RequestSpec { scheduler_hints: Some(hints), ..RequestSpec::default() }
}

/// Options of `[filter_scheduler]`.
pub(crate) fn options(lines: &str) -> Config {
    Config::from_text(&format!("[filter_scheduler]\n{lines}\n")).unwrap()
}

/// A request whose hints lead nowhere.
pub(crate) fn asked(spec: &RequestSpec) -> Asked<'_> {
    Asked {
        spec,
        query: CandidatesQuery::default(),
        own_traits: Vec::new(),
        now: utcnow(),
        same_hosts: None,
        different_hosts: BTreeSet::new(),
        group_members: BTreeMap::new(),
        is_group_placed: false,
    }
}

/// No filter at all, not even that of the zone.
pub(crate) fn no_filters() -> super::Filters {
    super::Filters(Vec::new())
}
