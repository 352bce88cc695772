//! Users and their password hashes.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Expr;
use sea_orm::{ConnectionTrait, IntoActiveModel, QueryOrder};

use super::{insert, save};
use crate::DbError;

pub use row::Model as User;

pub(crate) mod row {
    use sea_orm::entity::prelude::*;

    /// A user.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_users")]
    pub struct Model {
        /// Its id, a UUID without hyphens.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// Where it lives.
        pub domain_id: String,
        /// Unique in its domain.
        pub name: String,
        /// PHC string; without one the user cannot log in by password.
        pub password_hash: Option<String>,
        /// A disabled user has no valid token.
        pub enabled: bool,
        /// The scope of a token that asks for none.
        pub default_project_id: Option<String>,
        /// Counts up when all tokens of the user end: a token is good for the generation it was issued in.
        pub token_generation: i32,
        /// Keystone's resource options, an object.
        pub options: Json,
        /// Attributes that only its creator understands (`email`, `description`), an object.
        pub extra: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which users to list; `None` asks for all.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// With this name.
    pub name: Option<String>,
    /// In this domain.
    pub domain_id: Option<String>,
    /// Enabled, or disabled.
    pub enabled: Option<bool>,
}

/// The users that `filter` lets through, by name.
pub async fn list(conn: &impl ConnectionTrait, filter: &UserFilter) -> Result<Vec<User>, DbError> {
    let mut query = row::Entity::find().order_by_asc(row::Column::Name).order_by_asc(row::Column::Id);
    if let Some(name) = &filter.name {
        query = query.filter(row::Column::Name.eq(name));
    }
    if let Some(domain_id) = &filter.domain_id {
        query = query.filter(row::Column::DomainId.eq(domain_id));
    }
    if let Some(enabled) = filter.enabled {
        query = query.filter(row::Column::Enabled.eq(enabled));
    }
    Ok(query.all(conn).await?)
}

/// One user by id.
pub async fn fetch(conn: &impl ConnectionTrait, id: &str) -> Result<User, DbError> {
    row::Entity::find_by_id(id).one(conn).await?.ok_or_else(|| DbError::not_found("user", id))
}

/// One user by its name in a domain.
pub async fn fetch_by_name(conn: &impl ConnectionTrait, domain_id: &str, name: &str) -> Result<User, DbError> {
    let found = row::Entity::find()
        .filter(row::Column::DomainId.eq(domain_id))
        .filter(row::Column::Name.eq(name))
        .one(conn)
        .await?;
    found.ok_or_else(|| DbError::not_found("user", name))
}

/// Adds a user.
pub async fn create(conn: &impl ConnectionTrait, user: User) -> Result<(), DbError> {
    let name = user.name.clone();
    insert(conn, user.into_active_model(), "user", name).await
}

/// Replaces a user that was read in the same transaction.
pub async fn update(conn: &impl ConnectionTrait, user: User) -> Result<(), DbError> {
    let name = user.name.clone();
    save(conn, user.into_active_model(), "user", name).await
}

/// Removes a user and its assignments.
pub async fn delete(conn: &impl ConnectionTrait, id: &str) -> Result<(), DbError> {
    let deleted = row::Entity::delete_by_id(id).exec(conn).await?;
    if deleted.rows_affected == 0 { Err(DbError::not_found("user", id)) } else { Ok(()) }
}

pub(super) async fn forget_default_project(conn: &impl ConnectionTrait, project_id: &str) -> Result<(), DbError> {
    row::Entity::update_many()
        .col_expr(row::Column::DefaultProjectId, Expr::value(None::<String>))
        .filter(row::Column::DefaultProjectId.eq(project_id))
        .exec(conn)
        .await?;
    Ok(())
}
