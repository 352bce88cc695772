//! A placement service that has nothing, and writes down what is asked of its providers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::placement::{Allocations, Candidate, CandidatesQuery, Inventory, Placement, Resources};
use kilonova_core::RequestContext;
use uuid::Uuid;

/// Provider, traits added, traits removed.
type TraitChange = (Uuid, Vec<String>, Vec<String>);

#[derive(Default)]
pub(super) struct RecordingPlacement {
    pub(super) traits: Mutex<Vec<TraitChange>>,
    /// Providers that were deleted.
    pub(super) deleted: Mutex<Vec<Uuid>>,
    /// Providers with allocations.
    pub(super) in_use: Mutex<BTreeSet<Uuid>>,
    /// What every provider has.
    pub(super) host_traits: Mutex<Vec<String>>,
    /// Whether it is out of order.
    pub(super) is_down: Mutex<bool>,
}

/// The API does not ask that.
fn no<T>() -> Result<T, ClientError> {
    Err(ClientError::unavailable("placement", "there is none"))
}

impl RecordingPlacement {
    fn up(&self) -> Result<(), ClientError> {
        if *self.is_down.lock().unwrap() { no() } else { Ok(()) }
    }
}

#[async_trait]
impl Placement for RecordingPlacement {
    async fn change_traits(
        &self,
        _: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError> {
        self.up()?;
        self.traits.lock().unwrap().push((provider, add.to_vec(), remove.to_vec()));
        Ok(())
    }

    async fn delete_provider(&self, _: &RequestContext, provider: Uuid) -> Result<(), ClientError> {
        self.up()?;
        if self.in_use.lock().unwrap().contains(&provider) {
            return Err(ClientError::Conflict("allocations".to_owned()));
        }
        self.deleted.lock().unwrap().push(provider);
        Ok(())
    }

    async fn provider_traits(&self, _: &RequestContext, _: Uuid) -> Result<Vec<String>, ClientError> {
        self.up()?;
        Ok(self.host_traits.lock().unwrap().clone())
    }

    async fn set_provider(
        &self,
        _: &RequestContext,
        _: Uuid,
        _: &str,
        _: &BTreeMap<String, Inventory>,
        _: &[String],
    ) -> Result<(), ClientError> {
        no()
    }

    async fn allocation_candidates(
        &self,
        _: &RequestContext,
        _: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError> {
        no()
    }

    async fn set_allocations(
        &self,
        _: &RequestContext,
        _: Uuid,
        _: &str,
        _: &str,
        _: &Allocations,
    ) -> Result<(), ClientError> {
        no()
    }

    async fn allocations(&self, _: &RequestContext, _: Uuid) -> Result<Allocations, ClientError> {
        no()
    }

    async fn delete_allocations(&self, _: &RequestContext, _: Uuid) -> Result<(), ClientError> {
        no()
    }

    async fn move_allocations(&self, _: &RequestContext, _: Uuid, _: Uuid) -> Result<(), ClientError> {
        no()
    }

    async fn provider_allocations(
        &self,
        _: &RequestContext,
        _: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError> {
        no()
    }
}
