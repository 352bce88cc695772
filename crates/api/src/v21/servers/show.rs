//! `GET /servers/{id}`

use super::{asked, target, viewer, volumes};
use crate::call::{Answer, Call, ok};
use crate::compute::{self, host_status, server_groups};
use crate::versions::{V2_16, V2_71};
use crate::views::servers::{Kind, One};

/// `GET /servers/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = compute::get::get(&call.state, &call.context, call.param("id")).await?;
    call.authorize(target(&instance))?;
    let mut viewer = viewer(&call, Kind::Show, target(&instance));
    viewer.asked = asked(&call, std::slice::from_ref(&instance)).await?;
    viewer.volumes = volumes(&call, std::slice::from_ref(&instance)).await?;
    if viewer.shown.host_status && call.since(V2_16) {
        viewer.host_statuses = host_status::all(&call.state).await?;
    }
    if call.since(V2_71) {
        viewer.server_group = server_groups::of_server(&call.state, &call.context, instance.uuid).await?;
    }
    ok(&One { server: viewer.server(&instance) })
}
