//! `DELETE /flavors/{id}`

use axum::http::StatusCode;
use kilonova_db::flavors;

use crate::call::{Answer, Call, empty};
use crate::policy::Target;

/// Servers keep their copy.
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize(Target::default())?;
    flavors::delete(&call.state.db, call.param("id")).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
