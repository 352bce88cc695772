//! `GET /os-hypervisors`, `GET /os-hypervisors/detail`

use serde::Serialize;

use super::{is_up, wants_servers};
use crate::call::{Answer, Call, ok};
use crate::compute::hypervisors::{self, Hypervisor};
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::paging::Page;
use crate::versions::{V2_33, V2_53};
use crate::views::hypervisors::{Brief, Detail};
use crate::views::links::Link;

#[derive(Serialize)]
struct Hypervisors<T> {
    hypervisors: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hypervisors_links: Option<[Link; 1]>,
}

/// `GET /os-hypervisors`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let (found, links) = list(&call, "os-hypervisors").await?;
    let shown = found.iter().map(|found| Brief::new(found, is_up(&call, found), call.version));
    ok(&Hypervisors { hypervisors: shown.collect(), hypervisors_links: links })
}

/// `GET /os-hypervisors/detail`
pub(crate) async fn detail(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let (found, links) = list(&call, "os-hypervisors/detail").await?;
    let shown = found.iter().map(|found| Detail::new(found, is_up(&call, found), call.version));
    ok(&Hypervisors { hypervisors: shown.collect(), hypervisors_links: links })
}

type Listed = (Vec<Hypervisor>, Option<[Link; 1]>);

/// What is asked for, and the link to what follows. A search is not paged.
async fn list(call: &Call, collection: &str) -> Result<Listed, ApiError> {
    let pattern = call.query.get("hypervisor_hostname_pattern").filter(|_| call.since(V2_53));
    if let Some(pattern) = pattern {
        if call.query.has("limit") || call.query.has("marker") {
            return Err(ApiError::BadRequest(
                "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."
                    .to_owned(),
            ));
        }
        return Ok((hypervisors::search(&call.state, pattern, wants_servers(call)).await?, None));
    }
    let all = hypervisors::list(&call.state, wants_servers(call)).await?;
    if !call.since(V2_33) {
        return Ok((all, None));
    }
    let page = one_page(call, all)?;
    let last = page.last().map(|hypervisor| shown_id(call, hypervisor));
    let max = call.state.config.max_limit;
    let next = call.links.next(collection, &call.query, max, page.len(), last.as_deref());
    Ok((page, next.map(|link| [link])))
}

fn one_page(call: &Call, mut all: Vec<Hypervisor>) -> Result<Vec<Hypervisor>, ApiError> {
    let page = Page::of(call);
    if let Some(marker) = page.marker {
        let at = all.iter().position(|hypervisor| shown_id(call, hypervisor) == marker);
        let at = at.ok_or_else(|| ApiError::BadRequest(format!("marker [{marker}] not found")))?;
        all.drain(..=at);
    }
    all.truncate(page.len());
    Ok(all)
}

fn shown_id(call: &Call, hypervisor: &Hypervisor) -> String {
    if call.since(V2_53) { hypervisor.node.uuid.to_string() } else { hypervisor.node.id.to_string() }
}
