//! Quota limits that differ from the configured ones: resource name → limit.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait as _;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, OnConflict, Query};

use crate::sql::select;
use crate::{Db, DbError};

const QUOTAS: &str = "quotas";
const CLASSES: &str = "quota_classes";
/// Instead of a user, for the limits of a whole project.
const WHOLE_PROJECT: &str = "";

/// Columns that say whose limit it is, and their values.
type Owner<'a> = [(&'static str, &'a str)];

/// Limits set for a project.
pub async fn project(db: &Db, project_id: &str) -> Result<BTreeMap<String, i64>, DbError> {
    read(db, QUOTAS, &of_user(project_id, WHOLE_PROJECT)).await
}

/// Limits set for a user in a project.
pub async fn project_user(db: &Db, project_id: &str, user_id: &str) -> Result<BTreeMap<String, i64>, DbError> {
    read(db, QUOTAS, &of_user(project_id, user_id)).await
}

/// What the users of a project were given, by resource, all together.
pub async fn given_to_users(db: &Db, project_id: &str) -> Result<BTreeMap<String, i64>, DbError> {
    let mut statement = select(QUOTAS, &["resource", "hard_limit"]);
    statement.and_where(Expr::col("project_id").eq(project_id)).and_where(Expr::col("user_id").ne(WHOLE_PROJECT));
    let mut given = BTreeMap::new();
    for row in db.read().query_all(&statement).await? {
        let limit: i64 = row.try_get_by_index(1)?;
        *given.entry(row.try_get_by_index(0)?).or_insert(0) += limit;
    }
    Ok(given)
}

/// Limits set for a quota class; `default` is everybody's.
pub async fn class(db: &Db, class_name: &str) -> Result<BTreeMap<String, i64>, DbError> {
    read(db, CLASSES, &[("class_name", class_name)]).await
}

/// Sets the given limits of a project; others stay.
pub async fn set_project(db: &Db, project_id: &str, limits: &BTreeMap<String, i64>) -> Result<(), DbError> {
    set(db, QUOTAS, &of_user(project_id, WHOLE_PROJECT), limits).await
}

/// Sets the given limits of a user in a project; others stay.
pub async fn set_project_user(
    db: &Db,
    project_id: &str,
    user_id: &str,
    limits: &BTreeMap<String, i64>,
) -> Result<(), DbError> {
    set(db, QUOTAS, &of_user(project_id, user_id), limits).await
}

/// Sets the given limits of a quota class; others stay.
pub async fn set_class(db: &Db, class_name: &str, limits: &BTreeMap<String, i64>) -> Result<(), DbError> {
    set(db, CLASSES, &[("class_name", class_name)], limits).await
}

/// Back to the defaults for a project and all its users.
pub async fn delete_project(db: &Db, project_id: &str) -> Result<(), DbError> {
    delete(db, &[("project_id", project_id)]).await
}

/// Back to the project's limits for a user.
pub async fn delete_project_user(db: &Db, project_id: &str, user_id: &str) -> Result<(), DbError> {
    delete(db, &of_user(project_id, user_id)).await
}

fn of_user<'a>(project_id: &'a str, user_id: &'a str) -> [(&'static str, &'a str); 2] {
    [("project_id", project_id), ("user_id", user_id)]
}

fn is_of(owner: &Owner<'_>) -> Condition {
    let columns = owner.iter().map(|(column, value)| Expr::col(*column).eq(*value));
    columns.fold(Condition::all(), Condition::add)
}

async fn read(db: &Db, table: &'static str, owner: &Owner<'_>) -> Result<BTreeMap<String, i64>, DbError> {
    let mut statement = select(table, &["resource", "hard_limit"]);
    let rows = db.read().query_all(statement.cond_where(is_of(owner))).await?;
    let limit =
        |row: &sea_orm::QueryResult| Ok::<_, sea_orm::DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    Ok(rows.iter().map(limit).collect::<Result<_, _>>()?)
}

async fn set(db: &Db, table: &'static str, owner: &Owner<'_>, limits: &BTreeMap<String, i64>) -> Result<(), DbError> {
    let key: Vec<&'static str> = owner.iter().map(|(column, _)| *column).chain(["resource"]).collect();
    let mut statement = Query::insert();
    statement.into_table(table).columns(key.iter().copied().chain(["hard_limit"]));
    for (resource, limit) in limits {
        let row = owner.iter().map(|(_, value)| Expr::val(*value));
        statement.values_panic(row.chain([Expr::val(resource.as_str()), Expr::val(*limit)]));
    }
    statement.on_conflict(OnConflict::columns(key).update_column("hard_limit").to_owned());
    if limits.is_empty() {
        return Ok(());
    }
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        tx.execute(&statement).await?;
        tx.commit().await
    })
    .await
}

async fn delete(db: &Db, owner: &Owner<'_>) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::delete();
        tx.execute(statement.from_table(QUOTAS).cond_where(is_of(owner))).await?;
        tx.commit().await
    })
    .await
}
