//! All providers as trees, remembered from one request to the next.
//!
//! What is remembered is exact: [`rows::fingerprint`] differs after every committed change, and then only providers
//! whose revision differs are read again. Revisions are read before what they stand for, so that a change in between is
//! found the next time. At most five statements, however many providers there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kilonova_db::placement::{self as rows, Fingerprint, ProviderFilter};
use kilonova_db::{Db, DbError};
use uuid::Uuid;

use crate::stock::{self, StockedProvider};

/// With it a provider gives of what it has to everybody who shares an aggregate with it.
const SHARES: &str = "MISC_SHARES_VIA_AGGREGATE";
/// When more providers than this changed, all are read: a scan is then cheaper than a list of ids.
const MOST_READ_BY_ID: usize = 2_000;

/// A root and all below it. Numbers are places in [`Forest::providers`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) root: usize,
    /// The root, too; by row id.
    pub(crate) members: Vec<usize>,
    /// Sharing providers of other trees that share an aggregate with a member; by row id.
    pub(crate) sharing: BTreeSet<usize>,
}

/// All providers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Forest {
    /// By row id.
    pub(crate) providers: Vec<Arc<StockedProvider>>,
    /// By row id of their roots.
    pub(crate) trees: Vec<Tree>,
    /// Place of the root, by place.
    roots: Vec<usize>,
    /// Place of the parent, by place.
    parents: Vec<Option<usize>>,
    places: HashMap<Uuid, usize>,
}

impl Forest {
    pub(crate) fn new(providers: Vec<Arc<StockedProvider>>) -> Self {
        let places: HashMap<Uuid, usize> =
            providers.iter().enumerate().map(|(place, stocked)| (stocked.provider.uuid, place)).collect();
        let place_of = |uuid: &Uuid| places.get(uuid).copied();
        let rows = || providers.iter().enumerate().map(|(place, stocked)| (place, &stocked.provider));
        // One whose root was deleted while this was read stands alone.
        let roots: Vec<usize> = rows().map(|(place, row)| place_of(&row.root_provider_uuid).unwrap_or(place)).collect();
        let parents: Vec<Option<usize>> =
            rows().map(|(_, row)| row.parent_provider_uuid.as_ref().and_then(place_of)).collect();
        let mut members = BTreeMap::<usize, Vec<usize>>::new();
        for (place, root) in roots.iter().enumerate() {
            members.entry(*root).or_default().push(place);
        }
        let mut sharing = HashMap::<Uuid, Vec<usize>>::new();
        for (place, stocked) in providers.iter().enumerate().filter(|(_, stocked)| stocked.has_trait(SHARES)) {
            for aggregate in &stocked.provider.aggregates {
                sharing.entry(*aggregate).or_default().push(place);
            }
        }
        let tree = |(root, members): (usize, Vec<usize>)| {
            let aggregates = members.iter().flat_map(|place| &providers[*place].provider.aggregates);
            let reached = aggregates.filter_map(|aggregate| sharing.get(aggregate)).flatten().copied();
            let sharing = reached.filter(|place| roots[*place] != root).collect();
            Tree { root, members, sharing }
        };
        let trees = members.into_iter().map(tree).collect();
        Self { trees, roots, parents, places, providers }
    }

    pub(crate) fn place(&self, uuid: Uuid) -> Option<usize> {
        self.places.get(&uuid).copied()
    }

    pub(crate) fn root(&self, place: usize) -> usize {
        self.roots[place]
    }

    pub(crate) fn has_nested(&self) -> bool {
        self.parents.iter().any(Option::is_some)
    }

    pub(crate) fn has_sharing(&self) -> bool {
        self.trees.iter().any(|tree| !tree.sharing.is_empty())
    }

    /// Whether one of `places` is above, or is, each of the others.
    pub(crate) fn is_subtree(&self, places: &BTreeSet<usize>) -> bool {
        places.iter().any(|top| places.iter().all(|place| self.is_below(*place, *top)))
    }

