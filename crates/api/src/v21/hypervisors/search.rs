//! `GET /os-hypervisors/{id}/search`, `GET /os-hypervisors/{id}/servers`: up to 2.52, with a part of the name as id.

use serde_json::{Value, json};

use super::is_up;
use crate::call::{Answer, Call, ok};
use crate::compute::hypervisors;
use crate::policy::Target;
use crate::views::hypervisors::Brief;

/// `GET /os-hypervisors/{id}/search`
pub(crate) async fn search(call: Call) -> Answer {
    found(call, false).await
}

/// `GET /os-hypervisors/{id}/servers`
pub(crate) async fn servers(call: Call) -> Answer {
    found(call, true).await
}

async fn found(call: Call, with_servers: bool) -> Answer {
    call.authorize(Target::default())?;
    let found = hypervisors::search(&call.state, call.param("id"), with_servers).await?;
    let shown: Vec<Value> =
        found.iter().map(|found| json!(Brief::new(found, is_up(&call, found), call.version))).collect();
    ok(&json!({"hypervisors": shown}))
}
