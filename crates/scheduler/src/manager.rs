//! `select_destinations`: the decision for one request, from the look at the hosts to the claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use kilonova_clients::placement::Placement;
use kilonova_core::{Config, RequestContext};
use kilonova_objects::{RequestSpec, SchedulerLimits, Selection};
use serde_json::json;
use uuid::Uuid;

use crate::asked::Asked;
use crate::claims::Claims;
use crate::drivers::Driver;
use crate::filters::Filters;
use crate::host_cache::HostCache;
use crate::host_state::HostState;
use crate::options::at_least_one;
use crate::pool::Pool;
use crate::ranking::Ranking;
use crate::request_filter::RequestFilters;
use crate::{CELL_UUID, HostSource, SchedulerError};

/// The microversion that an allocation request is written in.
const ALLOCATION_REQUEST_VERSION: &str = "1.36";

/// The scheduler. Cheap to share; holds nothing that another one would have to know.
pub struct SchedulerManager {
    placement: Arc<dyn Placement>,
    hosts: HostCache,
    request_filters: RequestFilters,
    filters: Filters,
    driver: Driver,
    max_attempts: usize,
    max_placement_results: usize,
}

impl SchedulerManager {
    /// Reads `[scheduler]` and `[filter_scheduler]`; a name that is not known there is an error here, not later.
    pub fn new(
        placement: Arc<dyn Placement>,
        hosts: Arc<dyn HostSource>,
        config: &Config,
    ) -> Result<Self, SchedulerError> {
        // Servers are counted afresh at every request, whatever it says.
        config.flag("filter_scheduler", "track_instance_changes", true)?;
        Ok(Self {
            placement,
            hosts: HostCache::new(hosts),
            request_filters: RequestFilters::from_config(config)?,
            filters: Filters::from_config(config)?,
            driver: Driver::from_config(config)?,
            max_attempts: at_least_one(config, "scheduler", "max_attempts", 3)?,
            max_placement_results: at_least_one(config, "scheduler", "max_placement_results", 1000)?,
        })
    }

    /// A host for each of `instance_uuids`, claimed, and with `return_alternates` up to `max_attempts - 1` others
    /// after it that are not claimed.
    ///
    /// All or none: where one finds no host, nothing stays claimed. A server that has allocations gets new ones in
    /// their place; the caller moves away first what a move operation must keep.
    pub async fn select_destinations(
        &self,
        context: &RequestContext,
        spec: &RequestSpec,
        instance_uuids: &[Uuid],
        return_alternates: bool,
    ) -> Result<Vec<Vec<Selection>>, SchedulerError> {
        if is_rebuild(spec) {
            return self.check_rebuild(context, spec, instance_uuids).await;
        }
        let placement = self.placement.as_ref();
        let (request_filters, max_results) = (&self.request_filters, self.max_placement_results);
        let mut asked = Asked::prepare(placement, context, spec, instance_uuids, request_filters, max_results).await?;
        let mut claims = Claims::new(placement, context, spec);
        let placed = self.place(context, &mut asked, instance_uuids, &mut claims).await;
        let selections = |(chosen, pool, ranking): (Vec<HostState>, Pool, Ranking)| {
            self.selections(&asked, chosen, &pool, &ranking, return_alternates)
        };
        match placed.map(selections) {
            Ok(selections) => Ok(selections),
            Err(error) => {
                claims.release().await;
                tracing::info!(request_id = context.request_id(), %error, "no destination");
                Err(error)
            }
        }
    }

    /// Whether servers may have another image on the host that they are on. They have what they need: nothing is
    /// claimed.
    async fn check_rebuild(
        &self,
        context: &RequestContext,
        spec: &RequestSpec,
        instance_uuids: &[Uuid],
    ) -> Result<Vec<Vec<Selection>>, SchedulerError> {
        let asked = Asked::of_rebuild(spec);
        let hosts = self.hosts.hosts(context).await?;
        let pool = Pool::of_rebuild(&asked, &self.filters, &hosts);
        match pool.hosts.first() {
            Some(host) => {
                let stays = Selection { allocation_request: None, ..selection(&asked, host) };
                Ok(instance_uuids.iter().map(|_| vec![stays.clone()]).collect())
            }
            None => Err(pool.report.no_valid_host(0, instance_uuids.len())),
        }
    }

