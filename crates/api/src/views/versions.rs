//! The version documents at `/`, `/v2` and `/v2.1`.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::call;
use crate::versions::{MAX_VERSION, MIN_VERSION};

/// `GET /`
pub(crate) fn all(base: &str) -> Response {
    let shown = |legacy| {
        let mut version = document(legacy);
        version["links"] = json!([{"rel": "self", "href": format!("{base}/{}/", path(legacy))}]);
        if let Some(version) = version.as_object_mut() {
            version.remove("media-types");
        }
        version
    };
    call::json(StatusCode::OK, &json!({"versions": [shown(true), shown(false)]}))
}

/// `GET /v2.1`, `GET /v2`
pub(crate) fn one(base: &str, legacy: bool) -> Response {
    let mut version = document(legacy);
    version["links"] = json!([
        {"rel": "self", "href": format!("{base}/{}/", path(legacy))},
        {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"},
    ]);
    call::json(StatusCode::OK, &json!({"version": version}))
}

fn document(legacy: bool) -> Value {
    let (id, status, media) = if legacy { ("v2.0", "DEPRECATED", "2") } else { ("v2.1", "CURRENT", "2.1") };
    let (newest, oldest) =
        if legacy { (String::new(), String::new()) } else { (MAX_VERSION.to_string(), MIN_VERSION.to_string()) };
    json!({
        "id": id,
        "status": status,
        "version": newest,
        "min_version": oldest,
        "updated": if legacy { "2011-01-21T11:33:21Z" } else { "2013-07-23T11:33:21Z" },
        "media-types": [{
            "base": "application/json",
            "type": format!("application/vnd.openstack.compute+json;version={media}"),
        }],
    })
}

fn path(legacy: bool) -> &'static str {
    if legacy { "v2" } else { "v2.1" }
}
