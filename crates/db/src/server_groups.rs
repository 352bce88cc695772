//! Server groups: which servers want to be together, or apart.

use std::collections::{BTreeMap, HashMap};

use kilonova_core::time::utcnow;
use kilonova_objects::InstanceGroup;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Func, JoinType, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use crate::sql::{Cell, chunks, count, insert, insert_many, select};
use crate::{Db, DbError, Failure, instances};

const TABLE: &str = "instance_groups";
const MEMBERS: &str = "instance_group_members";
const COLUMNS: &[&str] = &["id", "uuid", "name", "project_id", "user_id", "policy", "rules", "created_at"];

/// How many groups there may be; below 0 is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the project.
    pub project: i64,
    /// Of the user in the project.
    pub user: i64,
}

impl Limits {
    /// No limit at all.
    pub const UNLIMITED: Self = Self { project: -1, user: -1 };
}

/// Why no group was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The project, or the user, would have more groups than allowed.
    #[error("over quota: server_groups")]
    OverQuota,
    /// The database refused or failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Failure for CreateError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Db(error) => Some(error),
            Self::OverQuota => None,
        }
    }
}

/// Stores a group without members; what is read of `group` is its uuid, name, owner, policy and rules.
pub async fn create(db: &Db, group: &InstanceGroup, limits: Limits) -> Result<InstanceGroup, CreateError> {
    let policy = group.policy.clone().unwrap_or_default();
    let mut group = InstanceGroup {
        policies: Some(vec![policy]),
        members: Some(Vec::new()),
        hosts: Some(Vec::new()),
        created_at: Some(utcnow()),
        ..group.clone()
    };
    group.id = db.retry(|| create_once(db, &group, limits)).await?;
    Ok(group)
}

async fn create_once(db: &Db, group: &InstanceGroup, limits: Limits) -> Result<i64, CreateError> {
    let owner = |owner: &Option<String>| owner.clone().unwrap_or_default();
    let (project_id, user_id) = (owner(&group.project_id), owner(&group.user_id));
    let tx = db.begin().await?;
    if limits != Limits::UNLIMITED {
        if db.has_other_writers() {
            instances::take_turn(&tx, &project_id).await?;
        }
        for (limit, user_id) in [(limits.project, None), (limits.user, Some(user_id.as_str()))] {
            if limit >= 0 && count_groups(&tx, &project_id, user_id).await? >= limit {
                return Err(CreateError::OverQuota);
            }
        }
    }
    let values = vec![
        group.uuid.value(),
        owner(&group.name).into(),
        project_id.into(),
        user_id.into(),
        owner(&group.policy).into(),
        serde_json::json!(group._rules).to_string().into(),
        group.created_at.value(),
        0_i64.into(),
    ];
    let columns = [&COLUMNS[1..], &["turns"]].concat();
    let id = insert(&tx, TABLE, &columns, values).await.map_err(DbError::from)?;
    tx.commit().await?;
    Ok(id)
}

/// How many groups a project, or one of its users, has.
pub async fn usage(db: &Db, project_id: &str, user_id: Option<&str>) -> Result<i64, DbError> {
    count_groups(db.read(), project_id, user_id).await
}

async fn count_groups(conn: &impl ConnectionTrait, project_id: &str, user_id: Option<&str>) -> Result<i64, DbError> {
    let mut statement = Query::select();
    let of_user = user_id.map(|user_id| Expr::col("user_id").eq(user_id));
    statement
        .expr(Func::count(Expr::col("project_id")))
        .from(TABLE)
        .cond_where(Condition::all().add(Expr::col("project_id").eq(project_id)).add_option(of_user));
    Ok(count(conn, &statement).await?)
}

/// A group with its members; one of another project than `visible_to` is not found.
pub async fn get(db: &Db, uuid: Uuid, visible_to: Option<&str>) -> Result<InstanceGroup, DbError> {
    find(db, uuid, visible_to, &[]).await
}

/// A group as it is to a scheduler that places some of its members: their hosts do not count.
pub async fn get_for_scheduling(db: &Db, uuid: Uuid, placed: &[Uuid]) -> Result<InstanceGroup, DbError> {
    find(db, uuid, None, placed).await
}

async fn find(db: &Db, uuid: Uuid, visible_to: Option<&str>, placed: &[Uuid]) -> Result<InstanceGroup, DbError> {
    let mut statement = groups(visible_to);
    statement.and_where(Expr::col("uuid").eq(uuid.value()));
    let found = db.read().query_one(&statement).await?;
    let mut found = vec![read(&found.ok_or_else(|| DbError::not_found("server group", uuid))?)?];
    read_members(db, &mut found, placed).await?;
    found.pop().ok_or_else(|| DbError::not_found("server group", uuid))
}

/// The groups of a project, or of all, with their members, in the order in which they were made: at most `limit` after
/// the first `offset`.
pub async fn list(db: &Db, project_id: Option<&str>, offset: u64, limit: u64) -> Result<Vec<InstanceGroup>, DbError> {
    // No database counts further, and none has so many.
    if i64::try_from(offset).is_err() {
        return Ok(Vec::new());
    }
    let mut statement = groups(project_id);
    statement.order_by("id", Order::Asc).limit(Ord::min(limit, i64::MAX.unsigned_abs())).offset(offset);
    let rows = db.read().query_all(&statement).await?;
    let mut found: Vec<InstanceGroup> = rows.iter().map(read).collect::<Result<_, _>>()?;
    read_members(db, &mut found, &[]).await?;
    Ok(found)
}

