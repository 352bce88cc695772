//! How resources and collections look in JSON.

use std::collections::HashMap;

use chrono::DateTime;
use kilonova_db::identity::domains::Domain;
use kilonova_db::identity::projects::Project;
use kilonova_db::identity::roles::Role;
use kilonova_db::identity::users::User;
use serde_json::{Map, Value, json};

use super::validate::{Token, audit_text};
use super::{IdentityError, IdentityService};
use crate::identity::token::Scope;

impl IdentityService {
    /// Adds `links.self` to a resource of `collection`.
    pub(crate) fn linked(&self, collection: &str, mut resource: Value) -> Value {
        let url = self.url(&format!("/v3/{collection}/{}", resource["id"].as_str().unwrap_or_default()));
        resource["links"] = json!({"self": url});
        resource
    }

    pub(crate) fn user(&self, user: User) -> Value {
        let mut view = object(user.extra);
        view.insert("id".to_owned(), json!(user.id));
        view.insert("name".to_owned(), json!(user.name));
        view.insert("domain_id".to_owned(), json!(user.domain_id));
        view.insert("enabled".to_owned(), json!(user.enabled));
        view.insert("password_expires_at".to_owned(), Value::Null);
        view.insert("options".to_owned(), user.options);
        if let Some(default_project_id) = user.default_project_id {
            view.insert("default_project_id".to_owned(), json!(default_project_id));
        }
        self.linked("users", Value::Object(view))
    }

    pub(crate) fn project(&self, project: Project) -> Value {
        let mut view = object(project.extra);
        let parent_id = project.parent_id.unwrap_or_else(|| project.domain_id.clone());
        view.insert("id".to_owned(), json!(project.id));
        view.insert("name".to_owned(), json!(project.name));
        view.insert("domain_id".to_owned(), json!(project.domain_id));
        view.insert("parent_id".to_owned(), json!(parent_id));
        view.insert("description".to_owned(), json!(project.description));
        view.insert("enabled".to_owned(), json!(project.enabled));
        view.insert("is_domain".to_owned(), json!(false));
        view.insert("tags".to_owned(), project.tags);
        view.insert("options".to_owned(), project.options);
        self.linked("projects", Value::Object(view))
    }

    pub(crate) fn domain(&self, domain: Domain) -> Value {
        let mut view = object(domain.extra);
        view.insert("id".to_owned(), json!(domain.id));
        view.insert("name".to_owned(), json!(domain.name));
        view.insert("description".to_owned(), json!(domain.description));
        view.insert("enabled".to_owned(), json!(domain.enabled));
        view.insert("tags".to_owned(), json!([]));
        view.insert("options".to_owned(), domain.options);
        self.linked("domains", Value::Object(view))
    }

    pub(crate) fn role(&self, role: Role) -> Value {
        let mut view = object(role.extra);
        view.insert("id".to_owned(), json!(role.id));
        view.insert("name".to_owned(), json!(role.name));
        view.insert("domain_id".to_owned(), Value::Null);
        view.insert("description".to_owned(), json!(role.description));
        view.insert("options".to_owned(), role.options);
        self.linked("roles", Value::Object(view))
    }

    /// A collection, cut to `limit` resources after `marker` if the query has these.
    pub(crate) fn collection(
        &self,
        path: &str,
        key: &str,
        mut resources: Vec<Value>,
        query: &HashMap<String, String>,
    ) -> Result<Value, IdentityError> {
        if let Some(marker) = query.get("marker") {
            let position = resources.iter().position(|resource| resource["id"].as_str() == Some(marker));
            let missing = || IdentityError::Missing(format!("Marker {marker} could not be found."));
            resources.drain(..=position.ok_or_else(missing)?);
        }
        let mut next = Value::Null;
        if let Some(limit) = query.get("limit") {
            let limit = limit.parse::<usize>().ok().filter(|limit| *limit > 0);
            let limit = limit.ok_or_else(|| IdentityError::Invalid("Invalid input for field 'limit'".to_owned()))?;
            if resources.len() > limit {
                resources.truncate(limit);
                let last = resources.last().and_then(|last| last["id"].as_str()).unwrap_or_default();
                next = json!(format!("{}?{}", self.url(path), next_query(query, last)));
            }
        }
        let links = json!({"self": self.url(path), "previous": null, "next": next});
        Ok(json!({key: resources, "links": links}))
    }
}

/// The query of the next page. Everything in it is ASCII letters and digits or percent-encoded.
fn next_query(query: &HashMap<String, String>, marker: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    pairs.retain(|(key, _)| *key != "marker");
    pairs.push(("marker", marker));
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}

/// The body of `POST` and `GET /v3/auth/tokens`.
pub(crate) fn token(token: &Token, with_catalog: bool) -> Value {
    let info = &token.info;
    let claims = &token.claims;
    let audit_ids: Vec<String> =
        [Some(&claims.audit_id), claims.parent_audit_id.as_ref()].into_iter().flatten().map(audit_text).collect();
    let mut view = json!({
        "methods": claims.methods.names(),
        "user": {
            "id": info.user_id, "name": info.user_name, "password_expires_at": null,
            "domain": {"id": info.user_domain_id, "name": token.user_domain_name},
        },
        "audit_ids": audit_ids,
        "issued_at": instant(claims.issued_at),
        "expires_at": instant(claims.expires_at),
    });
    let domain = token.scope_domain.as_ref().map(|domain| json!({"id": domain.id, "name": domain.name}));
    match &claims.scope {
        Scope::Unscoped => return json!({"token": view}),
        Scope::System => view["system"] = json!({"all": true}),
        Scope::Domain(_) => view["domain"] = json!(domain),
        Scope::Project(id) => {
            view["project"] = json!({"id": id, "name": info.project_name, "domain": domain});
            view["is_domain"] = json!(false);
        }
    }
    view["roles"] = token.roles.iter().map(|(name, id)| json!({"id": id, "name": name})).collect();
    if with_catalog {
        view["catalog"] = json!(*info.catalog);
    }
    json!({"token": view})
}

/// `2026-11-23T06:41:45.000000Z`, from seconds since the epoch.
fn instant(seconds: i64) -> Value {
    json!(DateTime::from_timestamp(seconds, 0).map(|at| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
}
