//! The reshaper: inventories move between providers together with the allocations on them.
//!
//! In between, a provider has what it had and what it gets; the allocations must fit then. In the end it has what it
//! gets, and nothing may be allocated of what it lost.

use std::collections::BTreeMap;

use kilonova_clients::placement::Inventory;
use kilonova_db::Db;
use kilonova_db::placement::{self as rows, Claimed, Names, ResourceProvider};
use uuid::Uuid;

use crate::claim::{self, Claim};
use crate::stock::{Stock, StockedProvider};
use crate::{PlacementError, inventory, names};

/// What a provider shall have, and the generation of it that the caller saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reshaped {
    pub(crate) generation: i64,
    pub(crate) inventory: BTreeMap<String, Inventory>,
}

/// Why nothing was reshaped.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A provider whose inventory is given is not there.
    NoProvider(Uuid),
    /// Anything else.
    Other(PlacementError),
}

impl<E: Into<PlacementError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl kilonova_db::Failure for Refused {
    fn database(&self) -> Option<&kilonova_db::DbError> {
        match self {
            Self::NoProvider(_) => None,
            Self::Other(error) => error.database(),
        }
    }
}

/// Replaces the inventories of providers and the allocations of consumers, all or nothing.
pub(crate) async fn reshape(db: &Db, inventories: &BTreeMap<Uuid, Reshaped>, claims: &[Claim]) -> Result<(), Refused> {
    db.retry(|| reshape_once(db, inventories, claims)).await
}

async fn reshape_once(db: &Db, inventories: &BTreeMap<Uuid, Reshaped>, claims: &[Claim]) -> Result<(), Refused> {
    let tx = db.begin().await?;
    let uuids: Vec<Uuid> = inventories.keys().copied().collect();
    let seen = rows::lock_providers(&tx, &uuids).await?;
    check_generations(inventories, &seen)?;
    let claimed = claim::lock(&tx, claims, &uuids).await?;
    let classes = inventories.values().flat_map(|reshaped| reshaped.inventory.keys());
    names::hold(&tx, Names::ResourceClasses, classes.map(String::as_str)).await?;
    let (mut providers, before) = claim::stocked(&tx, &claimed).await?;
    for provider in &mut providers {
        if let Some(reshaped) = inventories.get(&provider.provider.uuid) {
            add(provider, &before, &reshaped.inventory);
        }
    }
    if !claims.is_empty() {
        claim::decide(claims, &claimed, &providers, &before)?;
        claim::write(&tx, claims, &claimed).await?;
    }
    for provider in &claimed.providers {
        if let Some(reshaped) = inventories.get(&provider.uuid) {
            let wanted = reshaped.inventory.iter().map(|(class, inventory)| (class.as_str(), inventory)).collect();
            inventory::write(&tx, provider, &wanted).await?;
        }
    }
    raise_generations(&tx, inventories, &claimed).await?;
    Ok(tx.commit().await?)
}

fn check_generations(inventories: &BTreeMap<Uuid, Reshaped>, seen: &[ResourceProvider]) -> Result<(), Refused> {
    for (uuid, reshaped) in inventories {
        let provider = seen.iter().find(|provider| provider.uuid == *uuid).ok_or(Refused::NoProvider(*uuid))?;
        let (actual, given) = (provider.generation, reshaped.generation);
        if actual != given {
            return Err(Refused::Other(PlacementError::ProviderGeneration(format!(
                "resource provider generation conflict for provider {uuid}: actual: {actual}, given: {given}"
            ))));
        }
    }
    Ok(())
}

/// What a provider gets is put beside what it has.
fn add(provider: &mut StockedProvider, before: &rows::Usage, inventory: &BTreeMap<String, Inventory>) {
    for (class, inventory) in inventory {
        let inventory = inventory.clone();
        match provider.stock.get_mut(class) {
            Some(stock) => stock.inventory = inventory,
            // Nobody has anything of a class that is new here.
            None => {
                let used = before.get(&(provider.provider.id, class.clone())).copied().unwrap_or_default();
                provider.stock.insert(class.clone(), Stock { inventory, used });
            }
        }
    }
}

/// By one for what it gets on the way, if it gets anything, and by one for what it has in the end; the claim raises by
/// one more.
async fn raise_generations(
    tx: &kilonova_db::Transaction,
    inventories: &BTreeMap<Uuid, Reshaped>,
    claimed: &Claimed,
) -> Result<(), PlacementError> {
    let mut by_steps = BTreeMap::<i64, Vec<i64>>::new();
    for provider in &claimed.providers {
        if let Some(reshaped) = inventories.get(&provider.uuid) {
            let steps = if reshaped.inventory.is_empty() { 1 } else { 2 };
            by_steps.entry(steps).or_default().push(provider.id);
        }
    }
    for (steps, ids) in by_steps {
        rows::raise_generations(tx, &ids, steps).await?;
    }
    Ok(())
}
