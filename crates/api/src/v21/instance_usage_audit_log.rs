//! `/os-instance_usage_audit_log`: which hosts told of the use of their servers in a period that is over.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDateTime, Utc};
use kilonova_core::time::utcnow;
use kilonova_db::{services, task_log};
use kilonova_objects::TaskLog;
use serde_json::{Value, json};

use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::policy::Target;

/// `GET /os-instance_usage_audit_log`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let log = read(&call, utcnow()).await?;
    ok(&json!({"instance_usage_audit_logs": log}))
}

/// `GET /os-instance_usage_audit_log/{id}`: the period that was over before the instant `id`.
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let id = call.param("id");
    let form = if id.contains('.') { "%Y-%m-%d %H:%M:%S%.f" } else { "%Y-%m-%d %H:%M:%S" };
    let before = NaiveDateTime::parse_from_str(id, form)
        .map_err(|_| ApiError::BadRequest(format!("Invalid timestamp for date {id}")))?;
    let log = read(&call, before.and_utc()).await?;
    ok(&json!({"instance_usage_audit_log": log}))
}

async fn read(call: &Call, before: DateTime<Utc>) -> Result<Value, ApiError> {
    let (begin, end) = call.state.config.instance_usage_audit_period.last_completed(before);
    let audits = task_log::list(&call.state.db, TaskLog::INSTANCE_USAGE_AUDIT, begin, end).await?;
    let computes = services::list(&call.state.db, None, None).await?;
    let computes = computes.iter().filter(|service| service.topic.as_deref() == Some("compute"));
    let hosts: BTreeSet<&str> = computes.filter_map(|service| service.host.as_deref()).collect();
    Ok(summary(&hosts, &audits, begin, end))
}

/// As Python prints an instant of whole seconds.
fn printed(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn summary(hosts: &BTreeSet<&str>, audits: &[TaskLog], begin: DateTime<Utc>, end: DateTime<Utc>) -> Value {
    let in_state = |state: &str| audits.iter().filter(|audit| audit.state == state).count();
    let done = in_state("DONE");
    let seen: BTreeSet<&str> = audits.iter().map(|audit| audit.host.as_str()).collect();
    let not_run: Vec<&str> = hosts.difference(&seen).copied().collect();
    let errors: i64 = audits.iter().map(|audit| audit.errors).sum();
    let which = if done == hosts.len() { "ALL".to_owned() } else { format!("{done} of {}", hosts.len()) };
    let of_host = |audit: &TaskLog| {
        let (state, instances) = (&audit.state, audit.task_items);
        json!({"state": state, "instances": instances, "errors": audit.errors, "message": audit.message})
    };
    let log: BTreeMap<&str, Value> = audits.iter().map(|audit| (audit.host.as_str(), of_host(audit))).collect();
    json!({
        "period_beginning": printed(begin),
        "period_ending": printed(end),
        "num_hosts": hosts.len(),
        "num_hosts_done": done,
        "num_hosts_running": in_state("RUNNING"),
        "num_hosts_not_run": not_run.len(),
        "hosts_not_run": not_run,
        "total_instances": audits.iter().map(|audit| audit.task_items).sum::<i64>(),
        "total_errors": errors,
        "overall_status": format!("{which} hosts done. {errors} errors."),
        "log": log,
    })
}
