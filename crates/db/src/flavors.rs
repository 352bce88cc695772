//! Flavors, their extra specs, and which projects may use the private ones.

use std::collections::{BTreeMap, HashMap};

use kilonova_core::time::utcnow;
use kilonova_objects::Flavor;
use regex::Regex;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Order, Query};
use sea_orm::{ConnectionTrait, Value as SqlValue};

use crate::sql::{SortColumn, after, chunks, columns, exists_or, insert, insert_many, limit_to, order_by, select, val};
use crate::{Db, DbError};

const TABLE: &str = "flavors";
const SPECS: &str = "flavor_extra_specs";
const PROJECTS: &str = "flavor_projects";

columns!(
    Flavor,
    [
        id,
        flavorid,
        name,
        memory_mb,
        vcpus,
        root_gb,
        ephemeral_gb,
        swap,
        rxtx_factor,
        vcpu_weight,
        disabled,
        is_public,
        description,
        created_at,
        updated_at,
    ]
);

/// The columns that may be null.
const NULLABLE: &[&str] = &["rxtx_factor", "vcpu_weight", "description", "updated_at"];

/// Which flavors to list.
#[derive(Clone, Debug, Default)]
pub struct FlavorQuery {
    /// A project: the public flavors and those that it has access to. `None`: every flavor.
    pub visible_to: Option<String>,
    /// Only public, or only private ones.
    pub is_public: Option<bool>,
    /// At least this much memory, MiB.
    pub min_ram: Option<i64>,
    /// At least this much root disk, GiB.
    pub min_disk: Option<i64>,
    /// Those with a name in which this regular expression is found.
    pub name: Option<Regex>,
    /// Also the disabled ones.
    pub include_disabled: bool,
    /// Nova's name of the column; empty is `flavorid`.
    pub sort_key: String,
    /// From the largest down.
    pub sort_desc: bool,
    /// At most this many.
    pub limit: Option<u64>,
    /// Only what comes after the flavor with this `flavorid`.
    pub marker: Option<String>,
}

/// The flavors that `query` selects. An unknown marker is [`DbError::NotFound`] with resource `marker`.
pub async fn list(db: &Db, query: &FlavorQuery) -> Result<Vec<Flavor>, DbError> {
    let sort = sort_columns(query)?;
    let mut wanted = condition(query);
    if let Some(marker) = &query.marker {
        let flavor = one(db.read(), marker, None).await.map_err(|error| match error {
            DbError::NotFound { id, .. } => DbError::not_found("marker", id),
            other => other,
        })?;
        wanted = wanted.add(after(&sort, &sort_values(&flavor, &sort)));
    }
    let mut statement = select(TABLE, COLUMNS);
    statement.cond_where(wanted);
    order_by(&mut statement, &sort);
    let Some(name) = &query.name else {
        limit_to(&mut statement, query.limit);
        return read(db.read(), statement).await;
    };
    // There are few flavors, and no two databases have the same regular expressions.
    let mut found = read(db.read(), statement).await?;
    found.retain(|flavor| flavor.name.as_deref().is_some_and(|text| name.is_match(text)));
    found.truncate(query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
    Ok(found)
}

/// The flavor that the API knows as `flavorid`; one that `visible_to` may not see is not found.
pub async fn get(db: &Db, flavorid: &str, visible_to: Option<&str>) -> Result<Flavor, DbError> {
    one(db.read(), flavorid, visible_to).await
}

/// Stores a flavor, and who has access to it when it is private. [`DbError::Exists`] names the `flavorid` or the name
/// that is taken.
pub async fn create(db: &Db, flavor: &Flavor, projects: &[String]) -> Result<Flavor, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        refuse_taken(&tx, flavor).await?;
        let flavor = Flavor { created_at: Some(utcnow()), updated_at: None, ..flavor.clone() };
        let id = insert(&tx, TABLE, &COLUMNS[1..], values(&flavor).split_off(1)).await;
        let id = id.map_err(|error| exists_or(error, "flavor", &flavor.flavorid))?;
        insert_specs(&tx, id, &flavor.extra_specs).await?;
        let access = projects.iter().map(|project| vec![id.into(), project.as_str().into()]);
        insert_many(&tx, PROJECTS, &["flavor_id", "project_id"], access.collect()).await?;
        let created = one(&tx, &flavor.flavorid, None).await?;
        tx.commit().await?;
        Ok(created)
    })
    .await
}

