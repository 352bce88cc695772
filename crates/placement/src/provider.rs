//! Making, changing and deleting a provider.

use std::collections::{BTreeMap, BTreeSet};

use kilonova_clients::placement::Inventory;
use kilonova_db::placement::{self as rows, ResourceProvider};
use kilonova_db::{Db, DbError, Transaction};
use uuid::Uuid;

use crate::stock::{self, StockedProvider};
use crate::{PlacementError, names};

/// Largest amount that Placement's API takes.
pub(crate) const MAX_AMOUNT: i64 = 0x7fff_ffff;

/// What a provider shall be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) uuid: Uuid,
    pub(crate) name: &'a str,
    pub(crate) inventory: BTreeMap<&'a str, &'a Inventory>,
    pub(crate) traits: Vec<String>,
}

impl<'a> Wanted<'a> {
    /// Checks what can be checked without a look at the rows. A class with a total of 0 is one that the provider has
    /// nothing of.
    pub(crate) fn new(
        uuid: Uuid,
        name: &'a str,
        inventory: &'a BTreeMap<String, Inventory>,
        traits: &[String],
    ) -> Result<Self, PlacementError> {
        let inventory: BTreeMap<_, _> = inventory
            .iter()
            .filter(|(_, inventory)| inventory.total != 0)
            .map(|(class, inventory)| (class.as_str(), inventory))
            .collect();
        for (class, inventory) in &inventory {
            check_inventory(class, inventory)?;
        }
        Ok(Self { uuid, name, inventory, traits: trait_list(traits.iter().cloned())? })
    }

    fn is(&self, stocked: &StockedProvider) -> bool {
        self.name == stocked.provider.name
            && self.traits == stocked.provider.traits
            && self.inventory.len() == stocked.stock.len()
            && self
                .inventory
                .iter()
                .all(|(class, inventory)| stocked.stock.get(*class).is_some_and(|stock| stock.inventory == **inventory))
    }
}

/// Makes the provider as wanted; nothing is written where nothing differs.
pub(crate) async fn set(db: &Db, wanted: &Wanted<'_>) -> Result<(), PlacementError> {
    match stock::load_one(db, wanted.uuid).await {
        Ok(stocked) if wanted.is(&stocked) => Ok(()),
        Ok(_) | Err(PlacementError::NoProvider(_)) => db.retry_idempotent(|| set_once(db, wanted)).await,
        Err(error) => Err(error),
    }
}

async fn set_once(db: &Db, wanted: &Wanted<'_>) -> Result<(), PlacementError> {
    let tx = db.begin().await?;
    let provider = match lock(&tx, wanted.uuid, None).await {
        Err(PlacementError::NoProvider(_)) => {
            rows::create_provider(&tx, wanted.uuid, wanted.name).await.map_err(name_taken)?;
            lock(&tx, wanted.uuid, None).await?
        }
        locked => locked?,
    };
    rows::update_provider(&tx, provider.id, wanted.name, &wanted.traits).await.map_err(name_taken)?;
    write_inventory(&tx, &provider, &wanted.inventory).await?;
    Ok(tx.commit().await?)
}

/// Makes a provider that has nothing.
pub(crate) async fn create(db: &Db, uuid: Uuid, name: &str) -> Result<(), PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        rows::create_provider(&tx, uuid, name).await.map_err(name_taken)?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Gives a provider another name.
pub(crate) async fn rename(db: &Db, uuid: Uuid, name: &str) -> Result<(), PlacementError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let provider = lock(&tx, uuid, None).await?;
        rows::update_provider(&tx, provider.id, name, &provider.traits).await.map_err(name_taken)?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Replaces what a provider has, if it is still of that generation.
