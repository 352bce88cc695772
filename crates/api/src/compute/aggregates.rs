//! Host aggregates, and the rules that keep a host in one availability zone and its servers in theirs.

use std::collections::BTreeMap;

use kilonova_db::aggregates::{self, Before, Change};
use kilonova_db::{DbError, Failure};
use kilonova_objects::Aggregate;
use uuid::Uuid;

use super::{ComputeError, services};
use crate::state::ApiState;

const ZONE: &str = "availability_zone";

/// Why an aggregate, by its id, is not what was asked for. The texts are Nova's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AggregateError {
    #[error("Aggregate {id} could not be found.")]
    NotFound { id: i64 },
    #[error("Aggregate {name} already exists.")]
    NameExists { name: String },
    #[error("Aggregate {id} already has host {host}.")]
    HostExists { id: i64, host: String },
    #[error("Aggregate {id} has no host {host}.")]
    HostNotFound { id: i64, host: String },
    #[error("Cannot add host to aggregate {id}. Reason: {reason}.")]
    Add { id: i64, reason: String },
    #[error("Cannot remove host from aggregate {id}. Reason: {reason}.")]
    Remove { id: i64, reason: String },
    #[error("Cannot update aggregate {id}. Reason: {reason}.")]
    Update { id: i64, reason: String },
    #[error("Cannot update metadata of aggregate {id}. Reason: {reason}.")]
    UpdateMetadata { id: i64, reason: String },
    #[error(transparent)]
    Other(ComputeError),
}

impl From<DbError> for AggregateError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound { resource: "aggregate", id } => Self::NotFound { id: id.parse().unwrap_or_default() },
            DbError::Exists { resource: "aggregate", id } => Self::NameExists { name: id },
            other => Self::Other(other.into()),
        }
    }
}

impl Failure for AggregateError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Other(ComputeError::Db(error)) => Some(error),
            _ => None,
        }
    }
}

/// Makes an aggregate, and with a zone an availability zone as soon as it has hosts.
pub(crate) async fn create(state: &ApiState, name: &str, zone: Option<&str>) -> Result<Aggregate, AggregateError> {
    let metadata = zone.map(|zone| (ZONE.to_owned(), zone.to_owned())).into_iter().collect();
    let aggregate =
        Aggregate { uuid: Uuid::new_v4(), name: name.to_owned(), metadata: Some(metadata), ..Aggregate::default() };
    Ok(aggregates::create(&state.db, &aggregate).await?)
}

/// Another name, another zone, or both.
pub(crate) async fn update(
    state: &ApiState,
    id: i64,
    name: Option<&str>,
    zone: Option<Option<&str>>,
) -> Result<Aggregate, AggregateError> {
    let metadata: Option<BTreeMap<_, _>> = zone.map(|zone| [(ZONE.to_owned(), zone.map(str::to_owned))].into());
    let decide = |before: &Before| {
        let mut changes: Vec<Change> = name.map(|name| Change::Name(name.to_owned())).into_iter().collect();
        if let Some(metadata) = &metadata {
            check_zone_change(before, metadata).map_err(|reason| AggregateError::Update { id, reason })?;
            changes.push(Change::Metadata(metadata.clone()));
        }
        Ok(changes)
    };
    aggregates::change(&state.db, id, decide).await
}

/// Sets metadata; null takes one away.
pub(crate) async fn update_metadata(
    state: &ApiState,
    id: i64,
    metadata: &BTreeMap<String, Option<String>>,
) -> Result<Aggregate, AggregateError> {
    let decide = |before: &Before| {
        check_zone_change(before, metadata).map_err(|reason| AggregateError::UpdateMetadata { id, reason })?;
        Ok(vec![Change::Metadata(metadata.clone())])
    };
    aggregates::change(&state.db, id, decide).await
}

/// Deletes an aggregate without hosts.
pub(crate) async fn delete(state: &ApiState, id: i64) -> Result<(), AggregateError> {
    let decide = |before: &Before| {
        if before.aggregate.hosts().is_empty() {
            return Ok(vec![Change::Delete]);
        }
        Err(AggregateError::Remove { id, reason: "Host aggregate is not empty".to_owned() })
    };
    aggregates::change(&state.db, id, decide).await.map(drop)
}

