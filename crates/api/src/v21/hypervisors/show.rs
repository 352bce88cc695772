//! `GET /os-hypervisors/{id}`

use serde_json::json;

use super::{is_up, parse_id, wants_servers};
use crate::call::{Answer, Call, ok};
use crate::compute::hypervisors;
use crate::policy::Target;
use crate::views::hypervisors::Detail;

pub(crate) async fn show(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let hypervisor = hypervisors::get(&call.state, parse_id(&call)?, wants_servers(&call)).await?;
    ok(&json!({"hypervisor": Detail::new(&hypervisor, is_up(&call, &hypervisor), call.version)}))
}
