//! `/os-simple-tenant-usage`: hours that servers ran in a period, by project.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use kilonova_core::time::utcnow;
use kilonova_db::instances::{self, Deleted, Expand, InstanceQuery};
use kilonova_objects::Instance;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::paging::Page;
use crate::versions::V2_40;
use crate::views::links::Link;
use crate::views::time::StrTime;

/// `GET /os-simple-tenant-usage`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let is_detailed = call.query.all("detailed").next() == Some("1");
    let (usages, next) = usages(&call, None, is_detailed).await?;
    let mut body = Map::from_iter([("tenant_usages".to_owned(), json!(usages))]);
    body.extend(next.map(|link| ("tenant_usages_links".to_owned(), json!([link]))));
    ok(&body)
}

/// `GET /os-simple-tenant-usage/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let project_id = call.param("id");
    call.authorize(Target { project_id, ..Target::default() })?;
    let (usages, next) = usages(&call, Some(project_id), true).await?;
    let usage = usages.first().map_or_else(|| json!({}), |usage| json!(usage));
    let mut body = Map::from_iter([("tenant_usage".to_owned(), usage)]);
    body.extend(next.map(|link| ("tenant_usage_links".to_owned(), json!([link]))));
    ok(&body)
}

/// What a project used.
#[derive(Serialize)]
struct Usage {
    tenant_id: String,
    total_hours: f64,
    total_local_gb_usage: f64,
    total_memory_mb_usage: f64,
    total_vcpus_usage: f64,
    start: StrTime,
    stop: StrTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_usages: Option<Vec<ServerUsage>>,
}

/// What a server used.
#[derive(Serialize)]
struct ServerUsage {
    instance_id: Uuid,
    name: Option<String>,
    tenant_id: String,
    flavor: String,
    vcpus: i64,
    memory_mb: i64,
    local_gb: i64,
    hours: f64,
    started_at: StrTime,
    ended_at: Option<StrTime>,
    state: Value,
    uptime: i64,
}

async fn usages(
    call: &Call,
    project_id: Option<&str>,
    is_detailed: bool,
) -> Result<(Vec<Usage>, Option<Link>), ApiError> {
    let period = Period::of(call)?;
    let mut servers = active(call, project_id, &period).await?;
    let page = call.since(V2_40).then(|| Page::of(call));
    if let Some(marker) = page.as_ref().and_then(|page| page.marker) {
        let at = servers.iter().position(|server| server.uuid.to_string() == marker);
        let at = at.ok_or_else(|| ApiError::BadRequest(format!("Marker {marker} could not be found.")))?;
        servers.drain(..=at);
    }
    let limit = page.as_ref().map_or(call.state.config.max_limit, |page| page.limit);
    servers.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = page.and_then(|_| {
        let last = servers.last().map(|server| server.uuid.to_string());
        let below = project_id.map(|id| format!("/{id}")).unwrap_or_default();
        let collection = format!("os-simple-tenant-usage{below}");
        call.links.next(&collection, &call.query, call.state.config.max_limit, servers.len(), last.as_deref())
    });
    Ok((sum(&servers, &period, is_detailed), next))
}

/// The servers that ran in the period, by project and uuid. Deleted rows are kept for ever, but those that end in or
/// after the period were changed after its start.
async fn active(call: &Call, project_id: Option<&str>, period: &Period) -> Result<Vec<Instance>, ApiError> {
    let living = InstanceQuery {
        project_id: project_id.map(str::to_owned),
        with: Expand { metadata: false, faults: false },
        ..InstanceQuery::default()
    };
    let gone = InstanceQuery { deleted: Deleted::Only, changes_since: Some(period.start), ..living.clone() };
    let mut servers = instances::list(&call.state.db, &living).await?;
    servers.extend(instances::list(&call.state.db, &gone).await?);
    servers.retain(|server| {
        server.launched_at.is_some_and(|at| at < period.stop) && server.terminated_at.is_none_or(|at| at > period.start)
    });
    servers.sort_by(|a, b| (a.project_id(), a.uuid).cmp(&(b.project_id(), b.uuid)));
    // One that was deleted between the two queries is in both.
    servers.dedup_by_key(|server| server.uuid);
    Ok(servers)
}

