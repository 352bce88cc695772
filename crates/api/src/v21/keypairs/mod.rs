//! `/os-keypairs`

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod index;
pub(crate) mod show;

use crate::call::Call;
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::V2_10;

/// Whose key pairs are meant: the caller's, or from 2.10 on those of `user_id`, if the caller may.
fn authorized_user(call: &Call) -> Result<&str, ApiError> {
    let other = if call.since(V2_10) { call.query.all("user_id").next() } else { None };
    authorized(call, other)
}

fn authorized<'a>(call: &'a Call, other: Option<&'a str>) -> Result<&'a str, ApiError> {
    let user_id = other.filter(|user_id| !user_id.is_empty()).unwrap_or_else(|| call.context.user_id());
    call.authorize(Target { user_id, ..Target::default() })?;
    Ok(user_id)
}
