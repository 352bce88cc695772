//! `GET /os-hypervisors/{id}/uptime`: up to 2.87; later it is among the details.

use serde_json::json;

use super::{is_up, parse_id};
use crate::call::{Answer, Call, ok};
use crate::compute::hypervisors;
use crate::error::ApiError;
use crate::policy::Target;
use crate::views::hypervisors::{Brief, uptime as known_uptime};

pub(crate) async fn uptime(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let hypervisor = hypervisors::get(&call.state, parse_id(&call)?, false).await?;
    if !is_up(&call, &hypervisor) {
        let host = hypervisor.node.host.as_deref().unwrap_or_default();
        return Err(ApiError::BadRequest(format!("Compute service of {host} is unavailable at this time.")));
    }
    let uptime = known_uptime(&hypervisor.node)
        .ok_or_else(|| ApiError::NotImplemented("The requested functionality is not supported.".to_owned()))?;
    let mut shown = json!(Brief::new(&hypervisor, true, call.version));
    shown["uptime"] = json!(uptime);
    ok(&json!({"hypervisor": shown}))
}
