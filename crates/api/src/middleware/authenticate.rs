//! Who asks: keystonemiddleware's part. A token becomes a [`RequestContext`].

use axum::http::HeaderMap;
use kilonova_clients::ClientError;
use kilonova_core::RequestContext;

use super::request_id::RequestIds;
use crate::error::ApiError;
use crate::policy::Target;
use crate::state::ApiState;

/// The caller's context, or 401 for no token and one that is not valid.
pub(crate) async fn authenticate(
    state: &ApiState,
    headers: &HeaderMap,
    ids: &RequestIds,
    identity_uri: &str,
) -> Result<RequestContext, ApiError> {
    let unauthorized = || ApiError::Unauthorized { identity_uri: identity_uri.to_owned() };
    let token = headers.get("x-auth-token").and_then(|value| value.to_str().ok()).ok_or_else(unauthorized)?;
    let info = state.clients.identity.validate(token).await.map_err(|error| match error {
        ClientError::Unavailable { .. } => {
            tracing::error!(%error, "cannot validate a token");
            ApiError::Unavailable("Keystone is temporarily unavailable.".to_owned())
        }
        _ => unauthorized(),
    })?;
    let mut context = info.context(token);
    context.request_id = Some(ids.own.clone());
    context.global_request_id.clone_from(&ids.global);
    context.is_admin = false;
    let own = Target { project_id: context.project_id(), user_id: context.user_id() };
    context.is_admin = state.policy.allows("context_is_admin", &context, own);
    Ok(context)
}
