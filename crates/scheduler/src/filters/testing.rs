//! Hosts and requests for the tests of filters and weighers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kilonova_clients::placement::{Candidate, CandidatesQuery, ResourceProvider, Resources};
use kilonova_core::time::utcnow;
use kilonova_objects::{ComputeNode, RequestSpec, Service};
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

/// A request whose hints lead nowhere.
pub(crate) fn asked(spec: &RequestSpec) -> Asked<'_> {
    Asked {
        spec,
        query: CandidatesQuery::default(),
        now: utcnow(),
        same_hosts: None,
        different_hosts: BTreeSet::new(),
        group_members: BTreeMap::new(),
        is_group_placed: false,
    }
}
