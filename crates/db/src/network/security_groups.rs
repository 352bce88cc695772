//! Security groups.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use super::entity::port_security_group;
use super::entity::security_group::{Column, Entity, Model};
use crate::DbError;

/// Adds a group. [`DbError::Overtaken`] for a second default group of a project.
pub async fn insert(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    match Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::Overtaken),
        Err(error) => Err(error.into()),
    }
}

/// One group, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id(id).one(connection).await?)
}

/// The groups with these ids; those that are not there are left out.
pub async fn get_many(connection: &impl ConnectionTrait, ids: &[Uuid]) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Id.is_in(ids.iter().copied())).all(connection).await?)
}

/// The default group of a project.
pub async fn get_default(connection: &impl ConnectionTrait, project_id: &str) -> Result<Option<Model>, DbError> {
    Ok(Entity::find().filter(Column::DefaultFor.eq(project_id)).one(connection).await?)
}

/// All groups, or those of one project; oldest first.
pub async fn list(connection: &impl ConnectionTrait, project_id: Option<&str>) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    if let Some(project_id) = project_id {
        query = query.filter(Column::ProjectId.eq(project_id));
    }
    Ok(query.all(connection).await?)
}

/// Writes all columns.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    row.clone().into_active_model().reset_all().update(connection).await?;
    Ok(())
}

/// Removes a group with its rules, and the rules of others that name it.
pub async fn delete(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}

/// Whether a port has the group.
pub async fn is_in_use(connection: &impl ConnectionTrait, id: Uuid) -> Result<bool, DbError> {
    let query = port_security_group::Entity::find().filter(port_security_group::Column::SecurityGroupId.eq(id));
    Ok(query.limit(1).count(connection).await? > 0)
}
