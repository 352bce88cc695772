//! The service object: the [`Placement`] trait over the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::identity::Identity;
use kilonova_clients::placement::{
    Allocations, Candidate, CandidatesQuery, Inventory, Placement, ResourceProvider, Resources,
};
use kilonova_core::RequestContext;
use kilonova_db::Db;
use kilonova_db::placement::{self as rows, Allocation, Names};
use uuid::Uuid;

use crate::candidates::{self, Group, Request};
use crate::claim::{self, Claim, Expected};
use crate::forest::{Forest, Memory};
use crate::provider::{self, Wanted};
use crate::stock::{self, StockedProvider};
use crate::{PlacementError, http, names};

/// How often allocations are moved while others change the same consumers.
const MOVE_ATTEMPTS: usize = 5;

/// The built-in placement service.
#[derive(Debug)]
pub struct PlacementService {
    db: Db,
    memory: Memory,
}

impl PlacementService {
    /// The service over the rows in `db`.
    pub fn open(db: Db) -> Arc<Self> {
        Arc::new(Self { db, memory: Memory::default() })
    }

    /// Placement's REST API, to be nested where its endpoint is: `nest_service("/placement", …)`, which, unlike `nest`,
    /// also answers the endpoint with a slash behind it.
    ///
    /// `identity` validates the tokens. All of it is for admins and services; a reader may see its own project's
    /// usage.
    pub fn router(self: &Arc<Self>, identity: Arc<dyn Identity>) -> axum::Router {
        http::router(self.clone(), identity)
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// All providers as they are now.
    pub(crate) async fn forest(&self) -> Result<Arc<Forest>, PlacementError> {
        Ok(self.memory.forest(&self.db).await?)
    }

    /// Refuses a request that names a class or a trait that there is not, in the order in which Placement looks.
    pub(crate) async fn check_names(&self, request: &Request) -> Result<(), PlacementError> {
        let conn = self.db.read();
        let groups = || request.groups.values();
        names::check(conn, Names::Traits, request.root.names()).await?;
        let classes = groups().flat_map(|group| group.resources.keys()).map(String::as_str);
        names::check(conn, Names::ResourceClasses, classes).await?;
        names::check(conn, Names::Traits, groups().flat_map(|group| group.traits.names())).await
    }

    pub(crate) async fn claim(&self, claims: &[Claim]) -> Result<(), PlacementError> {
        claim::claim(&self.db, claims).await
    }

    /// `false`: one of both consumers changed meanwhile.
    async fn move_once(&self, from: Uuid, to: Uuid) -> Result<bool, PlacementError> {
        let Some(source) = rows::consumer(self.db.read(), from).await? else { return Ok(true) };
        let target = rows::consumer(self.db.read(), to).await?.map(|target| target.generation);
        let held = grouped(rows::allocations_of_consumer(self.db.read(), from).await?, |row| row.provider);
        let claim = |consumer, allocations, generation| Claim {
            consumer,
            project_id: source.project_id.clone(),
            user_id: source.user_id.clone(),
            consumer_type: None,
            allocations,
            expected: Expected::Exactly(generation),
        };
        let claims = [claim(from, Allocations::new(), Some(source.generation)), claim(to, held, target)];
        match self.claim(&claims).await {
            Err(PlacementError::ConsumerGeneration { .. }) => Ok(false),
            moved => moved.map(|()| true),
        }
    }

    pub(crate) async fn release(&self, consumer: Uuid) -> Result<bool, PlacementError> {
        claim::release(&self.db, consumer).await
    }
}

/// Amounts by whatever `key` says.
pub(crate) fn grouped(allocations: Vec<Allocation>, key: impl Fn(&Allocation) -> Uuid) -> BTreeMap<Uuid, Resources> {
    let mut groups = BTreeMap::<Uuid, Resources>::new();
    for row in allocations {
        groups.entry(key(&row)).or_default().insert(row.resource_class, row.used);
    }
    groups
}

fn candidate(stocked: &StockedProvider, resources: Resources) -> Candidate {
    let StockedProvider { provider, stock } = stocked;
    let by_class = |amount: fn(&stock::Stock) -> i64| -> Resources {
        stock.iter().map(|(class, stock)| (class.clone(), amount(stock))).collect()
    };
    Candidate {
        resources,
        capacity: by_class(|stock| stock.inventory.capacity()),
        used: by_class(|stock| stock.used),
        traits: provider.traits.clone(),
        provider: ResourceProvider {
            uuid: provider.uuid,
            name: provider.name.clone(),
            generation: provider.generation,
        },
    }
}

/// Of the ways to take a request, those that need one provider.
fn candidates(forest: &Forest, request: &Request) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for found in candidates::allocation_requests(forest, request) {
        let mut allocations = found.allocations.into_iter();
        if let (Some((place, amounts)), None) = (allocations.next(), allocations.next()) {
            let resources = amounts.into_iter().map(|(class, amount)| (class.to_owned(), amount)).collect();
            candidates.push(candidate(&forest.providers[place], resources));
        }
    }
    candidates
}

