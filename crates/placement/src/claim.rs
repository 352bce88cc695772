//! The claim: consumers' allocations are replaced, all or nothing, if everything fits.
//!
//! ```text
//! begin ─ lock providers, then the consumers ─ read inventories and sums ─ decide ─ write allocations,
//!         raise the generations of consumers and providers ─ commit
//! ```

use std::collections::{BTreeMap, BTreeSet};

use kilonova_clients::placement::Allocations;
use kilonova_core::time::utcnow;
use kilonova_db::placement::{self as rows, Allocation, Claimed, Consumer, Names, Usage};
use kilonova_db::{Db, Transaction};
use uuid::Uuid;

use crate::stock::{self, Refusal, StockedProvider};
use crate::{PlacementError, names};

/// What the caller knows of the consumer's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Does not care.
    Any,
    /// It has this one; `None`: it has no allocations yet.
    Exactly(Option<i64>),
}

/// Who shall have what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) consumer: Uuid,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
    /// `None`: as it is.
    pub(crate) consumer_type: Option<String>,
    pub(crate) allocations: Allocations,
    pub(crate) expected: Expected,
}

/// Makes the claims; durable when it returns.
pub(crate) async fn claim(db: &Db, claims: &[Claim]) -> Result<(), PlacementError> {
    let work = || async {
        let tx = db.begin().await?;
        let claimed = lock(&tx, claims, &[]).await?;
        let (providers, before) = stocked(&tx, &claimed).await?;
        decide(claims, &claimed, &providers, &before)?;
        write(&tx, claims, &claimed).await?;
        Ok(tx.commit().await?)
    };
    if claims.iter().all(|claim| claim.expected == Expected::Any) {
        return db.retry_idempotent(work).await;
    }
    // The generation that a commit raised is not the expected one any more.
    db.retry(work).await
}

/// Takes everything from a consumer; whether it had anything.
pub(crate) async fn release(db: &Db, consumer: Uuid) -> Result<bool, PlacementError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let claimed = rows::lock_claim(&tx, &BTreeSet::new(), &[consumer]).await?;
        let deleted = rows::delete_allocations(&tx, consumer).await?;
        let ids: Vec<i64> = claimed.providers.iter().map(|provider| provider.id).collect();
        rows::raise_revisions(&tx, &ids).await?;
        tx.commit().await?;
        Ok(deleted > 0)
    })
    .await
}

/// Takes the turn at all that is claimed, and at `others`; checks what does not depend on amounts.
pub(crate) async fn lock(tx: &Transaction, claims: &[Claim], others: &[Uuid]) -> Result<Claimed, PlacementError> {
    let named = || claims.iter().flat_map(|claim| claim.allocations.keys().copied());
    let providers: BTreeSet<Uuid> = named().chain(others.iter().copied()).collect();
    let consumers: Vec<Uuid> = claims.iter().map(|claim| claim.consumer).collect();
    let claimed = rows::lock_claim(tx, &providers, &consumers).await?;
    for claim in claims {
        let is = consumer_of(&claimed, claim.consumer).map(|consumer| consumer.generation);
        match claim.expected {
            Expected::Exactly(got) if got != is => {
                return Err(PlacementError::ConsumerGeneration { expected: is, got });
            }
            _ => (),
        }
    }
    if let Some(unknown) = named().find(|uuid| !claimed.providers.iter().any(|provider| provider.uuid == *uuid)) {
        return Err(PlacementError::UnknownProvider(unknown));
    }
    let classes = claims.iter().flat_map(|claim| claim.allocations.values()).flat_map(|resources| resources.keys());
    names::hold(tx, Names::ResourceClasses, classes.map(String::as_str)).await?;
    Ok(claimed)
}

fn consumer_of(claimed: &Claimed, uuid: Uuid) -> Option<&Consumer> {
    claimed.consumers.iter().find(|consumer| consumer.uuid == uuid)
}

/// The providers with what others than the consumers have of them, and what all have.
pub(crate) async fn stocked(
    tx: &Transaction,
    claimed: &Claimed,
) -> Result<(Vec<StockedProvider>, Usage), PlacementError> {
    let ids: Vec<i64> = claimed.providers.iter().map(|provider| provider.id).collect();
    let inventories = rows::inventories(tx, Some(&ids)).await?;
    let before = rows::usage(tx, Some(&ids)).await?;
    let mut of_others = before.clone();
    for row in &claimed.allocations {
        if let Some(used) = of_others.get_mut(&key(row)) {
            *used -= row.used;
        }
    }
    Ok((stock::assemble(claimed.providers.clone(), inventories, &of_others), before))
}

fn key(row: &Allocation) -> (i64, String) {
    (row.resource_provider_id, row.resource_class.clone())
}

