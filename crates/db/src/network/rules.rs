//! Rules of security groups.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _,
};
use uuid::Uuid;

use super::IDS_PER_QUERY;
use super::entity::rule::{Column, Entity, Model};
use crate::DbError;

/// Adds rules. [`DbError::Overtaken`] if a group that one names is gone.
pub async fn insert(connection: &impl ConnectionTrait, rows: &[Model]) -> Result<(), DbError> {
    let rows = rows.iter().map(|row| row.clone().into_active_model());
    Entity::insert_many(rows).exec_without_returning(connection).await.map_err(DbError::overtaken_or)?;
    Ok(())
}

/// One rule, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id(id).one(connection).await?)
}

/// All rules, or those of one project; oldest first.
pub async fn list(connection: &impl ConnectionTrait, project_id: Option<&str>) -> Result<Vec<Model>, DbError> {
    let mut query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    if let Some(project_id) = project_id {
        query = query.filter(Column::ProjectId.eq(project_id));
    }
    Ok(query.all(connection).await?)
}

/// The rules of some groups; oldest first.
pub async fn list_by_groups(connection: &impl ConnectionTrait, groups: &[Uuid]) -> Result<Vec<Model>, DbError> {
    let mut rows = Vec::new();
    for chunk in groups.chunks(IDS_PER_QUERY) {
        let query = Entity::find().filter(Column::SecurityGroupId.is_in(chunk.iter().copied()));
        rows.extend(query.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).all(connection).await?);
    }
    Ok(rows)
}

/// Writes all columns.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    row.clone().into_active_model().reset_all().update(connection).await?;
    Ok(())
}

/// Removes a rule.
pub async fn delete(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}
