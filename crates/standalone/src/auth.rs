//! From `X-Auth-Token` to a security context, for the built-in image and network services.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use kilonova_clients::ClientError;
use kilonova_clients::identity::Identity;
use kilonova_core::RequestContext;
use serde_json::json;

/// Puts the caller's [`RequestContext`] into the request's extensions, or answers 401 as keystonemiddleware does.
///
/// Used as `middleware::from_fn_with_state(identity, authenticate)`.
pub async fn authenticate(State(identity): State<Arc<dyn Identity>>, mut request: Request, next: Next) -> Response {
    match context(identity.as_ref(), request.headers()).await {
        Ok(mut context) => {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            context.remote_address = peer.map(|peer| peer.0.ip().to_string());
            request.extensions_mut().insert(context);
            next.run(request).await
        }
        Err(ClientError::Unauthorized) => unauthorized(),
        Err(error) => {
            tracing::error!(%error, "a token could not be validated");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn context(identity: &dyn Identity, headers: &HeaderMap) -> Result<RequestContext, ClientError> {
    let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok()).ok_or(ClientError::Unauthorized)?;
    Ok(identity.validate(token).await?.context(token))
}

fn unauthorized() -> Response {
    let body = json!({"error": {
        "code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication.",
    }});
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Keystone uri=\"/identity\"")], axum::Json(body))
        .into_response()
}
