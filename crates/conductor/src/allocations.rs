//! What is held of the hosts' resources, compared with what should be: who holds without being there, and who is there
//! without holding.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kilonova_clients::ClientError;
use kilonova_clients::placement::{Placement, Resources};
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Expand, InstanceQuery};
use kilonova_db::server_migrations::MigrationQuery;
use kilonova_db::{Db, DbError, compute_nodes, server_migrations};
use kilonova_objects::{Instance, VmState};
use uuid::Uuid;

/// Why the two could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database did not answer.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Placement did not.
    #[error(transparent)]
    Placement(#[from] ClientError),
    /// No compute node has this provider.
    #[error("there is no compute node with the resource provider {0}")]
    NoProvider(Uuid),
}

/// What somebody has of one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Whose resources they are.
    pub provider: Uuid,
    /// Who has them.
    pub consumer: Uuid,
    /// How much.
    pub resources: Resources,
}

/// Allocations that nothing owns any more: neither a server nor a move. `only`: of this provider.
pub async fn orphans(db: &Db, placement: &dyn Placement, only: Option<Uuid>) -> Result<Vec<Held>, AuditError> {
    let nodes = compute_nodes::list(db).await?.into_iter().map(|node| node.uuid);
    let nodes: Vec<Uuid> = nodes.filter(|uuid| only.is_none_or(|only| only == *uuid)).collect();
    if let Some(only) = only.filter(|_| nodes.is_empty()) {
        return Err(AuditError::NoProvider(only));
    }
    // What holds is read before what should hold: a row is written before its first claim, so nothing that is
    // being made looks like an orphan.
    let mut held = Vec::new();
    for node in nodes {
        held.extend(held_of(placement, node).await?);
    }
    let owners = owners(db).await?;
    held.retain(|held| !owners.contains(&held.consumer));
    Ok(held)
}

pub(crate) async fn held_of(placement: &dyn Placement, provider: Uuid) -> Result<Vec<Held>, ClientError> {
    let allocations = placement.provider_allocations(&RequestContext::admin(), provider).await?;
    Ok(allocations.into_iter().map(|(consumer, resources)| Held { provider, consumer, resources }).collect())
}

/// Whoever may have allocations and ports: servers, but not those that failed and have no host; and moves that are not over,
/// which hold what their server had before.
pub(crate) async fn owners(db: &Db) -> Result<BTreeSet<Uuid>, DbError> {
    let mut owners = BTreeSet::new();
    let mut pages = Pages::default();
    while let Some(page) = pages.next(db).await? {
        let owning = page.iter().filter(|instance| instance.host.is_some() || instance.vm_state != VmState::Error);
        owners.extend(owning.map(|instance| instance.uuid));
    }
    let moves = server_migrations::list(db, &MigrationQuery::open()).await?;
    owners.extend(moves.into_iter().map(|migration| migration.uuid));
    Ok(owners)
}

/// A server that runs on a host and holds nothing of it, so that others could be placed where it is.
#[derive(Clone, Debug)]
pub struct Unclaimed {
    /// The server.
    pub instance: Box<Instance>,
    /// The provider of its host.
    pub provider: Uuid,
}

/// Servers on a host that have no allocation. `only`: of this one. Those that somebody works on, or that move, are left to
/// whoever does.
pub async fn unclaimed(db: &Db, placement: &dyn Placement, only: Option<Uuid>) -> Result<Vec<Unclaimed>, AuditError> {
    let mut found = Vec::new();
    let moving: BTreeSet<Uuid> = server_migrations::list(db, &MigrationQuery::open())
        .await?
        .into_iter()
        .map(|migration| migration.instance_uuid)
        .collect();
    let mut pages = Pages::default();
    while let Some(page) = pages.next(db).await? {
        found.extend(page.into_iter().filter(|instance| {
            only.is_none_or(|only| only == instance.uuid)
                && instance.host.is_some()
                && instance.task_state.is_none()
                && !moving.contains(&instance.uuid)
        }));
    }
    // Who holds is read after who should: a server that is made meanwhile is not among them.
    let nodes = compute_nodes::list(db).await?;
    let mut holders = BTreeSet::new();
    for node in &nodes {
        holders.extend(held_of(placement, node.uuid).await?.into_iter().map(|held| held.consumer));
    }
    let providers: HashMap<(Option<&str>, Option<&str>), Uuid> =
        nodes.iter().map(|node| ((node.host.as_deref(), node.hypervisor_hostname.as_deref()), node.uuid)).collect();
    let unclaimed = found.into_iter().filter(|instance| !holders.contains(&instance.uuid));
    Ok(unclaimed
        .filter_map(|instance| {
            let provider = *providers.get(&(instance.host.as_deref(), instance.node.as_deref()))?;
            Some(Unclaimed { instance: Box::new(instance), provider })
        })
        .collect())
}

/// Resources in words: `DISK_GB:1 MEMORY_MB:64`.
pub fn in_words(resources: &BTreeMap<String, i64>) -> String {
    resources.iter().map(|(class, amount)| format!("{class}:{amount}")).collect::<Vec<_>>().join(" ")
}

/// All servers, some at a time, oldest first.
#[derive(Default)]
struct Pages {
    marker: Option<Uuid>,
    is_done: bool,
}

impl Pages {
    const SIZE: u64 = 500;

    async fn next(&mut self, db: &Db) -> Result<Option<Vec<Instance>>, DbError> {
        if self.is_done {
            return Ok(None);
        }
        let query = InstanceQuery {
            sort: vec![("created_at".to_owned(), false)],
            limit: Some(Self::SIZE),
            marker: self.marker,
            with: Expand { metadata: false, faults: false },
            ..InstanceQuery::default()
        };
        let page = instances::list(db, &query).await?;
        self.marker = page.last().map(|instance| instance.uuid);
        self.is_done = page.len() < Self::SIZE as usize;
        Ok(Some(page))
    }
}
