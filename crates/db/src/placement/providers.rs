//! Resource providers: trees of them, with traits and aggregates.
//!
//! A provider names its parent and its root; a root's root is itself.

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::{uuid_at, uuid_of};
use crate::DbError;
use crate::sql::{lock_rows, select, sum};

/// A resource provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceProvider {
    /// Row id.
    pub id: i64,
    /// Of the compute node that it stands for.
    pub uuid: Uuid,
    /// Unique.
    pub name: String,
    /// What clients compare: rises with changes of its inventory and its traits and with claims.
    pub generation: i64,
    /// Rises with every change of the provider, what it has and what is taken of it.
    pub revision: i64,
    /// `None`: it is a root.
    pub parent_provider_uuid: Option<Uuid>,
    /// The top of its tree.
    pub root_provider_uuid: Uuid,
    /// Sorted, without repeats.
    pub traits: Vec<String>,
    /// Sorted, without repeats.
    pub aggregates: Vec<Uuid>,
    /// Of the last change.
    pub updated_at: DateTime<Utc>,
}

/// A provider to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewProvider<'a> {
    /// Unique.
    pub uuid: Uuid,
    /// Unique.
    pub name: &'a str,
    /// `None`: it is a root.
    pub parent_provider_uuid: Option<Uuid>,
    /// The top of its tree.
    pub root_provider_uuid: Uuid,
}

/// Which providers are meant; no field is all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProviderFilter<'a> {
    /// The one with this uuid.
    pub uuid: Option<Uuid>,
    /// The one of this name.
    pub name: Option<&'a str>,
    /// Those of the tree with this root.
    pub root: Option<Uuid>,
    /// Those with these row ids.
    pub ids: Option<&'a [i64]>,
}

/// Differs after every committed change of any provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    count: i64,
    newest_id: i64,
    sum_of_revisions: i64,
}

const RESOURCE: &str = "resource provider";
const TABLE: &str = "resource_providers";
/// Between the items of a list in a column; trait names are `[A-Z0-9_]+`.
const SEPARATOR: &str = ",";
const COLUMNS: [&str; 10] = [
    "id",
    "uuid",
    "name",
    "generation",
    "revision",
    "parent_provider_uuid",
    "root_provider_uuid",
    "traits",
    "aggregates",
    "updated_at",
];

/// The providers, by row id.
pub async fn providers<C: ConnectionTrait>(
    conn: &C,
    filter: &ProviderFilter<'_>,
) -> Result<Vec<ResourceProvider>, DbError> {
    let mut select = select(TABLE, &COLUMNS);
    if let Some(uuid) = filter.uuid {
        select.and_where(Expr::col("uuid").eq(uuid.to_string()));
    }
    if let Some(name) = filter.name {
        select.and_where(Expr::col("name").eq(name));
    }
    if let Some(root) = filter.root {
        select.and_where(Expr::col("root_provider_uuid").eq(root.to_string()));
    }
    if let Some(ids) = filter.ids {
        select.and_where(Expr::col("id").is_in(ids.iter().copied()));
    }
    fetch(conn, &mut select).await
}

/// One provider.
pub async fn provider<C: ConnectionTrait>(conn: &C, uuid: Uuid) -> Result<ResourceProvider, DbError> {
    let filter = ProviderFilter { uuid: Some(uuid), ..ProviderFilter::default() };
    let found = providers(conn, &filter).await?.pop();
    found.ok_or_else(|| DbError::not_found(RESOURCE, uuid))
}

/// The different lists of traits that providers have; there are fewer of them than providers.
pub async fn trait_sets<C: ConnectionTrait>(conn: &C) -> Result<Vec<Vec<String>>, DbError> {
    let select = Query::select().distinct().column("traits").from(TABLE).take();
    let rows = conn.query_all(&select).await?;
    rows.iter().map(|row| Ok(items(&row.try_get_by_index::<String>(0)?))).collect()
}

