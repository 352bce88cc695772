//! `/allocation_candidates`: who could take a request.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::query::{self, Params};
use super::{Caller, Reply, Service, reply};
use crate::PlacementError;
use crate::candidates::{self, AllocationRequest, Group, Request};
use crate::forest::Forest;

/// `GET /allocation_candidates`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(10)?;
    caller.can("placement:allocation_candidates:list")?;
    let mut request = parse(&caller, &params)?;
    service.check_names(&request).await.map_err(unknown_name)?;
    let forest = service.forest().await?;
    request.one_per_tree = !caller.since(29) && forest.has_nested();
    let found = candidates::allocation_requests(&forest, &request);
    let classes = request.groups.values().flat_map(|group| group.resources.keys()).map(String::as_str).collect();
    let summaries: Map<String, Value> = candidates::summarized(&forest, &request, &found)
        .into_iter()
        .map(|place| (uuid(&forest, place), summary(&caller, &forest, &classes, place)))
        .collect();
    let requests: Vec<Value> = found.iter().map(|found| view(&caller, &forest, found)).collect();
    let body = json!({"allocation_requests": requests, "provider_summaries": summaries});
    Ok(reply::json(&caller, body, None))
}

fn unknown_name(error: PlacementError) -> ApiError {
    match error {
        PlacementError::UnknownTrait(_) => ApiError::bad_request(error.to_string()),
        other => query::unknown_class(other),
    }
}

/// Parameters that belong to a group, with the version that brought them and the one that gave them a suffix.
const GROUP_PARAMETERS: [(&str, u16, u16); 4] =
    [("resources", 10, 25), ("required", 17, 25), ("member_of", 21, 25), ("in_tree", 31, 31)];

fn parse(caller: &Caller, params: &Params) -> Result<Request, ApiError> {
    let mut request = Request::default();
    let mut group_policy = None;
    for (name, values) in params.iter() {
        match name {
            "limit" if caller.since(16) => request.limit = params.first(name).map(limit).transpose()?,
            "group_policy" if caller.since(25) => group_policy = params.first(name),
            "root_required" if caller.since(35) => {
                let [value] = values else { return Err(ApiError::duplicate_key(name)) };
                request.root = query::root_required(value)?;
            }
            "same_subtree" if caller.since(36) => {
                request.same_subtree = values.iter().map(|value| suffixes(value)).collect::<Result<_, _>>()?;
            }
            _ => {
                let (kind, suffix) = group_parameter(caller, name).ok_or_else(|| query::unexpected(name))?;
                let group = request.groups.entry(suffix.to_owned()).or_default();
                set(caller, group, kind, suffix, values)?;
            }
        }
    }
    check_groups(caller, &request)?;
    request.isolate = isolate(group_policy, &request)?;
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

fn set(caller: &Caller, group: &mut Group, kind: &str, suffix: &str, values: &[String]) -> Result<(), ApiError> {
    match (kind, values.last()) {
        ("required", _) => group.traits = query::traits(caller, values)?,
        ("member_of", _) => (group.member_of, group.forbidden_aggs) = query::member_of(caller, suffix, values)?,
        ("resources", Some(value)) => group.resources = query::resources(value)?,
        (_, Some(value)) => group.in_tree = Some(query::in_tree(value)?),
        (_, None) => (),
    }
    Ok(())
}

fn limit(text: &str) -> Result<usize, ApiError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0') && !text.is_empty();
    if digits {
        return Ok(text.parse().unwrap_or(usize::MAX));
    }
    Err(ApiError::bad_request(format!("Invalid query string parameters: '{text}' does not match '^[1-9][0-9]*$'")))
}

fn suffixes(value: &str) -> Result<BTreeSet<String>, ApiError> {
    let suffixes: BTreeSet<String> = value.split(',').map(|suffix| suffix.trim().to_owned()).collect();
    if suffixes.contains("") {
        return Err(ApiError::bad_query("Empty string (unsuffixed group) can not be specified in `same_subtree` "));
    }
    Ok(suffixes)
}

fn isolate(group_policy: Option<&str>, request: &Request) -> Result<bool, ApiError> {
    match group_policy {
        Some("isolate") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => Err(ApiError::bad_request(format!(
            "Invalid query string parameters: '{other}' is not one of ['none', 'isolate']"
        ))),
        None if request.groups.keys().filter(|suffix| !suffix.is_empty()).count() > 1 => Err(ApiError::bad_request(
            "The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.",
        )),
        None => Ok(false),
    }
}

