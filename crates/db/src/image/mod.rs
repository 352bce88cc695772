//! Rows of the built-in image service. Who may see or change an image is decided by the caller; where the bytes are,
//! too.

mod entity;
mod members;

use std::fmt::Display;

use kilonova_core::time::utcnow;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QuerySelect as _, QueryTrait as _,
};
use uuid::Uuid;

use crate::{Db, DbError};
use entity::{image, member};

pub use entity::image::{Model as ImageRow, Properties, Tags};
pub use entity::member::Model as MemberRow;
pub use members::{add_member, get_member, list_members, list_offers_to, remove_member, set_member_status};

/// What is known of an image once its bytes are stored.
#[derive(Clone, Debug)]
pub struct StoredData {
    /// Bytes as stored.
    pub size: i64,
    /// Bytes of the disk that a guest sees, if the format tells.
    pub virtual_size: Option<i64>,
    /// MD5 in hex.
    pub checksum: String,
    /// SHA-512 in hex.
    pub sha512: String,
}

/// Adds an image. [`DbError::Exists`] if the id is taken.
pub async fn create(db: &Db, row: &ImageRow) -> Result<(), DbError> {
    let id = row.id;
    db.retry(|| async {
        let tx = db.begin().await?;
        match image::Entity::insert(row.clone().into_active_model()).exec_without_returning(&tx).await {
            Ok(_) => tx.commit().await,
            Err(error) if DbError::is_unique_violation(&error) => Err(DbError::exists("image", id)),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// One image, whoever asks.
pub async fn get(db: &Db, id: Uuid) -> Result<Option<ImageRow>, DbError> {
    get_in(db.read(), id).await
}

async fn get_in(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<ImageRow>, DbError> {
    Ok(image::Entity::find_by_id(id).one(connection).await?)
}

/// Whose images to list.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Every image there is.
    All,
    /// A project's own, the public and community ones, and those shared with it.
    VisibleTo(&'a str),
    /// Images that no project owns: registered by the cloud itself.
    Unowned,
}

/// Images, in no order.
pub async fn list(db: &Db, scope: Scope<'_>) -> Result<Vec<ImageRow>, DbError> {
    let query = image::Entity::find();
    let query = match scope {
        Scope::All => query,
        Scope::Unowned => query.filter(image::Column::Owner.is_null()),
        Scope::VisibleTo(project_id) => {
            let offered = member::Entity::find().select_only().column(member::Column::ImageId);
            let offered = offered.filter(member::Column::Member.eq(project_id)).into_query();
            let shared = Condition::all()
                .add(image::Column::Visibility.eq("shared"))
                .add(image::Column::Id.in_subquery(offered));
            query.filter(
                Condition::any()
                    .add(image::Column::Owner.eq(project_id))
                    .add(image::Column::Visibility.is_in(["public", "community"]))
                    .add(shared),
            )
        }
    };
    Ok(query.all(db.read()).await?)
}

/// Reads an image, lets `change` change it, and writes it back, with nobody in between. After a deadlock `change` is
/// asked again.
///
/// `Ok(None)` if there is no such image. An error of `change` leaves the image as it was.
pub async fn modify<E: From<DbError>>(
    db: &Db,
    id: Uuid,
    change: impl Fn(&mut ImageRow) -> Result<(), E>,
) -> Result<Option<ImageRow>, E> {
    db.retry(|| modify_once(db, id, &change)).await?
}

async fn modify_once<E>(
    db: &Db,
    id: Uuid,
    change: impl Fn(&mut ImageRow) -> Result<(), E>,
) -> Result<Result<Option<ImageRow>, E>, DbError> {
    let tx = db.begin().await?;
    let Some(mut row) = image::Entity::find_by_id(id).lock_exclusive().one(&tx).await? else { return Ok(Ok(None)) };
    if let Err(error) = change(&mut row) {
        return Ok(Err(error));
    }
    row.updated_at = utcnow();
    row.clone().into_active_model().reset_all().update(&tx).await?;
    tx.commit().await?;
    Ok(Ok(Some(row)))
}

/// Moves an image from one status to another; false if it was in none of `from`, or is not there.
pub async fn set_status(db: &Db, id: Uuid, from: &[&str], to: &str) -> Result<bool, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let result = image::Entity::update_many()
            .col_expr(image::Column::Status, Expr::value(to))
            .col_expr(image::Column::UpdatedAt, Expr::value(utcnow()))
            .filter(image::Column::Id.eq(id))
            .filter(image::Column::Status.is_in(from.iter().copied()))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected == 1)
    })
    .await
}

/// From `saving` to `active`; false if somebody deleted the image meanwhile.
pub async fn activate(db: &Db, id: Uuid, data: &StoredData) -> Result<bool, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let result = image::Entity::update_many()
            .col_expr(image::Column::Status, Expr::value("active"))
            .col_expr(image::Column::Size, Expr::value(data.size))
            .col_expr(image::Column::VirtualSize, Expr::value(data.virtual_size))
            .col_expr(image::Column::Checksum, Expr::value(data.checksum.as_str()))
            .col_expr(image::Column::OsHashAlgo, Expr::value("sha512"))
            .col_expr(image::Column::OsHashValue, Expr::value(data.sha512.as_str()))
            .col_expr(image::Column::UpdatedAt, Expr::value(utcnow()))
            .filter(image::Column::Id.eq(id))
            .filter(image::Column::Status.eq("saving"))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected == 1)
    })
    .await
}

/// Uploads that a crash interrupted: back to `queued`, so that they can be tried again. Returns how many.
pub async fn reset_interrupted_uploads(db: &Db) -> Result<u64, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let result = image::Entity::update_many()
            .col_expr(image::Column::Status, Expr::value("queued"))
            .filter(image::Column::Status.eq("saving"))
            .exec(&tx)
            .await?;
        tx.commit().await?;
        Ok(result.rows_affected)
    })
    .await
}

/// What an attempt to delete found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Deleted,
    /// It was not there.
    Missing,
    /// It is protected, and still there.
    Protected,
}

/// Removes an image and its members unless it is protected.
pub async fn delete(db: &Db, id: Uuid) -> Result<Deletion, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let result = image::Entity::delete_many()
            .filter(image::Column::Id.eq(id))
            .filter(image::Column::IsProtected.eq(false))
            .exec(&tx)
            .await?;
        let outcome = match (result.rows_affected, get_in(&tx, id).await?) {
            (1, _) => Deletion::Deleted,
            (_, None) => Deletion::Missing,
            (_, Some(_)) => Deletion::Protected,
        };
        tx.commit().await?;
        Ok(outcome)
    })
    .await
}

fn no_member(image_id: impl Display, member: &str) -> DbError {
    DbError::not_found("image member", format!("{image_id}/{member}"))
}
