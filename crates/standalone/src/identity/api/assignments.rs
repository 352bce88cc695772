//! `GET /v3/role_assignments`: who has which role where, with filters, names, and what is implied.

use std::collections::HashMap;

use axum::extract::State;
use kilonova_db::identity::assignments::{self, Assignment, AssignmentFilter, Target};
use kilonova_db::identity::roles::ImpliedRole;
use kilonova_db::identity::{domains, projects, roles, users};
use serde_json::{Value, json};

use super::{Answer, Params, Service};
use crate::identity::policy::Caller;
use crate::identity::validate::with_implied;
use crate::identity::{IdentityError, IdentityService};

/// An assignment, or what one implies.
struct Effective {
    assignment: Assignment,
    /// The assigned role that implies this one.
    prior_role_id: Option<String>,
}

/// `GET /v3/role_assignments`.
pub(crate) async fn list(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_role_assignments")?;
    let wanted_role = params.owned("role.id");
    let is_effective = params.is_set("effective");
    let target = target(&params)?;
    let has_group = check_actors(&params, is_effective)?;
    let filter = AssignmentFilter {
        user_id: params.owned("user.id"),
        // What implies the wanted role is looked for among all.
        role_id: wanted_role.clone().filter(|_| !is_effective),
        target,
    };
    let conn = service.db.read();
    let assigned = if has_group || params.get("scope.OS-INHERIT:inherited_to") == Some("projects") {
        // There are no groups, and no role is inherited.
        Vec::new()
    } else {
        assignments::list(conn, &filter).await?
    };
    let mut effective: Vec<Effective> = if is_effective {
        expand(assigned, &roles::implications(conn).await?)
    } else {
        assigned.into_iter().map(|assignment| Effective { assignment, prior_role_id: None }).collect()
    };
    effective.retain(|one| wanted_role.as_ref().is_none_or(|role_id| one.assignment.role_id == *role_id));
    let names = if params.is_set("include_names") { Some(Names::read(&service).await?) } else { None };
    let views = effective.iter().map(|one| view(&service, one, names.as_ref())).collect();
    Ok(axum::Json(service.collection("/v3/role_assignments", "role_assignments", views, &HashMap::new())?))
}

fn target(params: &Params) -> Result<Option<Target>, IdentityError> {
    let system = params.get("scope.system").map(|_| Target::System);
    let domain = params.owned("scope.domain.id").map(Target::Domain);
    let project = params.owned("scope.project.id").map(Target::Project);
    let complaint = match (&system, &domain, &project) {
        (_, Some(_), Some(_)) => "Specify a domain or project, not both",
        (Some(_), Some(_), _) => "Specify system or domain, not both",
        (Some(_), _, Some(_)) => "Specify system or project, not both",
        _ => return Ok(system.or(domain).or(project)),
    };
    Err(IdentityError::Invalid(complaint.to_owned()))
}

/// Whether it is the assignments of a group that are asked for.
fn check_actors(params: &Params, is_effective: bool) -> Result<bool, IdentityError> {
    let has_group = params.get("group.id").is_some();
    if has_group && params.get("user.id").is_some() {
        return Err(IdentityError::Invalid("Specify a user or group, not both".to_owned()));
    }
    if has_group && is_effective {
        let complaint = "Combining effective and group filter will always result in an empty list.";
        return Err(IdentityError::Invalid(complaint.to_owned()));
    }
    Ok(has_group)
}

/// Adds what is implied, once per user and target.
fn expand(assigned: Vec<Assignment>, implications: &[ImpliedRole]) -> Vec<Effective> {
    let mut by_place: Vec<((String, Target), Vec<String>)> = Vec::new();
    for assignment in assigned {
        let place = (assignment.user_id, assignment.target);
        match by_place.last_mut() {
            // They come in the order of user and target.
            Some((last, roles)) if *last == place => roles.push(assignment.role_id),
            _ => by_place.push((place, vec![assignment.role_id])),
        }
    }
    let mut effective = Vec::new();
    for ((user_id, target), roles) in by_place {
        for (role_id, prior_role_id) in with_implied(roles, implications) {
            let assignment = Assignment { user_id: user_id.clone(), role_id, target: target.clone() };
            effective.push(Effective { assignment, prior_role_id });
        }
    }
    effective
}

/// What is behind the ids.
struct Names {
    users: HashMap<String, Value>,
    roles: HashMap<String, Value>,
    projects: HashMap<String, Value>,
    domains: HashMap<String, Value>,
}

impl Names {
    async fn read(service: &IdentityService) -> Result<Self, IdentityError> {
        let conn = service.db.read();
        let domains: HashMap<String, Value> = domains::list(conn, &Default::default())
            .await?
            .into_iter()
            .map(|domain| (domain.id.clone(), json!({"id": domain.id, "name": domain.name})))
            .collect();
        let in_domain = |id: String, name: String, domain_id: &str| {
            let view = json!({"id": id, "name": name, "domain": domains.get(domain_id)});
            (id, view)
        };
        let users = users::list(conn, &Default::default()).await?;
        let projects = projects::list(conn, &Default::default()).await?;
        let roles = roles::list(conn, None).await?;
        Ok(Self {
            users: users.into_iter().map(|user| in_domain(user.id, user.name, &user.domain_id)).collect(),
            projects: projects.into_iter().map(|one| in_domain(one.id, one.name, &one.domain_id)).collect(),
            roles: roles.into_iter().map(|role| (role.id.clone(), json!({"id": role.id, "name": role.name}))).collect(),
            domains,
        })
    }
}

/// An id, with its name if names are wanted and it is still there.
fn named(names: Option<&HashMap<String, Value>>, id: &str) -> Value {
    names.and_then(|names| names.get(id)).cloned().unwrap_or_else(|| json!({"id": id}))
}

fn view(service: &IdentityService, effective: &Effective, names: Option<&Names>) -> Value {
    let Assignment { user_id, role_id, target } = &effective.assignment;
    let (scope, place) = match target {
        Target::Project(id) => {
            (json!({"project": named(names.map(|names| &names.projects), id)}), format!("projects/{id}"))
        }
        Target::Domain(id) => {
            (json!({"domain": named(names.map(|names| &names.domains), id)}), format!("domains/{id}"))
        }
        Target::System => (json!({"system": {"all": true}}), "system".to_owned()),
    };
    let assigned = effective.prior_role_id.as_ref().unwrap_or(role_id);
    let mut links = json!({"assignment": service.url(&format!("/v3/{place}/users/{user_id}/roles/{assigned}"))});
    if let Some(prior) = &effective.prior_role_id {
        links["prior_role"] = json!(service.url(&format!("/v3/prior_role/{prior}/implies/{role_id}")));
    }
    json!({
        "user": named(names.map(|names| &names.users), user_id),
        "role": named(names.map(|names| &names.roles), role_id),
        "scope": scope,
        "links": links,
    })
}
