//! Roles of users on projects, domains and the system: one set of handlers, told apart by what is in the path.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use kilonova_db::identity::assignments::{self, Assignment, AssignmentFilter, Target};
use kilonova_db::identity::{Resource, Transaction, domains, lock, projects, roles, users};
use serde_json::Value;

use super::{Answer, Done, Params, Service};
use crate::identity::IdentityError;
use crate::identity::policy::Caller;

/// The variables of a path: `project_id` or `domain_id` or neither, `user_id`, and maybe `role_id`.
type Place = Path<HashMap<String, String>>;

fn target(place: &HashMap<String, String>) -> Target {
    match (place.get("project_id"), place.get("domain_id")) {
        (Some(id), _) => Target::Project(id.clone()),
        (None, Some(id)) => Target::Domain(id.clone()),
        (None, None) => Target::System,
    }
}

fn variable(place: &HashMap<String, String>, name: &str) -> String {
    place.get(name).cloned().unwrap_or_default()
}

fn assignment(place: &HashMap<String, String>) -> Assignment {
    Assignment { user_id: variable(place, "user_id"), role_id: variable(place, "role_id"), target: target(place) }
}

/// The rule that guards a verb, by target.
fn rule(verb: &str, target: &Target) -> String {
    match (target, verb) {
        (Target::System, "list") => "identity:list_system_grants_for_user".to_owned(),
        (Target::System, verb) => format!("identity:{verb}_system_grant_for_user"),
        (_, "list") => "identity:list_grants".to_owned(),
        (_, verb) => format!("identity:{verb}_grant"),
    }
}

/// `GET …/users/{user_id}/roles`.
pub(crate) async fn list(State(service): Service, caller: Caller, Path(place): Place, params: Params) -> Answer {
    let target = target(&place);
    caller.read(&rule("list", &target))?;
    let user_id = variable(&place, "user_id");
    let conn = service.db.read();
    users::fetch(conn, &user_id).await?;
    let path = match &target {
        Target::Project(id) => format!("/v3/projects/{}/users/{user_id}/roles", projects::fetch(conn, id).await?.id),
        Target::Domain(id) => format!("/v3/domains/{}/users/{user_id}/roles", domains::fetch(conn, id).await?.id),
        Target::System => format!("/v3/system/users/{user_id}/roles"),
    };
    let filter = AssignmentFilter { user_id: Some(user_id), target: Some(target), role_id: None };
    let granted = assignments::list(conn, &filter).await?;
    let all = roles::list(conn, None).await?;
    let views: Vec<Value> = all
        .into_iter()
        .filter(|role| granted.iter().any(|assignment| assignment.role_id == role.id))
        .map(|role| service.role(role))
        .collect();
    Ok(axum::Json(service.collection(&path, "roles", views, &params.0)?))
}

/// `GET` and `HEAD …/users/{user_id}/roles/{role_id}`.
pub(crate) async fn check(State(service): Service, caller: Caller, Path(place): Place) -> Done {
    let wanted = assignment(&place);
    caller.read(&rule("check", &wanted.target))?;
    let filter = AssignmentFilter {
        user_id: Some(wanted.user_id.clone()),
        role_id: Some(wanted.role_id.clone()),
        target: Some(wanted.target.clone()),
    };
    if assignments::list(service.db.read(), &filter).await?.is_empty() { Err(missing(&wanted)) } else { no_content() }
}

/// `PUT …/users/{user_id}/roles/{role_id}`.
pub(crate) async fn grant(State(service): Service, caller: Caller, Path(place): Place) -> Done {
    let wanted = assignment(&place);
    caller.manage(&rule("create", &wanted.target))?;
    let write = || async {
        let tx = service.db.begin().await?;
        check_ends(&tx, &wanted).await?;
        assignments::grant(&tx, wanted.clone()).await?;
        service.commit(tx).await
    };
    service.db.retry_idempotent(write).await?;
    no_content()
}

/// `DELETE …/users/{user_id}/roles/{role_id}`.
pub(crate) async fn revoke(State(service): Service, caller: Caller, Path(place): Place) -> Done {
    let wanted = assignment(&place);
    caller.manage(&rule("revoke", &wanted.target))?;
    let write = || async {
        let tx = service.db.begin().await?;
        if !assignments::revoke(&tx, wanted.clone()).await? {
            check_ends(&tx, &wanted).await?;
            return Err(missing(&wanted));
        }
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    no_content()
}

/// 404 for the first of role, user and target that is not there. The others stay until the transaction ends.
async fn check_ends(tx: &Transaction, assignment: &Assignment) -> Result<(), IdentityError> {
    lock(tx, Resource::Role, &assignment.role_id).await?;
    roles::fetch(tx, &assignment.role_id).await?;
    lock(tx, Resource::User, &assignment.user_id).await?;
    users::fetch(tx, &assignment.user_id).await?;
    match &assignment.target {
        Target::Project(id) => {
            lock(tx, Resource::Project, id).await?;
            projects::fetch(tx, id).await?;
        }
        Target::Domain(id) => {
            lock(tx, Resource::Domain, id).await?;
            domains::fetch(tx, id).await?;
        }
        Target::System => {}
    }
    Ok(())
}

fn missing(assignment: &Assignment) -> IdentityError {
    let target = match &assignment.target {
        Target::Project(id) | Target::Domain(id) => id,
        Target::System => "system",
    };
    IdentityError::Missing(format!(
        "Could not find role assignment with role: {}, user or group: {}, project, domain, or system: {target}.",
        assignment.role_id, assignment.user_id
    ))
}

fn no_content() -> Done {
    Ok(StatusCode::NO_CONTENT)
}
