//! `DELETE /os-keypairs/{id}`

use axum::http::StatusCode;

use super::authorized_user;
use crate::call::{Answer, Call, empty};
use crate::compute::keypairs;
use crate::versions::V2_2;

pub(crate) async fn delete(call: Call) -> Answer {
    let user_id = authorized_user(&call)?;
    keypairs::delete(&call.state, user_id, call.param("id")).await?;
    Ok(empty(if call.since(V2_2) { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED }))
}
