//! `GET /limits`

use futures::try_join;

use crate::call::{Answer, Call, ok};
use crate::compute::quota_sets;
use crate::policy::Target;
use crate::views::limits::view;

/// What the caller's project may use and uses; for admins, that of another project.
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let project_id = match call.query.get("tenant_id") {
        Some(project_id) => {
            call.require("os_compute_api:limits:other_project", call.own())?;
            project_id
        }
        None => call.context.project_id(),
    };
    let (limits, used) =
        try_join!(quota_sets::limits(&call.state, project_id, None), quota_sets::used(&call.state, project_id, None))?;
    ok(&view(&limits, &used, call.version))
}
