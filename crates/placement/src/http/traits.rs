//! `/traits`: those that some provider has.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use kilonova_db::placement::{self as rows, ProviderFilter};
use serde_json::json;

use super::error::ApiError;
use super::query::Params;
use super::{Caller, Reply, Service, reply};
use crate::{PlacementService, names};

/// `GET /traits`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(6)?;
    caller.require_admin()?;
    params.allow(&caller, &[("name", 6), ("associated", 6)])?;
    // Every trait that is known is associated with a provider.
    let want_associated = match params.one("associated")? {
        None => true,
        Some(text) => flag(text)?,
    };
    let mut names = if want_associated { known(&service).await? } else { BTreeSet::new() };
    if let Some(text) = params.one("name")? {
        match text.split_once(':') {
            Some(("startswith", prefix)) => names.retain(|name| name.starts_with(prefix)),
            Some(("in", list)) => names.retain(|name| list.split(',').any(|asked| asked == name)),
            _ => {
                return Err(ApiError::bad_query(
                    "Badly formatted name parameter. Expected name query string parameter in form: \
                     ?name=[in|startswith]:[name1,name2|prefix]. Got: "
                        .to_owned()
                        + text,
                ));
            }
        }
    }
    Ok(reply::json(&caller, json!({"traits": names}), None))
}

/// `GET /traits/{name}`
pub(super) async fn show(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.require_admin()?;
    if known(&service).await?.contains(&name) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::not_found(format!("No such trait(s): {name}.")))
}

/// `PUT /traits/{name}`: nothing has to be kept, a custom trait of any name can be given to a provider.
pub(super) async fn declare(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.require_admin()?;
    if !names::is_custom(&name) {
        return Err(ApiError::bad_request(format!(
            "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" and \"_\". Got: {name}"
        )));
    }
    let is_known = known(&service).await?.contains(&name);
    Ok((if is_known { StatusCode::NO_CONTENT } else { StatusCode::CREATED }).into_response())
}

async fn known(service: &PlacementService) -> Result<BTreeSet<String>, ApiError> {
    let providers = rows::providers(service.db().read(), &ProviderFilter::default()).await?;
    Ok(providers.into_iter().flat_map(|provider| provider.traits).collect())
}

fn flag(text: &str) -> Result<bool, ApiError> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::bad_query("The query parameter \"associated\" only accepts \"true\" or \"false\"")),
    }
}