/// Deletes a flavor with its extra specs and access list. Instances keep their copy.
pub async fn delete(db: &Db, flavorid: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = locked(&tx, flavorid).await?;
        for (table, column) in [(SPECS, "flavor_id"), (PROJECTS, "flavor_id"), (TABLE, "id")] {
            let mut statement = Query::delete();
            tx.execute(statement.from_table(table).and_where(Expr::col(column).eq(id))).await?;
        }
        tx.commit().await
    })
    .await
}

/// Replaces the description.
pub async fn update_description(db: &Db, flavorid: &str, description: Option<&str>) -> Result<Flavor, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let id = locked(&tx, flavorid).await?;
        let mut statement = Query::update();
        statement
            .table(TABLE)
            .value("description", description.map(str::to_owned))
            .value("updated_at", val(utcnow()))
            .and_where(Expr::col("id").eq(id));
        tx.execute(&statement).await?;
        let updated = one(&tx, flavorid, None).await?;
        tx.commit().await?;
        Ok(updated)
    })
    .await
}

/// Adds extra specs; those with the same key get the new value.
pub async fn set_extra_specs(db: &Db, flavorid: &str, specs: &BTreeMap<String, String>) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let id = locked(&tx, flavorid).await?;
        for key in specs.keys() {
            remove(&tx, SPECS, id, "key", key).await?;
        }
        insert_specs(&tx, id, specs).await?;
        tx.commit().await
    })
    .await
}

/// Removes one extra spec; [`DbError::NotFound`] with resource `extra spec` if it is not there.
pub async fn delete_extra_spec(db: &Db, flavorid: &str, key: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = locked(&tx, flavorid).await?;
        if remove(&tx, SPECS, id, "key", key).await? == 0 {
            return Err(DbError::not_found("extra spec", key));
        }
        tx.commit().await
    })
    .await
}

/// The projects that have access.
pub async fn access(db: &Db, flavorid: &str) -> Result<Vec<String>, DbError> {
    let id = id_of(db.read(), flavorid).await?;
    let mut statement = select(PROJECTS, &["project_id"]);
    statement.and_where(Expr::col("flavor_id").eq(id)).order_by("project_id", Order::Asc);
    let rows = db.read().query_all(&statement).await?;
    Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
}

/// Gives `project` access; [`DbError::Exists`] with resource `flavor access` if it has it.
pub async fn add_access(db: &Db, flavorid: &str, project: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = locked(&tx, flavorid).await?;
        let row = vec![vec![id.into(), project.into()]];
        let added = insert_many(&tx, PROJECTS, &["flavor_id", "project_id"], row).await;
        added.map_err(|error| exists_or(error, "flavor access", project))?;
        tx.commit().await
    })
    .await
}

/// Takes the access of `project` away; [`DbError::NotFound`] with resource `flavor access` if it has none.
pub async fn remove_access(db: &Db, flavorid: &str, project: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = locked(&tx, flavorid).await?;
        if remove(&tx, PROJECTS, id, "project_id", project).await? == 0 {
            return Err(DbError::not_found("flavor access", project));
        }
        tx.commit().await
    })
    .await
}

/// `id` breaks ties.
fn sort_columns(query: &FlavorQuery) -> Result<Vec<SortColumn>, DbError> {
    let key = if query.sort_key.is_empty() { "flavorid" } else { &query.sort_key };
    let name = COLUMNS.iter().copied().find(|name| *name == key);
    let name = name.ok_or_else(|| DbError::corrupt("sort key", key, "there is no such column"))?;
    let nullable = NULLABLE.contains(&name);
    let sort = [
        SortColumn { name, nullable, desc: query.sort_desc },
        SortColumn { name: "id", nullable: false, desc: query.sort_desc },
    ];
    Ok(if name == "id" { sort[..1].to_vec() } else { sort.to_vec() })
}

fn sort_values(flavor: &Flavor, sort: &[SortColumn]) -> Vec<SqlValue> {
    let all = values(flavor);
    let place = |column: &SortColumn| COLUMNS.iter().position(|name| *name == column.name);
    sort.iter().filter_map(place).filter_map(|at| all.get(at).cloned()).collect()
}

fn condition(query: &FlavorQuery) -> Condition {
    Condition::all()
        .add_option((!query.include_disabled).then(|| Expr::col("disabled").eq(false)))
        .add_option(query.is_public.map(|public| Expr::col("is_public").eq(public)))
        .add_option(query.min_ram.map(|ram| Expr::col("memory_mb").gte(ram)))
        .add_option(query.min_disk.map(|disk| Expr::col("root_gb").gte(disk)))
        .add_option(query.visible_to.as_deref().map(visible_to))
}

