//! Request specs: what an instance was asked with.

use kilonova_core::time::utcnow;
use kilonova_objects::RequestSpec;
use kilonova_objects::wire::VersionedObject as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ConnectionTrait, Value as SqlValue};
use serde_json::Value;
use uuid::Uuid;

use crate::sql::{Cell as _, insert_many, val};
use crate::{Db, DbError};

const TABLE: &str = "request_specs";
const COLUMNS: &[&str] = &["instance_uuid", "spec", "created_at", "updated_at"];

/// The request spec of an instance.
pub async fn get(db: &Db, instance_uuid: Uuid) -> Result<RequestSpec, DbError> {
    let mut statement = Query::select();
    statement.column("spec").from(TABLE).and_where(Expr::col("instance_uuid").eq(instance_uuid.value()));
    let row = db.read().query_one(&statement).await?;
    let row = row.ok_or_else(|| DbError::not_found("request spec", instance_uuid))?;
    let spec: String = row.try_get_by_index(0)?;
    serde_json::from_str(&spec)
        .map_err(|error| error.to_string())
        .and_then(|data| RequestSpec::from_data(&data).map_err(|error| error.to_string()))
        .map_err(|reason| DbError::corrupt("request spec", instance_uuid, reason))
}

/// Writes over the request spec of the instance that it names, or makes it.
pub async fn save(db: &Db, spec: &RequestSpec) -> Result<(), DbError> {
    let tx = db.begin().await?;
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("spec", text(spec))
        .value("updated_at", val(utcnow()))
        .and_where(Expr::col("instance_uuid").eq(spec.instance_uuid.value()));
    if tx.execute(&statement).await?.rows_affected() == 0 {
        insert(&tx, &[(spec.instance_uuid, spec)]).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Writes new request specs, each for its instance.
pub(crate) async fn insert(tx: &impl ConnectionTrait, specs: &[(Uuid, &RequestSpec)]) -> Result<(), DbError> {
    let row = |(uuid, spec): &(Uuid, &RequestSpec)| -> Vec<SqlValue> {
        vec![uuid.value(), text(spec).into(), utcnow().value(), None::<i64>.into()]
    };
    insert_many(tx, TABLE, COLUMNS, specs.iter().map(row).collect()).await?;
    Ok(())
}

fn text(spec: &RequestSpec) -> String {
    Value::Object(spec.data()).to_string()
}
