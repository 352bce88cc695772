//! Aggregates that a host must, and must not, be in.

use std::collections::BTreeSet;

use kilonova_objects::RequestSpec;
use uuid::Uuid;

use crate::host_state::HostState;
use crate::report::Report;

/// All that a request asks of the aggregates of its host, each with a name for the report.
#[derive(Debug, Default)]
pub(crate) struct AggregateDemands {
    /// The host is in one of each of these.
    required: Vec<(&'static str, BTreeSet<Uuid>)>,
    /// The host is in none of these.
    forbidden: Vec<(&'static str, BTreeSet<Uuid>)>,
}

impl AggregateDemands {
    /// What the requested destination names: an entry of `aggregates` is a list of uuids, with commas between them.
    pub(super) fn of_destination(spec: &RequestSpec) -> Self {
        const NAME: &str = "aggregates of the destination";
        let mut demands = Self::default();
        let Some(destination) = &spec.requested_destination else {
            return demands;
        };
        for one_of in destination.aggregates.iter().flatten() {
            demands.require(NAME, uuids(one_of.split(',')));
        }
        let forbidden = destination.forbidden_aggregates.iter().flatten().map(String::as_str);
        demands.forbid(NAME, uuids(forbidden));
        demands
    }

    pub(super) fn require(&mut self, name: &'static str, one_of: BTreeSet<Uuid>) {
        self.required.push((name, one_of));
    }

    pub(super) fn forbid(&mut self, name: &'static str, all_of: BTreeSet<Uuid>) {
        self.forbidden.push((name, all_of));
    }

    /// Leaves the hosts that fit.
    pub(crate) fn apply(&self, hosts: &mut Vec<HostState>, report: &mut Report) {
        let required = self.required.iter().map(|demand| (demand, true));
        let forbidden = self.forbidden.iter().map(|demand| (demand, false));
        for ((name, uuids), is_wanted) in required.chain(forbidden) {
            let of = hosts.len();
            let is_in_one = |host: &HostState| host.input.aggregates.iter().any(|one| uuids.contains(&one.uuid));
            hosts.retain(|host| is_in_one(host) == is_wanted);
            report.step(*name, of, hosts.len());
        }
    }
}

/// What is no uuid names no aggregate.
fn uuids<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<Uuid> {
    texts.filter_map(|text| text.trim().parse().ok()).collect()
}
