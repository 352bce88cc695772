//! `GET /servers` and `GET /servers/detail`

use uuid::Uuid;

use crate::call::{Answer, Call, ok};
use crate::compute::list::{Search, SearchError, Wanted};
use crate::compute::{host_status, list};
use crate::error::ApiError;
use crate::versions::{V2_16, V2_96};
use crate::views::servers::{Brief, Kind, Many};

use super::{viewer, volumes};

/// `GET /servers`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let wanted = wanted(&call, "os_compute_api:servers:index:get_all_tenants")?;
    let found = list::list_brief(&call.state, &wanted).await?;
    let last = found.last().map(|(uuid, _)| uuid.to_string());
    let next = call.links.next("servers", &call.query, call.state.config.max_limit, found.len(), last.as_deref());
    let links = |uuid: &Uuid| call.links.of("servers", &uuid.to_string());
    let servers = found.iter().map(|(uuid, name)| Brief { id: *uuid, name, links: links(uuid) }).collect();
    ok(&Many { servers, servers_links: next.map(|link| [link]) })
}

/// `GET /servers/detail`
pub(crate) async fn detail(call: Call) -> Answer {
    call.authorize_own()?;
    let wanted = wanted(&call, "os_compute_api:servers:detail:get_all_tenants")?;
    let (found, asked) = list::list(&call.state, &wanted, call.since(V2_96)).await?;
    let mut viewer = viewer(&call, Kind::Detail, call.own());
    viewer.asked = asked;
    viewer.volumes = volumes(&call, &found).await?;
    if viewer.shown.host_status && call.since(V2_16) {
        viewer.host_statuses = host_status::all(&call.state).await?;
    }
    let last = found.last().map(|instance| instance.uuid.to_string());
    let next =
        call.links.next("servers/detail", &call.query, call.state.config.max_limit, found.len(), last.as_deref());
    let servers = found.iter().map(|instance| viewer.server(instance)).collect();
    ok(&Many { servers, servers_links: next.map(|link| [link]) })
}

fn wanted(call: &Call, all_tenants_rule: &str) -> Result<Wanted, ApiError> {
    let search = Search {
        options: call.query.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        version: call.version,
        context: &call.context,
        all_filters: call.can("os_compute_api:servers:allow_all_filters", call.own()),
        max_limit: call.state.config.max_limit,
    };
    let all_tenants = search.all_tenants().map_err(refused)?;
    let wanted = search.wanted(all_tenants).map_err(refused)?;
    if all_tenants {
        call.require(all_tenants_rule, call.own())?;
    }
    Ok(wanted)
}

fn refused(error: SearchError) -> ApiError {
    match error {
        SearchError::Invalid(message) => ApiError::BadRequest(message),
        SearchError::Forbidden(message) => ApiError::Forbidden(message),
    }
}