fn check_groups(caller: &Caller, request: &Request) -> Result<(), ApiError> {
    if caller.since(36) {
        check_subtrees(request)?
    } else {
        check_resources(caller, request)?
    }
    let mut conflicts = Vec::new();
    for (suffix, group) in request.groups.iter().filter(|_| caller.since(22)) {
        let impossible = group.traits.required.iter().filter(|any| any.is_subset(&group.traits.forbidden));
        conflicts.extend(impossible.map(|any| format!("required{suffix}: ({})", joined(any))));
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    conflicts.sort_unstable();
    Err(ApiError::bad_request(format!(
        "Conflicting required and forbidden traits found in the following traits keys: {}",
        conflicts.join(", ")
    )))
}

fn joined(names: &BTreeSet<String>) -> String {
    Vec::from_iter(names.iter().map(String::as_str)).join(", ")
}

/// From 1.36 a group may say only where, if `same_subtree` names it.
fn check_subtrees(request: &Request) -> Result<(), ApiError> {
    let named: BTreeSet<&str> = request.same_subtree.iter().flatten().map(String::as_str).collect();
    let without =
        || request.groups.iter().filter(|(_, group)| group.resources.is_empty()).map(|(suffix, _)| suffix.as_str());
    if without().count() == request.groups.len() {
        return Err(ApiError::missing_value("There must be at least one resources or resources[$S] parameter."));
    }
    let list = |names: Vec<&str>| {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let unnamed: Vec<&str> = without().filter(|suffix| !named.contains(suffix)).collect();
    if !unnamed.is_empty() {
        return Err(ApiError::bad_query(format!(
            "Resourceless suffixed group request should be specified in `same_subtree` query param: bad group(s) - {}.",
            list(unnamed)
        )));
    }
    let unreal: Vec<&str> = named.into_iter().filter(|suffix| !request.groups.contains_key(*suffix)).collect();
    if unreal.is_empty() {
        return Ok(());
    }
    let real = list(request.groups.keys().map(String::as_str).collect());
    Err(ApiError::bad_query(format!(
        "Real suffixes should be specified in `same_subtree`: {} not found in {real}.",
        list(unreal)
    )))
}

/// Before 1.36 every group has amounts.
fn check_resources(caller: &Caller, request: &Request) -> Result<(), ApiError> {
    if !caller.since(25) && request.groups.get("").is_none_or(|group| group.resources.is_empty()) {
        return Err(ApiError::bad_request("Invalid query string parameters: 'resources' is a required property"));
    }
    let orphans = |kind: &str, is_orphan: fn(&Group) -> bool| {
        let orphans = request.groups.iter().filter(|(_, group)| group.resources.is_empty() && is_orphan(group));
        let names: Vec<String> = orphans.map(|(suffix, _)| format!("{kind}{suffix}")).collect();
        names.join(", ")
    };
    let traits = orphans("required", |group| !group.traits.required.is_empty());
    let aggregates = orphans("member_of", |group| !group.member_of.is_empty() || !group.forbidden_aggs.is_empty());
    if !traits.is_empty() {
        return Err(ApiError::bad_request(format!(
            "All traits parameters must be associated with resources.  Found the following orphaned traits keys: {traits}"
        )));
    }
    if !aggregates.is_empty() {
        return Err(ApiError::bad_request(format!(
            "All member_of parameters must be associated with resources. Found the following orphaned member_of keys: \
             {aggregates}"
        )));
    }
    if request.groups.values().any(|group| group.resources.is_empty()) {
        return Err(ApiError::bad_request("All request groups must specify resources."));
    }
    if request.groups.is_empty() {
        return Err(ApiError::bad_request("At least one request group (`resources` or `resources{$S}`) is required."));
    }
    Ok(())
}

fn uuid(forest: &Forest, place: usize) -> String {
    forest.providers[place].provider.uuid.to_string()
}

fn view(caller: &Caller, forest: &Forest, found: &AllocationRequest<'_>) -> Value {
    if !caller.since(12) {
        let part = |(place, resources): (&usize, &BTreeMap<&str, i64>)| json!({"resource_provider": {"uuid": uuid(forest, *place)}, "resources": resources});
        return json!({"allocations": Vec::from_iter(found.allocations.iter().map(part))});
    }
    let allocations: Map<String, Value> = found
        .allocations
        .iter()
        .map(|(place, resources)| (uuid(forest, *place), json!({"resources": resources})))
        .collect();
    let mut view = json!({"allocations": allocations});
    if caller.since(34) {
        let providers = |places: &BTreeSet<usize>| Vec::from_iter(places.iter().map(|place| uuid(forest, *place)));
        let mappings: Map<String, Value> =
            found.mappings.iter().map(|(suffix, places)| ((*suffix).to_owned(), json!(providers(places)))).collect();
        view["mappings"] = Value::Object(mappings);
    }
    view
}

fn summary(caller: &Caller, forest: &Forest, asked: &BTreeSet<&str>, place: usize) -> Value {
    let found = &forest.providers[place];
    let shown = found.stock.iter().filter(|(class, _)| caller.since(27) || asked.contains(class.as_str()));
    let resources: Map<String, Value> = shown
        .map(|(class, stock)| (class.clone(), json!({"capacity": stock.inventory.capacity(), "used": stock.used})))
        .collect();
    let mut view = json!({"resources": resources});
    if caller.since(17) {
        view["traits"] = json!(found.provider.traits);
    }
    if caller.since(29) {
        view["parent_provider_uuid"] = json!(found.provider.parent_provider_uuid);
        view["root_provider_uuid"] = json!(found.provider.root_provider_uuid);
    }
    view
}
