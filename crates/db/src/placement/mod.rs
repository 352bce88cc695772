//! Rows of the built-in placement service: providers, their inventories, and who has what of them.
//!
//! Only storage is here; what fits is decided by the placement crate, which calls this. A change is exact because its
//! transaction begins with a lock on the rows of the providers that it is about ([`lock_providers`], [`lock_claim`]):
//! two changes of one provider stand in a queue, and what is read after the lock is not changed by anybody else until
//! the commit.
//!
//! Every transaction that changes a provider, what it has or what is taken of it raises the provider's revision, with
//! its generation or alone. Who remembers providers compares revisions to learn what they have to read again
//! ([`fingerprint`], [`revisions`]).

mod allocations;
mod inventories;
mod names;
mod providers;

use sea_orm::QueryResult;
use sea_orm::sea_query::{Expr, ExprTrait as _, SelectStatement};
use uuid::Uuid;

use crate::DbError;

pub use allocations::{
    Allocation, Claimed, Consumer, ProjectUsage, Usage, allocations_of_consumer, allocations_of_provider, consumer,
    consumers_of_provider, delete_allocations, lock_claim, project_usage, replace_allocations, usage,
};
pub use inventories::{
    Inventory, delete_inventories, has_inventory, inventories, put_inventories, rename_resource_class,
};
pub use names::{Names, create_names, custom_names, delete_name, known_names, lock_names, rename};
pub use providers::{
    Fingerprint, NewProvider, ProviderFilter, ResourceProvider, create_provider, delete_provider, fingerprint,
    lock_providers, lock_trees, provider, providers, raise_generations, raise_revisions, revisions, set_root,
    trait_sets, update_provider,
};

fn uuid_at(row: &QueryResult, index: usize, resource: &'static str) -> Result<Uuid, DbError> {
    let text: String = row.try_get_by_index(index)?;
    uuid_of(&text, resource)
}

fn uuid_of(text: &str, resource: &'static str) -> Result<Uuid, DbError> {
    text.parse().map_err(|error| DbError::corrupt(resource, text, error))
}

fn of_providers(select: &mut SelectStatement, providers: Option<&[i64]>) {
    if let Some(ids) = providers {
        select.and_where(Expr::col("resource_provider_id").is_in(ids.iter().copied()));
    }
}
