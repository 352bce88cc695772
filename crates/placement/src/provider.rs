//! Making, changing and deleting a provider.

use std::collections::{BTreeMap, BTreeSet};

use kilonova_clients::placement::Inventory;
use kilonova_db::placement::{self as rows, Names, NewProvider, ProviderFilter, ResourceProvider};
use kilonova_db::{Db, DbError, Transaction};
use uuid::Uuid;

use crate::stock::{self, StockedProvider};
use crate::{PlacementError, inventory, names};

/// What a caller saw of a provider's generation, and the sentence for who saw another.
pub(crate) type Seen = Option<(i64, &'static str)>;

const STALE: &str = "Resource provider's generation already changed. Please update the generation and try again.";

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
            inventory::check(class, inventory)?;
        }
        Ok(Self { uuid, name, inventory, traits: sorted(traits.iter().cloned()) })
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

/// Makes the provider as wanted; nothing is written where nothing differs. Custom classes and traits are added.
pub(crate) async fn set(db: &Db, wanted: &Wanted<'_>) -> Result<(), PlacementError> {
    match stock::load_one(db, wanted.uuid).await {
        Ok(stocked) if wanted.is(&stocked) => Ok(()),
        Ok(_) | Err(PlacementError::NoProvider(_)) => db.retry_idempotent(|| set_once(db, wanted)).await,
        Err(error) => Err(error),
    }
}

async fn set_once(db: &Db, wanted: &Wanted<'_>) -> Result<(), PlacementError> {
    let tx = db.begin().await?;
    let mut provider = match lock(&tx, wanted.uuid, None).await {
        Err(PlacementError::NoProvider(_)) => {
            let (uuid, name) = (wanted.uuid, wanted.name);
            let new = NewProvider { uuid, name, parent_provider_uuid: None, root_provider_uuid: uuid };
            rows::create_provider(&tx, &new).await.map_err(taken)?;
            lock(&tx, uuid, None).await?
        }
        locked => locked?,
    };
    names::declare(&tx, Names::Traits, wanted.traits.iter().map(String::as_str)).await?;
    names::declare(&tx, Names::ResourceClasses, wanted.inventory.keys().copied()).await?;
    provider.name = wanted.name.to_owned();
    provider.traits.clone_from(&wanted.traits);
    rows::update_provider(&tx, &provider).await.map_err(taken)?;
    inventory::write(&tx, &provider, &wanted.inventory).await?;
    rows::raise_generations(&tx, &[provider.id], 1).await?;
    Ok(tx.commit().await?)
}

/// Makes a provider that has nothing, below `parent` or as a root.
pub(crate) async fn create(db: &Db, uuid: Uuid, name: &str, parent: Option<Uuid>) -> Result<(), PlacementError> {
    let refused = |reason: &str| {
        PlacementError::Invalid(format!(
            "Unable to create resource provider \"{name}\", {uuid}: Object action create failed because: {reason}"
        ))
    };
    if name.is_empty() {
        return Err(refused("name is required"));
    }
    if parent == Some(uuid) {
        return Err(refused(
            "parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no parent.",
        ));
    }
    db.retry(|| async {
        let tx = db.begin().await?;
        let root = match parent {
            None => uuid,
            Some(parent) => {
                let locked = rows::lock_providers(&tx, &[parent]).await?.pop();
                locked.ok_or_else(|| refused("parent provider UUID does not exist."))?.root_provider_uuid
            }
        };
        let new = NewProvider { uuid, name, parent_provider_uuid: parent, root_provider_uuid: root };
        rows::create_provider(&tx, &new).await.map_err(taken)?;
        Ok(tx.commit().await?)
    })
    .await
}

/// What a provider shall be called, and where it shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) name: &'a str,
    /// `None`: where it is; `Some(None)`: as a root.
    pub(crate) parent: Option<Option<Uuid>>,
    /// Whether one that has a parent may get another, or none.
    pub(crate) may_move: bool,
}

/// Gives a provider another name or another place in the trees. That does not raise its generation.
pub(crate) async fn update(db: &Db, uuid: Uuid, changes: Changes<'_>) -> Result<(), PlacementError> {
    db.retry_idempotent(|| update_once(db, uuid, changes)).await
}

async fn update_once(db: &Db, uuid: Uuid, changes: Changes<'_>) -> Result<(), PlacementError> {
    let refused = |action: &str, reason: &str| {
        PlacementError::Invalid(format!(
            "Unable to save resource provider {uuid}: Object action {action} failed because: {reason}"
        ))
    };
    let tx = db.begin().await?;
    let seen = rows::provider(&tx, uuid).await.map_err(no_provider)?;
    let parent = changes.parent.unwrap_or(seen.parent_provider_uuid);
    let mut roots = BTreeSet::from([seen.root_provider_uuid]);
    if let Some(parent) = parent {
        let filter = ProviderFilter { uuid: Some(parent), ..ProviderFilter::default() };
        let found = rows::providers(&tx, &filter).await?.pop();
        let found = found.ok_or_else(|| refused("create", "parent provider UUID does not exist."))?;
        roots.insert(found.root_provider_uuid);
    }
    let trees = rows::lock_trees(&tx, &Vec::from_iter(roots)).await?;
    let find = |uuid: Uuid| trees.iter().find(|provider| provider.uuid == uuid);
    // Whoever is not where it was a moment ago was moved by somebody else.
    let mut provider = find(uuid).cloned().ok_or(DbError::Overtaken)?;
    let root = match parent {
        None => uuid,
        Some(parent) => find(parent).ok_or(DbError::Overtaken)?.root_provider_uuid,
    };
    if provider.parent_provider_uuid.is_some() && provider.parent_provider_uuid != parent && !changes.may_move {
        let what = if parent.is_some() { "re-parenting" } else { "un-parenting" };
        return Err(refused("update", &format!("{what} a provider is not currently allowed.")));
    }
    let subtree = subtree(&trees, uuid);
    if parent.is_some_and(|parent| subtree.iter().any(|below| below.uuid == parent)) {
        return Err(refused("update", "creating loop in the provider tree is not allowed."));
    }
    let ids: Vec<i64> = subtree.iter().map(|provider| provider.id).collect();
    provider.name = changes.name.to_owned();
    provider.parent_provider_uuid = parent;
    rows::update_provider(&tx, &provider).await.map_err(taken)?;
    rows::set_root(&tx, &ids, root).await?;
    rows::raise_revisions(&tx, &ids).await?;
    Ok(tx.commit().await?)
}

