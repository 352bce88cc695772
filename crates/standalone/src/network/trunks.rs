//! Trunks: a parent port that carries subports, each with a tag. Nobody here moves a packet; subports are where their parent
//! is, and active when it is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::ports::{self as port_rows, PortFilter};
use kilonova_db::network::trunks::{self as rows, Binding, Membership, Trunk};
use kilonova_db::network::{Connection, Port, PortRow, Resource, SubportRow, Transaction, TrunkRow, lock};
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::{Attributes, plain};
use super::error::NetworkError;
use super::routes::{JSON_LIMIT, Kind};
use super::{BuiltinNetwork, ensure_owner, owns, ports, visible_to};
use crate::web::read_json;

/// What a subport is of while its trunk is bound.
const SUBPORT_OWNER: &str = "trunk:subport";
/// The only way here to tell subports apart.
const VLAN: &str = "vlan";
/// Tags that a frame can have: 0 and 4095 are reserved.
const TAGS: std::ops::RangeInclusive<i64> = 1..=4094;

/// A trunk that the caller may see.
async fn visible(connection: &impl Connection, context: &RequestContext, id: Uuid) -> Result<Trunk, NetworkError> {
    let trunk = rows::get(connection, id).await?;
    trunk.filter(|trunk| owns(context, &trunk.row.project_id)).ok_or_else(|| NetworkError::no_trunk(id))
}

pub(super) async fn list(connection: &impl Connection, context: &RequestContext) -> Result<Vec<Value>, NetworkError> {
    views(connection, rows::list(connection, visible_to(context)).await?).await
}

