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
use kilonova_db::placement::{self as rows, Allocation, ProviderFilter};
use uuid::Uuid;

use crate::candidates::{self, Request};
use crate::claim::{self, Claim, Expected};
use crate::provider::{self, Wanted};
use crate::stock::{self, StockedProvider};
use crate::{PlacementError, http};

/// How often allocations are moved while others change the same consumers.
const MOVE_ATTEMPTS: usize = 5;

/// The built-in placement service.
#[derive(Debug)]
pub struct PlacementService {
    db: Db,
}

impl PlacementService {
    /// The service over the rows in `db`.
    pub fn open(db: Db) -> Arc<Self> {
        Arc::new(Self { db })
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

    pub(crate) async fn candidates(&self, request: &Request) -> Result<Vec<StockedProvider>, PlacementError> {
        let filter = ProviderFilter { uuid: request.in_tree(), name: None };
        Ok(candidates::candidates(request, stock::load(&self.db, &filter).await?))
    }

    pub(crate) async fn claim(&self, wanted: &Claim<'_>) -> Result<(), PlacementError> {
        claim::claim(&self.db, wanted).await
    }

    pub(crate) async fn claim_all(&self, wanted: &[Claim<'_>]) -> Result<(), PlacementError> {
        claim::claim_all(&self.db, wanted).await
    }

    /// `false`: one of both consumers changed meanwhile.
    async fn move_once(&self, from: Uuid, to: Uuid) -> Result<bool, PlacementError> {
        let Some(source) = rows::consumer(self.db.read(), from).await? else { return Ok(true) };
        let target = rows::consumer(self.db.read(), to).await?.map(|target| target.generation);
        let held = grouped(rows::allocations_of_consumer(self.db.read(), from).await?, |row| row.provider);
        let claim = |consumer, allocations, generation| Claim {
            consumer,
            project_id: &source.project_id,
            user_id: &source.user_id,
            allocations,
            expected: Expected::Exactly(generation),
        };
        let nothing = Allocations::new();
        let claims = [claim(from, &nothing, Some(source.generation)), claim(to, &held, target)];
        match self.claim_all(&claims).await {
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

fn candidate(stocked: StockedProvider, resources: &Resources) -> Candidate {
    let StockedProvider { provider, stock } = stocked;
    let by_class = |amount: fn(&stock::Stock) -> i64| -> Resources {
        stock.iter().map(|(class, stock)| (class.clone(), amount(stock))).collect()
    };
    Candidate {
        resources: resources.clone(),
        capacity: by_class(|stock| stock.inventory.capacity()),
        used: by_class(|stock| stock.used),
        traits: provider.traits,
        provider: ResourceProvider { uuid: provider.uuid, name: provider.name, generation: provider.generation },
    }
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
        let found = self.candidates(&Request::from(query)).await?;
        Ok(found.into_iter().map(|stocked| candidate(stocked, &query.resources)).collect())
    }

    async fn set_allocations(
        &self,
        _context: &RequestContext,
        consumer: Uuid,
        project_id: &str,
        user_id: &str,
        allocations: &Allocations,
    ) -> Result<(), ClientError> {
        let expected = Expected::Any;
        let wanted = Claim { consumer, project_id, user_id, allocations, expected };
        Ok(self.claim(&wanted).await?)
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
