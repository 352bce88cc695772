//! Revoked tokens, by audit id, kept until the token would have expired anyway.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue, ConnectionTrait};

use crate::DbError;

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "identity_revoked_tokens")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) audit_id: String,
        /// Seconds since the epoch.
        pub(crate) expires_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Revokes a token and all that were made from it; `expires_at` in seconds since the epoch.
pub async fn revoke(conn: &impl ConnectionTrait, audit_id: &str, expires_at: i64) -> Result<(), DbError> {
    let revoked =
        row::ActiveModel { audit_id: ActiveValue::Set(audit_id.to_owned()), expires_at: ActiveValue::Set(expires_at) };
    row::Entity::insert(revoked)
        .on_conflict(OnConflict::column(row::Column::AuditId).do_nothing_on([row::Column::AuditId]).to_owned())
        .exec_without_returning(conn)
        .await?;
    Ok(())
}

/// Whether one of these was revoked.
pub async fn is_revoked(conn: &impl ConnectionTrait, audit_ids: &[String]) -> Result<bool, DbError> {
    let revoked = row::Entity::find().filter(row::Column::AuditId.is_in(audit_ids)).one(conn).await?;
    Ok(revoked.is_some())
}

/// Forgets what expired before `now`, in seconds since the epoch.
pub async fn purge(conn: &impl ConnectionTrait, now: i64) -> Result<(), DbError> {
    row::Entity::delete_many().filter(row::Column::ExpiresAt.lt(now)).exec(conn).await?;
    Ok(())
}
