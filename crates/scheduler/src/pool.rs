//! The hosts that a request may go to, and what it has put on them.

use std::collections::BTreeMap;

use kilonova_clients::placement::Candidate;
use uuid::Uuid;

use crate::asked::Asked;
use crate::filters::{Filters, destination};
use crate::host_cache::Hosts;
use crate::host_state::HostState;
use crate::report::{self, Report};
use crate::request_filter::AggregateDemands;

/// Hosts that passed what does not change while servers are placed.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) hosts: Vec<HostState>,
    pub(crate) report: Report,
    /// How many claims were refused since the look at the hosts.
    pub(crate) refused_claims: usize,
}

impl Pool {
    /// Joins candidates and hosts, and filters them. `placed`: what the request has put on which host already.
    pub(crate) fn new(
        asked: &Asked<'_>,
        filters: &Filters,
        demands: &AggregateDemands,
        candidates: Vec<Candidate>,
        hosts: &Hosts,
        placed: &BTreeMap<Uuid, i64>,
    ) -> Self {
        let mut report = Report::default();
        let is_cut = asked.query.limit.is_some_and(|limit| candidates.len() >= limit);
        if !is_cut {
            let name = format!("placement ({})", report::amounts(&asked.query));
            report.step(name, hosts.by_uuid.len(), candidates.len());
        }
        let found = candidates.len();
        let mut states: Vec<HostState> = candidates
            .into_iter()
            .filter_map(|candidate| {
                let input = hosts.by_uuid.get(&candidate.provider.uuid)?.clone();
                Some(HostState::new(input, candidate))
            })
            .collect();
        report.step("providers without a compute host", found, states.len());
        for state in &mut states {
            let of = |counts: &BTreeMap<Uuid, i64>| counts.get(&state.uuid()).copied().unwrap_or(0);
            let (placed, members) = (of(placed), of(&asked.group_members));
            state.count(placed);
            state.group_members += members;
        }
        demands.apply(&mut states, &mut report);
        destination::apply(asked.spec, &mut states, &mut report);
        if !asked.is_forced() {
            filters.run_once(asked, &mut states, &mut report);
        }
        Self { hosts: states, report, refused_claims: 0 }
    }

    /// The hosts that the request names and that may have its image: for a rebuild.
    pub(crate) fn of_rebuild(asked: &Asked<'_>, filters: &Filters, hosts: &Hosts) -> Self {
        let mut report = Report::default();
        let mut states: Vec<HostState> = hosts.by_uuid.values().cloned().map(HostState::as_it_is).collect();
        destination::apply(asked.spec, &mut states, &mut report);
        filters.run_on_rebuild(asked, &mut states, &mut report);
        Self { hosts: states, report, refused_claims: 0 }
    }

    /// Why hosts cannot take one server more.
    pub(crate) fn report(&self, asked: &Asked<'_>, filters: &Filters) -> Report {
        let mut report = self.report.clone();
        report.step("claim", self.hosts.len() + self.refused_claims, self.hosts.len());
        let all = 0..self.hosts.len();
        let mut places: Vec<usize> = all.filter(|place| self.hosts[*place].fits(&asked.query.resources)).collect();
        report.step("capacity", self.hosts.len(), places.len());
        if !asked.is_forced() {
            filters.run_each(asked, &self.hosts, &mut places, &mut report);
        }
        report
    }

    #[cfg(test)]
    pub(crate) fn of(hosts: Vec<HostState>) -> Self {
        Self { hosts, report: Report::default(), refused_claims: 0 }
    }

    /// Placement does not have that room any more: what is known of the host is old.
    pub(crate) fn drop_refused(&mut self, place: usize) {
        self.hosts.remove(place);
        self.refused_claims += 1;
    }
}
