//! Creating instances, all or none, within a quota.

use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, VmState};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, OnConflict, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Value as SqlValue};
use uuid::Uuid;

use super::row::{TABLE, write};
use super::{Create, CreateError, JoinGroup, NewInstance, QuotaLimits, Usage, metadata};
use crate::sql::{Cell as _, exists_or, insert_many, sum};
use crate::workflows::{FIRST_BUILD_STEP, NewWorkflow, WorkflowKind};
use crate::{Db, DbError, actions, block_devices, request_specs, server_groups, workflows};

/// Rows, metadata, block devices, request specs, `create` actions and build workflows of all servers of a request: all
/// or nothing. The instances come back as they are stored, in the order of the request.
pub async fn create(db: &Db, mut create: Create) -> Result<Vec<Instance>, CreateError> {
    for new in &mut create.new {
        new.instance.created_at = Some(utcnow());
        new.instance.updated_at = None;
        new.instance.deleted_at = None;
        new.instance.deleted = false;
    }
    db.retry(|| create_once(db, &create)).await
}

async fn create_once(db: &Db, create: &Create) -> Result<Vec<Instance>, CreateError> {
    let tx = db.begin().await?;
    if db.has_other_writers() && create.quota != QuotaLimits::UNLIMITED {
        take_turn(&tx, &create.project_id).await?;
    }
    check_quota(&tx, create).await?;
    if let Some(group) = create.group {
        join(&tx, create, group).await?;
    }
    let instances = insert(&tx, create).await?;
    tx.commit().await?;
    Ok(instances)
}

/// What the instances of a project (of one of its users) use that are not deleted, not even softly; those in error count.
pub async fn usage(db: &Db, project_id: &str, user_id: Option<&str>) -> Result<Usage, DbError> {
    used(db.read(), project_id, user_id).await
}

/// Makes all servers members of a group, which is kept until the transaction ends: who joins it stands in a queue.
async fn join(tx: &impl ConnectionTrait, create: &Create, group: JoinGroup) -> Result<(), CreateError> {
    let id = server_groups::take_turn(tx, group.uuid).await?;
    let members = server_groups::count_members(tx, id, &create.user_id).await?;
    let wanted = i64::try_from(create.new.len()).unwrap_or(i64::MAX);
    if group.max_members >= 0 && members.saturating_add(wanted) > group.max_members {
        return Err(CreateError::GroupIsFull);
    }
    let uuids: Vec<Uuid> = create.new.iter().map(|new| new.instance.uuid).collect();
    Ok(server_groups::add_members(tx, id, &uuids).await?)
}

/// Locks the project's row, or makes it, until the transaction ends: creates of a project stand in a queue, and each counts
/// what the one before it made. The row is changed because a cluster (Galera) finds conflicts by changes, not by locks.
pub(crate) async fn take_turn(tx: &impl ConnectionTrait, project_id: &str) -> Result<(), DbError> {
    let mut statement = Query::insert();
    let turns = Expr::col(("project_locks", "turns")).add(1_i64);
    statement
        .into_table("project_locks")
        .columns(["project_id", "turns"])
        .values_panic([project_id.into(), 1_i64.into()])
        .on_conflict(OnConflict::column("project_id").value("turns", turns).to_owned());
    tx.execute(&statement).await?;
    Ok(())
}

/// Nobody else creates in the project between this and the commit: SQLite has one writer, and the others their turn.
async fn check_quota(tx: &impl ConnectionTrait, create: &Create) -> Result<(), CreateError> {
    let limits = create.quota;
    let used = used(tx, &create.project_id, None).await?;
    let overs = over(limits, used, wanted(&create.new));
    if overs.is_empty() { Ok(()) } else { Err(CreateError::OverQuota { overs, used, limits }) }
}

fn wanted(new: &[NewInstance]) -> Usage {
    new.iter().map(|new| &new.instance).fold(Usage::default(), |sum, instance| Usage {
        instances: sum.instances + 1,
        cores: sum.cores + instance.vcpus.unwrap_or(0),
        ram: sum.ram + instance.memory_mb.unwrap_or(0),
    })
}

