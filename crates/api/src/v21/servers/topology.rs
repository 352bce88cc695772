//! `/servers/{server_id}/topology`

use super::{authorized, target};
use crate::call::{Answer, Call, ok};
use crate::views::server_topology::Topology;

/// `GET /servers/{server_id}/topology`: what is the host's is for who may see it.
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let shows_host = call.can("compute:server:topology:host:index", target(&instance));
    ok(&Topology::new(instance.numa_topology.as_ref(), shows_host))
}
