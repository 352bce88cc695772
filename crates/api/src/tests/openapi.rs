//! The description of the API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cloud::Cloud;
use crate::openapi::document;
use crate::routes::ROUTES;

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// The actions of an operation's body, by name.
fn actions(operation: &Value) -> Vec<&Value> {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    schema["oneOf"].as_array().into_iter().flatten().collect()
}

#[test]
fn every_row_is_described() {
    let document = document();
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert!(operation["operationId"].is_string(), "{} {}", route.method.as_str(), route.path);
        let is_only_gone = operation["deprecated"] == true;
        match route.action {
            Some(action) if !is_only_gone => {
                let described = actions(operation).into_iter().find(|one| one["x-openstack"]["action-name"] == action);
                assert!(described.is_some(), "{} {action}", route.path);
            }
            _ => assert_eq!(is_only_gone, route.is_gone, "{}", route.path),
        }
    }
}

#[test]
fn references_lead_somewhere_and_names_are_unique() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let operations = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
    let ids: Vec<&str> = operations.filter_map(|(_, operation)| operation["operationId"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn path_parameters_are_those_of_the_path() {
    for (path, item) in document()["paths"].as_object().unwrap() {
        let parameters = item["parameters"].as_array().into_iter().flatten();
        let declared: Vec<&str> =
            parameters.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
        let wanted: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(declared, wanted, "{path}");
    }
}

#[test]
fn bodies_are_the_schemas_that_are_checked() {
    let document = document();
    let schema = |name: &str| {
        let mut schema = document["components"]["schemas"][name].clone();
        assert!(schema.is_object(), "{name}");
        schema["components"] = document["components"].clone();
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap()
    };
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        schema(name);
    }
    let networks = json!({"server": {"name": "a", "flavorRef": "1", "networks": "none"}});
    assert!(schema("post_servers-2.37").is_valid(&networks));
    assert!(!schema("post_servers-2.1").is_valid(&networks));
    let mut whole =
        document["paths"]["/servers/{id}/action"]["post"]["requestBody"]["content"]["application/json"]["schema"]
            .clone();
    whole["components"] = document["components"].clone();
    let action = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&whole).unwrap();
    for body in
        [json!({"os-start": null}), json!({"reboot": {"type": "SOFT"}}), json!({"lock": {"locked_reason": "x"}})]
    {
        assert!(action.is_valid(&body), "{body}");
    }
    for body in [json!({}), json!({"os-start": null, "os-stop": null}), json!({"reboot": {"type": "LATER"}})] {
        assert!(!action.is_valid(&body), "{body}");
    }
}

#[test]
fn microversions_are_said_of_operations_bodies_and_parameters() {
    let document = document();
    let get = |path: &str| document["paths"][path]["get"].clone();
    assert_eq!(get("/servers/{server_id}/tags")["x-openstack"]["min-ver"], "2.26");
    assert_eq!(get("/os-hypervisors/statistics")["x-openstack"]["max-ver"], "2.87");
    let servers = get("/servers");
    assert_eq!(servers["x-openstack"], json!({"policy": "os_compute_api:servers:index"}));
    let flavors = get("/flavors");
    let parameter = |name: &str| {
        let all = flavors["parameters"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).cloned().unwrap()
    };
    assert_eq!(parameter("name")["x-openstack"], json!({"min-ver": "2.102"}));
    assert_eq!(parameter("limit").get("x-openstack"), None);
    let create = &document["paths"]["/flavors"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let ranges: Vec<&Value> = create["anyOf"].as_array().unwrap().iter().map(|one| &one["x-openstack"]).collect();
    let expected =
        [json!({"max-ver": "2.54"}), json!({"min-ver": "2.55", "max-ver": "2.101"}), json!({"min-ver": "2.102"})];
    assert_eq!(ranges, expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_description_needs_no_token() {
    let cloud = Cloud::new().await;
    let reply = cloud.send("GET", None, "", "/openapi.json", None).await.expect(200);
    assert_eq!(reply.body, document());
    cloud.send("POST", None, "", "/openapi.json", None).await.expect(404);
    cloud.send("GET", None, "", "/openapi.json/x", None).await.expect(404);
}
