//! The API described by itself, in OpenAPI 3.1: made of the route table and the schemas, so it says what is checked.
//!
//! ```text
//!   ROUTES ──by path, by method──> one operation for all rows of a method
//!                                    ├─ path parameters ....... the `{…}` of the path
//!                                    ├─ query parameters ...... of all query schemas, each with its microversions
//!                                    ├─ request body .......... oneOf by action, anyOf by microversion
//!                                    └─ x-openstack ........... in which microversions there is what
//! ```
//!
//! What OpenAPI has no word for is in `x-openstack`: `min-ver` and `max-ver` (both included; left out where there is no
//! bound), `action-name`, and `policy`, the rule that is asked. Answers have no schemas.

mod bodies;
mod query;

use std::collections::{BTreeMap, BTreeSet};

use kilonova_core::Microversion;
use serde_json::{Map, Value, json};

use crate::routes::{NO_RULE, ROUTES, Route, Verb};
use crate::versions::{LEGACY, MAX_VERSION, MIN_VERSION};
use bodies::Schemas;

/// Statuses of errors, and what they mean here.
const ERRORS: [(&str, &str); 11] = [
    ("400", "The request makes no sense, or its schema does not let it through."),
    ("401", "The token is missing, or not valid."),
    ("403", "The policy or a quota does not allow it."),
    ("404", "There is no such resource, or not in this microversion."),
    ("406", "The API does not speak that microversion."),
    ("409", "The state of the resource does not allow it."),
    ("410", "Nova had this once."),
    ("413", "The body is too large."),
    ("415", "The body is not JSON."),
    ("500", "Something else failed; the log of the API says more under the request's id."),
    ("501", "The host, its driver or the cloud does not have that."),
];

/// The description of the API.
pub fn document() -> Value {
    // In the order of the table: a schema has the name of the first operation with it.
    let mut by_path: Vec<(&str, BTreeMap<&str, Vec<&Route>>)> = Vec::new();
    for route in ROUTES {
        let at = by_path.iter().position(|(path, _)| *path == route.path).unwrap_or_else(|| {
            by_path.push((route.path, BTreeMap::new()));
            by_path.len() - 1
        });
        by_path[at].1.entry(route.method.as_str()).or_default().push(route);
    }
    let mut schemas = Schemas::default();
    let mut paths = Map::from_iter([("/".to_owned(), version_document())]);
    for (path, methods) in &by_path {
        paths.insert((*path).to_owned(), path_item(path, methods, &mut schemas));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kilonova: the OpenStack Compute API",
            "version": MAX_VERSION.to_string(),
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        // Beside this document, wherever a front puts the API.
        "servers": [{"url": "v2.1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
            "parameters": {"microversion": microversion()},
            "responses": errors(),
            "schemas": schemas.into_components(fault()),
        },
    })
}

fn microversion() -> Value {
    json!({
        "name": "OpenStack-API-Version",
        "in": "header",
        "description": format!("`compute 2.N`, from {MIN_VERSION}, which is the default, to {MAX_VERSION}, or `compute latest`."),
        "schema": {"type": "string", "pattern": "^compute (2\\.[0-9]+|latest)$"},
    })
}

/// `{"itemNotFound": {"code": 404, "message": "…"}}`
fn fault() -> Value {
    let fault = json!({
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "title": {"type": "string"}},
        "required": ["code", "message"],
    });
    json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": fault})
}

fn errors() -> Value {
    let response = |description: &str| {
        let schema = json!({"$ref": "#/components/schemas/Fault"});
        json!({"description": description, "content": {"application/json": {"schema": schema}}})
    };
    ERRORS
        .iter()
        .map(|(status, description)| ((*status).to_owned(), response(description)))
        .collect::<Map<_, _>>()
        .into()
}

fn version_document() -> Value {
    json!({"get": {
        "operationId": "get_version",
        "summary": "Which microversions there are",
        "security": [],
        "responses": {"200": {"description": "The version document"}},
    }})
}