    fn is_below(&self, place: usize, top: usize) -> bool {
        let mut at = Some(place);
        // As many steps as there are providers are enough, should rows ever make a circle.
        for _ in 0..=self.providers.len() {
            match at {
                Some(here) if here == top => return true,
                Some(here) => at = self.parents[here],
                None => return false,
            }
        }
        false
    }
}

/// The last forest that was read.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<(Option<Fingerprint>, Arc<Forest>)>);

impl Memory {
    /// All providers as they are now.
    pub(crate) async fn forest(&self, db: &Db) -> Result<Arc<Forest>, DbError> {
        let now = rows::fingerprint(db.read()).await?;
        let (then, known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if then == Some(now) {
            return Ok(known);
        }
        let forest = Arc::new(Forest::new(read(db, &known).await?));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Some(now), forest.clone());
        Ok(forest)
    }
}

/// Reads what is not known; by row id.
async fn read(db: &Db, known: &Forest) -> Result<Vec<Arc<StockedProvider>>, DbError> {
    let mut kept = BTreeMap::new();
    let mut changed = Vec::new();
    let by_id: HashMap<i64, &Arc<StockedProvider>> =
        known.providers.iter().map(|stocked| (stocked.provider.id, stocked)).collect();
    for (id, revision) in rows::revisions(db.read()).await? {
        match by_id.get(&id).filter(|stocked| stocked.provider.revision == revision) {
            Some(stocked) => _ = kept.insert(id, Arc::clone(stocked)),
            None => changed.push(id),
        }
    }
    let filter = if changed.len() > MOST_READ_BY_ID {
        ProviderFilter::default()
    } else {
        ProviderFilter { ids: Some(&changed), ..ProviderFilter::default() }
    };
    if !changed.is_empty() {
        let read = stock::load(db, &filter).await?;
        kept.extend(read.into_iter().map(|stocked| (stocked.provider.id, Arc::new(stocked))));
    }
    Ok(kept.into_values().collect())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn provider(
        number: u128,
        parent: Option<u128>,
        root: u128,
        traits: &[&str],
        aggregates: &[u128],
    ) -> Arc<StockedProvider> {
        let provider = rows::ResourceProvider {
            id: i64::try_from(number).unwrap(),
            uuid: Uuid::from_u128(number),
            name: number.to_string(),
            generation: 0,
            revision: 0,
            parent_provider_uuid: parent.map(Uuid::from_u128),
            root_provider_uuid: Uuid::from_u128(root),
            traits: traits.iter().map(|name| (*name).to_owned()).collect(),
            aggregates: aggregates.iter().map(|number| Uuid::from_u128(*number)).collect(),
            updated_at: DateTime::UNIX_EPOCH,
        };
        Arc::new(StockedProvider { provider, stock: BTreeMap::new() })
    }

    #[test]
    fn trees_know_their_members_and_who_shares_with_them() {
        let forest = Forest::new(vec![
            provider(1, None, 1, &[], &[100]),
            provider(2, Some(1), 1, &[], &[]),
            provider(3, Some(2), 1, &[], &[]),
            provider(4, None, 4, &[SHARES], &[100]),
            provider(5, None, 5, &[], &[]),
        ]);
        let tree = |root, members: &[usize], sharing: &[usize]| Tree {
            root,
            members: members.to_vec(),
            sharing: sharing.iter().copied().collect(),
        };
        assert_eq!(forest.trees, [tree(0, &[0, 1, 2], &[3]), tree(3, &[3], &[]), tree(4, &[4], &[])]);
        assert!(forest.is_subtree(&[0, 2].into()));
        assert!(forest.is_subtree(&[1, 2].into()));
        assert!(!forest.is_subtree(&[2, 3].into()));
        assert!(forest.has_nested() && forest.has_sharing());
    }
}
