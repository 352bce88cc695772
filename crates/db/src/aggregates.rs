//! Host aggregates, and the availability zones that their metadata make.
//!
//! What may be changed depends on the other aggregates and on the servers of their hosts. So a change is decided by its
//! caller, on what is there inside the transaction, and changes stand in one queue: there are few of them.

use std::collections::{BTreeMap, HashMap};

use kilonova_core::time::utcnow;
use kilonova_objects::{Aggregate, aggregate};
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, Order, Query};

use crate::sql::{exists_or, insert, insert_many, select, val};
use crate::{Db, DbError, Failure};

const TABLE: &str = "aggregates";
const HOSTS: &str = "aggregate_hosts";
const METADATA: &str = "aggregate_metadata";

mod row {
    use kilonova_objects::Aggregate;

    crate::sql::columns!(Aggregate, [id, uuid, name, created_at, updated_at]);
}

/// What is there before a change.
#[derive(Clone, Debug)]
pub struct Before {
    /// Every aggregate.
    pub all: Vec<Aggregate>,
    /// The one in question.
    pub aggregate: Aggregate,
    /// How many servers are on which host.
    pub servers: BTreeMap<String, i64>,
}

impl Before {
    /// The zone that aggregates but the one in question give a host.
    pub fn other_zones<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.all.iter().filter(|other| other.id != self.aggregate.id);
        others
            .filter(move |other| other.hosts().iter().any(|other| other == host))
            .filter_map(|a| a.availability_zone())
    }
}

/// A change of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another name.
    Name(String),
    /// Metadata that are set, or taken away.
    Metadata(BTreeMap<String, Option<String>>),
    /// A host more.
    AddHost(String),
    /// A host less.
    RemoveHost(String),
    /// It goes, with all that it has.
    Delete,
}

/// Stores an aggregate without hosts; its name is unique.
pub async fn create(db: &Db, given: &Aggregate) -> Result<Aggregate, DbError> {
    let mut stored =
        Aggregate { hosts: Some(Vec::new()), created_at: Some(utcnow()), updated_at: None, ..given.clone() };
    stored.id = db
        .retry(|| async {
            let tx = db.begin().await?;
            let mut values = row::values(&stored).split_off(1);
            values.push(0_i64.into());
            let columns = [&row::COLUMNS[1..], &["turns"]].concat();
            let id = insert(&tx, TABLE, &columns, values).await;
            let id = id.map_err(|error| exists_or(error, "aggregate", &stored.name))?;
            let metadata = stored.metadata.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()));
            insert_metadata(&tx, id, metadata).await?;
            tx.commit().await?;
            Ok::<_, DbError>(id)
        })
        .await?;
    Ok(stored)
}

/// Every aggregate with its hosts and metadata, in the order in which they were made.
pub async fn list(db: &Db) -> Result<Vec<Aggregate>, DbError> {
    read_all(db.read()).await
}

/// One aggregate.
pub async fn get(db: &Db, id: i64) -> Result<Aggregate, DbError> {
    let all = list(db).await?;
    all.into_iter().find(|aggregate| aggregate.id == id).ok_or_else(|| DbError::not_found("aggregate", id))
}

/// The zone of every host that is in one.
pub async fn zones_by_host(db: &Db) -> Result<BTreeMap<String, String>, DbError> {
    Ok(aggregate::zones_by_host(&list(db).await?))
}

/// Does what `decide` says, or nothing, and returns the aggregate as it is then; a deleted one as it was.
pub async fn change<E>(db: &Db, id: i64, decide: impl Fn(&Before) -> Result<Vec<Change>, E>) -> Result<Aggregate, E>
where
    E: Failure + From<DbError>,
{
    db.retry(|| change_once(db, id, &decide)).await
}

async fn change_once<E>(db: &Db, id: i64, decide: impl Fn(&Before) -> Result<Vec<Change>, E>) -> Result<Aggregate, E>
where
    E: Failure + From<DbError>,
{
    let tx = db.begin().await?;
    take_turn(&tx).await?;
    let before = before(&tx, id).await?;
    let changes = decide(&before)?;
    for change in &changes {
        apply(&tx, id, change).await?;
    }
    let after = if changes.contains(&Change::Delete) { None } else { find(read_all(&tx).await?, id) };
    tx.commit().await?;
    Ok(after.unwrap_or(before.aggregate))
}

/// A host that is gone is in no aggregate any more.
pub async fn forget_host(db: &Db, host: &str) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        take_turn(&tx).await?;
        tx.execute(Query::delete().from_table(HOSTS).and_where(Expr::col("host").eq(host))).await?;
        tx.commit().await
    })
    .await
}

/// Locks every aggregate until the transaction ends. They are changed because a cluster finds conflicts by changes.
async fn take_turn(tx: &impl ConnectionTrait) -> Result<(), DbError> {
    let mut statement = Query::update();
    tx.execute(statement.table(TABLE).value("turns", Expr::col("turns").add(1_i64))).await?;
    Ok(())
}