pub(crate) async fn set_inventory(
    db: &Db,
    uuid: Uuid,
    generation: i64,
    inventory: &BTreeMap<String, Inventory>,
) -> Result<(), PlacementError> {
    let inventory: BTreeMap<_, _> = inventory.iter().map(|(class, inventory)| (class.as_str(), inventory)).collect();
    for (class, inventory) in &inventory {
        check_inventory(class, inventory)?;
    }
    db.retry(|| async {
        let tx = db.begin().await?;
        let provider = lock(&tx, uuid, Some(generation)).await?;
        write_inventory(&tx, &provider, &inventory).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Replaces the traits of a provider, if it is still of that generation.
pub(crate) async fn set_traits(
    db: &Db,
    uuid: Uuid,
    generation: i64,
    traits: impl Iterator<Item = String>,
) -> Result<(), PlacementError> {
    let traits = trait_list(traits)?;
    db.retry(|| async {
        let tx = db.begin().await?;
        let provider = lock(&tx, uuid, Some(generation)).await?;
        rows::update_provider(&tx, provider.id, &provider.name, &traits).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Takes the turn at a provider, which must be of the generation that the caller saw.
async fn lock(tx: &Transaction, uuid: Uuid, seen: Option<i64>) -> Result<ResourceProvider, PlacementError> {
    let provider = rows::lock_providers(tx, &[uuid]).await?.pop();
    let provider = provider.ok_or_else(|| PlacementError::NoProvider(uuid.to_string()))?;
    // Taking the turn raises it by one.
    match seen {
        Some(seen) if seen + 1 != provider.generation => Err(PlacementError::ProviderGeneration(uuid)),
        _ => Ok(provider),
    }
}

async fn write_inventory(
    tx: &Transaction,
    provider: &ResourceProvider,
    wanted: &BTreeMap<&str, &Inventory>,
) -> Result<(), PlacementError> {
    let ids = [provider.id];
    let before = rows::inventories(tx, Some(&ids)).await?;
    let used = rows::usage(tx, Some(&ids), None).await?;
    for gone in before.iter().filter(|row| !wanted.contains_key(&*row.resource_class)) {
        if used.contains_key(&(provider.id, gone.resource_class.clone())) {
            let resource_class = gone.resource_class.clone();
            return Err(PlacementError::InventoryInUse { resource_class, provider: provider.uuid });
        }
        rows::delete_inventory(tx, provider.id, &gone.resource_class).await?;
    }
    for (class, inventory) in wanted {
        let row = stock::inventory_row(provider.id, class, inventory);
        if !before.contains(&row) {
            rows::put_inventory(tx, &row).await?;
        }
    }
    Ok(())
}

/// Adds traits to, and takes traits from, a provider.
pub(crate) async fn change_traits(
    db: &Db,
    uuid: Uuid,
    add: &[String],
    remove: &[String],
) -> Result<(), PlacementError> {
    let add = trait_list(add.iter().cloned())?;
    let changed = |own: &[String]| -> Vec<String> {
        let kept = own.iter().filter(|name| !remove.contains(name));
        kept.chain(&add).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    };
    let seen = rows::provider(db.read(), uuid).await.map_err(no_provider)?;
    if changed(&seen.traits) == seen.traits {
        return Ok(());
    }
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let provider = lock(&tx, uuid, None).await?;
        rows::update_provider(&tx, provider.id, &provider.name, &changed(&provider.traits)).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Deletes a provider on which nothing is allocated.
pub(crate) async fn delete(db: &Db, uuid: Uuid) -> Result<(), PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let provider = lock(&tx, uuid, None).await?;
        if !rows::usage(&tx, Some(&[provider.id]), None).await?.is_empty() {
            return Err(PlacementError::ProviderInUse(uuid));
        }
        rows::delete_provider(&tx, provider.id).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Sorted and without repeats, as it is stored.
fn trait_list(traits: impl Iterator<Item = String>) -> Result<Vec<String>, PlacementError> {
    let sorted: BTreeSet<String> = traits.collect();
    for name in &sorted {
        names::check_trait(name)?;
    }
    Ok(sorted.into_iter().collect())
}

fn check_inventory(class: &str, inventory: &Inventory) -> Result<(), PlacementError> {
    if !names::is_resource_class(class) {
        return Err(PlacementError::Invalid(format!("No such resource class {class}.")));
    }
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

fn name_taken(error: DbError) -> PlacementError {
    match error {
        DbError::Exists { id, .. } => PlacementError::NameTaken(id),
        other => other.into(),
    }
}

fn no_provider(error: DbError) -> PlacementError {
    match error {
        DbError::NotFound { id, .. } => PlacementError::NoProvider(id),
        other => other.into(),
    }
}
