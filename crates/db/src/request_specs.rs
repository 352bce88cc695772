//! Request specs: what an instance was asked with.

use kilonova_core::time::utcnow;
use kilonova_objects::RequestSpec;
use kilonova_objects::wire::VersionedObject as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use sea_orm::{ConnectionTrait, Value as SqlValue};
use serde_json::Value;
use uuid::Uuid;

use crate::sql::{Cell as _, insert_many, insert_statement, val};
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
