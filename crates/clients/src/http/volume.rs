//! Cinder, API v3: volumes and snapshots as of 3.0, attachments as of 3.44, which is the oldest that has all of them.

mod wire;

use async_trait::async_trait;
use kilonova_core::{Config, RequestContext};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use self::wire::{AttachmentBody, SnapshotBody, VolumeBody};
use super::adapter::{Adapter, Call, Kind};
use super::answer::Answer;
use super::options::{Access, HttpConfigError};
use super::session::Sessions;
use crate::ClientError;
use crate::volume::{
    ATTACHMENT, Attachment, NewSnapshot, NewVolume, SNAPSHOT, Snapshot, VOLUME, Volume, VolumeService,
};

const KIND: Kind = Kind {
    service: "volume",
    section: "cinder",
    service_type: "volumev3",
    retries_option: Some("http_retries"),
    version: None,
    header: None,
};
const MICROVERSION: &str = "openstack-api-version";
/// How often what ends or moves an attachment is asked for, where the backend fails: Nova's number.
const ATTACHMENT_TRIES: usize = 5;

/// Volumes over HTTP.
pub struct HttpVolume {
    adapter: Adapter,
}

impl HttpVolume {
    /// From `[cinder]`.
    pub fn from_config(config: &Config, sessions: &mut Sessions) -> Result<Self, HttpConfigError> {
        let adapter = Adapter::with_access(config, sessions, KIND, Access::of_cinder(config)?)?;
        Ok(Self { adapter: adapter.of_projects("v3") })
    }

    /// Everything that a list has, page by page where Cinder makes pages.
    async fn list<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        key: &'static str,
    ) -> Result<Vec<T>, ClientError> {
        let mut found = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let call = first(Call::get(&[key, "detail"]));
            let call = marker.take().into_iter().fold(call, |call, marker| call.query("marker", marker));
            let answer = self.adapter.send(context, &call).await?;
            let mut body = answer.ok().map_err(|failure| failure.other(KIND.service))?;
            let Value::Array(items) = body[key].take() else {
                return Err(ClientError::unavailable(KIND.service, format!("a list without {key}")));
            };
            let links = body[format!("{key}_links")].as_array();
            if links.is_some_and(|links| links.iter().any(|link| link["rel"] == "next")) {
                // The link itself is not followed: it may name a host that is only reached from elsewhere.
                marker = items.last().and_then(|item| item["id"].as_str()).map(str::to_owned);
            }
            for item in items {
                found.push(parse(item)?);
            }
            if marker.is_none() {
                return Ok(found);
            }
        }
    }

    /// What is under `key` in the answer about the `resource` `id`.
    async fn item<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        call: Call,
        key: &str,
        resource: &'static str,
        id: impl ToString,
    ) -> Result<T, ClientError> {
        let answer = self.adapter.send(context, &call).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, resource, id))?;
        parse(body[key].take())
    }

    /// Asks for something that has no answer worth reading.
    async fn order(
        &self,
        context: &RequestContext,
        call: Call,
        resource: &'static str,
        id: impl ToString,
    ) -> Result<(), ClientError> {
        let answer = self.adapter.send(context, &call).await?;
        answer.ok().map(drop).map_err(|failure| failure.error(KIND.service, resource, id))
    }

    /// `POST /volumes/{id}/action`
    async fn action(&self, context: &RequestContext, id: &str, name: &str) -> Result<(), ClientError> {
        let call = first(Call::post(&["volumes", id, "action"], json!({ name: null })));
        self.order(context, call, VOLUME, id).await
    }

    /// The answer of a backend that may fail for a moment.
    async fn persist(&self, context: &RequestContext, call: &Call) -> Result<Answer, ClientError> {
        for _ in 1..ATTACHMENT_TRIES {
            let answer = self.adapter.send(context, call).await?;
            if !matches!(answer.status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT) {
                return Ok(answer);
            }
        }
        self.adapter.send(context, call).await
    }
}

#[async_trait]
impl VolumeService for HttpVolume {
    async fn list_volumes(&self, context: &RequestContext) -> Result<Vec<Volume>, ClientError> {
        let found: Vec<VolumeBody> = self.list(context, "volumes").await?;
        Ok(found.into_iter().map(Volume::from).collect())
    }

    async fn show_volume(&self, context: &RequestContext, id: &str) -> Result<Volume, ClientError> {
        let call = first(Call::get(&["volumes", id]));
        self.item::<VolumeBody>(context, call, "volume", VOLUME, id).await.map(Volume::from)
    }