/// Says whether anything changed since the last fingerprint was taken: revisions only rise, ids are not used again.
pub async fn fingerprint<C: ConnectionTrait>(conn: &C) -> Result<Fingerprint, DbError> {
    let select = Query::select()
        .expr(Expr::col("id").count())
        .expr(Expr::col("id").max())
        .expr(sum(conn.get_database_backend(), "revision"))
        .from(TABLE)
        .take();
    let Some(row) = conn.query_one(&select).await? else {
        return Ok(Fingerprint::default());
    };
    let newest_id: Option<i64> = row.try_get_by_index(1)?;
    Ok(Fingerprint {
        count: row.try_get_by_index(0)?,
        newest_id: newest_id.unwrap_or_default(),
        sum_of_revisions: row.try_get_by_index(2)?,
    })
}

/// Row id and revision of every provider.
pub async fn revisions<C: ConnectionTrait>(conn: &C) -> Result<Vec<(i64, i64)>, DbError> {
    let rows = conn.query_all(&select(TABLE, &["id", "revision"])).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Makes a provider without inventory, traits and aggregates. [`DbError::Exists`], whose id is `name: …` or `uuid: …`,
/// when there is one, [`DbError::Overtaken`] when it is made at the same time.
pub async fn create_provider<C: ConnectionTrait>(tx: &C, new: &NewProvider<'_>) -> Result<(), DbError> {
    let NewProvider { uuid, name, .. } = *new;
    let known = select(TABLE, &["uuid"])
        .and_where(Expr::col("uuid").eq(uuid.to_string()).or(Expr::col("name").eq(name)))
        .take();
    if let Some(row) = tx.query_all(&known).await?.first() {
        let is_same = uuid_at(row, 0, RESOURCE)? == uuid;
        let taken = if is_same { format!("uuid: {uuid}") } else { format!("name: {name}") };
        return Err(DbError::exists(RESOURCE, taken));
    }
    let now = utcnow();
    let mut insert = Query::insert();
    insert
        .into_table(TABLE)
        .columns([
            "uuid",
            "name",
            "generation",
            "revision",
            "parent_provider_uuid",
            "root_provider_uuid",
            "traits",
            "aggregates",
            "created_at",
            "updated_at",
        ])
        .values_panic([
            uuid.to_string().into(),
            name.into(),
            0i64.into(),
            0i64.into(),
            new.parent_provider_uuid.map(|parent| parent.to_string()).into(),
            new.root_provider_uuid.to_string().into(),
            "".into(),
            "".into(),
            now.into(),
            now.into(),
        ]);
    match tx.execute(&insert).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::Overtaken),
        Err(error) => Err(error.into()),
    }
}

/// Takes the turn at `uuids` and gives the rows as they are now, by row id. Those that do not exist are left out.
/// Everything that a transaction decides by is read after this.
pub async fn lock_providers<C: ConnectionTrait>(tx: &C, uuids: &[Uuid]) -> Result<Vec<ResourceProvider>, DbError> {
    if uuids.is_empty() {
        return Ok(Vec::new());
    }
    lock_rows(tx, TABLE, "uuid", values(uuids)).await?;
    let mut select = select(TABLE, &COLUMNS);
    select.and_where(Expr::col("uuid").is_in(uuids.iter().map(Uuid::to_string)));
    fetch(tx, &mut select).await
}

/// Takes the turn at whole trees, named by their roots, and gives their providers by row id.
pub async fn lock_trees<C: ConnectionTrait>(tx: &C, roots: &[Uuid]) -> Result<Vec<ResourceProvider>, DbError> {
    lock_rows(tx, TABLE, "root_provider_uuid", values(roots)).await?;
    let mut select = select(TABLE, &COLUMNS);
    select.and_where(Expr::col("root_provider_uuid").is_in(roots.iter().map(Uuid::to_string)));
    fetch(tx, &mut select).await
}

/// Raises the generations of `ids` by `steps`, and their revisions.
pub async fn raise_generations<C: ConnectionTrait>(tx: &C, ids: &[i64], steps: i64) -> Result<(), DbError> {
    raise(tx, ids, steps).await
}

