//! `/os-server-external-events`: what other services tell of servers.

use axum::http::StatusCode;
use kilonova_objects::InstanceExternalEvent;
use serde_json::{Value, json};

use crate::call::{Answer, Call, json as json_answer};
use crate::compute::external_events::{self, Outcome};
use crate::policy::Target;

/// `POST /os-server-external-events`: 207 where not all could be accepted.
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize(Target { project_id: "", user_id: "" })?;
    let asked: Vec<Value> = call.body["events"].as_array().cloned().unwrap_or_default();
    let events = asked.iter().filter_map(event).collect();
    let outcomes = external_events::dispatch(&call.state, &call.context, events).await?;
    let is_accepted = |outcome: &Outcome| *outcome == Outcome::Accepted;
    let shown = asked.into_iter().zip(&outcomes).map(|(mut event, outcome)| {
        event["code"] = json!(*outcome as u16);
        event["status"] = json!(if is_accepted(outcome) { "completed" } else { "failed" });
        event
    });
    let status = if outcomes.iter().all(is_accepted) { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok(json_answer(status, &json!({"events": shown.collect::<Vec<_>>()})))
}

/// The schema has seen to it that each of them is one.
fn event(asked: &Value) -> Option<InstanceExternalEvent> {
    let text = |name: &str| asked[name].as_str().map(str::to_owned);
    Some(InstanceExternalEvent {
        instance_uuid: asked["server_uuid"].as_str()?.parse().ok()?,
        name: text("name")?,
        status: text("status").unwrap_or_else(|| "completed".to_owned()),
        tag: text("tag"),
        ..InstanceExternalEvent::default()
    })
}
