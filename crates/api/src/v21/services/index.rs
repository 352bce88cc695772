//! `GET /os-services`

use serde_json::json;

use super::view;
use crate::call::{Answer, Call, ok};
use crate::compute::{availability_zones, services};
use crate::policy::Target;

pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let filter = |name: &str| call.query.get(name).filter(|value| !value.is_empty());
    let found = services::list(&call.state, filter("host"), filter("binary")).await?;
    let zones = availability_zones::read(&call.state).await?;
    let shown: Vec<_> = found.iter().map(|service| view(&call, &zones, service)).collect();
    ok(&json!({"services": shown}))
}
