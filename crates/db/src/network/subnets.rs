//! Subnets.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _,
};
use uuid::Uuid;

use super::entity::network;
use super::entity::subnet::{Column, Entity, Model};
use crate::DbError;

/// Adds a subnet.
pub async fn insert(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// One subnet, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id(id).one(connection).await?)
}

/// All subnets, or those of one project and those on shared networks; oldest first.
pub async fn list(connection: &impl ConnectionTrait, visible_to: Option<&str>) -> Result<Vec<Model>, DbError> {
    let shared = network::Entity::find().select_only().column(network::Column::Id);
    let shared = shared.filter(network::Column::IsShared.eq(true)).into_query();
    let visible = visible_to.map(|project_id| {
        Condition::any().add(Column::ProjectId.eq(project_id)).add(Column::NetworkId.in_subquery(shared))
    });
    let query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    Ok(query.filter(visible.unwrap_or_else(Condition::all)).all(connection).await?)
}

/// The subnets of some networks; oldest first.
pub async fn list_by_networks(connection: &impl ConnectionTrait, network_ids: &[Uuid]) -> Result<Vec<Model>, DbError> {
    let query = Entity::find().filter(Column::NetworkId.is_in(network_ids.iter().copied()));
    Ok(query.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).all(connection).await?)
}

/// Writes all columns.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    row.clone().into_active_model().reset_all().update(connection).await?;
    Ok(())
}

/// Removes a subnet.
pub async fn delete(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}
