//! What a provider has of its classes and what is taken of it; loaded with a fixed number of statements, however many
//! providers there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kilonova_clients::placement::Inventory;
use kilonova_db::placement::{self as rows, ProviderFilter, Usage};
use kilonova_db::{Db, DbError};
use uuid::Uuid;

use crate::PlacementError;

/// One class at one provider.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stock {
    pub(crate) inventory: Inventory,
    pub(crate) used: i64,
}

/// Why an amount cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Constraint,
    OverCapacity,
}

impl Stock {
    /// The rule by which candidates, and each amount of a claim, are judged.
    pub(crate) fn check(&self, amount: i64) -> Result<(), Refusal> {
        self.check_units(amount)?;
        self.check_capacity(amount)
    }

    /// Smallest, largest and step.
    pub(crate) fn check_units(&self, amount: i64) -> Result<(), Refusal> {
        let inventory = &self.inventory;
        let in_range = (inventory.min_unit..=inventory.max_unit).contains(&amount);
        if in_range && amount % inventory.step_size.max(1) == 0 { Ok(()) } else { Err(Refusal::Constraint) }
    }

    /// Whether so much is left.
    pub(crate) fn check_capacity(&self, amount: i64) -> Result<(), Refusal> {
        // An amount that overflows is above every capacity.
        match self.used.checked_add(amount) {
            Some(sum) if sum <= self.inventory.capacity() => Ok(()),
            _ => Err(Refusal::OverCapacity),
        }
    }

    /// Whether amounts that are each all right may also be taken together.
    pub(crate) fn takes_sum(&self, amount: i64) -> bool {
        amount <= self.inventory.max_unit && self.check_capacity(amount).is_ok()
    }
}

/// A provider and all it has, by class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StockedProvider {
    pub(crate) provider: rows::ResourceProvider,
    pub(crate) stock: BTreeMap<String, Stock>,
}

impl StockedProvider {
    pub(crate) fn has_trait(&self, name: &str) -> bool {
        self.provider.traits.binary_search_by(|own| own.as_str().cmp(name)).is_ok()
    }

    /// Whether it is in one of the aggregates.
    pub(crate) fn is_in(&self, aggregates: &BTreeSet<Uuid>) -> bool {
        self.provider.aggregates.iter().any(|own| aggregates.contains(own))
    }

    /// Whether that much of a class can be taken.
    pub(crate) fn takes(&self, class: &str, amount: i64) -> bool {
        self.stock.get(class).is_some_and(|stock| stock.check(amount).is_ok())
    }
}

/// The providers that `filter` means, by row id; three statements.
pub(crate) async fn load(db: &Db, filter: &ProviderFilter<'_>) -> Result<Vec<StockedProvider>, DbError> {
    let providers = rows::providers(db.read(), filter).await?;
    if providers.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = providers.iter().map(|provider| provider.id).collect();
    // All of them is a scan without a list; only a chosen few are named.
    let ids = (*filter != ProviderFilter::default()).then_some(ids.as_slice());
    let inventories = rows::inventories(db.read(), ids).await?;
    let used = rows::usage(db.read(), ids).await?;
    Ok(assemble(providers, inventories, &used))
}

/// One provider and all it has.
pub(crate) async fn load_one(db: &Db, uuid: Uuid) -> Result<StockedProvider, PlacementError> {
    let filter = ProviderFilter { uuid: Some(uuid), ..ProviderFilter::default() };
    let found = load(db, &filter).await?.pop();
    found.ok_or_else(|| PlacementError::NoProvider(uuid.to_string()))
}

/// Puts rows together; inventories of providers that are not in the list are left out.
pub(crate) fn assemble(
    providers: Vec<rows::ResourceProvider>,
    inventories: Vec<rows::Inventory>,
    used: &Usage,
) -> Vec<StockedProvider> {
    let mut stocked: Vec<StockedProvider> =
        providers.into_iter().map(|provider| StockedProvider { provider, stock: BTreeMap::new() }).collect();
    let places: HashMap<i64, usize> =
        stocked.iter().enumerate().map(|(place, stocked)| (stocked.provider.id, place)).collect();
    for row in inventories {
        let Some(place) = places.get(&row.resource_provider_id) else {
            continue;
        };
        let (key, inventory) = split(row);
        let used = used.get(&key).copied().unwrap_or_default();
        stocked[*place].stock.insert(key.1, Stock { inventory, used });
    }
    stocked
}

fn split(row: rows::Inventory) -> ((i64, String), Inventory) {
    let inventory = Inventory {
        total: row.total,
        reserved: row.reserved,
        min_unit: row.min_unit,
        max_unit: row.max_unit,
        step_size: row.step_size,
        allocation_ratio: row.allocation_ratio,
    };
    ((row.resource_provider_id, row.resource_class), inventory)
}

/// The row of what a provider has of a class.
pub(crate) fn inventory_row(provider: i64, class: &str, inventory: &Inventory) -> rows::Inventory {
    rows::Inventory {
        resource_provider_id: provider,
        resource_class: class.to_owned(),
        total: inventory.total,
        reserved: inventory.reserved,
        min_unit: inventory.min_unit,
        max_unit: inventory.max_unit,
        step_size: inventory.step_size,
        allocation_ratio: inventory.allocation_ratio,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(used: i64) -> Stock {
        Stock {
            inventory: Inventory {
                total: 10,
                reserved: 2,
                min_unit: 2,
                max_unit: 6,
                step_size: 2,
                allocation_ratio: 1.5,
            },
            used,
        }
    }

    #[test]
    fn the_last_unit_fits_and_one_more_does_not() {
        // (10 - 2) × 1.5 = 12
        assert_eq!(stock(6).check(6), Ok(()));
        assert_eq!(stock(8).check(6), Err(Refusal::OverCapacity));
        assert_eq!(stock(12).check(2), Err(Refusal::OverCapacity));
    }

    #[test]
    fn units_bound_an_amount_from_both_sides_and_by_step() {
        for bad in [i64::MIN, -2, 0, 1, 3, 8, i64::MAX] {
            assert_eq!(stock(0).check(bad), Err(Refusal::Constraint), "{bad}");
        }
    }

    #[test]
    fn a_sum_that_overflows_is_over_capacity() {
        let mut wide = stock(i64::MAX - 1);
        wide.inventory.max_unit = i64::MAX;
        assert_eq!(wide.check(4), Err(Refusal::OverCapacity));
    }
}
