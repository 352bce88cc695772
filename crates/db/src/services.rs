//! Service processes and their heartbeats.

use kilonova_core::time::utcnow;
use kilonova_objects::Service;
use kilonova_objects::wire::VersionedObject as _;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Order, Query};
use sea_orm::{ConnectionTrait, QueryResult};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::sql::{Cell as _, columns, exists_or, insert, select};
use crate::{Db, DbError};

const TABLE: &str = "services";

columns!(
    Service,
    [
        id,
        uuid,
        host,
        binary,
        topic,
        report_count,
        disabled,
        disabled_reason,
        last_seen_up,
        forced_down,
        version,
        created_at,
        updated_at,
    ]
);

/// Stores a service; host and binary are unique. A uuid is made where there is none.
pub async fn create(db: &Db, service: &Service) -> Result<Service, DbError> {
    let mut service = Service {
        uuid: service.uuid.or_else(|| Some(Uuid::new_v4())),
        created_at: Some(utcnow()),
        updated_at: None,
        deleted_at: None,
        deleted: false,
        compute_node: None,
        availability_zone: None,
        set: Service::default().set,
        ..service.clone()
    };
    service.id = db
        .retry(|| async {
            let tx = db.begin().await?;
            let id = insert(&tx, TABLE, &COLUMNS[1..], values(&service).split_off(1)).await;
            let id = id.map_err(|error| exists_or(error, "service", name(&service)))?;
            tx.commit().await?;
            Ok::<_, DbError>(id)
        })
        .await?;
    Ok(service)
}

/// Writes the fields in `changes` (names and values as in `nova_object.data`). With `report_count` among them the
/// service was seen up now.
pub async fn save(db: &Db, id: i64, changes: &Map<String, Value>) -> Result<Service, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = select(TABLE, COLUMNS);
        statement.and_where(Expr::col("id").eq(id)).lock_exclusive();
        let row = tx.query_one(&statement).await?;
        let mut service = read(&row.ok_or_else(|| DbError::not_found("service", id))?)?;
        apply(&mut service, changes)?;
        let columns = COLUMNS.iter().copied().zip(values(&service)).skip(1);
        let mut statement = Query::update();
        statement
            .table(TABLE)
            .values(columns.map(|(name, value)| (name, Expr::val(value))))
            .and_where(Expr::col("id").eq(id));
        let updated = tx.execute(&statement).await;
        updated.map_err(|error| exists_or(error, "service", name(&service)))?;
        tx.commit().await?;
        Ok(service)
    })
    .await
}

/// One service.
pub async fn get(db: &Db, uuid: Uuid) -> Result<Service, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    let row = db.read().query_one(statement.and_where(Expr::col("uuid").eq(uuid.value()))).await?;
    read(&row.ok_or_else(|| DbError::not_found("service", uuid))?)
}

/// The service of this binary on this host, if it ever reported.
pub async fn get_by_host_and_binary(db: &Db, host: &str, binary: &str) -> Result<Option<Service>, DbError> {
    Ok(list(db, Some(binary), Some(host)).await?.pop())
}

/// The services of a binary and on a host, by id.
pub async fn list(db: &Db, binary: Option<&str>, host: Option<&str>) -> Result<Vec<Service>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    let wanted = Condition::all()
        .add_option(binary.map(|binary| Expr::col("binary").eq(binary)))
        .add_option(host.map(|host| Expr::col("host").eq(host)));
    statement.cond_where(wanted).order_by("id", Order::Asc);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read).collect()
}

/// Forgets a service.
pub async fn delete(db: &Db, uuid: Uuid) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::delete();
        statement.from_table(TABLE).and_where(Expr::col("uuid").eq(uuid.value()));
        if tx.execute(&statement).await?.rows_affected() == 0 {
            return Err(DbError::not_found("service", uuid));
        }
        tx.commit().await
    })
    .await
}

/// The smallest service version among the services of a binary that are not forced down; 0 when there is none.
pub async fn minimum_version(db: &Db, binary: &str) -> Result<i64, DbError> {
    let mut statement = Query::select();
    statement
        .expr(Expr::col("version").min())
        .from(TABLE)
        .and_where(Expr::col("binary").eq(binary))
        .and_where(Expr::col("forced_down").eq(false));
    let row = db.read().query_one(&statement).await?;
    let version: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
    Ok(version.unwrap_or(0))
}

fn read(row: &QueryResult) -> Result<Service, DbError> {
    let mut service = Service::default();
    read_columns(row, &mut service)?;
    Ok(service)
}

/// `nova-compute on node1`.
fn name(service: &Service) -> String {
    let [binary, host] = [&service.binary, &service.host].map(|name| name.as_deref().unwrap_or("-"));
    format!("{binary} on {host}")
}

fn apply(service: &mut Service, changes: &Map<String, Value>) -> Result<(), DbError> {
    let corrupt = |id: i64, reason: String| DbError::corrupt("service", id, reason);
    let id = service.id;
    let changed = Service::from_data(changes).map_err(|error| corrupt(id, error.to_string()))?;
    let now = utcnow();
    for field in changes.keys() {
        match field.as_str() {
            "host" => service.host.clone_from(&changed.host),
            "binary" => service.binary.clone_from(&changed.binary),
            "topic" => service.topic.clone_from(&changed.topic),
            "report_count" => {
                service.report_count = changed.report_count;
                service.last_seen_up = Some(now);
            }
            "disabled" => service.disabled = changed.disabled,
            "disabled_reason" => service.disabled_reason.clone_from(&changed.disabled_reason),
            "forced_down" => service.forced_down = changed.forced_down,
            "version" => service.version = changed.version,
            // The service saw itself up at its own clock's time; ours is the one that counts.
            "last_seen_up" => {}
            _ => return Err(corrupt(id, format!("the field {field} cannot be changed"))),
        }
    }
    service.updated_at = Some(now);
    Ok(())
}
