//! Placement: what hosts have, and what is taken of it by whom.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kilonova_core::RequestContext;
use uuid::Uuid;

use crate::ClientError;

/// Amounts by resource class: `VCPU`, `MEMORY_MB`, `DISK_GB`.
pub type Resources = BTreeMap<String, i64>;

/// How much of a class a provider has.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// All of it.
    pub total: i64,
    /// Kept back.
    pub reserved: i64,
    /// Smallest amount of one allocation.
    pub min_unit: i64,
    /// Largest amount of one allocation.
    pub max_unit: i64,
    /// Allocations are multiples of it.
    pub step_size: i64,
    /// Overcommit.
    pub allocation_ratio: f64,
}

impl Inventory {
    /// What may be allocated in all.
    pub fn capacity(&self) -> i64 {
        ((self.total - self.reserved) as f64 * self.allocation_ratio) as i64
    }
}

/// A provider of resources: a compute node.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceProvider {
    /// The uuid of the compute node.
    pub uuid: Uuid,
    /// Its hypervisor hostname.
    pub name: String,
    /// Rises with every change.
    pub generation: i64,
}

/// A provider that can take a request whole, with what it has left.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The provider.
    pub provider: ResourceProvider,
    /// What would be allocated on it.
    pub resources: Resources,
    /// Capacity by class.
    pub capacity: Resources,
    /// Already used, by class.
    pub used: Resources,
    /// Its traits.
    pub traits: Vec<String>,
}

/// What is asked of allocation candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CandidatesQuery {
    /// The amounts.
    pub resources: Resources,
    /// Traits that a provider must have.
    pub required: Vec<String>,
    /// Traits that a provider must not have.
    pub forbidden: Vec<String>,
    /// Only this provider.
    pub in_tree: Option<Uuid>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// What a consumer has: amounts by provider.
pub type Allocations = BTreeMap<Uuid, Resources>;

/// What compute and the scheduler ask of placement.
#[async_trait]
pub trait Placement: Send + Sync + 'static {
    /// Makes the provider if it is not there and sets its inventory and traits; a no-op where nothing differs.
    async fn set_provider(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        name: &str,
        inventory: &BTreeMap<String, Inventory>,
        traits: &[String],
    ) -> Result<(), ClientError>;

    /// Adds traits to, and takes traits from, a provider.
    async fn change_traits(
        &self,
        context: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError>;

    /// Deletes a provider. [`ClientError::Conflict`] while something is allocated on it.
    async fn delete_provider(&self, context: &RequestContext, provider: Uuid) -> Result<(), ClientError>;

    /// The traits of a provider.
    async fn provider_traits(&self, context: &RequestContext, provider: Uuid) -> Result<Vec<String>, ClientError>;

    /// The providers that can take a request whole.
    async fn allocation_candidates(
        &self,
        context: &RequestContext,
        query: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError>;

    /// Replaces what a consumer has, atomically. [`ClientError::Conflict`] when it does not fit (any more),
    /// [`ClientError::ConcurrentUpdate`] when somebody else changed the provider at the same time.
    async fn set_allocations(
        &self,
        context: &RequestContext,
        consumer: Uuid,
        project_id: &str,
        user_id: &str,
        allocations: &Allocations,
    ) -> Result<(), ClientError>;

    /// What a consumer has.
    async fn allocations(&self, context: &RequestContext, consumer: Uuid) -> Result<Allocations, ClientError>;

    /// Takes everything from a consumer. Nothing there is success.
    async fn delete_allocations(&self, context: &RequestContext, consumer: Uuid) -> Result<(), ClientError>;

    /// Gives all that consumer `from` has to consumer `to`, in place of what that had, atomically: nobody else gets it in
    /// between. Nothing changes where `from` has nothing.
    async fn move_allocations(&self, context: &RequestContext, from: Uuid, to: Uuid) -> Result<(), ClientError>;

    /// Who has what of a provider.
    async fn provider_allocations(
        &self,
        context: &RequestContext,
        provider: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError>;
}