/// The group that a server is in, if `visible_to` may see it.
pub async fn of_instance(db: &Db, instance_uuid: Uuid, visible_to: Option<&str>) -> Result<Option<Uuid>, DbError> {
    let mut statement = Query::select();
    let visible = visible_to.map(|project_id| Expr::col((TABLE, "project_id")).eq(project_id));
    statement
        .column((TABLE, "uuid"))
        .from(TABLE)
        .join(JoinType::InnerJoin, MEMBERS, Expr::col((MEMBERS, "group_id")).equals((TABLE, "id")))
        .cond_where(
            Condition::all().add(Expr::col((MEMBERS, "instance_uuid")).eq(instance_uuid.value())).add_option(visible),
        );
    let row = db.read().query_one(&statement).await?;
    Ok(row.map(|row| Uuid::read(&row, 0)).transpose()?)
}

/// Deletes a group. Its servers stay where they are.
pub async fn delete(db: &Db, uuid: Uuid) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = take_turn(&tx, uuid).await?;
        tx.execute(Query::delete().from_table(MEMBERS).and_where(Expr::col("group_id").eq(id))).await?;
        tx.execute(Query::delete().from_table(TABLE).and_where(Expr::col("id").eq(id))).await?;
        tx.commit().await
    })
    .await
}

/// Keeps a group until the transaction ends and returns its row id. The row is changed because a cluster finds conflicts
/// by changes.
pub(crate) async fn take_turn(tx: &impl ConnectionTrait, uuid: Uuid) -> Result<i64, DbError> {
    let mut statement = Query::update();
    statement.table(TABLE).value("turns", Expr::col("turns").add(1_i64)).and_where(Expr::col("uuid").eq(uuid.value()));
    if tx.execute(&statement).await?.rows_affected() == 0 {
        return Err(DbError::not_found("server group", uuid));
    }
    let mut statement = select(TABLE, &["id"]);
    let row = tx.query_one(statement.and_where(Expr::col("uuid").eq(uuid.value()))).await?;
    Ok(row.ok_or_else(|| DbError::not_found("server group", uuid))?.try_get_by_index(0)?)
}

/// How many servers of a user are in a group.
pub(crate) async fn count_members(tx: &impl ConnectionTrait, id: i64, user_id: &str) -> Result<i64, DbError> {
    let mut statement = living(&[id]);
    statement
        .clear_selects()
        .expr(Func::count(Expr::col((MEMBERS, "instance_uuid"))))
        .and_where(Expr::col(("instances", "user_id")).eq(user_id));
    Ok(count(tx, &statement).await?)
}

/// Servers join a group.
pub(crate) async fn add_members(tx: &impl ConnectionTrait, id: i64, servers: &[Uuid]) -> Result<(), DbError> {
    let row = |uuid: &Uuid| -> Vec<Value> { vec![uuid.value(), id.into()] };
    insert_many(tx, MEMBERS, &["instance_uuid", "group_id"], servers.iter().map(row).collect()).await?;
    Ok(())
}

fn groups(project_id: Option<&str>) -> SelectStatement {
    let of_project = project_id.map(|project_id| Expr::col("project_id").eq(project_id));
    select(TABLE, COLUMNS).cond_where(Condition::all().add_option(of_project)).take()
}

/// The members of these groups that are not deleted: group, server, host.
fn living(groups: &[i64]) -> SelectStatement {
    Query::select()
        .column((MEMBERS, "group_id"))
        .column((MEMBERS, "instance_uuid"))
        .column(("instances", "host"))
        .from(MEMBERS)
        .join(JoinType::InnerJoin, "instances", Expr::col(("instances", "uuid")).equals((MEMBERS, "instance_uuid")))
        .and_where(Expr::col((MEMBERS, "group_id")).is_in(groups.iter().copied()))
        .and_where(Expr::col(("instances", "deleted")).eq(false))
        .take()
}

/// In one statement for all groups. `placed` are members without a host.
async fn read_members(db: &Db, groups: &mut [InstanceGroup], placed: &[Uuid]) -> Result<(), DbError> {
    let places: HashMap<i64, usize> = groups.iter().map(|group| group.id).zip(0..).collect();
    let ids: Vec<i64> = groups.iter().map(|group| group.id).collect();
    for ids in chunks(&ids) {
        let mut statement = living(ids);
        statement.order_by(("instances", "id"), Order::Asc);
        for row in db.read().query_all(&statement).await? {
            let Some(place) = places.get(&row.try_get_by_index(0)?) else { continue };
            let group = &mut groups[*place];
            let member = Uuid::read(&row, 1)?;
            group.members.get_or_insert_default().push(member.to_string());
            let host: Option<String> = row.try_get_by_index(2)?;
            let hosts = group.hosts.get_or_insert_default();
            let counts = |host: &String| !host.is_empty() && !hosts.contains(host) && !placed.contains(&member);
            if let Some(host) = host.filter(counts) {
                hosts.push(host);
            }
        }
    }
    Ok(())
}

fn read(row: &QueryResult) -> Result<InstanceGroup, DbError> {
    let uuid = Uuid::read(row, 1)?;
    let policy: String = row.try_get_by_index(5)?;
    let rules: String = row.try_get_by_index(6)?;
    let rules: BTreeMap<String, String> =
        serde_json::from_str(&rules).map_err(|error| DbError::corrupt("server group", uuid, error))?;
    Ok(InstanceGroup {
        id: row.try_get_by_index(0)?,
        uuid,
        name: row.try_get_by_index(2)?,
        project_id: row.try_get_by_index(3)?,
        user_id: row.try_get_by_index(4)?,
        policies: Some(vec![policy.clone()]),
        policy: Some(policy),
        _rules: rules,
        members: Some(Vec::new()),
        hosts: Some(Vec::new()),
        created_at: Cell::read(row, 7)?,
        ..InstanceGroup::default()
    })
}
