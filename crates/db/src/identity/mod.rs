//! Rows of the built-in identity service: domains, projects, users, roles, who has which role where, revoked tokens.
//!
//! The functions take a connection or a transaction, because the service reads and writes several of these rows as one
//! decision. What a row means, who may touch it and what a token is, is the service's business.

pub mod assignments;
pub mod domains;
pub mod projects;
pub mod revocations;
pub mod roles;
pub mod users;

/// What several of these functions can see or write as one.
pub use crate::Transaction;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel};

use crate::DbError;
use crate::sql::lock_rows;

/// Inserts one row; [`DbError::Exists`] when its id or its name is taken.
async fn insert<A>(conn: &impl ConnectionTrait, row: A, resource: &'static str, name: String) -> Result<(), DbError>
where
    A: ActiveModelTrait,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    let inserted = A::Entity::insert(row.reset_all()).exec_without_returning(conn).await;
    inserted.map(|_| ()).map_err(|error| taken(error, resource, name))
}

/// Writes all columns of a row that the caller has read in the same transaction.
async fn save<A>(conn: &impl ConnectionTrait, row: A, resource: &'static str, name: String) -> Result<(), DbError>
where
    A: ActiveModelTrait,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    match A::Entity::update(row.reset_all()).exec(conn).await {
        Ok(_) => Ok(()),
        Err(DbErr::RecordNotUpdated) => Err(DbError::not_found(resource, name)),
        Err(error) => Err(taken(error, resource, name)),
    }
}

fn taken(error: DbErr, resource: &'static str, name: String) -> DbError {
    if DbError::is_unique_violation(&error) { DbError::exists(resource, name) } else { error.into() }
}

/// The rows that are read, decided on and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Domains.
    Domain,
    /// Projects.
    Project,
    /// Users.
    User,
    /// Roles.
    Role,
}

/// Keeps others from changing a row until the transaction ends: before it is read and then replaced.
pub async fn lock(tx: &Transaction, resource: Resource, id: &str) -> Result<(), DbError> {
    let table = match resource {
        Resource::Domain => "identity_domains",
        Resource::Project => "identity_projects",
        Resource::User => "identity_users",
        Resource::Role => "identity_roles",
    };
    Ok(lock_rows(tx, table, "id", vec![id.into()]).await?)
}
