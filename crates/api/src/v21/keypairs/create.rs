//! `POST /os-keypairs`

use axum::http::StatusCode;
use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, json};
use crate::compute::keypairs::{self, SSH};
use crate::versions::{V2_2, V2_10};
use crate::views::keypairs::Created;

/// With a public key it is imported, without one a pair is made (up to 2.91).
pub(crate) async fn create(call: Call) -> Answer {
    let body = &call.body["keypair"];
    let other = if call.since(V2_10) { body["user_id"].as_str() } else { None };
    let user_id = authorized(&call, other)?;
    let name = body["name"].as_str().unwrap_or_default().trim();
    let key_type = body["type"].as_str().unwrap_or(SSH);
    let (keypair, private_key) = match body["public_key"].as_str() {
        Some(public_key) => {
            (keypairs::import(&call.state, &call.context, user_id, name, key_type, public_key).await?, None)
        }
        None => {
            let (keypair, private_key) =
                keypairs::generate(&call.state, &call.context, user_id, name, key_type).await?;
            (keypair, Some(private_key))
        }
    };
    let status = if call.since(V2_2) { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &json!({"keypair": Created::new(&keypair, private_key.as_deref(), call.version)})))
}
