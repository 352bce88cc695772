//! What was done to a server, and in which steps.

use kilonova_core::Microversion;
use kilonova_objects::{InstanceAction, InstanceActionEvent};
use serde::Serialize;
use uuid::Uuid;

use super::links::Link;
use super::servers::obfuscated_host;
use super::time::StrTime;
use crate::versions::V2_58;

/// `{"instanceActions": […]}`
#[derive(Serialize)]
pub(crate) struct Actions<'a> {
    #[serde(rename = "instanceActions")]
    pub instance_actions: Vec<Action<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<[Link; 1]>,
}

/// `{"instanceAction": {…, "events": […]}}`
#[derive(Serialize)]
pub(crate) struct OneAction<'a> {
    #[serde(rename = "instanceAction")]
    instance_action: WithEvents<'a>,
}

#[derive(Serialize)]
struct WithEvents<'a> {
    #[serde(flatten)]
    action: Action<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Event<'a>>>,
}

impl<'a> OneAction<'a> {
    pub(crate) fn new(action: Action<'a>, events: Option<Vec<Event<'a>>>) -> Self {
        Self { instance_action: WithEvents { action, events } }
    }
}

/// One request.
#[derive(Serialize)]
pub(crate) struct Action<'a> {
    action: Option<&'a str>,
    instance_uuid: Option<Uuid>,
    request_id: Option<&'a str>,
    user_id: Option<&'a str>,
    project_id: Option<&'a str>,
    start_time: Option<StrTime>,
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Option<StrTime>>,
}

impl<'a> Action<'a> {
    pub(crate) fn new(action: &'a InstanceAction, version: Microversion) -> Self {
        Self {
            action: action.action.as_deref(),
            instance_uuid: action.instance_uuid,
            request_id: action.request_id.as_deref(),
            user_id: action.user_id.as_deref(),
            project_id: action.project_id.as_deref(),
            start_time: action.start_time.map(StrTime),
            message: action.message.as_deref(),
            updated_at: (version >= V2_58).then(|| action.updated_at.map(StrTime)),
        }
    }
}

/// One step of a request.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    event: Option<&'a str>,
    start_time: Option<StrTime>,
    finish_time: Option<StrTime>,
    result: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Option<&'a str>>,
    #[serde(rename = "hostId", skip_serializing_if = "Option::is_none")]
    host_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Option<&'a str>>,
}

impl<'a> Event<'a> {
    /// `project_id`: of whom the host is hidden behind `hostId`, where it is shown at all.
    pub(crate) fn new(
        event: &'a InstanceActionEvent,
        show_traceback: bool,
        show_host: bool,
        project_id: Option<&str>,
        show_details: bool,
    ) -> Self {
        let host = event.host.as_deref();
        Self {
            event: event.event.as_deref(),
            start_time: event.start_time.map(StrTime),
            finish_time: event.finish_time.map(StrTime),
            result: event.result.as_deref(),
            traceback: show_traceback.then_some(event.traceback.as_deref()),
            host: show_host.then_some(host),
            host_id: project_id
                .map(|project_id| host.map_or_else(String::new, |host| obfuscated_host(project_id, host))),
            details: show_details.then_some(event.details.as_deref()),
        }
    }
}