/// Adds a compute host.
pub(crate) async fn add_host(state: &ApiState, id: i64, host: &str) -> Result<Aggregate, AggregateError> {
    services::of_host(state, host).await.map_err(AggregateError::Other)?;
    let decide = |before: &Before| {
        check_added(before, host).map_err(|reason| AggregateError::Add { id, reason })?;
        if before.aggregate.hosts().iter().any(|has| has == host) {
            return Err(AggregateError::HostExists { id, host: host.to_owned() });
        }
        Ok(vec![Change::AddHost(host.to_owned())])
    };
    aggregates::change(&state.db, id, decide).await
}

/// Takes a compute host out.
pub(crate) async fn remove_host(state: &ApiState, id: i64, host: &str) -> Result<Aggregate, AggregateError> {
    services::of_host(state, host).await.map_err(AggregateError::Other)?;
    let decide = |before: &Before| {
        if !before.aggregate.hosts().iter().any(|has| has == host) {
            return Err(AggregateError::HostNotFound { id, host: host.to_owned() });
        }
        check_removed(before, host).map_err(|reason| AggregateError::Remove { id, reason })?;
        Ok(vec![Change::RemoveHost(host.to_owned())])
    };
    aggregates::change(&state.db, id, decide).await
}

/// Whether the zone may become what the metadata say.
fn check_zone_change(before: &Before, metadata: &BTreeMap<String, Option<String>>) -> Result<(), String> {
    let Some(zone) = metadata.get(ZONE) else { return Ok(()) };
    let aggregate = &before.aggregate;
    let Some(zone) = zone.as_deref().filter(|zone| !zone.is_empty()) else {
        return Err(format!("Aggregate {} does not support empty named availability zone", aggregate.name));
    };
    check_conflicts(before, aggregate.hosts(), zone)?;
    let has_servers = aggregate.hosts().iter().any(|host| servers(before, host) > 0);
    if aggregate.availability_zone() != Some(zone) && has_servers {
        return Err("One or more hosts contain instances in this zone".to_owned());
    }
    Ok(())
}

/// A host is in one zone only.
fn check_conflicts(before: &Before, hosts: &[String], zone: &str) -> Result<(), String> {
    let others = before.all.iter().filter(|other| other.id != before.aggregate.id);
    let shares = |other: &&Aggregate| other.hosts().iter().any(|host| hosts.contains(host));
    let zones = others.filter(shares).filter_map(Aggregate::availability_zone).filter(|other| *other != zone);
    let zones: Vec<String> = zones.map(|zone| format!("'{zone}'")).collect();
    if zones.is_empty() {
        return Ok(());
    }
    Err(format!("One or more hosts already in availability zone(s) [{}]", zones.join(", ")))
}

fn check_added(before: &Before, host: &str) -> Result<(), String> {
    let Some(new) = before.aggregate.availability_zone() else { return Ok(()) };
    check_conflicts(before, &[host.to_owned()], new)?;
    let is_there = before.aggregate.hosts().iter().any(|has| has == host);
    let old = if is_there { Some(new) } else { before.other_zones(host).next() };
    check_servers(before, host, "added to", old, Some(new))
}

fn check_removed(before: &Before, host: &str) -> Result<(), String> {
    let Some(old) = before.aggregate.availability_zone() else { return Ok(()) };
    check_servers(before, host, "removed from", Some(old), before.other_zones(host).next())
}

/// Servers do not change their zone.
fn check_servers(before: &Before, host: &str, verb: &str, old: Option<&str>, new: Option<&str>) -> Result<(), String> {
    let count = servers(before, host);
    if count == 0 || old == new {
        return Ok(());
    }
    let shown = |zone: Option<&str>| zone.unwrap_or("None").to_owned();
    Err(format!(
        "The host cannot be {verb} the aggregate as the availability zone of the host would change from '{}' to '{}' \
         but the host already has {count} instance(s). Changing the AZ of an existing instance is not supported by this \
         action. Move the instances away from this host then try again. If you need to move the instances between AZs \
         then you can use shelve_offload and unshelve to achieve this.",
        shown(old),
        shown(new)
    ))
}

fn servers(before: &Before, host: &str) -> i64 {
    before.servers.get(host).copied().unwrap_or(0)
}