/// A provider and all below it.
fn subtree(trees: &[ResourceProvider], top: Uuid) -> Vec<&ResourceProvider> {
    let mut found: Vec<&ResourceProvider> = trees.iter().filter(|provider| provider.uuid == top).collect();
    let mut next = 0;
    while let Some(above) = found.get(next).map(|provider| provider.uuid) {
        found.extend(trees.iter().filter(|provider| provider.parent_provider_uuid == Some(above)));
        next += 1;
    }
    found
}

/// Replaces the traits of a provider: only if it is still of the generation that the caller saw, if that is said.
pub(crate) async fn set_traits(
    db: &Db,
    uuid: Uuid,
    generation: Option<i64>,
    traits: &[String],
) -> Result<(), PlacementError> {
    let traits = sorted(traits.iter().cloned());
    db.retry(|| async {
        let tx = db.begin().await?;
        let mut provider = lock(&tx, uuid, generation.map(|generation| (generation, STALE))).await?;
        names::hold(&tx, Names::Traits, traits.iter().map(String::as_str)).await?;
        if provider.traits == traits {
            return Ok(());
        }
        provider.traits.clone_from(&traits);
        rows::update_provider(&tx, &provider).await?;
        rows::raise_generations(&tx, &[provider.id], 1).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Replaces the aggregates of a provider. Without a generation, as before 1.19, that does not raise it.
pub(crate) async fn set_aggregates(
    db: &Db,
    uuid: Uuid,
    generation: Option<i64>,
    aggregates: &BTreeSet<Uuid>,
) -> Result<(), PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let mut provider = lock(&tx, uuid, generation.map(|generation| (generation, STALE))).await?;
        provider.aggregates = aggregates.iter().copied().collect();
        rows::update_provider(&tx, &provider).await?;
        if generation.is_some() {
            rows::raise_generations(&tx, &[provider.id], 1).await?;
        } else {
            rows::raise_revisions(&tx, &[provider.id]).await?;
        }
        Ok(tx.commit().await?)
    })
    .await
}

/// Takes the turn at a provider, which must be of the generation that the caller saw.
pub(crate) async fn lock(tx: &Transaction, uuid: Uuid, seen: Seen) -> Result<ResourceProvider, PlacementError> {
    let provider = rows::lock_providers(tx, &[uuid]).await?.pop();
    let provider = provider.ok_or_else(|| PlacementError::NoProvider(uuid.to_string()))?;
    match seen {
        Some((seen, stale)) if seen != provider.generation => Err(PlacementError::ProviderGeneration(stale.to_owned())),
        _ => Ok(provider),
    }
}

/// Adds traits to, and takes traits from, a provider. Custom ones are added.
pub(crate) async fn change_traits(
    db: &Db,
    uuid: Uuid,
    add: &[String],
    remove: &[String],
) -> Result<(), PlacementError> {
    let changed = |own: &[String]| sorted(own.iter().filter(|name| !remove.contains(name)).chain(add).cloned());
    let seen = rows::provider(db.read(), uuid).await.map_err(no_provider)?;
    if changed(&seen.traits) == seen.traits {
        return Ok(());
    }
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut provider = lock(&tx, uuid, None).await?;
        names::declare(&tx, Names::Traits, add.iter().map(String::as_str)).await?;
        provider.traits = changed(&provider.traits);
        rows::update_provider(&tx, &provider).await?;
        rows::raise_generations(&tx, &[provider.id], 1).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Deletes a provider on which nothing is allocated and that is nobody's parent.
pub(crate) async fn delete(db: &Db, uuid: Uuid) -> Result<(), PlacementError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let provider = lock(&tx, uuid, None).await?;
        let tree = ProviderFilter { root: Some(provider.root_provider_uuid), ..ProviderFilter::default() };
        if rows::providers(&tx, &tree).await?.iter().any(|other| other.parent_provider_uuid == Some(uuid)) {
            return Err(PlacementError::ProviderIsParent(uuid));
        }
        if !rows::usage(&tx, Some(&[provider.id])).await?.is_empty() {
            return Err(PlacementError::ProviderInUse(uuid));
        }
        rows::delete_provider(&tx, provider.id).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Sorted and without repeats, as it is stored.
fn sorted(traits: impl Iterator<Item = String>) -> Vec<String> {
    traits.collect::<BTreeSet<_>>().into_iter().collect()
}

fn taken(error: DbError) -> PlacementError {
    match error {
        DbError::Exists { id, .. } => PlacementError::ProviderExists(id),
        other => other.into(),
    }
}

fn no_provider(error: DbError) -> PlacementError {
    match error {
        DbError::NotFound { id, .. } => PlacementError::NoProvider(id),
        other => other.into(),
    }
}
