//! `/reshaper`: inventories that move between providers, with what is allocated of them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use uuid::Uuid;

use super::body::{self, invalid, member, object, only, read_json};
use super::error::ApiError;
use super::{Caller, Reply, Service, allocations, inventories};
use crate::PlacementError;
use crate::reshape::{self, Refused, Reshaped};

/// `POST /reshaper`, from 1.30.
pub(super) async fn reshape(State(service): Service, caller: Caller, headers: HeaderMap, body: Bytes) -> Reply {
    caller.route_since(30)?;
    let body = read_json(&headers, &body);
    caller.can_as_service("placement:reshaper:reshape")?;
    let body = body?;
    let body = object(&body)?;
    only(body, |name| matches!(name, "inventories" | "allocations"))?;
    let mut reshaped = BTreeMap::<Uuid, Reshaped>::new();
    for (uuid, value) in object(member(body, "inventories")?)? {
        let (generation, inventory) = inventories::parse_all(value)?;
        reshaped.insert(body::uuid(uuid)?, Reshaped { generation, inventory });
    }
    if reshaped.is_empty() {
        return Err(invalid("{} does not have enough properties"));
    }
    let claims = allocations::parse_many(&caller, member(body, "allocations")?)?;
    reshape::reshape(service.db(), &reshaped, &claims).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn refused(refused: Refused) -> ApiError {
    match refused {
        Refused::NoProvider(uuid) => ApiError::unknown_provider(format!(
            "Resource provider {uuid} in inventories not found: No resource provider with uuid {uuid} found"
        )),
        Refused::Other(error @ PlacementError::UnknownClass(_)) => {
            ApiError::bad_request(format!("malformed reshaper data: {error}"))
        }
        Refused::Other(error @ PlacementError::InventoryInUse { .. }) => {
            ApiError::inventory_in_use(format!("update conflict: {error}"))
        }
        Refused::Other(error) => error.into(),
    }
}