/// Which resources would be over their limit.
fn over(limits: QuotaLimits, used: Usage, wanted: Usage) -> Vec<&'static str> {
    let resources = [
        ("instances", limits.instances, used.instances, wanted.instances),
        ("cores", limits.cores, used.cores, wanted.cores),
        ("ram", limits.ram, used.ram, wanted.ram),
    ];
    let is_over = |(_, limit, used, wanted): &(_, i64, i64, i64)| *limit >= 0 && used.saturating_add(*wanted) > *limit;
    resources.into_iter().filter(is_over).map(|(name, ..)| name).collect()
}

async fn used(conn: &impl ConnectionTrait, project_id: &str, user_id: Option<&str>) -> Result<Usage, DbError> {
    let statement = usage_statement(conn.get_database_backend(), project_id, user_id);
    let row = conn.query_one(&statement).await?;
    Ok(row.as_ref().map(read_usage).transpose()?.unwrap_or_default())
}

fn usage_statement(backend: DbBackend, project_id: &str, user_id: Option<&str>) -> SelectStatement {
    let mut statement = Query::select();
    statement
        .expr(Func::count(Expr::col("hidden")))
        .expr(sum(backend, "vcpus"))
        .expr(sum(backend, "memory_mb"))
        .from(TABLE)
        .and_where(Expr::col("project_id").eq(project_id))
        .and_where(Expr::col("deleted").eq(false))
        .and_where(Expr::col("vm_state").ne(VmState::SoftDeleted.as_str()))
        .and_where(Expr::col("hidden").eq(false));
    if let Some(user_id) = user_id {
        statement.and_where(Expr::col("user_id").eq(user_id));
    }
    statement
}

fn read_usage(row: &QueryResult) -> Result<Usage, DbErr> {
    Ok(Usage { instances: i64::read(row, 0)?, cores: i64::read(row, 1)?, ram: i64::read(row, 2)? })
}

async fn insert(tx: &impl ConnectionTrait, create: &Create) -> Result<Vec<Instance>, DbError> {
    let Create { new, request_id, user_id, project_id, lease_owner, lease, .. } = create;
    insert_rows(tx, new).await?;
    let uuids: Vec<Uuid> = new.iter().map(|new| new.instance.uuid).collect();
    let all_metadata: Vec<_> = new.iter().map(|new| (new.instance.uuid, &new.instance.metadata)).collect();
    metadata::insert(tx, &all_metadata).await?;
    let mut disks = Vec::new();
    for new in new {
        disks.extend(new.block_devices.iter().map(|disk| (new.instance.uuid, disk)));
    }
    block_devices::insert(tx, &disks).await?;
    let specs: Vec<_> = new.iter().map(|new| (new.instance.uuid, &new.request_spec)).collect();
    request_specs::insert(tx, &specs).await?;
    let actor = actions::Actor { action: "create", request_id, user_id, project_id };
    actions::insert(tx, &uuids, actor).await?;
    let build = |new: &NewInstance| NewWorkflow {
        kind: WorkflowKind::Build,
        instance_uuid: new.instance.uuid,
        step: FIRST_BUILD_STEP.to_owned(),
        payload: new.workflow_payload.clone(),
        lease_owner: lease_owner.clone(),
        lease: *lease,
    };
    workflows::insert(tx, new.iter().map(build).collect()).await?;
    super::stored(tx, &uuids).await
}

async fn insert_rows(tx: &impl ConnectionTrait, new: &[NewInstance]) -> Result<(), DbError> {
    let mut columns = Vec::new();
    let mut rows: Vec<Vec<SqlValue>> = Vec::with_capacity(new.len());
    for new in new {
        let (names, values) = write(&new.instance)?.into_iter().unzip();
        columns = names;
        rows.push(values);
    }
    let Some(first) = new.first().map(|new| new.instance.uuid) else { return Ok(()) };
    let inserted = insert_many(tx, TABLE, &columns, rows).await;
    inserted.map_err(|error| exists_or(error, "instance", first))?;
    Ok(())
}