    async fn create_volume(&self, context: &RequestContext, new: NewVolume) -> Result<Volume, ClientError> {
        let call = first(Call::post(&["volumes"], json!({"volume": wire::new_volume(new)})));
        self.item::<VolumeBody>(context, call, "volume", VOLUME, "").await.map(Volume::from)
    }

    async fn delete_volume(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.order(context, first(Call::delete(&["volumes", id])), VOLUME, id).await
    }

    async fn list_snapshots(&self, context: &RequestContext) -> Result<Vec<Snapshot>, ClientError> {
        let found: Vec<SnapshotBody> = self.list(context, "snapshots").await?;
        Ok(found.into_iter().map(Snapshot::from).collect())
    }

    async fn show_snapshot(&self, context: &RequestContext, id: &str) -> Result<Snapshot, ClientError> {
        let call = first(Call::get(&["snapshots", id]));
        self.item::<SnapshotBody>(context, call, "snapshot", SNAPSHOT, id).await.map(Snapshot::from)
    }

    async fn create_snapshot(&self, context: &RequestContext, new: NewSnapshot) -> Result<Snapshot, ClientError> {
        let NewSnapshot { volume_id, force, name, description } = new;
        let snapshot = json!({"volume_id": volume_id, "force": force, "name": name, "description": description});
        let call = first(Call::post(&["snapshots"], json!({ "snapshot": snapshot })));
        self.item::<SnapshotBody>(context, call, "snapshot", VOLUME, volume_id).await.map(Snapshot::from)
    }

    async fn delete_snapshot(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.order(context, first(Call::delete(&["snapshots", id])), SNAPSHOT, id).await
    }

    async fn reserve(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.action(context, id, "os-reserve").await
    }

    async fn unreserve(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.action(context, id, "os-unreserve").await
    }

    async fn begin_detaching(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.action(context, id, "os-begin_detaching").await
    }

    async fn roll_detaching(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.action(context, id, "os-roll_detaching").await
    }

    async fn migrate_volume_completion(
        &self,
        context: &RequestContext,
        old_id: &str,
        new_id: &str,
        is_failed: bool,
    ) -> Result<String, ClientError> {
        let body = json!({"os-migrate_volume_completion": {"new_volume": new_id, "error": is_failed}});
        let call = first(Call::post(&["volumes", old_id, "action"], body));
        self.item(context, call, "save_volume_id", VOLUME, old_id).await
    }

    async fn create_attachment(
        &self,
        context: &RequestContext,
        volume_id: &str,
        instance_uuid: Uuid,
    ) -> Result<Attachment, ClientError> {
        let attachment = json!({"volume_uuid": volume_id, "instance_uuid": instance_uuid, "connector": null});
        let call = attachments(Call::post(&["attachments"], json!({ "attachment": attachment })));
        self.item::<AttachmentBody>(context, call, "attachment", VOLUME, volume_id).await.map(Attachment::from)
    }

    async fn show_attachment(&self, context: &RequestContext, id: Uuid) -> Result<Attachment, ClientError> {
        let call = attachments(Call::get(&["attachments", &id.to_string()]));
        self.item::<AttachmentBody>(context, call, "attachment", ATTACHMENT, id).await.map(Attachment::from)
    }

    async fn update_attachment(
        &self,
        context: &RequestContext,
        id: Uuid,
        connector: Value,
    ) -> Result<Attachment, ClientError> {
        let body = json!({"attachment": {"connector": connector}});
        let answer = self.persist(context, &attachments(Call::put(&["attachments", &id.to_string()], body))).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, ATTACHMENT, id))?;
        parse::<AttachmentBody>(body["attachment"].take()).map(Attachment::from)
    }

    async fn complete_attachment(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        let body = json!({"os-complete": null});
        let call = attachments(Call::post(&["attachments", &id.to_string(), "action"], body));
        self.order(context, call, ATTACHMENT, id).await
    }

    async fn delete_attachment(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        let answer = self.persist(context, &attachments(Call::delete(&["attachments", &id.to_string()]))).await?;
        match answer.ok() {
            Err(failure) if failure.status != StatusCode::NOT_FOUND => Err(failure.other(KIND.service)),
            _ => Ok(()),
        }
    }
}

/// A request of the first microversion.
fn first(call: Call) -> Call {
    call.header(MICROVERSION, HeaderValue::from_static("volume 3.0"))
}

/// A request of the first microversion in which attachments are complete.
fn attachments(call: Call) -> Call {
    call.header(MICROVERSION, HeaderValue::from_static("volume 3.44"))
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value)
        .map_err(|error| ClientError::unavailable(KIND.service, format!("an answer that makes no sense: {error}")))
}
