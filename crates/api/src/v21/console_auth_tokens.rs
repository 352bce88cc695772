//! `/os-console-auth-tokens`: what a proxy asks before it connects somebody.

use kilonova_db::console_auth_tokens;
use serde_json::json;

use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::{V2_31, V2_99};

/// `GET /os-console-auth-tokens/{id}`. Before 2.31 it knew consoles only that Nova has removed.
pub(crate) async fn show(call: Call) -> Answer {
    if !call.since(V2_31) {
        return Err(ApiError::malformed());
    }
    call.authorize(Target { project_id: "", user_id: "" })?;
    let found = console_auth_tokens::validate(&call.state.db, call.param("id")).await?;
    let console = found.ok_or_else(|| ApiError::NotFound("Token not found".to_owned()))?;
    let mut view = json!({
        "instance_uuid": console.instance_uuid,
        "host": console.host,
        "port": console.port,
        "internal_access_path": console.internal_access_path,
    });
    if console.console_type == "spice-direct" && call.since(V2_99) {
        view["tls_port"] = json!(console.tls_port);
    }
    ok(&json!({"console": view}))
}
