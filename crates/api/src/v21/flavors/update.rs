//! `PUT /flavors/{id}`

use kilonova_db::flavors;

use crate::call::{Answer, Call};
use crate::policy::Target;

/// Only the description can be changed.
pub(crate) async fn update(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let description = call.body["flavor"]["description"].as_str();
    let flavor = flavors::update_description(&call.state.db, call.param("id"), description).await?;
    super::render(&call, &flavor)
}
