//! `/usages`: what a project has in all; `/resource_providers/{uuid}/usages`: what is taken of a provider.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use kilonova_db::placement::{self as rows, ProjectUsage};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::query::Params;
use super::{Caller, Reply, Service, find, reply};
use crate::names;

/// Consumers of which nobody said what they are.
pub(super) const UNKNOWN: &str = "unknown";
const ALL: &str = "all";

/// `GET /usages?project_id=…`; from 1.38 by what the consumers are.
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(9)?;
    caller.can_for("placement:usages", params.first("project_id"))?;
    params.allow(&caller, &[("project_id", 9), ("user_id", 9), ("consumer_type", 38)])?;
    let project_id = text(&params, "project_id")?
        .ok_or_else(|| ApiError::bad_request("Invalid query string parameters: 'project_id' is a required property"))?;
    let user_id = text(&params, "user_id")?;
    let consumer_type = text(&params, "consumer_type")?;
    if consumer_type.is_some_and(|text| !names::is_well_formed(text) && !text.starts_with(ALL) && text != UNKNOWN) {
        return Err(ApiError::bad_request("Invalid query string parameters: consumer_type is not a consumer type"));
    }
    let usage = rows::project_usage(service.db().read(), project_id, user_id).await?;
    let usages =
        if caller.since(38) { by_type(usage, consumer_type) } else { json!(sum(usage.into_values()).resources) };
    Ok(reply::json(&caller, json!({"usages": usages}), None))
}

fn text<'a>(params: &'a Params, name: &str) -> Result<Option<&'a str>, ApiError> {
    match params.last(name) {
        Some(text) if !(1..=255).contains(&text.chars().count()) => {
            Err(ApiError::bad_request(format!("Invalid query string parameters: '{text}' is not a {name}")))
        }
        text => Ok(text),
    }
}

/// All consumers together, those of one type, or each type by itself.
fn by_type(usage: BTreeMap<Option<String>, ProjectUsage>, asked: Option<&str>) -> Value {
    let mut views = Map::new();
    if asked == Some(ALL) {
        let all = sum(usage.into_values());
        if all.consumer_count > 0 {
            views.insert(ALL.to_owned(), view(all));
        }
        return Value::Object(views);
    }
    for (consumer_type, usage) in usage {
        let consumer_type = consumer_type.unwrap_or_else(|| UNKNOWN.to_owned());
        if asked.is_none_or(|asked| asked == consumer_type) {
            views.insert(consumer_type, view(usage));
        }
    }
    Value::Object(views)
}

fn view(usage: ProjectUsage) -> Value {
    let mut view = json!(usage.resources);
    view["consumer_count"] = usage.consumer_count.into();
    view
}

fn sum(usages: impl Iterator<Item = ProjectUsage>) -> ProjectUsage {
    usages.fold(ProjectUsage::default(), |mut sum, usage| {
        sum.consumer_count += usage.consumer_count;
        for (class, used) in usage.resources {
            *sum.resources.entry(class).or_default() += used;
        }
        sum
    })
}

/// `GET /resource_providers/{uuid}/usages`
pub(super) async fn of_provider(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.can("placement:resource_providers:usages")?;
    let found = find(&service, &uuid, &format!("No resource provider with uuid {uuid} found: ")).await?;
    let usages: Map<String, Value> =
        found.stock.iter().map(|(class, stock)| (class.clone(), stock.used.into())).collect();
    let body = json!({"usages": usages, "resource_provider_generation": found.provider.generation});
    Ok(reply::json(&caller, body, None))
}
