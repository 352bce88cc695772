//! Projects that shared images are offered to.

use kilonova_core::time::utcnow;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _};
use uuid::Uuid;

use super::entity::member::{Column, Entity, Model};
use super::no_member;
use crate::sql::exists_or;
use crate::{Db, DbError};

/// Offers an image to a project. [`DbError::Exists`] if it is offered already.
pub async fn add_member(db: &Db, image_id: Uuid, member: &str) -> Result<Model, DbError> {
    let now = utcnow();
    let (member, status) = (member.to_owned(), "pending".to_owned());
    let row = Model { image_id, member, status, created_at: now, updated_at: now };
    db.retry(|| async {
        let tx = db.begin().await?;
        let inserted = Entity::insert(row.clone().into_active_model()).exec_without_returning(&tx).await;
        inserted.map_err(|error| exists_or(error, "image member", &row.member))?;
        tx.commit().await
    })
    .await?;
    Ok(row)
}

/// The projects that an image is offered to.
pub async fn list_members(db: &Db, image_id: Uuid) -> Result<Vec<Model>, DbError> {
    let query = Entity::find().filter(Column::ImageId.eq(image_id)).order_by_asc(Column::CreatedAt);
    Ok(query.all(db.read()).await?)
}

/// What was offered to a project.
pub async fn list_offers_to(db: &Db, member: &str) -> Result<Vec<Model>, DbError> {
    Ok(Entity::find().filter(Column::Member.eq(member)).all(db.read()).await?)
}

/// One offer.
pub async fn get_member(db: &Db, image_id: Uuid, member: &str) -> Result<Option<Model>, DbError> {
    Ok(Entity::find_by_id((image_id, member.to_owned())).one(db.read()).await?)
}

/// Accepts or rejects an offer.
pub async fn set_member_status(db: &Db, image_id: Uuid, member: &str, status: &str) -> Result<Model, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        Entity::update_many()
            .col_expr(Column::Status, Expr::value(status))
            .col_expr(Column::UpdatedAt, Expr::value(utcnow()))
            .filter(Column::ImageId.eq(image_id))
            .filter(Column::Member.eq(member))
            .exec(&tx)
            .await?;
        let row = Entity::find_by_id((image_id, member.to_owned())).one(&tx).await?;
        tx.commit().await?;
        row.ok_or_else(|| no_member(image_id, member))
    })
    .await
}

/// Takes an offer back.
pub async fn remove_member(db: &Db, image_id: Uuid, member: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let result = Entity::delete_by_id((image_id, member.to_owned())).exec(&tx).await?;
        tx.commit().await?;
        if result.rows_affected == 0 { Err(no_member(image_id, member)) } else { Ok(()) }
    })
    .await
}