/// Whether everything fits. Who had more than there is may keep as much, or less.
pub(crate) fn decide(
    claims: &[Claim],
    claimed: &Claimed,
    providers: &[StockedProvider],
    before: &Usage,
) -> Result<(), PlacementError> {
    check_inventories(claims, claimed, providers)?;
    let mut sums = BTreeMap::<(Uuid, &str), i64>::new();
    for (uuid, resources) in claims.iter().flat_map(|claim| &claim.allocations) {
        let provider = providers.iter().find(|stocked| stocked.provider.uuid == *uuid);
        let provider = provider.ok_or(PlacementError::UnknownProvider(*uuid))?;
        for (class, amount) in resources {
            let sum = sums.entry((*uuid, class.as_str())).or_default();
            *sum = sum.saturating_add(*amount);
            let before = before.get(&(provider.provider.id, class.clone())).copied();
            check(provider, class, *amount, *sum, before)?;
        }
    }
    Ok(())
}

/// A provider of which something is claimed, or was and is given back, has at least one of the classes that are.
fn check_inventories(claims: &[Claim], claimed: &Claimed, providers: &[StockedProvider]) -> Result<(), PlacementError> {
    let given_back = || claims.iter().filter(|claim| claim.allocations.is_empty()).map(|claim| claim.consumer);
    let given_back: Vec<&Allocation> =
        claimed.allocations.iter().filter(|row| given_back().any(|consumer| consumer == row.consumer)).collect();
    let wanted = || claims.iter().flat_map(|claim| &claim.allocations);
    let classes: BTreeSet<&str> = wanted()
        .flat_map(|(_, resources)| resources.keys())
        .chain(given_back.iter().map(|row| &row.resource_class))
        .map(String::as_str)
        .collect();
    let touched: BTreeSet<Uuid> =
        wanted().map(|(uuid, _)| *uuid).chain(given_back.iter().map(|row| row.provider)).collect();
    let lacks_all = |stocked: &&StockedProvider| {
        touched.contains(&stocked.provider.uuid) && !classes.iter().any(|class| stocked.stock.contains_key(*class))
    };
    let lacking: Vec<String> =
        providers.iter().filter(lacks_all).map(|stocked| stocked.provider.uuid.to_string()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let resource_class = Vec::from_iter(classes).join(", ");
    Err(PlacementError::NoInventory { resource_class, provider: lacking.join(", ") })
}

fn check(
    provider: &StockedProvider,
    class: &str,
    amount: i64,
    sum: i64,
    before: Option<i64>,
) -> Result<(), PlacementError> {
    let (resource_class, uuid) = (class.to_owned(), provider.provider.uuid);
    let Some(stock) = provider.stock.get(class) else {
        return Err(PlacementError::NoInventory { resource_class, provider: uuid.to_string() });
    };
    let refusal = match stock.check_units(amount).and_then(|()| stock.check_capacity(sum)) {
        Ok(()) => return Ok(()),
        Err(Refusal::OverCapacity) if before.is_some_and(|before| stock.used.saturating_add(sum) <= before) => {
            return Ok(());
        }
        Err(refusal) => refusal,
    };
    Err(match refusal {
        Refusal::Constraint => PlacementError::Constraint { resource_class, provider: uuid },
        Refusal::OverCapacity => PlacementError::OverCapacity { resource_class, provider: uuid },
    })
}

/// Writes the allocations, which fit, and raises the generations of everybody of whom something is claimed or, where
/// nothing is claimed instead, given back. Who only loses an allocation keeps its generation, as in Placement.
pub(crate) async fn write(tx: &Transaction, claims: &[Claim], claimed: &Claimed) -> Result<(), PlacementError> {
    let ids: BTreeMap<Uuid, i64> = claimed.providers.iter().map(|provider| (provider.uuid, provider.id)).collect();
    let mut written = Vec::new();
    let mut raised = BTreeSet::new();
    for claim in claims {
        let mut amounts = Usage::new();
        for (uuid, resources) in &claim.allocations {
            let id = *ids.get(uuid).ok_or(PlacementError::UnknownProvider(*uuid))?;
            amounts.extend(resources.iter().map(|(class, amount)| ((id, class.clone()), *amount)));
        }
        raised.extend(amounts.keys().map(|(id, _)| *id));
        if amounts.is_empty() {
            let had = claimed.allocations.iter().filter(|row| row.consumer == claim.consumer);
            raised.extend(had.map(|row| row.resource_provider_id));
        }
        written.push((consumer(claim, consumer_of(claimed, claim.consumer)), amounts));
    }
    rows::replace_allocations(tx, &written).await?;
    rows::raise_generations(tx, &Vec::from_iter(raised.iter().copied()), 1).await?;
    let had: BTreeSet<i64> = claimed.allocations.iter().map(|row| row.resource_provider_id).collect();
    rows::raise_revisions(tx, &Vec::from_iter(had.difference(&raised).copied())).await?;
    Ok(())
}

fn consumer(claim: &Claim, before: Option<&Consumer>) -> Consumer {
    Consumer {
        uuid: claim.consumer,
        project_id: claim.project_id.clone(),
        user_id: claim.user_id.clone(),
        consumer_type: claim.consumer_type.clone().or_else(|| before?.consumer_type.clone()),
        generation: before.map_or(0, |consumer| consumer.generation) + 1,
        updated_at: utcnow(),
    }
}
