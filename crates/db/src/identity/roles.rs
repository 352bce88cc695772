//! Roles, and which role implies which.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, IntoActiveModel, QueryOrder};

use super::{insert, save};
use crate::DbError;

pub use implied::Model as ImpliedRole;
pub use row::Model as Role;

pub(crate) mod row {
    use sea_orm::entity::prelude::*;

    /// A role.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_roles")]
    pub struct Model {
        /// Its id, a UUID without hyphens.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// Unique.
        pub name: String,
        /// Free text.
        pub description: Option<String>,
        /// Keystone's resource options, an object.
        pub options: Json,
        /// Attributes that only its creator understands, an object.
        pub extra: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(crate) mod implied {
    use sea_orm::entity::prelude::*;

    /// Who has the prior role has the implied one.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_implied_roles")]
    pub struct Model {
        /// The role that is assigned.
        #[sea_orm(primary_key, auto_increment = false)]
        pub prior_role_id: String,
        /// The role that comes with it.
        #[sea_orm(primary_key, auto_increment = false)]
        pub implied_role_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// All roles, or the one with this name; by name.
pub async fn list(conn: &impl ConnectionTrait, name: Option<&str>) -> Result<Vec<Role>, DbError> {
    let mut query = row::Entity::find().order_by_asc(row::Column::Name);
    if let Some(name) = name {
        query = query.filter(row::Column::Name.eq(name));
    }
    Ok(query.all(conn).await?)
}

/// One role by id.
pub async fn fetch(conn: &impl ConnectionTrait, id: &str) -> Result<Role, DbError> {
    row::Entity::find_by_id(id).one(conn).await?.ok_or_else(|| DbError::not_found("role", id))
}

/// Adds a role.
pub async fn create(conn: &impl ConnectionTrait, role: Role) -> Result<(), DbError> {
    let name = role.name.clone();
    insert(conn, role.into_active_model(), "role", name).await
}

/// Replaces a role that was read in the same transaction.
pub async fn update(conn: &impl ConnectionTrait, role: Role) -> Result<(), DbError> {
    let name = role.name.clone();
    save(conn, role.into_active_model(), "role", name).await
}

/// Removes a role, its assignments and its implications.
pub async fn delete(conn: &impl ConnectionTrait, id: &str) -> Result<(), DbError> {
    let deleted = row::Entity::delete_by_id(id).exec(conn).await?;
    if deleted.rows_affected == 0 { Err(DbError::not_found("role", id)) } else { Ok(()) }
}

/// All implications, one step each.
pub async fn implications(conn: &impl ConnectionTrait) -> Result<Vec<ImpliedRole>, DbError> {
    Ok(implied::Entity::find().all(conn).await?)
}

/// Makes one role imply another; nothing happens when it does already.
pub async fn imply(conn: &impl ConnectionTrait, implication: ImpliedRole) -> Result<(), DbError> {
    let key = [implied::Column::PriorRoleId, implied::Column::ImpliedRoleId];
    implied::Entity::insert(implication.into_active_model().reset_all())
        .on_conflict(OnConflict::columns(key).do_nothing_on(key).to_owned())
        .exec_without_returning(conn)
        .await?;
    Ok(())
}
