//! The metadata that users give servers.

use std::collections::BTreeMap;

use kilonova_core::RequestContext;
use kilonova_db::{DbError, instances};
use kilonova_objects::Instance;
use kilonova_objects::state::Action;

use super::{ComputeError, checks, quota};
use crate::state::ApiState;

/// Adds to a server's metadata, or replaces them; returns what it has then.
pub(crate) async fn update(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    metadata: &BTreeMap<String, String>,
    replace: bool,
) -> Result<BTreeMap<String, String>, ComputeError> {
    checks::unlocked(context, instance)?;
    checks::allowed(Action::UpdateMetadata, instance, "update metadata")?;
    let mut whole = if replace { BTreeMap::new() } else { instance.metadata.clone() };
    whole.extend(metadata.clone());
    quota::check_metadata(state, context, whole.len()).await?;
    Ok(instances::update_metadata(&state.db, instance.uuid, metadata, replace).await?)
}

/// Removes one item.
pub(crate) async fn delete(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    key: &str,
) -> Result<(), ComputeError> {
    if !instance.metadata.contains_key(key) {
        return Err(ComputeError::MetadataItemNotFound);
    }
    checks::unlocked(context, instance)?;
    checks::allowed(Action::UpdateMetadata, instance, "delete metadata")?;
    match instances::delete_metadata(&state.db, instance.uuid, key).await {
        Err(DbError::NotFound { resource: "metadata", .. }) => Err(ComputeError::MetadataItemNotFound),
        other => Ok(other?),
    }
}
