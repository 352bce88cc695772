//! Trunks and the ports that they carry.

use std::collections::HashMap;

use kilonova_core::time::utcnow;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _,
};
use uuid::Uuid;

use super::IDS_PER_QUERY;
use super::entity::trunk::{Column, Entity, Model};
use super::entity::{port, trunk_subport};
use crate::DbError;

/// A trunk with what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// The trunk itself.
    pub row: Model,
    /// By type and tag.
    pub subports: Vec<trunk_subport::Model>,
}

/// Whom a port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// This trunk is reached through the port.
    Parent(Uuid),
    /// This trunk carries the port.
    Subport(Uuid),
}

/// Where subports are when their parent is there.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The host; empty for none.
    pub host: &'a str,
    /// The status of the port.
    pub status: &'a str,
    /// Whose the port is.
    pub device_owner: &'a str,
}

/// Adds a trunk without subports. [`DbError::Exists`] if the port is a parent already.
pub async fn insert(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    let inserted = Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await;
    inserted.map(drop).map_err(|error| taken(error, "trunk of port", &row.port_id.to_string()))
}

/// Adds a subport. [`DbError::Exists`] if the port is one already, or its tag is taken in the trunk.
pub async fn insert_subport(connection: &impl ConnectionTrait, row: &trunk_subport::Model) -> Result<(), DbError> {
    let inserted =
        trunk_subport::Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await;
    inserted.map(drop).map_err(|error| taken(error, "subport", &row.port_id.to_string()))
}

fn taken(error: sea_orm::DbErr, resource: &'static str, id: &str) -> DbError {
    if DbError::is_unique_violation(&error) { DbError::exists(resource, id) } else { error.into() }
}

/// One trunk, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Trunk>, DbError> {
    let rows = Entity::find_by_id(id).all(connection).await?;
    Ok(complete(connection, rows).await?.pop())
}

/// All trunks, or those of one project; oldest first.
pub async fn list(connection: &impl ConnectionTrait, project_id: Option<&str>) -> Result<Vec<Trunk>, DbError> {
    let mut query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    if let Some(project_id) = project_id {
        query = query.filter(Column::ProjectId.eq(project_id));
    }
    complete(connection, query.all(connection).await?).await
}

/// The trunks that are reached through these ports.
pub async fn list_by_parents(connection: &impl ConnectionTrait, port_ids: &[Uuid]) -> Result<Vec<Trunk>, DbError> {
    let mut rows = Vec::new();
    for chunk in port_ids.chunks(IDS_PER_QUERY) {
        rows.extend(Entity::find().filter(Column::PortId.is_in(chunk.iter().copied())).all(connection).await?);
    }
    complete(connection, rows).await
}

async fn complete(connection: &impl ConnectionTrait, rows: Vec<Model>) -> Result<Vec<Trunk>, DbError> {
    let mut subports: HashMap<Uuid, Vec<trunk_subport::Model>> = HashMap::new();
    for chunk in rows.chunks(IDS_PER_QUERY) {
        let query = trunk_subport::Entity::find()
            .filter(trunk_subport::Column::TrunkId.is_in(chunk.iter().map(|row| row.id)))
            .order_by_asc(trunk_subport::Column::SegmentationType)
            .order_by_asc(trunk_subport::Column::SegmentationId);
        for subport in query.all(connection).await? {
            subports.entry(subport.trunk_id).or_default().push(subport);
        }
    }
    Ok(rows.into_iter().map(|row| Trunk { subports: subports.remove(&row.id).unwrap_or_default(), row }).collect())
}

/// What these ports are in trunks; those that are in none are absent.
pub async fn memberships(
    connection: &impl ConnectionTrait,
    port_ids: &[Uuid],
) -> Result<HashMap<Uuid, Membership>, DbError> {
    let mut memberships = HashMap::new();
    for chunk in port_ids.chunks(IDS_PER_QUERY) {
        let parents = Entity::find().filter(Column::PortId.is_in(chunk.iter().copied()));
        for row in parents.all(connection).await? {
            memberships.insert(row.port_id, Membership::Parent(row.id));
        }
        let subports = trunk_subport::Entity::find();
        for row in subports.filter(trunk_subport::Column::PortId.is_in(chunk.iter().copied())).all(connection).await? {
            memberships.insert(row.port_id, Membership::Subport(row.trunk_id));
        }
    }
    Ok(memberships)
}

/// Writes all columns of the trunk itself.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    row.clone().into_active_model().reset_all().update(connection).await?;
    Ok(())
}

/// Has the subports of every trunk that is reached through one of these ports follow it to a host, or away from one.
pub async fn follow(connection: &impl ConnectionTrait, parents: &[Uuid], binding: Binding<'_>) -> Result<(), DbError> {
    let trunks = Query::select()
        .column(Column::Id)
        .from(Entity)
        .and_where(Expr::col(Column::PortId).is_in(parents.iter().copied()))
        .to_owned();
    let subports = Query::select()
        .column(trunk_subport::Column::PortId)
        .from(trunk_subport::Entity)
        .and_where(Expr::col(trunk_subport::Column::TrunkId).in_subquery(trunks))
        .to_owned();
    bind(connection, port::Column::Id.in_subquery(subports), binding).await
}

/// Binds ports, or frees them.
pub async fn bind_subports(
    connection: &impl ConnectionTrait,
    port_ids: &[Uuid],
    binding: Binding<'_>,
) -> Result<(), DbError> {
    bind(connection, port::Column::Id.is_in(port_ids.iter().copied()), binding).await
}

async fn bind(
    connection: &impl ConnectionTrait,
    which: impl sea_orm::sea_query::IntoCondition,
    binding: Binding<'_>,
) -> Result<(), DbError> {
    port::Entity::update_many()
        .col_expr(port::Column::BindingHostId, Expr::value(binding.host))
        .col_expr(port::Column::Status, Expr::value(binding.status))
        .col_expr(port::Column::DeviceOwner, Expr::value(binding.device_owner))
        .col_expr(port::Column::RevisionNumber, Expr::col(port::Column::RevisionNumber).add(1))
        .col_expr(port::Column::UpdatedAt, Expr::value(utcnow()))
        .filter(which.into_condition())
        .exec(connection)
        .await?;
    Ok(())
}

/// Takes subports out of a trunk.
pub async fn delete_subports(connection: &impl ConnectionTrait, port_ids: &[Uuid]) -> Result<(), DbError> {
    let query = trunk_subport::Entity::delete_many();
    query.filter(trunk_subport::Column::PortId.is_in(port_ids.iter().copied())).exec(connection).await?;
    Ok(())
}

/// Removes a trunk; its subports are in none then.
pub async fn delete(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    Entity::delete_by_id(id).exec(connection).await?;
    Ok(())
}
