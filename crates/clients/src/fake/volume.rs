//! Volumes, snapshots and attachments in memory: everything that is begun is done at once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kilonova_core::RequestContext;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::ClientError;
use crate::volume::{
    ATTACHMENT, AttachedTo, Attachment, NewSnapshot, NewVolume, SNAPSHOT, Snapshot, VOLUME, Volume, VolumeService,
};

/// When everything was made.
const CREATED_AT: &str = "2026-11-25T12:00:00.000000";

/// A volume service without disks.
#[derive(Debug, Default)]
pub struct FakeVolumes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    volumes: Vec<Owned<Volume>>,
    snapshots: Vec<Owned<Snapshot>>,
    attachments: Vec<FakeAttachment>,
    failures: VecDeque<(&'static str, ClientError)>,
    /// How many volumes and snapshots more there can be.
    left: Option<usize>,
    /// What was asked, in order.
    asked: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Owned<T> {
    project_id: String,
    item: T,
}

#[derive(Clone, Debug)]
struct FakeAttachment {
    id: Uuid,
    volume_id: String,
    server_id: Uuid,
    connector: Value,
    is_complete: bool,
}

impl FakeVolumes {
    /// One without volumes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an available volume of a project.
    pub fn add(&self, project_id: &str, size_gb: i64) -> Volume {
        self.add_as(project_id, Volume { size: size_gb, ..Volume::default() })
    }

    /// The same for one that several servers may have.
    pub fn add_multiattach(&self, project_id: &str, size_gb: i64) -> Volume {
        self.add_as(project_id, Volume { size: size_gb, multiattach: true, ..Volume::default() })
    }

    fn add_as(&self, project_id: &str, volume: Volume) -> Volume {
        let item = Volume {
            id: Uuid::new_v4().to_string(),
            status: "available".to_owned(),
            created_at: json!(CREATED_AT),
            availability_zone: volume.availability_zone.or_else(|| Some("nova".to_owned())),
            ..volume
        };
        self.lock().volumes.push(Owned { project_id: project_id.to_owned(), item: item.clone() });
        item
    }

    /// A volume as it is, whoever's; none where there is none.
    pub fn volume(&self, id: &str) -> Option<Volume> {
        self.lock().volumes.iter().find(|volume| volume.item.id == id).map(|volume| volume.item.clone())
    }

    /// Changes a volume behind everybody's back.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Volume)) {
        if let Some(volume) = self.lock().volumes.iter_mut().find(|volume| volume.item.id == id) {
            change(&mut volume.item);
        }
    }

    /// Who has, or will have, a volume: attachment, server, and whether it is complete.
    pub fn attachments(&self, volume_id: &str) -> Vec<(Uuid, Uuid, bool)> {
        let state = self.lock();
        let of_volume = state.attachments.iter().filter(|attachment| attachment.volume_id == volume_id);
        of_volume.map(|attachment| (attachment.id, attachment.server_id, attachment.is_complete)).collect()
    }

    /// What the host of an attachment said of itself; null as long as none did.
    pub fn connector(&self, attachment_id: Uuid) -> Value {
        let state = self.lock();
        let found = state.attachments.iter().find(|attachment| attachment.id == attachment_id);
        found.map(|attachment| attachment.connector.clone()).unwrap_or_default()
    }

    /// Lets the next call of a method, by its name in [`VolumeService`], fail.
    pub fn fail_next(&self, method: &'static str, error: ClientError) {
        self.lock().failures.push_back((method, error));
    }

    /// Lets there be only so many volumes and snapshots more.
    pub fn limit(&self, left: usize) {
        self.lock().left = Some(left);
    }

    /// The methods that were called and change something, in order.
    pub fn asked(&self) -> Vec<&'static str> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every method begins with.
    fn enter(&self, method: &'static str) -> Result<MutexGuard<'_, State>, ClientError> {
        let mut state = self.lock();
        if !method.starts_with("list") && !method.starts_with("show") {
            state.asked.push(method);
        }
        match state.failures.iter().position(|(of, _)| *of == method).and_then(|at| state.failures.remove(at)) {
            Some((_, error)) => Err(error),
            None => Ok(state),
        }
    }
}

fn sees(context: &RequestContext, project_id: &str) -> bool {
    context.is_admin || context.project_id() == project_id
}

fn invalid(reason: impl std::fmt::Display) -> ClientError {
    ClientError::BadRequest(format!("Invalid volume: {reason}"))
}

impl State {
    fn volume(&mut self, context: &RequestContext, id: &str) -> Result<&mut Volume, ClientError> {
        let is_it = |volume: &&mut Owned<Volume>| volume.item.id == id && sees(context, &volume.project_id);
        let found = self.volumes.iter_mut().find(is_it).map(|volume| &mut volume.item);
        found.ok_or_else(|| ClientError::not_found(VOLUME, id))
    }

    fn snapshot(&self, context: &RequestContext, id: &str) -> Result<&Snapshot, ClientError> {
        let is_it = |snapshot: &&Owned<Snapshot>| snapshot.item.id == id && sees(context, &snapshot.project_id);
        let found = self.snapshots.iter().find(is_it).map(|snapshot| &snapshot.item);
        found.ok_or_else(|| ClientError::not_found(SNAPSHOT, id))
    }

    fn attachment(&mut self, id: Uuid) -> Result<&mut FakeAttachment, ClientError> {
        let found = self.attachments.iter_mut().find(|attachment| attachment.id == id);
        found.ok_or_else(|| ClientError::not_found(ATTACHMENT, id))
    }

    fn take(&mut self, what: &str) -> Result<(), ClientError> {
        match &mut self.left {
            Some(0) => Err(ClientError::OverQuota(format!("{what}LimitExceeded: Maximum number of {what}s allowed"))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Moves a volume from one of the states `from` to another.
    fn go(&mut self, context: &RequestContext, id: &str, from: &[&str], to: &str) -> Result<(), ClientError> {
        let volume = self.volume(context, id)?;
        if !from.contains(&volume.status.as_str()) {
            let (wanted, status) = (from.join(" or "), &volume.status);
            return Err(invalid(format!("Volume {id} status must be {wanted}, but the current status is {status}.")));
        }
        volume.status = to.to_owned();
        Ok(())
    }

    /// Says of a volume what its attachments say.
    fn settle(&mut self, volume_id: &str) {
        let of_volume: Vec<_> = self.attachments.iter().filter(|of| of.volume_id == volume_id).cloned().collect();
        let status = match () {
            () if of_volume.iter().any(|of| of.is_complete) => "in-use",
            () if of_volume.iter().any(|of| !of.connector.is_null()) => "attaching",
            () if !of_volume.is_empty() => "reserved",
            () => "available",
        };
        let attached = of_volume.iter().filter(|of| of.is_complete || !of.connector.is_null()).map(|of| AttachedTo {
            server_id: of.server_id.to_string(),
            attachment_id: Some(of.id.to_string()),
            device: of.connector["mountpoint"].as_str().map(str::to_owned),
        });
        let attached = attached.collect();
        if let Some(volume) = self.volumes.iter_mut().find(|volume| volume.item.id == volume_id) {
            volume.item.status = status.to_owned();
            volume.item.attachments = attached;
        }
    }
}

impl FakeAttachment {
    fn shown(&self) -> Attachment {
        let mut connection_info = Map::new();
        let status = match (self.is_complete, self.connector.is_null()) {
            (true, _) => "attached",
            (false, false) => "attaching",
            (false, true) => "reserved",
        };
        if !self.connector.is_null() {
            let data = json!({"volume_id": self.volume_id, "target": "fake", "access_mode": "rw"});
            let fields = [
                ("driver_volume_type", json!("fake")),
                ("data", data),
                ("status", json!(status)),
                ("instance", json!(self.server_id)),
                ("volume_id", json!(self.volume_id)),
            ];
            connection_info.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        }
        let attach_mode = (!self.connector.is_null()).then(|| "rw".to_owned());
        Attachment { id: self.id, status: status.to_owned(), attach_mode, connection_info }
    }
}

#[async_trait]
impl VolumeService for FakeVolumes {
    async fn list_volumes(&self, context: &RequestContext) -> Result<Vec<Volume>, ClientError> {
        let state = self.enter("list_volumes")?;
        // As Cinder without `all_tenants`, for admins too.
        let own = state.volumes.iter().filter(|volume| volume.project_id == context.project_id());
        Ok(own.map(|volume| volume.item.clone()).collect())
    }

    async fn show_volume(&self, context: &RequestContext, id: &str) -> Result<Volume, ClientError> {
        self.enter("show_volume")?.volume(context, id).cloned()
    }

    async fn create_volume(&self, context: &RequestContext, new: NewVolume) -> Result<Volume, ClientError> {
        self.enter("create_volume")?.take("Volume")?;
        let volume = Volume {
            size: new.size,
            name: new.name,
            description: new.description,
            volume_type: new.volume_type.or_else(|| Some("lvmdriver-1".to_owned())),
            snapshot_id: new.snapshot_id,
            is_bootable: new.image_id.is_some(),
            availability_zone: new.availability_zone,
            metadata: new.metadata.unwrap_or_default(),
            ..Volume::default()
        };
        Ok(self.add_as(context.project_id(), volume))
    }

    async fn delete_volume(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        let mut state = self.enter("delete_volume")?;
        state.go(context, id, &["available", "error"], "deleting")?;
        state.volumes.retain(|volume| volume.item.id != id);
        Ok(())
    }

    async fn list_snapshots(&self, context: &RequestContext) -> Result<Vec<Snapshot>, ClientError> {
        let state = self.enter("list_snapshots")?;
        let own = state.snapshots.iter().filter(|snapshot| snapshot.project_id == context.project_id());
        Ok(own.map(|snapshot| snapshot.item.clone()).collect())
    }

    async fn show_snapshot(&self, context: &RequestContext, id: &str) -> Result<Snapshot, ClientError> {
        self.enter("show_snapshot")?.snapshot(context, id).cloned()
    }

    async fn create_snapshot(&self, context: &RequestContext, new: NewSnapshot) -> Result<Snapshot, ClientError> {
        let mut state = self.enter("create_snapshot")?;
        let volume = state.volume(context, &new.volume_id)?.clone();
        if volume.status != "available" && !new.force {
            let (id, status) = (volume.id, volume.status);
            return Err(invalid(format!("Volume {id} status must be available, but current status is: {status}.")));
        }
        state.take("Snapshot")?;
        let item = Snapshot {
            id: Uuid::new_v4().to_string(),
            volume_id: volume.id,
            status: "available".to_owned(),
            size: volume.size,
            created_at: json!(CREATED_AT),
            name: new.name,
            description: new.description,
        };
        state.snapshots.push(Owned { project_id: context.project_id().to_owned(), item: item.clone() });
        Ok(item)
    }

    async fn delete_snapshot(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        let mut state = self.enter("delete_snapshot")?;
        state.snapshot(context, id)?;
        state.snapshots.retain(|snapshot| snapshot.item.id != id);
        Ok(())
    }

    async fn reserve(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.enter("reserve")?.go(context, id, &["available"], "attaching")
    }

    async fn unreserve(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.enter("unreserve")?.go(context, id, &["attaching"], "available")
    }

    async fn begin_detaching(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.enter("begin_detaching")?.go(context, id, &["in-use"], "detaching")
    }

    async fn roll_detaching(&self, context: &RequestContext, id: &str) -> Result<(), ClientError> {
        self.enter("roll_detaching")?.go(context, id, &["detaching"], "in-use")
    }

    /// The copy takes the place of the volume, under the volume's id, as in a move between backends.
    async fn migrate_volume_completion(
        &self,
        context: &RequestContext,
        old_id: &str,
        new_id: &str,
        is_failed: bool,
    ) -> Result<String, ClientError> {
        let mut state = self.enter("migrate_volume_completion")?;
        state.volume(context, new_id)?;
        state.volume(context, old_id)?.migration_status = Some(if is_failed { "error" } else { "success" }.to_owned());
        if is_failed {
            return Ok(old_id.to_owned());
        }
        state.volumes.retain(|volume| volume.item.id != new_id);
        for attachment in state.attachments.iter_mut().filter(|attachment| attachment.volume_id == new_id) {
            attachment.volume_id = old_id.to_owned();
        }
        state.settle(old_id);
        Ok(old_id.to_owned())
    }

    async fn create_attachment(
        &self,
        context: &RequestContext,
        volume_id: &str,
        instance_uuid: Uuid,
    ) -> Result<Attachment, ClientError> {
        let mut state = self.enter("create_attachment")?;
        // One server may have several attachments of a volume, for as long as it moves.
        let mut servers = state.attachments.iter().filter(|of| of.volume_id == volume_id).map(|of| of.server_id);
        let is_own = servers.next() == Some(instance_uuid) && servers.all(|server| server == instance_uuid);
        let volume = state.volume(context, volume_id)?;
        let is_free = volume.status == "available" || ((volume.multiattach || is_own) && volume.status != "detaching");
        if !is_free {
            let status = &volume.status;
            return Err(invalid(format!(
                "Volume {volume_id} status must be available or downloading to reserve, but the current status is {status}."
            )));
        }
        let attachment = FakeAttachment {
            id: Uuid::new_v4(),
            volume_id: volume_id.to_owned(),
            server_id: instance_uuid,
            connector: Value::Null,
            is_complete: false,
        };
        state.attachments.push(attachment.clone());
        state.settle(volume_id);
        Ok(attachment.shown())
    }

    async fn show_attachment(&self, _context: &RequestContext, id: Uuid) -> Result<Attachment, ClientError> {
        self.enter("show_attachment")?.attachment(id).map(|attachment| attachment.shown())
    }

    async fn update_attachment(
        &self,
        _context: &RequestContext,
        id: Uuid,
        connector: Value,
    ) -> Result<Attachment, ClientError> {
        let mut state = self.enter("update_attachment")?;
        let attachment = state.attachment(id)?;
        attachment.connector = connector;
        let attachment = attachment.clone();
        state.settle(&attachment.volume_id);
        Ok(attachment.shown())
    }

    async fn complete_attachment(&self, _context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        let mut state = self.enter("complete_attachment")?;
        let attachment = state.attachment(id)?;
        attachment.is_complete = true;
        let volume_id = attachment.volume_id.clone();
        state.settle(&volume_id);
        Ok(())
    }

    async fn delete_attachment(&self, _context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        let mut state = self.enter("delete_attachment")?;
        if let Ok(volume_id) = state.attachment(id).map(|attachment| attachment.volume_id.clone()) {
            state.attachments.retain(|attachment| attachment.id != id);
            state.settle(&volume_id);
        }
        Ok(())
    }
}
