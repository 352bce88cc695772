//! Domains: the containers of users and projects.

use sea_orm::entity::prelude::*;
use sea_orm::{ConnectionTrait, IntoActiveModel, QueryOrder};

use super::{assignments, insert, projects, save};
use crate::DbError;

pub use row::Model as Domain;

pub(crate) mod row {
    use sea_orm::entity::prelude::*;

    /// A domain.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_domains")]
    pub struct Model {
        /// Its id; `default` for the first one.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// Unique.
        pub name: String,
        /// Free text, maybe empty.
        pub description: String,
        /// Nobody in a disabled domain can log in.
        pub enabled: bool,
        /// Keystone's resource options, an object.
        pub options: Json,
        /// Attributes that only its creator understands, an object.
        pub extra: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which domains to list; `None` asks for all.
#[derive(Clone, Debug, Default)]
pub struct DomainFilter {
    /// With this name.
    pub name: Option<String>,
    /// Enabled, or disabled.
    pub enabled: Option<bool>,
}

/// The domains that `filter` lets through, by name.
pub async fn list(conn: &impl ConnectionTrait, filter: &DomainFilter) -> Result<Vec<Domain>, DbError> {
    let mut query = row::Entity::find().order_by_asc(row::Column::Name);
    if let Some(name) = &filter.name {
        query = query.filter(row::Column::Name.eq(name));
    }
    if let Some(enabled) = filter.enabled {
        query = query.filter(row::Column::Enabled.eq(enabled));
    }
    Ok(query.all(conn).await?)
}

/// One domain by id.
pub async fn fetch(conn: &impl ConnectionTrait, id: &str) -> Result<Domain, DbError> {
    row::Entity::find_by_id(id).one(conn).await?.ok_or_else(|| DbError::not_found("domain", id))
}

/// One domain by name.
pub async fn fetch_by_name(conn: &impl ConnectionTrait, name: &str) -> Result<Domain, DbError> {
    let found = row::Entity::find().filter(row::Column::Name.eq(name)).one(conn).await?;
    found.ok_or_else(|| DbError::not_found("domain", name))
}

/// Adds a domain.
pub async fn create(conn: &impl ConnectionTrait, domain: Domain) -> Result<(), DbError> {
    let name = domain.name.clone();
    insert(conn, domain.into_active_model(), "domain", name).await
}

/// Replaces a domain that was read in the same transaction.
pub async fn update(conn: &impl ConnectionTrait, domain: Domain) -> Result<(), DbError> {
    let name = domain.name.clone();
    save(conn, domain.into_active_model(), "domain", name).await
}

/// Removes a domain with its users, its projects and every assignment on or of them.
pub async fn delete(conn: &impl ConnectionTrait, id: &str) -> Result<(), DbError> {
    let filter = projects::ProjectFilter { domain_id: Some(id.to_owned()), ..Default::default() };
    for project in projects::list(conn, &filter).await? {
        projects::delete(conn, &project.id).await?;
    }
    assignments::revoke_all_on(conn, &assignments::Target::Domain(id.to_owned())).await?;
    let deleted = row::Entity::delete_by_id(id).exec(conn).await?;
    if deleted.rows_affected == 0 { Err(DbError::not_found("domain", id)) } else { Ok(()) }
}