    async fn place(
        &self,
        context: &RequestContext,
        asked: &mut Asked<'_>,
        servers: &[Uuid],
        claims: &mut Claims<'_>,
    ) -> Result<(Vec<HostState>, Pool, Ranking), SchedulerError> {
        let mut placed = BTreeMap::new();
        let mut pool = self.look(context, asked, &placed).await?;
        let weighers = self.driver.weighers();
        let mut ranking = Ranking::new(&pool, asked, &self.filters, weighers)?;
        let mut chosen = Vec::with_capacity(servers.len());
        let mut has_looked_again = false;
        while let Some(server) = servers.get(chosen.len()) {
            let Some(place) = self.driver.best(&ranking, 1).first().copied() else {
                // A refused claim says that the world is not as it was seen; a second look may find room.
                if pool.refused_claims > 0 && !has_looked_again {
                    has_looked_again = true;
                    pool = self.look(context, asked, &placed).await?;
                    ranking = Ranking::new(&pool, asked, &self.filters, weighers)?;
                    continue;
                }
                return Err(pool.report(asked, &self.filters).no_valid_host(chosen.len(), servers.len()));
            };
            let host = &mut pool.hosts[place];
            if claims.claim(*server, host.uuid(), &asked.query.resources).await? {
                host.consume(&asked.query.resources);
                *placed.entry(host.uuid()).or_default() += 1;
                chosen.push(host.clone());
                if std::mem::replace(&mut asked.is_group_placed, true) || asked.spec.instance_group.is_none() {
                    ranking.look_again(&pool, place, asked, &self.filters, weighers)?;
                } else {
                    // Where the first of a group went says something of all hosts.
                    ranking = Ranking::new(&pool, asked, &self.filters, weighers)?;
                }
            } else {
                pool.drop_refused(place);
                ranking.remove(place);
            }
        }
        Ok((chosen, pool, ranking))
    }

    async fn look(
        &self,
        context: &RequestContext,
        asked: &Asked<'_>,
        placed: &BTreeMap<Uuid, i64>,
    ) -> Result<Pool, SchedulerError> {
        let candidates = async {
            let found = self.placement.allocation_candidates(context, &asked.query).await;
            found.map_err(SchedulerError::Placement)
        };
        let (candidates, hosts) = tokio::try_join!(candidates, self.hosts.hosts(context))?;
        let demands = self.request_filters.aggregates(asked.spec, &asked.own_traits, &hosts.aggregates)?;
        Ok(Pool::new(asked, &self.filters, &demands, candidates, &hosts, placed))
    }

    fn selections(
        &self,
        asked: &Asked<'_>,
        chosen: Vec<HostState>,
        pool: &Pool,
        ranking: &Ranking,
        return_alternates: bool,
    ) -> Vec<Vec<Selection>> {
        let alternates = if return_alternates { self.max_attempts.saturating_sub(1) } else { 0 };
        // One more, for each has its own host among them at most once.
        let order = if alternates > 0 { self.driver.best(ranking, alternates + 1) } else { Vec::new() };
        chosen
            .into_iter()
            .map(|host| {
                let others = order.iter().map(|place| &pool.hosts[*place]);
                let others = others.filter(|other| other.uuid() != host.uuid()).take(alternates);
                std::iter::once(&host).chain(others).map(|host| selection(asked, host)).collect()
            })
            .collect()
    }
}

/// Nova's API says so with a hint of its own.
fn is_rebuild(spec: &RequestSpec) -> bool {
    spec.hint("_nova_check_type") == ["rebuild"]
}

fn selection(asked: &Asked<'_>, host: &HostState) -> Selection {
    let allocations = json!({
        "allocations": {host.uuid().to_string(): {"resources": asked.query.resources}},
    });
    Selection {
        compute_node_uuid: host.uuid(),
        service_host: host.host().to_owned(),
        nodename: host.nodename().to_owned(),
        cell_uuid: CELL_UUID,
        limits: Some(SchedulerLimits::default()),
        allocation_request: Some(allocations.to_string()),
        allocation_request_version: Some(ALLOCATION_REQUEST_VERSION.to_owned()),
        availability_zone: host.input.availability_zone.clone(),
        ..Selection::default()
    }
}
