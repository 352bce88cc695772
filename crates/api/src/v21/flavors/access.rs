//! Which projects may use a private flavor: `GET /flavors/{flavor_id}/os-flavor-access`, `addTenantAccess`,
//! `removeTenantAccess`.

use kilonova_db::{DbError, flavors};
use kilonova_objects::Flavor;
use serde_json::{Value, json};

use super::visible;
use crate::call::{Answer, Call, ok};
use crate::compute::projects;
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::V2_7;

/// `GET /flavors/{flavor_id}/os-flavor-access`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let flavor = visible(&call, call.param("flavor_id")).await?;
    if flavor.is_public {
        return Err(ApiError::NotFound("Access list not available for public flavors.".to_owned()));
    }
    list(&call, &flavor).await
}

/// `POST /flavors/{id}/action` with `addTenantAccess`
pub(crate) async fn add_tenant_access(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let tenant = tenant(&call.body["addTenantAccess"]);
    projects::check(&call.state, tenant).await?;
    let flavor = visible(&call, call.param("id")).await?;
    if call.since(V2_7) && flavor.is_public {
        return Err(ApiError::Conflict("Can not add access to a public flavor.".to_owned()));
    }
    let added = flavors::add_access(&call.state.db, &flavor.flavorid, tenant).await;
    added.map_err(|error| match error {
        DbError::Exists { .. } => ApiError::Conflict(format!(
            "Flavor access already exists for flavor {} and project {tenant} combination.",
            flavor.id
        )),
        other => other.into(),
    })?;
    list(&call, &flavor).await
}

/// `POST /flavors/{id}/action` with `removeTenantAccess`. A project that no longer exists can be removed.
pub(crate) async fn remove_tenant_access(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let tenant = tenant(&call.body["removeTenantAccess"]);
    let flavor = visible(&call, call.param("id")).await?;
    let removed = flavors::remove_access(&call.state.db, &flavor.flavorid, tenant).await;
    removed.map_err(|error| match error {
        DbError::NotFound { resource: "flavor access", .. } => {
            ApiError::NotFound(format!("Flavor access not found for {} / {tenant} combination.", flavor.id))
        }
        other => other.into(),
    })?;
    list(&call, &flavor).await
}

fn tenant(action: &Value) -> &str {
    action["tenant"].as_str().unwrap_or_default()
}

async fn list(call: &Call, flavor: &Flavor) -> Answer {
    let projects = flavors::access(&call.state.db, &flavor.flavorid).await?;
    let access: Vec<Value> =
        projects.iter().map(|project| json!({"flavor_id": flavor.flavorid, "tenant_id": project})).collect();
    ok(&json!({"flavor_access": access}))
}
