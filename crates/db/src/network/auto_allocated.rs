//! The network that a project got because it had none: at most one for each project.

use sea_orm::{ConnectionTrait, EntityTrait as _, IntoActiveModel as _};

use super::entity::auto_allocated_topology::{Entity, Model};
use crate::DbError;

/// Adds a topology. [`DbError::Overtaken`] if the project has one by now.
pub async fn insert(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    match Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::Overtaken),
        Err(error) => Err(error.into()),
    }
}

/// The topology of a project.
pub async fn get(connection: &impl ConnectionTrait, project_id: &str) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id(project_id).one(connection).await?)
}

/// Forgets a topology; what it is made of stays.
pub async fn delete(connection: &impl ConnectionTrait, project_id: &str) -> Result<(), DbError> {
    Entity::delete_by_id(project_id).exec(connection).await?;
    Ok(())
}
