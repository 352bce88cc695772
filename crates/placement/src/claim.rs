//! The claim: a consumer's allocations are replaced, all or nothing, if everything fits.
//!
//! ```text
//! begin ─ lock providers (generation + 1), then the consumer ─ read inventories, sums without this consumer
//!       ─ decide ─ write allocations ─ commit
//! ```

use std::collections::BTreeSet;

use kilonova_clients::placement::Allocations;
use kilonova_core::time::utcnow;
use kilonova_db::Db;
use kilonova_db::placement::{self as rows, Usage};
use uuid::Uuid;

use crate::PlacementError;
use crate::stock::{self, Refusal, StockedProvider};

/// What the caller knows of the consumer's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Does not care.
    Any,
    /// It has this one; `None`: it has no allocations yet.
    Exactly(Option<i64>),
}

/// Who shall have what.
#[derive(Clone, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) consumer: Uuid,
    pub(crate) project_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) allocations: &'a Allocations,
    pub(crate) expected: Expected,
}

/// Makes the claim; durable when it returns.
pub(crate) async fn claim(db: &Db, claim: &Claim<'_>) -> Result<(), PlacementError> {
    match claim.expected {
        Expected::Any => db.retry_idempotent(|| claim_once(db, claim)).await,
        // The generation that a commit raised is not the expected one any more.
        Expected::Exactly(_) => db.retry(|| claim_once(db, claim)).await,
    }
}

async fn claim_once(db: &Db, claim: &Claim<'_>) -> Result<(), PlacementError> {
    let uuids: Vec<Uuid> = claim.allocations.keys().copied().collect();
    let tx = db.begin().await?;
    let providers = rows::lock_providers(&tx, &uuids).await?;
    let consumer = rows::lock_consumer(&tx, claim.consumer).await?;
    check_generation(claim.expected, consumer.as_ref().map(|consumer| consumer.generation))?;
    let ids: Vec<i64> = providers.iter().map(|provider| provider.id).collect();
    let inventories = rows::inventories(&tx, Some(&ids)).await?;
    let used = rows::usage(&tx, Some(&ids), Some(claim.consumer)).await?;
    let amounts = decide(&stock::assemble(providers, inventories, &used), claim.allocations)?;
    let consumer = rows::Consumer {
        uuid: claim.consumer,
        project_id: claim.project_id.to_owned(),
        user_id: claim.user_id.to_owned(),
        generation: consumer.map_or(0, |consumer| consumer.generation) + 1,
        updated_at: utcnow(),
    };
    rows::replace_allocations(&tx, &consumer, &amounts).await?;
    Ok(tx.commit().await?)
}

/// Several claims, all or none: what one consumer gives up another may get.
pub(crate) async fn claim_all(db: &Db, claims: &[Claim<'_>]) -> Result<(), PlacementError> {
    // Who has something now is read apart: the transaction reads only what it has locked.
    let mut uuids: BTreeSet<Uuid> = claims.iter().flat_map(|claim| claim.allocations.keys().copied()).collect();
    for claim in claims {
        let held = rows::allocations_of_consumer(db.read(), claim.consumer).await?;
        uuids.extend(held.into_iter().map(|row| row.provider));
    }
    let uuids: Vec<Uuid> = uuids.into_iter().collect();
    db.retry(|| claim_all_once(db, claims, &uuids)).await
}

async fn claim_all_once(db: &Db, claims: &[Claim<'_>], uuids: &[Uuid]) -> Result<(), PlacementError> {
    let tx = db.begin().await?;
    let providers = rows::lock_providers(&tx, uuids).await?;
    let ids: Vec<i64> = providers.iter().map(|provider| provider.id).collect();
    let inventories = rows::inventories(&tx, Some(&ids)).await?;
    let mut used = rows::usage(&tx, Some(&ids), None).await?;
    let mut generations = Vec::with_capacity(claims.len());
    for claim in claims {
        let consumer = rows::lock_consumer(&tx, claim.consumer).await?;
        let generation = consumer.map(|consumer| consumer.generation);
        check_generation(claim.expected, generation)?;
        generations.push(generation.unwrap_or(0) + 1);
        for held in rows::allocations_of_consumer(&tx, claim.consumer).await? {
            if let Some(sum) = used.get_mut(&(held.resource_provider_id, held.resource_class)) {
                *sum -= held.used;
            }
        }
    }
    for (claim, generation) in claims.iter().zip(generations) {
        let stock = stock::assemble(providers.clone(), inventories.clone(), &used);
        let amounts = decide(&stock, claim.allocations)?;
        for (key, amount) in &amounts {
            *used.entry(key.clone()).or_default() += amount;
        }
        let consumer = rows::Consumer {
            uuid: claim.consumer,
            project_id: claim.project_id.to_owned(),
            user_id: claim.user_id.to_owned(),
            generation,
            updated_at: utcnow(),
        };
        rows::replace_allocations(&tx, &consumer, &amounts).await?;
    }
    Ok(tx.commit().await?)
}

/// Takes everything from a consumer; whether it had anything.
pub(crate) async fn release(db: &Db, consumer: Uuid) -> Result<bool, PlacementError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let deleted = rows::delete_allocations(&tx, consumer).await?;
        tx.commit().await?;
        Ok(deleted > 0)
    })
    .await
}

fn check_generation(expected: Expected, is: Option<i64>) -> Result<(), PlacementError> {
    match expected {
        Expected::Exactly(got) if got != is => Err(PlacementError::ConsumerGeneration { expected: is, got }),
        _ => Ok(()),
    }
}

/// The rows to write, if everything fits.
fn decide(providers: &[StockedProvider], allocations: &Allocations) -> Result<Usage, PlacementError> {
    let mut amounts = Usage::new();
    for (uuid, resources) in allocations {
        let provider = providers
            .iter()
            .find(|stocked| stocked.provider.uuid == *uuid)
            .ok_or(PlacementError::UnknownProvider(*uuid))?;
        for (class, amount) in resources {
            check(provider, class, *amount)?;
            amounts.insert((provider.provider.id, class.clone()), *amount);
        }
    }
    Ok(amounts)
}

fn check(provider: &StockedProvider, class: &str, amount: i64) -> Result<(), PlacementError> {
    let (resource_class, uuid) = (class.to_owned(), provider.provider.uuid);
    let Some(stock) = provider.stock.get(class) else {
        return Err(PlacementError::NoInventory { resource_class, provider: uuid });
    };
    stock.check(amount).map_err(|refusal| match refusal {
        Refusal::Constraint => PlacementError::Constraint { resource_class, provider: uuid },
        Refusal::OverCapacity => PlacementError::OverCapacity { resource_class, provider: uuid },
    })
}