pub(super) async fn show(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Value, NetworkError> {
    let trunk = visible(connection, context, id).await?;
    views(connection, vec![trunk]).await?.pop().ok_or_else(|| NetworkError::no_trunk(id))
}

pub(super) async fn create(
    tx: &Transaction,
    context: &RequestContext,
    attributes: &Attributes,
) -> Result<Uuid, NetworkError> {
    let project_id = attributes.project_id(Kind::Trunk, context)?;
    attributes.required("port_id")?;
    let port_id = attributes.id("port_id").unwrap_or_default();
    let wanted = Wanted::parse(attributes.list("sub_ports").unwrap_or_default())?;
    lock(tx, Resource::Port, &[port_id]).await?;
    let parent = ports::visible(tx, context, port_id).await?;
    if parent.row.device_owner.starts_with("network:") {
        return Err(NetworkError::port_in_use(&parent.row));
    }
    match rows::memberships(tx, &[port_id]).await?.remove(&port_id) {
        Some(Membership::Parent(_)) => return Err(parent_in_use(port_id)),
        Some(Membership::Subport(trunk)) => return Err(in_use_as_subport(port_id, trunk)),
        None => {}
    }
    let now = utcnow();
    let row = TrunkRow {
        id: Uuid::new_v4(),
        project_id,
        description: attributes.text_or_empty("description"),
        revision_number: 1,
        created_at: now,
        updated_at: now,
        name: attributes.text_or_empty("name"),
        admin_state_up: attributes.boolean("admin_state_up").unwrap_or(true),
        port_id,
    };
    rows::insert(tx, &row).await?;
    add(tx, context, &Trunk { row: row.clone(), subports: Vec::new() }, &parent.row, &wanted).await?;
    Ok(row.id)
}

pub(super) async fn update(
    tx: &Transaction,
    context: &RequestContext,
    id: Uuid,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    let mut row = owned(tx, context, id, "update_trunk").await?.row;
    if attributes.has("name") {
        row.name = attributes.text_or_empty("name");
    }
    if attributes.has("description") {
        row.description = attributes.text_or_empty("description");
    }
    row.admin_state_up = attributes.boolean("admin_state_up").unwrap_or(row.admin_state_up);
    touch(tx, row).await
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    let trunk = owned(tx, context, id, "delete_trunk").await?;
    free(tx, &trunk.subports.iter().map(|subport| subport.port_id).collect::<Vec<_>>()).await?;
    Ok(rows::delete(tx, id).await?)
}

/// `PUT /v2.0/trunks/{id}/add_subports`
pub(super) async fn add_subports(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, NetworkError> {
    let id = Kind::Trunk.parse_id(&id)?;
    let wanted = Wanted::parse(sub_ports(&read_json(body, JSON_LIMIT).await?)?)?;
    Ok(Json(service.db.retry(|| service.add_to_trunk(&context, id, &wanted)).await?))
}

/// `PUT /v2.0/trunks/{id}/remove_subports`
pub(super) async fn remove_subports(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, NetworkError> {
    let id = Kind::Trunk.parse_id(&id)?;
    let body = read_json(body, JSON_LIMIT).await?;
    let unwanted: Vec<Uuid> = sub_ports(&body)?.iter().map(port_id).collect::<Result<_, _>>()?;
    Ok(Json(service.db.retry(|| service.remove_from_trunk(&context, id, &unwanted)).await?))
}

/// `GET /v2.0/trunks/{id}/get_subports`
pub(super) async fn get_subports(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
) -> Result<Json<Value>, NetworkError> {
    let trunk = visible(service.db.read(), &context, Kind::Trunk.parse_id(&id)?).await?;
    Ok(Json(json!({"sub_ports": subport_views(&trunk.subports)})))
}

impl BuiltinNetwork {
    async fn add_to_trunk(&self, context: &RequestContext, id: Uuid, wanted: &[Wanted]) -> Result<Value, NetworkError> {
        let tx = self.db.begin().await?;
        let trunk = changeable(&tx, context, id, "add_subports").await?;
        let parent = port_rows::get(&tx, trunk.row.port_id).await?;
        let parent = parent.ok_or_else(|| NetworkError::no_port(trunk.row.port_id))?;
        add(&tx, context, &trunk, &parent.row, wanted).await?;
        touch(&tx, trunk.row).await?;
        let view = show(&tx, context, id).await?;
        tx.commit().await?;
        Ok(view)
    }

    async fn remove_from_trunk(
        &self,
        context: &RequestContext,
        id: Uuid,
        unwanted: &[Uuid],
    ) -> Result<Value, NetworkError> {
        let tx = self.db.begin().await?;
        let trunk = changeable(&tx, context, id, "remove_subports").await?;
        let is_there = |port_id: &&Uuid| trunk.subports.iter().any(|subport| subport.port_id == **port_id);
        if let Some(missing) = unwanted.iter().find(|port_id| !is_there(port_id)) {
            let text = format!("SubPort on trunk {id} with parent port {missing} could not be found.");
            return Err(NetworkError::not_found("SubPortNotFound", text));
        }
        free(&tx, unwanted).await?;
        touch(&tx, trunk.row).await?;
        let view = show(&tx, context, id).await?;
        tx.commit().await?;
        Ok(view)
    }
}

/// Has what these ports carry follow them to `host`; empty: away from one.
pub(super) async fn follow(tx: &Transaction, parents: &[Uuid], host: &str) -> Result<(), kilonova_db::DbError> {
    if parents.is_empty() { Ok(()) } else { rows::follow(tx, parents, binding(host)).await }
}

fn binding(host: &str) -> Binding<'_> {
    let (status, device_owner) = if host.is_empty() { ("DOWN", "") } else { ("ACTIVE", SUBPORT_OWNER) };
    Binding { host, status, device_owner }
}

/// Refuses a port that a trunk needs.
pub(super) async fn ensure_in_none(tx: &Transaction, port_id: Uuid) -> Result<(), NetworkError> {
    match rows::memberships(tx, &[port_id]).await?.remove(&port_id) {
        None => Ok(()),
        Some(Membership::Subport(trunk)) => Err(in_use_as_subport(port_id, trunk)),
        Some(Membership::Parent(trunk)) => {
            let text = format!("Port {port_id} is currently a parent port for trunk {trunk}.");
            Err(NetworkError::conflict("PortInUseAsTrunkParent", text))
        }
    }
}

/// What ports carry: `trunk_details` of each that is a parent.
pub(super) async fn details(
    connection: &impl Connection,
    port_ids: &[Uuid],
) -> Result<Vec<(Uuid, Value)>, NetworkError> {
    let trunks = rows::list_by_parents(connection, port_ids).await?;
    let ids: Vec<Uuid> = trunks.iter().flat_map(|trunk| &trunk.subports).map(|subport| subport.port_id).collect();
    let subports = if ids.is_empty() {
        Vec::new()
    } else {
        port_rows::list(connection, PortFilter { ids: Some(ids), ..PortFilter::default() }).await?
    };
    let mac = |id: Uuid| subports.iter().find(|port| port.row.id == id).map(|port| port.row.mac_address.as_str());
    let detail = |trunk: Trunk| {
        let carried = trunk.subports.iter().map(|subport| {
            let mut view = subport_view(subport);
            view["mac_address"] = json!(mac(subport.port_id));
            view
        });
        (trunk.row.port_id, json!({"trunk_id": trunk.row.id, "sub_ports": carried.collect::<Vec<_>>()}))
    };
    Ok(trunks.into_iter().map(detail).collect())
}

/// A subport of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    port_id: Uuid,
    segmentation_id: i32,
}

impl Wanted {
    fn parse(items: &[Value]) -> Result<Vec<Self>, NetworkError> {
        let wanted: Vec<Self> = items.iter().map(Self::parse_one).collect::<Result<_, _>>()?;
        for (position, one) in wanted.iter().enumerate() {
            if wanted[..position].iter().any(|other| other.port_id == one.port_id) {
                let text = format!("Duplicate items in the list: '{}'", one.port_id);
                return Err(NetworkError::invalid_attribute("sub_ports", text));
            }
        }
        Ok(wanted)
    }

    fn parse_one(item: &Value) -> Result<Self, NetworkError> {
        let port_id = port_id(item)?;
        let (kind, tag) = (&item["segmentation_type"], &item["segmentation_id"]);
        if kind.is_null() || tag.is_null() {
            return Err(NetworkError::invalid_input(format!(
                "Invalid subport details '{item}': missing segmentation information. Must specify both segmentation_id and \
                 segmentation_type"
            )));
        }
        if kind != VLAN {
            let text = format!("Unknown segmentation_type '{}' for subport {port_id}", plain(kind));
            return Err(NetworkError::invalid_input(text));
        }
        let number = tag.as_i64().or_else(|| tag.as_str()?.parse().ok()).filter(|number| TAGS.contains(number));
        let number = number.and_then(|number| i32::try_from(number).ok());
        let out_of_range = || NetworkError::invalid_input(format!("Invalid segmentation id for subport {port_id}"));
        Ok(Self { port_id, segmentation_id: number.ok_or_else(out_of_range)? })
    }
}

fn sub_ports(body: &Value) -> Result<&[Value], NetworkError> {
    let items = body["sub_ports"].as_array();
    let missing = || NetworkError::invalid_input("Unable to find 'sub_ports' in request body");
    items.map(Vec::as_slice).ok_or_else(missing)
}

fn port_id(item: &Value) -> Result<Uuid, NetworkError> {
    let id = item["port_id"].as_str().and_then(|text| Uuid::try_parse(text).ok());
    id.ok_or_else(|| NetworkError::invalid_attribute("sub_ports", format!("'{item}' has no port_id that is a UUID")))
}

/// A trunk of the caller's, which nobody else changes until the transaction ends.
async fn owned(tx: &Transaction, context: &RequestContext, id: Uuid, rule: &str) -> Result<Trunk, NetworkError> {
    lock(tx, Resource::Trunk, &[id]).await?;
    let trunk = visible(tx, context, id).await?;
    ensure_owner(context, &trunk.row.project_id, rule)?;
    Ok(trunk)
}

/// One that takes and gives subports.
async fn changeable(tx: &Transaction, context: &RequestContext, id: Uuid, rule: &str) -> Result<Trunk, NetworkError> {
    let trunk = owned(tx, context, id, rule).await?;
    if !trunk.row.admin_state_up {
        return Err(NetworkError::conflict("TrunkDisabled", format!("Trunk {id} is currently disabled.")));
    }
    Ok(trunk)
}

async fn add(
    tx: &Transaction,
    context: &RequestContext,
    trunk: &Trunk,
    parent: &PortRow,
    wanted: &[Wanted],
) -> Result<(), NetworkError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = wanted.iter().map(|one| one.port_id).collect();
    lock(tx, Resource::Port, &ids).await?;
    let found = port_rows::list(tx, PortFilter { ids: Some(ids.clone()), ..PortFilter::default() }).await?;
    let memberships = rows::memberships(tx, &ids).await?;
    let mut tags: Vec<i32> = trunk.subports.iter().map(|subport| subport.segmentation_id).collect();
    for one in wanted {
        let port = found.iter().find(|port| port.row.id == one.port_id);
        let port: &Port = port
            .filter(|port| owns(context, &port.row.project_id))
            .ok_or_else(|| NetworkError::no_port(one.port_id))?;
        match memberships.get(&one.port_id) {
            _ if one.port_id == parent.id => return Err(parent_in_use(one.port_id)),
            Some(Membership::Parent(_)) => return Err(parent_in_use(one.port_id)),
            Some(Membership::Subport(of)) => return Err(in_use_as_subport(one.port_id, *of)),
            None if !port.row.device_id.is_empty() => return Err(NetworkError::port_in_use(&port.row)),
            None => {}
        }
        let tag = one.segmentation_id;
        if tags.contains(&tag) {
            let text =
                format!("segmentation_type {VLAN} and segmentation_id {tag} already in use on trunk {}.", trunk.row.id);
            return Err(NetworkError::conflict("DuplicateSubPort", text));
        }
        tags.push(tag);
        let row = SubportRow {
            port_id: one.port_id,
            trunk_id: trunk.row.id,
            segmentation_type: VLAN.to_owned(),
            segmentation_id: tag,
        };
        rows::insert_subport(tx, &row).await?;
    }
    if !parent.binding_host_id.is_empty() {
        rows::bind_subports(tx, &ids, binding(&parent.binding_host_id)).await?;
    }
    Ok(())
}

