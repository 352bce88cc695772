//! Request bodies: `oneOf` the actions of a path, `anyOf` the schemas that an action had in time.

use serde_json::{Map, Value, json};

use super::{extension, in_range, range};
use crate::routes::Route;
use crate::schemas::bare_action;

/// The schemas of all bodies, each once.
#[derive(Default)]
pub(super) struct Schemas {
    named: Vec<(String, Value)>,
}

impl Schemas {
    /// Those that were met, and the one of faults.
    pub(super) fn into_components(self, fault: Value) -> Value {
        let mut components: Map<String, Value> = self.named.into_iter().collect();
        components.insert("Fault".to_owned(), fault);
        Value::Object(components)
    }

    /// The body of an operation.
    pub(super) fn request_body(&mut self, operation_id: &str, routes: &[&Route]) -> Value {
        let schema = match routes {
            [route] if route.action.is_none() => self.versions(operation_id, route),
            _ => {
                let actions: Vec<Value> = routes
                    .iter()
                    .map(|route| {
                        let name = format!("{operation_id}.{}", route.action.unwrap_or_default());
                        let mut action = self.versions(&name, route);
                        action["x-openstack"] = extension(route);
                        action
                    })
                    .collect();
                json!({"oneOf": actions})
            }
        };
        json!({"required": true, "content": {"application/json": {"schema": schema}}})
    }

    /// What a row's body is in its microversions: one schema, or several with the range of each.
    fn versions(&mut self, name: &str, route: &Route) -> Value {
        let mut versions = Vec::new();
        for body in route.body {
            let Some((from, to)) = in_range(route, body.from, body.to) else { continue };
            let schema = (body.schema)();
            // A body that is not looked at is one of this action nevertheless.
            let is_open = schema.as_object().is_some_and(Map::is_empty);
            let schema = route.action.filter(|_| is_open).map_or(schema, bare_action);
            let mut reference = self.reference(&format!("{name}-{from}"), schema);
            if let Some(object) = reference.as_object_mut() {
                object.insert("x-openstack".to_owned(), Value::Object(range(from, to)));
            }
            versions.push(reference);
        }
        // Two versions may let the same body through.
        json!({"anyOf": versions})
    }

    /// A reference to the schema under the first name that it had.
    fn reference(&mut self, name: &str, schema: Value) -> Value {
        let known = self.named.iter().find(|(_, known)| *known == schema).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| {
            self.named.push((name.to_owned(), schema));
            name.to_owned()
        });
        json!({"$ref": format!("#/components/schemas/{name}")})
    }
}