/// Raises the revisions of `ids`: something of them changed that their generations do not tell.
pub async fn raise_revisions<C: ConnectionTrait>(tx: &C, ids: &[i64]) -> Result<(), DbError> {
    raise(tx, ids, 0).await
}

async fn raise<C: ConnectionTrait>(tx: &C, ids: &[i64], steps: i64) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut update = Query::update();
    update
        .table(TABLE)
        .value("revision", Expr::col("revision").add(1i64))
        .value("updated_at", utcnow())
        .and_where(Expr::col("id").is_in(ids.iter().copied()));
    if steps > 0 {
        update.value("generation", Expr::col("generation").add(steps));
    }
    tx.execute(&update).await?;
    Ok(())
}

/// Writes name, place in the tree, traits and aggregates of a provider. [`DbError::Exists`] when another provider has
/// the name.
pub async fn update_provider<C: ConnectionTrait>(tx: &C, provider: &ResourceProvider) -> Result<(), DbError> {
    let aggregates: Vec<String> = provider.aggregates.iter().map(Uuid::to_string).collect();
    let mut update = Query::update();
    update
        .table(TABLE)
        .value("name", provider.name.as_str())
        .value("parent_provider_uuid", provider.parent_provider_uuid.map(|parent| parent.to_string()))
        .value("root_provider_uuid", provider.root_provider_uuid.to_string())
        .value("traits", provider.traits.join(SEPARATOR))
        .value("aggregates", aggregates.join(SEPARATOR))
        .and_where(Expr::col("id").eq(provider.id));
    match tx.execute(&update).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::exists(RESOURCE, &provider.name)),
        Err(error) => Err(error.into()),
    }
}

/// Gives the providers with row ids `ids` another root.
pub async fn set_root<C: ConnectionTrait>(tx: &C, ids: &[i64], root: Uuid) -> Result<(), DbError> {
    let mut update = Query::update();
    update
        .table(TABLE)
        .value("root_provider_uuid", root.to_string())
        .and_where(Expr::col("id").is_in(ids.iter().copied()));
    tx.execute(&update).await?;
    Ok(())
}

/// Deletes a provider and its inventory. The caller has seen that nothing is allocated on it and none is below it.
pub async fn delete_provider<C: ConnectionTrait>(tx: &C, id: i64) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete.from_table(TABLE).and_where(Expr::col("id").eq(id));
    tx.execute(&delete).await?;
    Ok(())
}

fn values(uuids: &[Uuid]) -> Vec<Value> {
    uuids.iter().map(|uuid| uuid.to_string().into()).collect()
}

async fn fetch<C: ConnectionTrait>(conn: &C, select: &mut SelectStatement) -> Result<Vec<ResourceProvider>, DbError> {
    select.order_by("id", Order::Asc);
    conn.query_all(&*select).await?.iter().map(provider_row).collect()
}

fn items(column: &str) -> Vec<String> {
    column.split(SEPARATOR).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn provider_row(row: &QueryResult) -> Result<ResourceProvider, DbError> {
    let parent: Option<String> = row.try_get_by_index(5)?;
    let traits: String = row.try_get_by_index(7)?;
    let aggregates: Option<String> = row.try_get_by_index(8)?;
    Ok(ResourceProvider {
        id: row.try_get_by_index(0)?,
        uuid: uuid_at(row, 1, RESOURCE)?,
        name: row.try_get_by_index(2)?,
        generation: row.try_get_by_index(3)?,
        revision: row.try_get_by_index(4)?,
        parent_provider_uuid: parent.map(|parent| uuid_of(&parent, RESOURCE)).transpose()?,
        root_provider_uuid: uuid_at(row, 6, RESOURCE)?,
        traits: items(&traits),
        aggregates: items(&aggregates.unwrap_or_default())
            .iter()
            .map(|aggregate| uuid_of(aggregate, "aggregate"))
            .collect::<Result<_, _>>()?,
        updated_at: row.try_get_by_index(9)?,
    })
}
