//! Why instances are in error.

use std::collections::HashMap;

use kilonova_core::time::utcnow;
use kilonova_objects::InstanceFault;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use uuid::Uuid;

use crate::sql::{chunks, columns, insert, select, uuid_in};
use crate::{Db, DbError};

const TABLE: &str = "instance_faults";

columns!(InstanceFault, [id, instance_uuid, code, message, details, host, created_at]);

/// Records a fault; the newest one of an instance is shown with it.
pub async fn create(db: &Db, fault: &InstanceFault) -> Result<InstanceFault, DbError> {
    let mut fault = InstanceFault {
        created_at: Some(utcnow()),
        updated_at: None,
        deleted_at: None,
        deleted: false,
        ..fault.clone()
    };
    fault.id = db
        .retry(|| async {
            let tx = db.begin().await?;
            let id = insert(&tx, TABLE, &COLUMNS[1..], values(&fault).split_off(1)).await?;
            tx.commit().await?;
            Ok::<_, DbError>(id)
        })
        .await?;
    Ok(fault)
}

/// The newest fault of each of these instances that has one.
pub(crate) async fn newest(
    conn: &impl ConnectionTrait,
    instance_uuids: &[Uuid],
) -> Result<HashMap<Uuid, InstanceFault>, DbError> {
    let mut found = HashMap::new();
    for uuids in chunks(instance_uuids) {
        let newest = Query::select()
            .expr(Expr::col("id").max())
            .from(TABLE)
            .and_where(uuid_in("instance_uuid", uuids))
            .group_by_col("instance_uuid")
            .take();
        let mut statement = select(TABLE, COLUMNS);
        statement.and_where(Expr::col("id").in_subquery(newest));
        for row in conn.query_all(&statement).await? {
            let mut fault = InstanceFault::default();
            read_columns(&row, &mut fault)?;
            found.insert(fault.instance_uuid, fault);
        }
    }
    Ok(found)
}