fn visible_to(project: &str) -> Condition {
    let with_access = select(PROJECTS, &["flavor_id"]).and_where(Expr::col("project_id").eq(project)).take();
    Condition::any().add(Expr::col("is_public").eq(true)).add(Expr::col("id").in_subquery(with_access))
}

async fn one(conn: &impl ConnectionTrait, flavorid: &str, project: Option<&str>) -> Result<Flavor, DbError> {
    let wanted = Condition::all().add(Expr::col("flavorid").eq(flavorid)).add_option(project.map(visible_to));
    let statement = select(TABLE, COLUMNS).cond_where(wanted).take();
    let found = read(conn, statement).await?.pop();
    found.ok_or_else(|| DbError::not_found("flavor", flavorid))
}

async fn id_of(conn: &impl ConnectionTrait, flavorid: &str) -> Result<i64, DbError> {
    let mut statement = select(TABLE, &["id"]);
    let row = conn.query_one(statement.and_where(Expr::col("flavorid").eq(flavorid))).await?;
    Ok(row.ok_or_else(|| DbError::not_found("flavor", flavorid))?.try_get_by_index(0)?)
}

/// The id of a flavor whose extra specs, access list and row nobody else changes until the transaction ends.
async fn locked(tx: &impl ConnectionTrait, flavorid: &str) -> Result<i64, DbError> {
    let mut statement = select(TABLE, &["id"]);
    statement.and_where(Expr::col("flavorid").eq(flavorid)).lock_exclusive();
    let row = tx.query_one(&statement).await?;
    Ok(row.ok_or_else(|| DbError::not_found("flavor", flavorid))?.try_get_by_index(0)?)
}

/// Flavors with their extra specs.
async fn read(
    conn: &impl ConnectionTrait,
    statement: sea_orm::sea_query::SelectStatement,
) -> Result<Vec<Flavor>, DbError> {
    let mut flavors = Vec::new();
    for row in conn.query_all(&statement).await? {
        let mut flavor = Flavor::default();
        read_columns(&row, &mut flavor)?;
        flavors.push(flavor);
    }
    let ids: Vec<i64> = flavors.iter().map(|flavor| flavor.id).collect();
    let places: HashMap<i64, usize> = ids.iter().copied().zip(0..).collect();
    for ids in chunks(&ids) {
        let mut statement = select(SPECS, &["flavor_id", "key", "value"]);
        statement.and_where(Expr::col("flavor_id").is_in(ids.iter().copied()));
        for row in conn.query_all(&statement).await? {
            let place = places.get(&row.try_get_by_index::<i64>(0)?);
            if let Some(flavor) = place.and_then(|place| flavors.get_mut(*place)) {
                let value: Option<String> = row.try_get_by_index(2)?;
                flavor.extra_specs.insert(row.try_get_by_index(1)?, value.unwrap_or_default());
            }
        }
    }
    Ok(flavors)
}

/// Which of the two unique keys is taken, databases say each in their own words.
async fn refuse_taken(tx: &impl ConnectionTrait, flavor: &Flavor) -> Result<(), DbError> {
    let keys = [("flavorid", Some(&flavor.flavorid)), ("name", flavor.name.as_ref())];
    for (column, value) in keys {
        let Some(value) = value else { continue };
        let mut statement = select(TABLE, &["id"]);
        if tx.query_one(statement.and_where(Expr::col(column).eq(value))).await?.is_some() {
            return Err(DbError::exists("flavor", value));
        }
    }
    Ok(())
}

async fn insert_specs(
    tx: &impl ConnectionTrait,
    flavor_id: i64,
    specs: &BTreeMap<String, String>,
) -> Result<(), DbError> {
    let row = |(key, value): (&String, &String)| -> Vec<SqlValue> {
        vec![flavor_id.into(), key.as_str().into(), value.as_str().into()]
    };
    let rows = specs.iter().map(row).collect();
    insert_many(tx, SPECS, &["flavor_id", "key", "value"], rows).await?;
    Ok(())
}

/// Removes one row of a flavor and says how many there were.
async fn remove(
    tx: &impl ConnectionTrait,
    table: &'static str,
    flavor_id: i64,
    column: &'static str,
    value: &str,
) -> Result<u64, DbError> {
    let mut statement = Query::delete();
    statement.from_table(table).and_where(Expr::col("flavor_id").eq(flavor_id)).and_where(Expr::col(column).eq(value));
    Ok(tx.execute(&statement).await?.rows_affected())
}
