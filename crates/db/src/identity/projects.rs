//! Projects: what servers, images and quotas belong to.

use sea_orm::entity::prelude::*;
use sea_orm::{ConnectionTrait, IntoActiveModel, QueryOrder};

use super::{assignments, insert, save, users};
use crate::DbError;

pub use row::Model as Project;

pub(crate) mod row {
    use sea_orm::entity::prelude::*;

    /// A project.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_projects")]
    pub struct Model {
        /// Its id, a UUID without hyphens.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// Where it lives.
        pub domain_id: String,
        /// The project above it; `None` when that is the domain itself.
        pub parent_id: Option<String>,
        /// Unique in its domain.
        pub name: String,
        /// Free text, maybe empty.
        pub description: String,
        /// No token can be scoped to a disabled project.
        pub enabled: bool,
        /// A list of strings.
        pub tags: Json,
        /// Keystone's resource options, an object.
        pub options: Json,
        /// Attributes that only its creator understands, an object.
        pub extra: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which projects to list; `None` asks for all.
#[derive(Clone, Debug, Default)]
pub struct ProjectFilter {
    /// With this name.
    pub name: Option<String>,
    /// In this domain.
    pub domain_id: Option<String>,
    /// Directly below this project.
    pub parent_id: Option<String>,
    /// Enabled, or disabled.
    pub enabled: Option<bool>,
    /// One of these.
    pub ids: Option<Vec<String>>,
}

/// The projects that `filter` lets through, by name.
pub async fn list(conn: &impl ConnectionTrait, filter: &ProjectFilter) -> Result<Vec<Project>, DbError> {
    let mut query = row::Entity::find().order_by_asc(row::Column::Name).order_by_asc(row::Column::Id);
    if let Some(name) = &filter.name {
        query = query.filter(row::Column::Name.eq(name));
    }
    if let Some(domain_id) = &filter.domain_id {
        query = query.filter(row::Column::DomainId.eq(domain_id));
    }
    if let Some(parent_id) = &filter.parent_id {
        query = query.filter(row::Column::ParentId.eq(parent_id));
    }
    if let Some(enabled) = filter.enabled {
        query = query.filter(row::Column::Enabled.eq(enabled));
    }
    if let Some(ids) = &filter.ids {
        query = query.filter(row::Column::Id.is_in(ids));
    }
    Ok(query.all(conn).await?)
}

/// One project by id.
pub async fn fetch(conn: &impl ConnectionTrait, id: &str) -> Result<Project, DbError> {
    row::Entity::find_by_id(id).one(conn).await?.ok_or_else(|| DbError::not_found("project", id))
}

/// One project by its name in a domain.
pub async fn fetch_by_name(conn: &impl ConnectionTrait, domain_id: &str, name: &str) -> Result<Project, DbError> {
    let found = row::Entity::find()
        .filter(row::Column::DomainId.eq(domain_id))
        .filter(row::Column::Name.eq(name))
        .one(conn)
        .await?;
    found.ok_or_else(|| DbError::not_found("project", name))
}

/// Adds a project.
pub async fn create(conn: &impl ConnectionTrait, project: Project) -> Result<(), DbError> {
    let name = project.name.clone();
    insert(conn, project.into_active_model(), "project", name).await
}

/// Replaces a project that was read in the same transaction.
pub async fn update(conn: &impl ConnectionTrait, project: Project) -> Result<(), DbError> {
    let name = project.name.clone();
    save(conn, project.into_active_model(), "project", name).await
}

/// Removes a project, every assignment on it, and what users had it as their default.
pub async fn delete(conn: &impl ConnectionTrait, id: &str) -> Result<(), DbError> {
    assignments::revoke_all_on(conn, &assignments::Target::Project(id.to_owned())).await?;
    users::forget_default_project(conn, id).await?;
    let deleted = row::Entity::delete_by_id(id).exec(conn).await?;
    if deleted.rows_affected == 0 { Err(DbError::not_found("project", id)) } else { Ok(()) }
}
