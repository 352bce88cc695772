//! Floating addresses: each is the address of a port of its own, and leads to a fixed address of another port, or nowhere.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _,
};
use uuid::Uuid;

use super::entity::floating_ip::{Column, Entity, Model};
use crate::DbError;

/// Adds a floating address.
pub async fn insert(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await?;
    Ok(())
}

/// One floating address, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id(id).one(connection).await?)
}

/// All floating addresses, or those of one project; oldest first.
pub async fn list(connection: &impl ConnectionTrait, project_id: Option<&str>) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    if let Some(project_id) = project_id {
        query = query.filter(Column::ProjectId.eq(project_id));
    }
    Ok(query.all(connection).await?)
}

/// Those that lead to a port.
pub async fn list_by_fixed_port(connection: &impl ConnectionTrait, port_id: Uuid) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::FixedPortId.eq(port_id)).all(connection).await?)
}

/// Those that lead through a router to some port.
pub async fn list_by_router(connection: &impl ConnectionTrait, router_id: Uuid) -> Result<Vec<Model>, DbError> {
    let query = Entity::find().filter(Column::RouterId.eq(router_id)).filter(Column::FixedPortId.is_not_null());
    Ok(query.all(connection).await?)
}

/// Writes all columns.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    row.clone().into_active_model().reset_all().update(connection).await?;
    Ok(())
}

/// Removes a floating address, but not its port.
pub async fn delete(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}
