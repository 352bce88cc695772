//! `/allocation_candidates`: who could take a request.

use std::collections::BTreeSet;

use axum::extract::State;
use kilonova_clients::placement::Resources;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::query::{self, Params};
use super::{Caller, Reply, Service, reply};
use crate::candidates::{Group, Request};
use crate::stock::StockedProvider;

/// `GET /allocation_candidates`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(10)?;
    caller.require_admin()?;
    let request = parse(&caller, &params)?;
    let found = service.candidates(&request).await?;
    let resources = request.resources();
    let requests: Vec<Value> =
        found.iter().map(|provider| allocation_request(&caller, &request, &resources, provider)).collect();
    let summaries: Map<String, Value> =
        found.iter().map(|found| (found.provider.uuid.to_string(), summary(&caller, &resources, found))).collect();
    let body = json!({"allocation_requests": requests, "provider_summaries": summaries});
    Ok(reply::json(&caller, body, None))
}

/// Parameters that belong to a group, with the version that brought them and the one that gave them a suffix.
const GROUP_PARAMETERS: [(&str, u16, u16); 4] =
    [("resources", 10, 25), ("required", 17, 25), ("member_of", 21, 25), ("in_tree", 31, 31)];

fn parse(caller: &Caller, params: &Params) -> Result<Request, ApiError> {
    let mut request = Request::default();
    let mut same_subtree = Vec::new();
    let mut group_policy = None;
    for (name, values) in params.iter() {
        match name {
            "limit" if caller.since(16) => request.limit = query::single(name, values)?.map(limit).transpose()?,
            "group_policy" if caller.since(25) => group_policy = query::single(name, values)?,
            "root_required" if caller.since(35) => {
                if let Some(text) = query::single(name, values)? {
                    query::traits(caller, name, text, &mut request.root)?;
                }
            }
            "same_subtree" if caller.since(36) => same_subtree.extend(values),
            _ => {
                let (kind, suffix) = group_parameter(caller, name).ok_or_else(|| query::unexpected(name))?;
                let group = request.groups.entry(suffix.to_owned()).or_default();
                set(caller, group, kind, name, values)?;
            }
        }
    }
    request.isolate = isolate(group_policy, &request)?;
    check_groups(caller, &request, &same_subtree)?;
    Ok(request)
}

/// Splits `resources_COMPUTE` into its kind and its suffix, if both are known at the microversion.
fn group_parameter<'a>(caller: &Caller, name: &'a str) -> Option<(&'static str, &'a str)> {
    GROUP_PARAMETERS.iter().find_map(|(kind, since, suffix_since)| {
        let suffix = name.strip_prefix(kind)?;
        let known = if suffix.is_empty() {
            caller.since(*since)
        } else {
            caller.since(*suffix_since) && is_suffix(caller, suffix)
        };
        known.then_some((*kind, suffix))
    })
}

/// Numbers at first; from 1.33 also words.
fn is_suffix(caller: &Caller, suffix: &str) -> bool {
    if caller.since(33) {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        return suffix.len() <= 64 && suffix.bytes().all(known);
    }
    !suffix.starts_with('0') && suffix.bytes().all(|byte| byte.is_ascii_digit())
}

fn set(caller: &Caller, group: &mut Group, kind: &str, name: &str, values: &[String]) -> Result<(), ApiError> {
    if kind == "member_of" {
        group.in_aggregate = query::member_of(caller, name, values)?;
        return Ok(());
    }
    let Some(text) = query::single(name, values)? else {
        return Ok(());
    };
    match kind {
        "resources" => group.resources = query::resources(text)?,
        "required" => query::traits(caller, name, text, &mut group.traits)?,
        _ => group.in_tree = Some(query::uuid(name, text)?),
    }
    Ok(())
}

fn limit(text: &str) -> Result<usize, ApiError> {
    let number = text.parse().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| {
        ApiError::bad_query(format!("Invalid query string parameters: limit: '{text}' does not match '^[1-9][0-9]*$'"))
    })
}

fn isolate(group_policy: Option<&str>, request: &Request) -> Result<bool, ApiError> {
    let suffixed = request.groups.iter().filter(|(suffix, _)| !suffix.is_empty());
    let suffixed = suffixed.filter(|(_, group)| !group.resources.is_empty()).count();
    match group_policy {
        Some("isolate") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => Err(ApiError::bad_query(format!(
            "Invalid query string parameters: group_policy: '{other}' is not one of ['none', 'isolate']"
        ))),
        None if suffixed > 1 => Err(ApiError::bad_request(
            "The \"group_policy\" parameter is required when specifying more than one \
             \"resources{N}\" parameter.",
        )),
        None => Ok(false),
    }
}

/// Every group has amounts, but for those that only say where, with `same_subtree`. One provider is one subtree, so
/// that the groups share one is always true.
fn check_groups(caller: &Caller, request: &Request, same_subtree: &[&String]) -> Result<(), ApiError> {
    let mut named = BTreeSet::new();
    for suffix in same_subtree.iter().flat_map(|list| list.split(',')) {
        if suffix.is_empty() || !request.groups.contains_key(suffix) {
            return Err(ApiError::bad_query(format!("Real suffixes should be specified in same_subtree: {suffix}")));
        }
        named.insert(suffix);
    }
    for (suffix, group) in &request.groups {
        let may_be_empty = caller.since(36) && named.contains(suffix.as_str());
        if group.resources.is_empty() && !may_be_empty {
            return Err(ApiError::bad_request(format!(
                "All traits, member_of and in_tree parameters must be associated with resources: {suffix}"
            )));
        }
    }
    if request.resources().is_empty() {
        return Err(ApiError::bad_request("There must be at least one resources or resources[$S] parameter."));
    }
    Ok(())
}

fn allocation_request(caller: &Caller, request: &Request, resources: &Resources, found: &StockedProvider) -> Value {
    let uuid = found.provider.uuid.to_string();
    if !caller.since(12) {
        return json!({"allocations": [{"resource_provider": {"uuid": uuid}, "resources": resources}]});
    }
    let mut view = json!({"allocations": {uuid.as_str(): {"resources": resources}}});
    if caller.since(34) {
        let mappings = request.groups.keys().map(|suffix| (suffix.clone(), json!([uuid])));
        view["mappings"] = mappings.collect();
    }
    view
}

fn summary(caller: &Caller, asked: &Resources, found: &StockedProvider) -> Value {
    let shown = found.stock.iter().filter(|(class, _)| caller.since(27) || asked.contains_key(*class));
    let resources: Map<String, Value> = shown
        .map(|(class, stock)| (class.clone(), json!({"capacity": stock.inventory.capacity(), "used": stock.used})))
        .collect();
    let mut view = json!({"resources": resources});
    if caller.since(17) {
        view["traits"] = json!(found.provider.traits);
    }
    if caller.since(29) {
        view["parent_provider_uuid"] = Value::Null;
        view["root_provider_uuid"] = json!(found.provider.uuid);
    }
    view
}