async fn before(tx: &impl ConnectionTrait, id: i64) -> Result<Before, DbError> {
    let all = read_all(tx).await?;
    let aggregate = find(all.clone(), id).ok_or_else(|| DbError::not_found("aggregate", id))?;
    Ok(Before { all, aggregate, servers: count_servers(tx).await? })
}

fn find(all: Vec<Aggregate>, id: i64) -> Option<Aggregate> {
    all.into_iter().find(|aggregate| aggregate.id == id)
}

async fn count_servers(conn: &impl ConnectionTrait) -> Result<BTreeMap<String, i64>, DbError> {
    let mut statement = Query::select();
    statement
        .column("host")
        .expr(Func::count(Expr::col("deleted")))
        .from("instances")
        .and_where(Expr::col("deleted").eq(false))
        .and_where(Expr::col("host").is_not_null())
        .group_by_col("host");
    let mut servers = BTreeMap::new();
    for row in conn.query_all(&statement).await? {
        servers.insert(row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    }
    Ok(servers)
}

/// In three statements, however many there are.
async fn read_all(conn: &impl ConnectionTrait) -> Result<Vec<Aggregate>, DbError> {
    let mut statement = select(TABLE, row::COLUMNS);
    let mut all = Vec::new();
    for row in conn.query_all(statement.order_by("id", Order::Asc)).await? {
        let mut aggregate =
            Aggregate { hosts: Some(Vec::new()), metadata: Some(BTreeMap::new()), ..Aggregate::default() };
        row::read_columns(&row, &mut aggregate)?;
        all.push(aggregate);
    }
    let places: HashMap<i64, usize> = all.iter().map(|aggregate: &Aggregate| aggregate.id).zip(0..).collect();
    let mut statement = select(HOSTS, &["aggregate_id", "host"]);
    for row in conn.query_all(statement.order_by("host", Order::Asc)).await? {
        if let Some(place) = places.get(&row.try_get_by_index(0)?) {
            all[*place].hosts.get_or_insert_default().push(row.try_get_by_index(1)?);
        }
    }
    for row in conn.query_all(&select(METADATA, &["aggregate_id", "key", "value"])).await? {
        if let Some(place) = places.get(&row.try_get_by_index(0)?) {
            let metadata = all[*place].metadata.get_or_insert_default();
            metadata.insert(row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        }
    }
    Ok(all)
}

async fn apply(tx: &impl ConnectionTrait, id: i64, change: &Change) -> Result<(), DbError> {
    match change {
        Change::Name(name) => {
            let mut statement = Query::update();
            statement.table(TABLE).value("name", name.as_str()).and_where(Expr::col("id").eq(id));
            tx.execute(&statement).await.map_err(|error| exists_or(error, "aggregate", name))?;
            touch(tx, id).await
        }
        Change::Metadata(metadata) => {
            delete_of(tx, METADATA, id, metadata.keys().map(String::as_str).collect()).await?;
            let set = metadata.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)));
            insert_metadata(tx, id, set).await?;
            touch(tx, id).await
        }
        Change::AddHost(host) => {
            let inserted = insert_many(tx, HOSTS, &["aggregate_id", "host"], vec![vec![id.into(), host.into()]]).await;
            inserted.map_err(|error| exists_or(error, "aggregate host", host))
        }
        Change::RemoveHost(host) => delete_of(tx, HOSTS, id, vec![host]).await,
        Change::Delete => {
            for (table, column) in [(HOSTS, "aggregate_id"), (METADATA, "aggregate_id"), (TABLE, "id")] {
                tx.execute(Query::delete().from_table(table).and_where(Expr::col(column).eq(id))).await?;
            }
            Ok(())
        }
    }
}

async fn touch(tx: &impl ConnectionTrait, id: i64) -> Result<(), DbError> {
    let mut statement = Query::update();
    statement.table(TABLE).value("updated_at", val(utcnow())).and_where(Expr::col("id").eq(id));
    tx.execute(&statement).await?;
    Ok(())
}

async fn delete_of(tx: &impl ConnectionTrait, table: &'static str, id: i64, keys: Vec<&str>) -> Result<(), DbError> {
    if keys.is_empty() {
        return Ok(());
    }
    let column = if table == HOSTS { "host" } else { "key" };
    let mut statement = Query::delete();
    statement.from_table(table).and_where(Expr::col("aggregate_id").eq(id)).and_where(Expr::col(column).is_in(keys));
    tx.execute(&statement).await?;
    Ok(())
}

async fn insert_metadata<'a>(
    tx: &impl ConnectionTrait,
    id: i64,
    metadata: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), DbError> {
    let rows = metadata.map(|(key, value)| vec![id.into(), key.into(), value.into()]).collect();
    insert_many(tx, METADATA, &["aggregate_id", "key", "value"], rows).await?;
    Ok(())
}
