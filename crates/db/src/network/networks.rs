//! Networks.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use super::entity::network::{Column, Entity, Model};
use super::entity::port;
use crate::DbError;

/// Adds a network.
pub async fn insert(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// One network, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id(id).one(connection).await?)
}

/// The networks with these ids; those that are not there are left out.
pub async fn get_many(connection: &impl ConnectionTrait, ids: &[Uuid]) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Id.is_in(ids.iter().copied())).all(connection).await?)
}

/// All networks, or those of one project and the shared and external ones; oldest first.
pub async fn list(connection: &impl ConnectionTrait, visible_to: Option<&str>) -> Result<Vec<Model>, DbError> {
    let visible = visible_to.map(|project_id| {
        Condition::any()
            .add(Column::ProjectId.eq(project_id))
            .add(Column::IsShared.eq(true))
            .add(Column::IsExternal.eq(true))
    });
    let query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    Ok(query.filter(visible.unwrap_or_else(Condition::all)).all(connection).await?)
}

/// The external network that is taken where none is named.
pub async fn get_default(connection: &impl ConnectionTrait) -> Result<Option<Model>, DbError> {
    let query = Entity::find().filter(Column::IsExternal.eq(true)).filter(Column::IsDefault.eq(true));
    Ok(query.one(connection).await?)
}

/// Writes all columns.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    row.clone().into_active_model().reset_all().update(connection).await?;
    Ok(())
}

/// Removes a network with its subnets.
pub async fn delete(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}

/// Whether a network has ports.
pub async fn has_ports(connection: &impl ConnectionTrait, id: Uuid) -> Result<bool, DbError> {
    Ok(port::Entity::find().filter(port::Column::NetworkId.eq(id)).limit(1).count(connection).await? > 0)
}