#[async_trait]
impl Placement for PlacementService {
    async fn set_provider(
        &self,
        _context: &RequestContext,
        uuid: Uuid,
        name: &str,
        inventory: &BTreeMap<String, Inventory>,
        traits: &[String],
    ) -> Result<(), ClientError> {
        let wanted = Wanted::new(uuid, name, inventory, traits)?;
        Ok(provider::set(&self.db, &wanted).await?)
    }

    async fn change_traits(
        &self,
        _context: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError> {
        Ok(provider::change_traits(&self.db, provider, add, remove).await?)
    }

    async fn delete_provider(&self, _context: &RequestContext, provider: Uuid) -> Result<(), ClientError> {
        Ok(provider::delete(&self.db, provider).await?)
    }

    async fn provider_traits(&self, _context: &RequestContext, provider: Uuid) -> Result<Vec<String>, ClientError> {
        Ok(stock::load_one(&self.db, provider).await?.provider.traits)
    }

    async fn allocation_candidates(
        &self,
        _context: &RequestContext,
        query: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError> {
        let request = Request::from(query);
        self.check_names(&request).await?;
        let forest = self.forest().await?;
        if !query.resources.is_empty() {
            return Ok(candidates(&forest, &request));
        }
        let group = request.groups.into_values().next().unwrap_or_else(Group::default);
        let allowed = candidates::allowed(&forest, &group);
        let some = allowed.iter().take(query.limit.unwrap_or(usize::MAX));
        Ok(some.map(|provider| candidate(provider, Resources::new())).collect())
    }

    async fn set_allocations(
        &self,
        _context: &RequestContext,
        consumer: Uuid,
        project_id: &str,
        user_id: &str,
        allocations: &Allocations,
    ) -> Result<(), ClientError> {
        let wanted = Claim {
            consumer,
            project_id: project_id.to_owned(),
            user_id: user_id.to_owned(),
            consumer_type: None,
            allocations: allocations.clone(),
            expected: Expected::Any,
        };
        Ok(self.claim(&[wanted]).await?)
    }

    async fn allocations(&self, _context: &RequestContext, consumer: Uuid) -> Result<Allocations, ClientError> {
        let rows = rows::allocations_of_consumer(self.db.read(), consumer).await;
        Ok(grouped(rows.map_err(PlacementError::from)?, |row| row.provider))
    }

    async fn delete_allocations(&self, _context: &RequestContext, consumer: Uuid) -> Result<(), ClientError> {
        self.release(consumer).await?;
        Ok(())
    }

    async fn move_allocations(&self, _context: &RequestContext, from: Uuid, to: Uuid) -> Result<(), ClientError> {
        for _ in 0..MOVE_ATTEMPTS {
            if self.move_once(from, to).await? {
                return Ok(());
            }
        }
        Err(ClientError::ConcurrentUpdate(format!("consumer {from} or {to} changes all the time")))
    }

    async fn provider_allocations(
        &self,
        _context: &RequestContext,
        provider: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError> {
        let found = stock::load_one(&self.db, provider).await?;
        let rows = rows::allocations_of_provider(self.db.read(), found.provider.id).await;
        Ok(grouped(rows.map_err(PlacementError::from)?, |row| row.consumer))
    }
}