fn path_item(path: &str, methods: &BTreeMap<&str, Vec<&Route>>, schemas: &mut Schemas) -> Value {
    let mut parameters = vec![json!({"$ref": "#/components/parameters/microversion"})];
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    let mut item = Map::from_iter([("parameters".to_owned(), Value::Array(parameters))]);
    for (method, routes) in methods {
        item.insert(method.to_lowercase(), operation(path, method, routes, schemas));
    }
    Value::Object(item)
}

/// All rows of one path and method: one, or one for each action.
fn operation(path: &str, method: &str, routes: &[&Route], schemas: &mut Schemas) -> Value {
    let id = operation_id(method, path);
    let is_gone = routes.iter().all(|route| route.is_gone);
    let has_body = routes.iter().any(|route| matches!(route.method, Verb::Post | Verb::Put));
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), json!(id)),
        ("tags".to_owned(), json!([tag(path)])),
        ("responses".to_owned(), responses(routes, has_body, is_gone)),
    ]);
    if let [route] = routes {
        operation.insert("x-openstack".to_owned(), extension(route));
        let parameters = query::parameters(route);
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), Value::Array(parameters));
        }
    }
    if is_gone {
        operation.insert("deprecated".to_owned(), json!(true));
    } else if has_body {
        operation.insert("requestBody".to_owned(), schemas.request_body(&id, routes));
    }
    Value::Object(operation)
}

/// `get_servers_id_tags`
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    std::iter::once(method.to_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

/// The resource: the last word of the path that is below the first id, or the first word.
fn tag(path: &str) -> &str {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty() && !word.starts_with('{')).collect();
    match words.as_slice() {
        [resource, "action" | "detail"] | [resource] => resource,
        [_, sub, ..] => sub,
        [] => path,
    }
}

fn responses(routes: &[&Route], has_body: bool, is_gone: bool) -> Value {
    // 400 also where nothing else is looked at: for a microversion that is none.
    let mut statuses = BTreeSet::from(["400", "401", "406", "500"]);
    // One of several actions may be gone.
    statuses.extend(routes.iter().any(|route| route.is_gone).then_some("410"));
    if !is_gone {
        statuses.extend(["404", "501"]);
        let asks = routes.iter().any(|route| route.policy != NO_RULE);
        statuses.extend(asks.then_some("403"));
        // What is read below a resource may depend on its state: diagnostics, the uptime of a host.
        let conflicts = |route: &&Route| route.method != Verb::Get || route.path.matches('/').count() > 2;
        statuses.extend(routes.iter().any(conflicts).then_some("409"));
    }
    if has_body {
        statuses.extend(["413", "415"]);
    }
    let error = |status: &str| (status.to_owned(), json!({"$ref": format!("#/components/responses/{status}")}));
    let mut responses: Map<String, Value> = statuses.into_iter().map(error).collect();
    if !is_gone {
        responses.insert("2XX".to_owned(), json!({"description": "It is done, or begun."}));
    }
    Value::Object(responses)
}

/// In which microversions an operation exists, and which rule it asks.
fn extension(route: &Route) -> Value {
    let mut extension = range(route.from, route.to);
    if let Some(action) = route.action {
        extension.insert("action-name".to_owned(), json!(action));
    }
    if route.policy != NO_RULE {
        extension.insert("policy".to_owned(), json!(route.policy));
    }
    Value::Object(extension)
}

/// `min-ver` and `max-ver`, where there is such a bound.
fn range(from: Microversion, to: Microversion) -> Map<String, Value> {
    let mut range = Map::new();
    if from > MIN_VERSION {
        range.insert("min-ver".to_owned(), json!(from.to_string()));
    }
    if to < MAX_VERSION {
        range.insert("max-ver".to_owned(), json!(to.to_string()));
    }
    range
}

/// The part of a row's schemas that its microversions have: the legacy API is not described.
fn in_range(route: &Route, from: Microversion, to: Microversion) -> Option<(Microversion, Microversion)> {
    let (from, to) = (from.max(route.from), to.min(route.to));
    (to > LEGACY && from <= to).then_some((from, to))
}
