//! Request specs: what an instance was asked with.

use std::collections::{BTreeMap, HashMap};

use kilonova_core::time::utcnow;
use kilonova_objects::wire::VersionedObject as _;
use kilonova_objects::{Flavor, RequestSpec};
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult, Value as SqlValue};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::sql::{Cell as _, chunks, insert_many, insert_statement, select, uuid_in, val};
use crate::{Db, DbError, Failure};

const TABLE: &str = "request_specs";
const COLUMNS: &[&str] = &["instance_uuid", "spec", "created_at", "updated_at"];

/// The request spec of an instance.
pub async fn get(db: &Db, instance_uuid: Uuid) -> Result<RequestSpec, DbError> {
    let mut statement = Query::select();
    statement.column("spec").from(TABLE).and_where(Expr::col("instance_uuid").eq(instance_uuid.value()));
    let row = db.read().query_one(&statement).await?;
    read(&row.ok_or_else(|| DbError::not_found("request spec", instance_uuid))?, instance_uuid)
}

/// What a server shows of its request spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Asked {
    /// The zone that the server is pinned to.
    pub availability_zone: Option<String>,
    /// Words for the scheduler.
    pub scheduler_hints: Option<BTreeMap<String, Vec<String>>>,
}

/// What several servers show of their request specs; one without a spec has no entry.
pub async fn asked(db: &Db, instance_uuids: &[Uuid]) -> Result<HashMap<Uuid, Asked>, DbError> {
    let mut found = HashMap::new();
    for uuids in chunks(instance_uuids) {
        let mut statement = select(TABLE, &["instance_uuid", "spec"]);
        statement.and_where(uuid_in("instance_uuid", uuids));
        for row in db.read().query_all(&statement).await? {
            let uuid = Uuid::read(&row, 0)?;
            found.extend(asked_in(&row, 1, uuid)?.map(|asked| (uuid, asked)));
        }
    }
    Ok(found)
}

/// The same from a row of another table, whose column of that number is [`of_instance`].
pub(crate) fn asked_in(row: &QueryResult, column: usize, uuid: Uuid) -> Result<Option<Asked>, DbError> {
    let Some(spec) = Option::<String>::read(row, column)? else { return Ok(None) };
    let asked = serde_json::from_str(&spec);
    asked.map(Some).map_err(|error| DbError::corrupt("request spec", uuid, error.to_string()))
}

/// The spec of the instance whose uuid is in a column of the query around it.
pub(crate) fn of_instance(uuid: Expr) -> SelectStatement {
    let mut statement = Query::select();
    statement.column("spec").from(TABLE).and_where(Expr::col((TABLE, "instance_uuid")).eq(uuid));
    statement
}

/// Changes the request spec of an instance to what `decide` makes of it; `None` leaves it as it is.
pub async fn change<E>(
    db: &Db,
    instance_uuid: Uuid,
    decide: impl Fn(RequestSpec) -> Result<Option<RequestSpec>, E>,
) -> Result<(), E>
where
    E: Failure + From<DbError>,
{
    db.retry(|| change_once(db, instance_uuid, &decide)).await
}

async fn change_once<E: From<DbError>>(
    db: &Db,
    instance_uuid: Uuid,
    decide: impl Fn(RequestSpec) -> Result<Option<RequestSpec>, E>,
) -> Result<(), E> {
    let tx = db.begin().await?;
    let spec = locked(&tx, instance_uuid).await?;
    let spec = spec.ok_or_else(|| DbError::not_found("request spec", instance_uuid))?;
    let Some(changed) = decide(spec)? else { return Ok(()) };
    write(&tx, instance_uuid, &changed).await?;
    Ok(tx.commit().await?)
}

/// The instance has another flavor now, and is scheduled by that one from here on.
pub(crate) async fn set_flavor(tx: &impl ConnectionTrait, instance_uuid: Uuid, flavor: &Flavor) -> Result<(), DbError> {
    match locked(tx, instance_uuid).await? {
        Some(spec) => write(tx, instance_uuid, &RequestSpec { flavor: flavor.clone(), ..spec }).await,
        None => Ok(()),
    }
}

/// The instance is scheduled to that zone from here on; `None`: to any.
pub(crate) async fn set_availability_zone(
    tx: &impl ConnectionTrait,
    instance_uuid: Uuid,
    zone: Option<&str>,
) -> Result<(), DbError> {
    let spec = locked(tx, instance_uuid).await?;
    let spec = spec.ok_or_else(|| DbError::not_found("request spec", instance_uuid))?;
    write(tx, instance_uuid, &RequestSpec { availability_zone: zone.map(str::to_owned), ..spec }).await
}

async fn locked(tx: &impl ConnectionTrait, instance_uuid: Uuid) -> Result<Option<RequestSpec>, DbError> {
    let mut statement = select(TABLE, &["spec"]);
    statement.and_where(Expr::col("instance_uuid").eq(instance_uuid.value())).lock_exclusive();
    let row = tx.query_one(&statement).await?;
    row.map(|row| read(&row, instance_uuid)).transpose()
}

async fn write(tx: &impl ConnectionTrait, instance_uuid: Uuid, spec: &RequestSpec) -> Result<(), DbError> {
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("spec", text(spec))
        .value("updated_at", val(utcnow()))
        .and_where(Expr::col("instance_uuid").eq(instance_uuid.value()));
    tx.execute(&statement).await?;
    Ok(())
}

/// From the column `spec`, which is the first one.
fn read(row: &QueryResult, instance_uuid: Uuid) -> Result<RequestSpec, DbError> {
    let spec = String::read(row, 0)?;
    serde_json::from_str(&spec)
        .map_err(|error| error.to_string())
        .and_then(|data| RequestSpec::from_data(&data).map_err(|error| error.to_string()))
        .map_err(|reason| DbError::corrupt("request spec", instance_uuid, reason))
}

/// Writes over the request spec of the instance that it names, or makes it.
pub async fn save(db: &Db, spec: &RequestSpec) -> Result<(), DbError> {
    let now = utcnow();
    let mut statement = insert_statement(TABLE, COLUMNS, [row(spec.instance_uuid, spec)])?;
    let or_over = OnConflict::column("instance_uuid").update_column("spec").value("updated_at", val(now)).to_owned();
    statement.on_conflict(or_over);
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        tx.execute(&statement).await?;
        tx.commit().await
    })
    .await
}

/// Writes new request specs, each for its instance.
pub(crate) async fn insert(tx: &impl ConnectionTrait, specs: &[(Uuid, &RequestSpec)]) -> Result<(), DbError> {
    insert_many(tx, TABLE, COLUMNS, specs.iter().map(|(uuid, spec)| row(*uuid, spec)).collect()).await?;
    Ok(())
}

fn row(uuid: Uuid, spec: &RequestSpec) -> Vec<SqlValue> {
    vec![uuid.value(), text(spec).into(), utcnow().value(), None::<i64>.into()]
}

fn text(spec: &RequestSpec) -> String {
    Value::Object(spec.data()).to_string()
}
