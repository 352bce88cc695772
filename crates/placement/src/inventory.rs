//! Changing what a provider has.

use std::collections::BTreeMap;

use kilonova_clients::placement::Inventory;
use kilonova_db::placement::{self as rows, Names, ResourceProvider};
use kilonova_db::{Db, Transaction};
use uuid::Uuid;

use crate::{PlacementError, names, provider, stock};

/// Largest amount that Placement's API takes.
pub(crate) const MAX_AMOUNT: i64 = 0x7fff_ffff;

const STALE: &str = "resource provider generation conflict";

/// Refuses an inventory of our own agents that could never be allocated from.
pub(crate) fn check(class: &str, inventory: &Inventory) -> Result<(), PlacementError> {
    let amounts = [inventory.total, inventory.min_unit, inventory.max_unit, inventory.step_size];
    let is_valid = amounts.iter().all(|amount| (1..=MAX_AMOUNT).contains(amount))
        && (0..=inventory.total).contains(&inventory.reserved)
        && inventory.allocation_ratio.is_finite()
        && inventory.allocation_ratio > 0.0;
    if is_valid {
        return Ok(());
    }
    Err(PlacementError::Invalid(format!("Invalid inventory for '{class}': {inventory:?}")))
}

/// Replaces all that a provider has: only if it is still of the generation that the caller saw, if that is said.
pub(crate) async fn set_all(
    db: &Db,
    uuid: Uuid,
    generation: Option<i64>,
    inventory: &BTreeMap<String, Inventory>,
) -> Result<(), PlacementError> {
    let inventory: BTreeMap<_, _> = inventory.iter().map(|(class, inventory)| (class.as_str(), inventory)).collect();
    db.retry(|| async {
        let tx = db.begin().await?;
        let provider = provider::lock(&tx, uuid, generation.map(|generation| (generation, STALE))).await?;
        names::hold(&tx, Names::ResourceClasses, inventory.keys().copied()).await?;
        write(&tx, &provider, &inventory).await?;
        rows::raise_generations(&tx, &[provider.id], 1).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// What is done with one class of a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// It has nothing of it yet.
    Add(&'a Inventory),
    /// It has some; the caller saw this generation of the provider.
    Update(&'a Inventory, i64),
    /// It has some, of which nobody has anything.
    Delete,
}

/// Changes what a provider has of one class.
pub(crate) async fn change(db: &Db, uuid: Uuid, class: &str, change: Change<'_>) -> Result<(), PlacementError> {
    db.retry(|| change_once(db, uuid, class, change)).await
}

async fn change_once(db: &Db, uuid: Uuid, class: &str, change: Change<'_>) -> Result<(), PlacementError> {
    let tx = db.begin().await?;
    let seen = match change {
        Change::Update(_, generation) => Some((generation, STALE)),
        Change::Add(_) | Change::Delete => None,
    };
    let provider = provider::lock(&tx, uuid, seen).await?;
    names::hold(&tx, Names::ResourceClasses, [class]).await?;
    let before = rows::inventories(&tx, Some(&[provider.id])).await?;
    let is_there = before.iter().any(|row| row.resource_class == class);
    match change {
        Change::Add(_) if is_there => return Err(PlacementError::InventoryExists(class.to_owned())),
        Change::Update(..) | Change::Delete if !is_there => {
            return Err(PlacementError::NoSuchInventory(class.to_owned()));
        }
        Change::Add(inventory) | Change::Update(inventory, _) => {
            rows::put_inventories(&tx, &[stock::inventory_row(provider.id, class, inventory)]).await?;
        }
        Change::Delete => delete(&tx, &provider, &[class.to_owned()]).await?,
    }
    rows::raise_generations(&tx, &[provider.id], 1).await?;
    Ok(tx.commit().await?)
}

/// Makes the rows of a provider, at which the caller has the turn, as wanted.
pub(crate) async fn write(
    tx: &Transaction,
    provider: &ResourceProvider,
    wanted: &BTreeMap<&str, &Inventory>,
) -> Result<(), PlacementError> {
    let before = rows::inventories(tx, Some(&[provider.id])).await?;
    let gone = before.iter().map(|row| &row.resource_class).filter(|class| !wanted.contains_key(class.as_str()));
    delete(tx, provider, &gone.cloned().collect::<Vec<_>>()).await?;
    let wanted = wanted.iter().map(|(class, inventory)| stock::inventory_row(provider.id, class, inventory));
    let changed: Vec<_> = wanted.filter(|row| !before.contains(row)).collect();
    Ok(rows::put_inventories(tx, &changed).await?)
}

async fn delete(tx: &Transaction, provider: &ResourceProvider, classes: &[String]) -> Result<(), PlacementError> {
    if classes.is_empty() {
        return Ok(());
    }
    let used = rows::usage(tx, Some(&[provider.id])).await?;
    let in_use: Vec<&str> =
        used.keys().map(|(_, class)| class.as_str()).filter(|class| classes.iter().any(|gone| gone == class)).collect();
    if !in_use.is_empty() {
        let resource_classes = in_use.join(", ");
        return Err(PlacementError::InventoryInUse { resource_classes, provider: provider.uuid });
    }
    Ok(rows::delete_inventories(tx, provider.id, classes).await?)
}
