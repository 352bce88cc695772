//! `/os-quota-class-sets/{id}`: the limits of the class `default` are those of every project that has none of its own.

use kilonova_db::quotas;
use serde_json::{Map, Value, json};

use super::quota_sets::limits;
use crate::call::{Answer, Call, ok};
use crate::compute::quota_sets::{self, FILES, NETWORK, SERVER_GROUPS};
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::{V2_50, V2_57};

/// `GET /os-quota-class-sets/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let mut set = shown(&call).await?;
    set.insert("id".to_owned(), json!(call.param("id")));
    ok(&json!({"quota_class_set": set}))
}

/// `PUT /os-quota-class-sets/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let (class, length) = (call.param("id"), call.param("id").chars().count());
    if length > 255 {
        return Err(ApiError::BadRequest(format!(
            "Invalid input received: quota_class_name has {length} characters, more than 255."
        )));
    }
    let body = call.body["quota_class_set"].as_object().cloned().unwrap_or_default();
    quotas::set_class(&call.state.db, class, &limits(&body)).await?;
    ok(&json!({"quota_class_set": shown(&call).await?}))
}

async fn shown(call: &Call) -> Result<Map<String, Value>, ApiError> {
    let amounts = quota_sets::class(&call.state, call.param("id")).await?;
    let is_shown = |resource: &str| {
        !(call.since(V2_50) && NETWORK.contains(&resource)
            || call.since(V2_57) && FILES.contains(&resource)
            || !call.since(V2_50) && SERVER_GROUPS.contains(&resource))
    };
    let kept = amounts.into_iter().filter(|(resource, _)| is_shown(resource));
    Ok(kept.map(|(resource, limit)| (resource.to_owned(), json!(limit))).collect())
}
