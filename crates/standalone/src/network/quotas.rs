//! Quotas, to be read: nothing is limited here, and what is used is counted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use kilonova_core::RequestContext;
use kilonova_db::network::ports::PortFilter;
use kilonova_db::network::{networks, ports, rules, security_groups, subnets};
use serde_json::{Map, Value, json};

use super::BuiltinNetwork;
use super::error::NetworkError;

/// Without a limit.
const UNLIMITED: i64 = -1;
const RESOURCES: [&str; 5] = ["network", "subnet", "port", "security_group", "security_group_rule"];

/// Projects with quotas of their own: none.
pub(super) async fn list() -> Json<Value> {
    Json(json!({"quotas": []}))
}

pub(super) async fn show(
    Extension(context): Extension<RequestContext>,
    Path(project_id): Path<String>,
) -> Result<Json<Value>, NetworkError> {
    ensure_readable(&context, project_id.trim_end_matches(".json"))?;
    let limits: Map<String, Value> = RESOURCES.iter().map(|name| ((*name).to_owned(), json!(UNLIMITED))).collect();
    Ok(Json(json!({"quota": limits})))
}

pub(super) async fn details(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(project_id): Path<String>,
) -> Result<Json<Value>, NetworkError> {
    ensure_readable(&context, &project_id)?;
    let db = service.db.read();
    let own = |owner: &String| *owner == project_id;
    let filter = PortFilter { project_id: Some(&project_id), ..PortFilter::default() };
    let used = [
        networks::list(db, Some(&project_id)).await?.iter().filter(|row| own(&row.project_id)).count(),
        subnets::list(db, Some(&project_id)).await?.iter().filter(|row| own(&row.project_id)).count(),
        ports::list(db, filter).await?.len(),
        security_groups::list(db, Some(&project_id)).await?.len(),
        rules::list(db, Some(&project_id)).await?.len(),
    ];
    let detail =
        |(name, used): (&&str, usize)| ((*name).to_owned(), json!({"limit": UNLIMITED, "used": used, "reserved": 0}));
    Ok(Json(json!({"quota": RESOURCES.iter().zip(used).map(detail).collect::<Map<String, Value>>()})))
}

fn ensure_readable(context: &RequestContext, project_id: &str) -> Result<(), NetworkError> {
    if super::owns(context, project_id) { Ok(()) } else { Err(NetworkError::forbidden("get_quota")) }
}
