//! `GET /flavors/{id}`

use crate::call::{Answer, Call};

pub(crate) async fn show(call: Call) -> Answer {
    call.authorize_own()?;
    let flavor = super::visible(&call, call.param("id")).await?;
    super::render(&call, &flavor)
}
