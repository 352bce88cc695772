//! `/v3/projects`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use kilonova_db::DbError;
use kilonova_db::identity::projects::{self, Project, ProjectFilter};
use kilonova_db::identity::{Resource, Transaction, domains, lock};
use serde_json::{Value, json};

use super::{Answer, Created, Done, Params, Service, created};
use crate::identity::IdentityError;
use crate::identity::bootstrap::new_id;
use crate::identity::fields::{Fields, JsonBody, check_mutable, merge, merge_options};
use crate::identity::policy::Caller;
use crate::identity::validate::found;

const MAX_NAME: usize = 64;
const OPTIONS: [&str; 1] = ["immutable"];
/// Keystone's `max_project_tree_depth`, counted with the domain.
const MAX_DEPTH: usize = 5;

/// `GET /v3/projects`.
pub(crate) async fn list(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_projects")?;
    if params.flag("is_domain")? == Some(true) {
        return Err(IdentityError::NotImplemented);
    }
    let mut filter = ProjectFilter {
        name: params.owned("name"),
        domain_id: params.owned("domain_id"),
        parent_id: params.owned("parent_id"),
        enabled: params.flag("enabled")?,
        ids: None,
    };
    let mut of_domain = false;
    if let Some(parent_id) = &filter.parent_id
        && found(domains::fetch(service.db.read(), parent_id).await)?.is_some()
    {
        // The projects right below a domain have no project above them.
        let is_other = filter.domain_id.as_ref().is_some_and(|domain_id| domain_id != parent_id);
        filter.domain_id = filter.parent_id.take();
        of_domain = true;
        if is_other {
            filter.ids = Some(Vec::new());
        }
    }
    let mut projects = projects::list(service.db.read(), &filter).await?;
    projects.retain(|project| !of_domain || project.parent_id.is_none());
    let views = projects.into_iter().map(|project| service.project(project)).collect();
    Ok(axum::Json(service.collection("/v3/projects", "projects", views, &params.0)?))
}

/// `GET /v3/projects/{project_id}`.
pub(crate) async fn show(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.read_or(caller.token().info.project_id.as_ref() == Some(&id), "identity:get_project")?;
    let project = projects::fetch(service.db.read(), &id).await?;
    Ok(axum::Json(json!({"project": service.project(project)})))
}

/// `POST /v3/projects`.
pub(crate) async fn create(State(service): Service, caller: Caller, body: JsonBody) -> Created {
    caller.manage("identity:create_project")?;
    let mut fields = body.member("project")?;
    if fields.flag("is_domain")? == Some(true) {
        return Err(IdentityError::NotImplemented);
    }
    let mut project = Project {
        id: new_id(),
        name: fields.required_name(MAX_NAME)?,
        domain_id: fields.id("domain_id")?.unwrap_or_else(|| caller.default_domain_id()),
        parent_id: fields.id("parent_id")?,
        description: fields.text("description")?.flatten().unwrap_or_default(),
        enabled: fields.flag("enabled")?.unwrap_or(true),
        tags: fields.tags()?.unwrap_or_else(|| json!([])),
        options: json!({}),
        extra: json!({}),
    };
    if let Some(options) = fields.options(&OPTIONS)? {
        merge_options(&mut project.options, options);
    }
    project.extra = Value::Object(fields.extra());
    let write = || async {
        let tx = service.db.begin().await?;
        let placed = place(&tx, project.clone()).await?;
        projects::create(&tx, placed.clone()).await.map_err(|error| conflict(error, &placed))?;
        service.commit(tx).await?;
        Ok::<_, IdentityError>(placed)
    };
    let project = service.db.retry(write).await?;
    Ok(created(json!({"project": service.project(project)})))
}

/// Finds what is above a new project, and refuses a place where there can be none. All that is above stays as it is until
/// the transaction ends.
async fn place(tx: &Transaction, mut project: Project) -> Result<Project, IdentityError> {
    lock(tx, Resource::Domain, &project.domain_id).await?;
    let domain = domains::fetch(tx, &project.domain_id).await?;
    let disabled = |id: &str| {
        IdentityError::Invalid(format!("cannot create a project in a branch containing a disabled project: {id}"))
    };
    if !domain.enabled {
        return Err(disabled(&domain.id));
    }
    project.parent_id = project.parent_id.take().filter(|parent_id| *parent_id != domain.id);
    let mut above = project.parent_id.clone();
    let mut depth = 2;
    while let Some(id) = above {
        lock(tx, Resource::Project, &id).await?;
        let parent = projects::fetch(tx, &id).await?;
        if parent.domain_id != domain.id {
            return Err(IdentityError::Invalid(format!(
                "Cannot create project, since it specifies its domain_id {}, but specifies a parent in a different \
                 domain ({}).",
                domain.id, parent.domain_id
            )));
        }
        if !parent.enabled {
            return Err(disabled(&parent.id));
        }
        depth += 1;
        if depth > MAX_DEPTH {
            let branch = project.parent_id.as_deref().unwrap_or_default();
            return Err(IdentityError::Forbidden(format!("Max hierarchy depth reached for {branch} branch.")));
        }
        above = parent.parent_id;
    }
    Ok(project)
}

