//! Which addresses of a subnet are taken.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use uuid::Uuid;

use super::entity::ip_allocation::{Column, Entity};
use crate::DbError;

/// As the column has it: digits that sort as the number does.
pub(super) fn key(number: u128) -> String {
    format!("{number:032x}")
}

/// The number of a key.
pub(super) fn number(subnet_id: Uuid, key: &str) -> Result<u128, DbError> {
    u128::from_str_radix(key, 16)
        .map_err(|error| DbError::corrupt("ip allocation", format!("{subnet_id}/{key}"), error))
}

/// The taken addresses of a subnet in `first..=last`, ascending, at most `limit`.
pub async fn allocated_from(
    connection: &impl ConnectionTrait,
    subnet_id: Uuid,
    first: u128,
    last: u128,
    limit: u64,
) -> Result<Vec<u128>, DbError> {
    let keys: Vec<String> = Entity::find()
        .select_only()
        .column(Column::Address)
        .filter(Column::SubnetId.eq(subnet_id))
        .filter(Column::Address.between(key(first), key(last)))
        .order_by_asc(Column::Address)
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    keys.iter().map(|key| number(subnet_id, key)).collect()
}

/// Whether an address of a subnet is taken.
pub async fn is_allocated(connection: &impl ConnectionTrait, subnet_id: Uuid, address: u128) -> Result<bool, DbError> {
    Ok(Entity::find_by_id((subnet_id, key(address))).one(connection).await?.is_some())
}

/// Whether a subnet has any address taken.
pub async fn has_allocations(connection: &impl ConnectionTrait, subnet_id: Uuid) -> Result<bool, DbError> {
    Ok(Entity::find().filter(Column::SubnetId.eq(subnet_id)).limit(1).count(connection).await? > 0)
}
