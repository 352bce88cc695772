//! Versions, extensions, and the collections that are always empty here.

use axum::Json;
use axum::extract::Path;
use serde_json::{Value, json};

use super::error::NetworkError;
use crate::web::BaseUrl;

/// Alias, name, what it promises. Only what works.
const EXTENSIONS: [(&str, &str, &str); 18] = [
    ("agent", "agent", "The agent management extension."),
    (
        "auto-allocated-topology",
        "Auto Allocated Topology Services",
        "A network, subnet and router for projects that have none.",
    ),
    ("availability_zone", "Availability Zone", "The availability zone extension."),
    ("binding", "Port Binding", "Expose port bindings of a virtual port to external application"),
    ("external-net", "Neutron external network", "Adds external network attribute to network resource."),
    ("ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Whether SNAT is done at a router's gateway."),
    (
        "ip-substring-filtering",
        "IP address substring filtering",
        "Provides IP address substring filtering when listing ports",
    ),
    ("net-mtu", "Network MTU", "Provides MTU attribute for a network resource."),
    ("net-mtu-writable", "Network MTU (writable)", "Provides a writable MTU attribute for a network resource."),
    ("pagination", "Pagination support", "Extension that indicates that pagination is enabled."),
    ("port-security", "Port Security", "Provides port security"),
    ("quota_details", "Quota details management support", "Expose functions for quotas usage statistics per project"),
    ("router", "Neutron L3 Router", "Routers between networks, and floating addresses."),
    ("security-group", "security-group", "The security groups extension."),
    ("sorting", "Sorting support", "Extension that indicates that sorting is enabled."),
    ("standard-attr-description", "standard-attr-description", "Extension to add descriptions to standard attributes"),
    ("trunk", "Trunk Extension", "Ports that carry the traffic of other ports."),
    ("trunk-details", "Trunk port details", "What a port carries, in the port itself."),
];

/// `GET /`.
pub(super) async fn versions(base: BaseUrl) -> Json<Value> {
    let links = json!([{"rel": "self", "href": format!("{}/v2.0/", base.0)}]);
    Json(json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}))
}

/// `GET /v2.0`: the collections.
pub(super) async fn resources(base: BaseUrl) -> Json<Value> {
    let resource = |(name, collection): (&str, &str)| {
        let href = format!("{}/v2.0/{collection}", base.0);
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
    };
    let resources = [
        ("network", "networks"),
        ("subnet", "subnets"),
        ("port", "ports"),
        ("security-group", "security-groups"),
        ("security-group-rule", "security-group-rules"),
        ("router", "routers"),
        ("floatingip", "floatingips"),
        ("trunk", "trunks"),
        ("quota", "quotas"),
        ("extension", "extensions"),
    ];
    Json(json!({"resources": resources.map(resource)}))
}

/// What no route matches.
pub(super) async fn fallback() -> NetworkError {
    NetworkError::no_resource()
}

fn extension((alias, name, description): &(&str, &str, &str)) -> Value {
    json!({"alias": alias, "name": name, "description": description, "updated": "2013-01-01T10:00:00-00:00", "links": []})
}

pub(super) async fn extensions() -> Json<Value> {
    Json(json!({"extensions": EXTENSIONS.iter().map(extension).collect::<Vec<Value>>()}))
}

pub(super) async fn show_extension(Path(alias): Path<String>) -> Result<Json<Value>, NetworkError> {
    let alias = alias.trim_end_matches(".json");
    let missing =
        || NetworkError::not_found("ExtensionNotFound", format!("Extension with alias {alias} does not exist"));
    let found = EXTENSIONS.iter().find(|(known, _, _)| *known == alias).ok_or_else(missing)?;
    Ok(Json(json!({"extension": extension(found)})))
}

/// There are no agents here; clients that look for them find none.
pub(super) async fn agents() -> Json<Value> {
    Json(json!({"agents": []}))
}

pub(super) async fn availability_zones() -> Json<Value> {
    Json(json!({"availability_zones": []}))
}