fn sum(servers: &[Instance], period: &Period, is_detailed: bool) -> Vec<Usage> {
    let mut usages: BTreeMap<&str, Usage> = BTreeMap::new();
    for server in servers {
        let Some(of_server) = period.usage(server) else { continue };
        let usage = usages.entry(server.project_id()).or_insert_with(|| period.nothing(server, is_detailed));
        usage.total_hours += of_server.hours;
        usage.total_local_gb_usage += of_server.local_gb as f64 * of_server.hours;
        usage.total_memory_mb_usage += of_server.memory_mb as f64 * of_server.hours;
        usage.total_vcpus_usage += of_server.vcpus as f64 * of_server.hours;
        if let Some(servers) = &mut usage.server_usages {
            servers.push(of_server);
        }
    }
    usages.into_values().collect()
}

struct Period {
    start: DateTime<Utc>,
    stop: DateTime<Utc>,
}

impl Period {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let now = utcnow();
        let given = |name: &str| call.query.all(name).find(|text| !text.is_empty()).map(parse_time).transpose();
        let start = given("start")?.unwrap_or(now);
        // Neither given: the moment between two looks at the clock, as in Nova.
        let stop = given("end")?.unwrap_or(now + TimeDelta::microseconds(1));
        if start >= stop {
            return Err(ApiError::BadRequest(
                "Invalid start time. The start time cannot occur after the end time.".to_owned(),
            ));
        }
        Ok(Self { start, stop: stop.min(now) })
    }

    fn nothing(&self, server: &Instance, is_detailed: bool) -> Usage {
        Usage {
            tenant_id: server.project_id().to_owned(),
            total_hours: 0.0,
            total_local_gb_usage: 0.0,
            total_memory_mb_usage: 0.0,
            total_vcpus_usage: 0.0,
            start: StrTime(self.start),
            stop: StrTime(self.stop),
            server_usages: is_detailed.then(Vec::new),
        }
    }

    /// `None` for a server that never ran.
    fn usage(&self, server: &Instance) -> Option<ServerUsage> {
        let started_at = server.launched_at?;
        let flavor = server.flavor.as_ref()?;
        let ended_at = server.terminated_at;
        let state = if ended_at.is_some() { json!("terminated") } else { json!(server.vm_state.as_str()) };
        Some(ServerUsage {
            instance_id: server.uuid,
            name: server.display_name.clone(),
            tenant_id: server.project_id().to_owned(),
            flavor: flavor.name.clone().unwrap_or_default(),
            vcpus: flavor.vcpus,
            memory_mb: flavor.memory_mb,
            local_gb: flavor.root_gb + flavor.ephemeral_gb,
            hours: self.hours(started_at, ended_at),
            started_at: StrTime(started_at),
            ended_at: ended_at.map(StrTime),
            state,
            uptime: (ended_at.unwrap_or_else(utcnow) - started_at).num_seconds(),
        })
    }

    /// The part of a life that lies in the period.
    fn hours(&self, started_at: DateTime<Utc>, ended_at: Option<DateTime<Utc>>) -> f64 {
        let stop = ended_at.map_or(self.stop, |ended_at| ended_at.min(self.stop));
        let run = stop - started_at.max(self.start);
        run.num_microseconds().unwrap_or(i64::MAX).max(0) as f64 / 3_600_000_000.0
    }
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, ApiError> {
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let parsed = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let invalid = || ApiError::BadRequest("Invalid datetime string: Datetime is in invalid format".to_owned());
    Ok(parsed.ok_or_else(invalid)?.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        parse_time(text).unwrap()
    }

    #[test]
    fn only_the_hours_within_the_period_count() {
        let period = Period { start: at("2026-11-22T10:00:00"), stop: at("2026-11-22T12:00:00") };
        let hours = |from: &str, to: Option<&str>| period.hours(at(from), to.map(at));
        assert_eq!(hours("2026-11-22T09:00:00", None), 2.0);
        assert_eq!(hours("2026-11-22T11:00:00", None), 1.0);
        assert_eq!(hours("2026-11-22T09:00:00", Some("2026-11-22T10:30:00")), 0.5);
        assert_eq!(hours("2026-11-22T11:00:00", Some("2026-11-22T11:15:00.000000")), 0.25);
        assert_eq!(hours("2026-11-22T13:00:00", None), 0.0);
    }
}