/// Takes subports out of their trunk: they are nowhere then.
async fn free(tx: &Transaction, port_ids: &[Uuid]) -> Result<(), NetworkError> {
    if port_ids.is_empty() {
        return Ok(());
    }
    rows::delete_subports(tx, port_ids).await?;
    Ok(rows::bind_subports(tx, port_ids, binding("")).await?)
}

async fn touch(tx: &Transaction, mut row: TrunkRow) -> Result<(), NetworkError> {
    row.revision_number += 1;
    row.updated_at = utcnow();
    Ok(rows::update(tx, &row).await?)
}

fn parent_in_use(port_id: Uuid) -> NetworkError {
    let text = format!("Port {port_id} is in use by another trunk or cannot be used as a parent and a subport.");
    NetworkError::conflict("ParentPortInUse", text)
}

fn in_use_as_subport(port_id: Uuid, trunk: Uuid) -> NetworkError {
    let text = format!("Port {port_id} is currently a subport for trunk {trunk}.");
    NetworkError::conflict("PortInUseAsSubPort", text)
}

/// A trunk is what its parent is.
async fn views(connection: &impl Connection, trunks: Vec<Trunk>) -> Result<Vec<Value>, NetworkError> {
    let ids: Vec<Uuid> = trunks.iter().map(|trunk| trunk.row.port_id).collect();
    let mut parents = Vec::new();
    if !ids.is_empty() {
        parents = port_rows::list(connection, PortFilter { ids: Some(ids), ..PortFilter::default() }).await?;
    }
    let status = |id: Uuid| {
        let parent = parents.iter().find(|port| port.row.id == id);
        parent.map_or("DOWN", |port| port.row.status.as_str())
    };
    Ok(trunks.iter().map(|trunk| view(trunk, status(trunk.row.port_id))).collect())
}

fn view(trunk: &Trunk, status: &str) -> Value {
    let row = &trunk.row;
    json!({
        "id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "admin_state_up": row.admin_state_up,
        "port_id": row.port_id,
        "status": status,
        "sub_ports": subport_views(&trunk.subports),
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    })
}

fn subport_views(subports: &[SubportRow]) -> Vec<Value> {
    subports.iter().map(subport_view).collect()
}

fn subport_view(subport: &SubportRow) -> Value {
    json!({
        "port_id": subport.port_id,
        "segmentation_type": subport.segmentation_type,
        "segmentation_id": subport.segmentation_id,
    })
}