/// `PATCH /v3/projects/{project_id}`.
pub(crate) async fn update(State(service): Service, caller: Caller, Path(id): Path<String>, body: JsonBody) -> Answer {
    caller.manage("identity:update_project")?;
    let fields = body.member("project")?.not_empty()?.matching_id(&id)?;
    let write = || async {
        let tx = service.db.begin().await?;
        let project = apply(&tx, &id, fields.clone()).await?;
        service.commit(tx).await?;
        Ok::<_, IdentityError>(project)
    };
    let project = service.db.retry(write).await?;
    Ok(axum::Json(json!({"project": service.project(project)})))
}

async fn apply(tx: &Transaction, id: &str, mut fields: Fields) -> Result<Project, IdentityError> {
    lock(tx, Resource::Project, id).await?;
    let mut project = projects::fetch(tx, id).await?;
    let options = fields.options(&OPTIONS)?;
    check_mutable(&project.options, options.as_ref(), ("update", "project", id))?;
    if fields.id("domain_id")?.is_some_and(|domain_id| domain_id != project.domain_id) {
        return Err(IdentityError::Invalid("Cannot change Domain ID".to_owned()));
    }
    let parent_id = project.parent_id.as_ref().unwrap_or(&project.domain_id);
    if fields.id("parent_id")?.is_some_and(|given| given != *parent_id) {
        return Err(IdentityError::Forbidden("Update of `parent_id` is not allowed.".to_owned()));
    }
    if fields.flag("is_domain")? == Some(true) {
        return Err(IdentityError::Invalid("Update of `is_domain` is not allowed.".to_owned()));
    }
    project.name = fields.name(MAX_NAME)?.unwrap_or(project.name);
    if let Some(description) = fields.text("description")? {
        project.description = description.unwrap_or_default();
    }
    if let Some(enabled) = fields.flag("enabled")? {
        check_branch(tx, &project, enabled).await?;
        project.enabled = enabled;
    }
    project.tags = fields.tags()?.unwrap_or(project.tags);
    if let Some(options) = options {
        merge_options(&mut project.options, options);
    }
    merge(&mut project.extra, fields.extra());
    projects::update(tx, project.clone()).await.map_err(|error| conflict(error, &project))?;
    Ok(project)
}

/// No enabled project is below a disabled one.
async fn check_branch(tx: &Transaction, project: &Project, enabled: bool) -> Result<(), IdentityError> {
    let id = &project.id;
    if enabled {
        let parent = match &project.parent_id {
            Some(parent_id) => {
                lock(tx, Resource::Project, parent_id).await?;
                projects::fetch(tx, parent_id).await?.enabled
            }
            None => true,
        };
        if !parent {
            let reason = format!("Cannot enable project {id} since it has disabled parents");
            return Err(IdentityError::Forbidden(reason));
        }
        return Ok(());
    }
    let below = ProjectFilter { parent_id: Some(id.clone()), enabled: Some(true), ..Default::default() };
    if projects::list(tx, &below).await?.is_empty() {
        return Ok(());
    }
    let reason = format!("Cannot disable project {id} since its subtree contains enabled projects.");
    Err(IdentityError::Forbidden(reason))
}

/// `DELETE /v3/projects/{project_id}`.
pub(crate) async fn delete(State(service): Service, caller: Caller, Path(id): Path<String>) -> Done {
    caller.manage("identity:delete_project")?;
    let write = || async {
        let tx = service.db.begin().await?;
        remove(&tx, &id).await?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(tx: &Transaction, id: &str) -> Result<(), IdentityError> {
    lock(tx, Resource::Project, id).await?;
    let project = projects::fetch(tx, id).await?;
    check_mutable(&project.options, None, ("delete", "project", id))?;
    let below = ProjectFilter { parent_id: Some(id.to_owned()), ..Default::default() };
    if !projects::list(tx, &below).await?.is_empty() {
        return Err(IdentityError::Forbidden(format!(
            "Cannot delete the project {id} since it is not a leaf in the hierarchy. Use the cascade option if you want \
             to delete a whole subtree."
        )));
    }
    Ok(projects::delete(tx, id).await?)
}

fn conflict(error: DbError, project: &Project) -> IdentityError {
    IdentityError::or_conflict(error, "project", || {
        format!(
            "it is not permitted to have two projects with either the same name or same id in the same domain: name is \
             {}, project id {}",
            project.name, project.id
        )
    })
}
