//! Role assignments: a user has a role on a project, on a domain, or on the system.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, IntoActiveModel, QueryOrder};

use crate::DbError;

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_role_assignments")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) user_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) target_type: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) target_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) role_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What a role is assigned on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A project, by id.
    Project(String),
    /// A domain, by id.
    Domain(String),
    /// The whole deployment.
    System,
}

impl Target {
    fn key(&self) -> (&'static str, &str) {
        match self {
            Self::Project(id) => ("project", id),
            Self::Domain(id) => ("domain", id),
            Self::System => ("system", "system"),
        }
    }
}

/// A user has a role on a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// Who.
    pub user_id: String,
    /// What.
    pub role_id: String,
    /// Where.
    pub target: Target,
}

impl Assignment {
    fn into_row(self) -> row::Model {
        let (target_type, target_id) = self.target.key();
        let (target_type, target_id) = (target_type.to_owned(), target_id.to_owned());
        row::Model { user_id: self.user_id, role_id: self.role_id, target_type, target_id }
    }
}

impl TryFrom<row::Model> for Assignment {
    type Error = DbError;

    fn try_from(row: row::Model) -> Result<Self, DbError> {
        let target = match row.target_type.as_str() {
            "project" => Target::Project(row.target_id),
            "domain" => Target::Domain(row.target_id),
            "system" => Target::System,
            other => return Err(DbError::corrupt("role assignment", row.user_id, format!("target type {other}"))),
        };
        Ok(Self { user_id: row.user_id, role_id: row.role_id, target })
    }
}

/// Which assignments to list; `None` asks for all.
#[derive(Clone, Debug, Default)]
pub struct AssignmentFilter {
    /// Of this user.
    pub user_id: Option<String>,
    /// Of this role.
    pub role_id: Option<String>,
    /// On this target.
    pub target: Option<Target>,
}

/// The assignments that `filter` lets through, in the order of user, target and role.
pub async fn list(conn: &impl ConnectionTrait, filter: &AssignmentFilter) -> Result<Vec<Assignment>, DbError> {
    let mut query = row::Entity::find()
        .order_by_asc(row::Column::UserId)
        .order_by_asc(row::Column::TargetType)
        .order_by_asc(row::Column::TargetId)
        .order_by_asc(row::Column::RoleId);
    if let Some(user_id) = &filter.user_id {
        query = query.filter(row::Column::UserId.eq(user_id));
    }
    if let Some(role_id) = &filter.role_id {
        query = query.filter(row::Column::RoleId.eq(role_id));
    }
    if let Some(target) = &filter.target {
        let (target_type, target_id) = target.key();
        query = query.filter(row::Column::TargetType.eq(target_type)).filter(row::Column::TargetId.eq(target_id));
    }
    query.all(conn).await?.into_iter().map(Assignment::try_from).collect()
}

/// Assigns; nothing happens when it is assigned already.
pub async fn grant(conn: &impl ConnectionTrait, assignment: Assignment) -> Result<(), DbError> {
    let key = [row::Column::UserId, row::Column::TargetType, row::Column::TargetId, row::Column::RoleId];
    row::Entity::insert(assignment.into_row().into_active_model().reset_all())
        .on_conflict(OnConflict::columns(key).do_nothing_on(key).to_owned())
        .exec_without_returning(conn)
        .await?;
    Ok(())
}

/// Takes an assignment back; whether there was one.
pub async fn revoke(conn: &impl ConnectionTrait, assignment: Assignment) -> Result<bool, DbError> {
    let row = assignment.into_row();
    let deleted =
        row::Entity::delete_by_id((row.user_id, row.target_type, row.target_id, row.role_id)).exec(conn).await?;
    Ok(deleted.rows_affected > 0)
}

pub(super) async fn revoke_all_on(conn: &impl ConnectionTrait, target: &Target) -> Result<(), DbError> {
    let (target_type, target_id) = target.key();
    row::Entity::delete_many()
        .filter(row::Column::TargetType.eq(target_type))
        .filter(row::Column::TargetId.eq(target_id))
        .exec(conn)
        .await?;
    Ok(())
}
