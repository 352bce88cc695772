//! Query parameters: a row's query schemas, parameter by parameter.

use std::collections::BTreeMap;

use kilonova_core::Microversion;
use serde_json::{Value, json};

use super::{in_range, range};
use crate::routes::Route;

/// A parameter: its newest schema, and from when to when there is one.
struct Parameter {
    schema: Value,
    from: Microversion,
    to: Microversion,
}

/// The parameters of a row. A query schema has a list for each: parameters may come more than once.
pub(super) fn parameters(route: &Route) -> Vec<Value> {
    let mut found: BTreeMap<String, Parameter> = BTreeMap::new();
    for query in route.query {
        let Some((from, to)) = in_range(route, query.from, query.to) else { continue };
        let schema = (query.schema)();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let from = found.get(name).map_or(from, |known| known.from);
            found.insert(name.clone(), Parameter { schema: schema.clone(), from, to });
        }
    }
    let shown = found.into_iter().map(|(name, parameter)| {
        let mut shown = json!({"name": name, "in": "query", "schema": parameter.schema});
        let range = range(parameter.from, parameter.to);
        if !range.is_empty() {
            shown["x-openstack"] = Value::Object(range);
        }
        shown
    });
    shown.collect()
}
