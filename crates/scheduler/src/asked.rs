//! One request, with all that has to be looked up before hosts can be judged by it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kilonova_clients::placement::{CandidatesQuery, Placement};
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::RequestSpec;
use uuid::Uuid;

use crate::request_filter::RequestFilters;
use crate::{SchedulerError, resources};

/// A request and what it refers to.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) spec: &'a RequestSpec,
    pub(crate) query: CandidatesQuery,
    /// Traits that flavor and image require, without those of the request filters.
    pub(crate) own_traits: Vec<String>,
    pub(crate) now: DateTime<Utc>,
    /// Hosts of the servers that the hint `same_host` names; `None` without the hint.
    pub(crate) same_hosts: Option<BTreeSet<Uuid>>,
    /// Hosts of the servers that the hint `different_host` names.
    pub(crate) different_hosts: BTreeSet<Uuid>,
    /// How many members of the request's server group are on which host.
    pub(crate) group_members: BTreeMap<Uuid, i64>,
    /// Whether a member of the group is on a host, this request's own included.
    pub(crate) is_group_placed: bool,
}

impl<'a> Asked<'a> {
    pub(crate) async fn prepare(
        placement: &dyn Placement,
        context: &RequestContext,
        spec: &'a RequestSpec,
        instance_uuids: &[Uuid],
        request_filters: &RequestFilters,
        max_results: usize,
    ) -> Result<Self, SchedulerError> {
        let mut query = resources::query(spec)?;
        let own_traits = query.required.clone();
        query.required.extend(request_filters.traits(spec)?);
        query.required.sort();
        query.required.dedup();
        let is_unlimited = is_about_some_hosts(spec) || request_filters.looks_at_aggregates();
        query.limit = (!is_unlimited).then_some(max_results);
        let same = spec.hint("same_host");
        let mut asked = Self {
            spec,
            query,
            own_traits,
            now: utcnow(),
            same_hosts: None,
            different_hosts: hosts_of(placement, context, spec.hint("different_host")).await?,
            group_members: BTreeMap::new(),
            is_group_placed: false,
        };
        if !same.is_empty() {
            asked.same_hosts = Some(hosts_of(placement, context, same).await?);
        }
        let members = spec.instance_group.as_ref().and_then(|group| group.members.as_deref());
        for member in uuids(members.unwrap_or_default()) {
            // A server that is being placed does not stand in its own way.
            if instance_uuids.contains(&member) {
                continue;
            }
            for host in hosts_of_one(placement, context, member).await? {
                *asked.group_members.entry(host).or_default() += 1;
                asked.is_group_placed = true;
            }
        }
        Ok(asked)
    }

    /// The question whether a server may have another image on the host that it is on: nothing is to be claimed.
    pub(crate) fn of_rebuild(spec: &'a RequestSpec) -> Self {
        Self {
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

    /// Hosts that an admin forces are not filtered.
    pub(crate) fn is_forced(&self) -> bool {
        let is_some = |names: &Option<Vec<String>>| names.as_ref().is_some_and(|n| !n.is_empty());
        is_some(&self.spec.force_hosts) || is_some(&self.spec.force_nodes)
    }
}

/// A limit on candidates could cut off just the hosts that such a request wants.
fn is_about_some_hosts(spec: &RequestSpec) -> bool {
    let hints = ["same_host", "different_host", "group"];
    spec.force_hosts.is_some()
        || spec.force_nodes.is_some()
        || spec.ignore_hosts.is_some()
        || spec.requested_destination.is_some()
        || spec.availability_zone.is_some()
        || spec.instance_group.is_some()
        || hints.iter().any(|hint| !spec.hint(hint).is_empty())
}

/// What is no uuid names no server.
fn uuids(texts: &[String]) -> impl Iterator<Item = Uuid> {
    texts.iter().filter_map(|text| text.parse().ok())
}

async fn hosts_of(
    placement: &dyn Placement,
    context: &RequestContext,
    servers: &[String],
) -> Result<BTreeSet<Uuid>, SchedulerError> {
    let mut hosts = BTreeSet::new();
    for server in uuids(servers) {
        hosts.extend(hosts_of_one(placement, context, server).await?);
    }
    Ok(hosts)
}

async fn hosts_of_one(
    placement: &dyn Placement,
    context: &RequestContext,
    server: Uuid,
) -> Result<Vec<Uuid>, SchedulerError> {
    let allocations = placement.allocations(context, server).await;
    Ok(allocations.map_err(SchedulerError::Placement)?.into_keys().collect())
}
