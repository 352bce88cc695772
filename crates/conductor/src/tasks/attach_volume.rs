//! `attach_volume`: what the API does not wait for, or from 2.101 on nobody waits for.
//!
//! ```text
//!   host: mapping with a name ──> volume service: attachment ──> mapping has it ──> action ──> host: attach
//! ```
//!
//! What was begun and cannot go on is undone. A conductor that dies leaves a mapping without an attachment, which the host
//! removes when its agent starts.

use kilonova_clients::ClientError;
use kilonova_clients::volume::VOLUME;
use kilonova_core::RequestContext;
use kilonova_db::{actions, block_devices};
use kilonova_messaging::RemoteException;
use kilonova_objects::state::Action;
use kilonova_objects::{BlockDeviceMapping, Instance};
use kilonova_rpcapi::conductor::AttachVolume;
use kilonova_rpcapi::{RpcError, compute, exception};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::Conductor;

impl Conductor {
    /// Reserves a volume for an instance and has its host attach it; returns the name that the disk has.
    pub(crate) async fn attach_volume(
        &self,
        context: &RequestContext,
        asked: AttachVolume,
    ) -> Result<Option<String>, RemoteException> {
        let volume_id = asked.volume["id"].as_str().unwrap_or_default().to_owned();
        let instance = asked.instance.clone();
        let host = instance.host.clone().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| {
            exception::nova("InstanceNotReady", format!("Instance {} is not ready", instance.uuid), 409, &[])
        })?;
        let mapping = self.reserve_name(context, &host, &asked, &volume_id).await?;
        let name = mapping.device_name.clone();
        let (id, mut attachment) = (mapping.id, None);
        let handed_over = Box::pin(self.hand_over(context, &host, &asked, mapping, &mut attachment)).await;
        if let Err(error) = handed_over {
            tracing::warn!(instance = %instance.uuid, volume = volume_id, error = error.message, "a volume is not attached");
            self.undo_attach(context, id, attachment).await;
            return Err(error);
        }
        Ok(name)
    }

    async fn reserve_name(
        &self,
        context: &RequestContext,
        host: &str,
        asked: &AttachVolume,
        volume_id: &str,
    ) -> Result<BlockDeviceMapping, RemoteException> {
        let method = compute::ReserveBlockDeviceName {
            instance: asked.instance.clone(),
            device: asked.device.clone(),
            volume_id: volume_id.to_owned(),
            disk_bus: asked.disk_bus.clone(),
            device_type: asked.device_type.clone(),
            tag: asked.tag.clone(),
            multiattach: asked.volume["multiattach"].as_bool().unwrap_or(false),
        };
        let reserved = self.compute.long_call(context, host, method).await;
        if reserved.as_ref().is_err_and(RpcError::is_timeout) {
            self.forget_reservation(&asked.instance, volume_id).await;
        }
        let mapping = reserved.map_err(rpc_raised)?;
        if !asked.delete_on_termination {
            return Ok(mapping);
        }
        let changes = Map::from_iter([("delete_on_termination".to_owned(), json!(true))]);
        block_devices::update(&self.db, mapping.id, &changes).await.map_err(|error| exception::internal(&error))
    }

    /// The host may have made a mapping whose name was lost on the way here.
    async fn forget_reservation(&self, instance: &Instance, volume_id: &str) {
        let found = block_devices::by_volume_and_instance(&self.db, volume_id, instance.uuid).await;
        let forgotten = match found {
            Ok(Some(mapping)) => block_devices::destroy(&self.db, mapping.id).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = forgotten {
            tracing::error!(instance = %instance.uuid, volume = volume_id, %error, "a mapping that nobody uses stays");
        }
    }

    async fn hand_over(
        &self,
        context: &RequestContext,
        host: &str,
        asked: &AttachVolume,
        mapping: BlockDeviceMapping,
        attachment: &mut Option<Uuid>,
    ) -> Result<(), RemoteException> {
        let is_multiattach = asked.volume["multiattach"].as_bool().unwrap_or(false);
        if is_multiattach && !asked.supports_multiattach {
            return Err(exception::multiattach_not_supported_old_microversion());
        }
        let (uuid, volume_id) = (asked.instance.uuid, mapping.volume_id.as_deref().unwrap_or_default());
        let reserved = self.clients.volume.create_attachment(context, volume_id, uuid).await.map_err(client_raised)?;
        *attachment = Some(reserved.id);
        let changes = Map::from_iter([("attachment_id".to_owned(), json!(reserved.id))]);
        let updated = block_devices::update(&self.db, mapping.id, &changes).await;
        let bdm = updated.map_err(|error| exception::internal(&error))?;
        let (request_id, user_id, project_id) = (context.request_id(), context.user_id(), context.project_id());
        let action = Action::AttachVolume.method();
        let begun = actions::start(&self.db, uuid, action, request_id, user_id, project_id).await;
        begun.map_err(|error| exception::internal(&error))?;
        let method = compute::AttachVolume { instance: asked.instance.clone(), bdm };
        self.compute.cast(context, host, method).await.map_err(rpc_raised)
    }

    async fn undo_attach(&self, context: &RequestContext, mapping_id: i64, attachment: Option<Uuid>) {
        if let Some(attachment) = attachment
            && let Err(error) = self.clients.volume.delete_attachment(context, attachment).await
        {
            tracing::error!(%attachment, %error, "an attachment stays");
        }
        if let Err(error) = block_devices::destroy(&self.db, mapping_id).await {
            tracing::error!(mapping_id, %error, "the mapping of a volume that is not attached stays");
        }
    }

    /// Of an instance that goes without a host: its volumes are available again, and those that were to go with it go.
    pub(crate) async fn release_volumes(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
    ) -> Result<(), kilonova_db::DbError> {
        let mut disks = block_devices::list(&self.db, &[instance_uuid]).await?;
        for disk in disks.remove(&instance_uuid).unwrap_or_default() {
            let Some(volume_id) = &disk.volume_id else { continue };
            if let Some(attachment) = disk.attachment_id
                && let Err(error) = self.clients.volume.delete_attachment(context, attachment).await
            {
                tracing::warn!(volume = volume_id, %attachment, %error, "an attachment stays");
            }
            if disk.delete_on_termination
                && let Err(error) = self.clients.volume.delete_volume(context, volume_id).await
            {
                tracing::warn!(volume = volume_id, %error, "a volume stays that was to go with its server");
            }
        }
        Ok(())
    }
}

fn rpc_raised(error: RpcError) -> RemoteException {
    match error {
        RpcError::Remote(exception) => exception,
        other => exception::internal(&other),
    }
}

/// What the volume service says, as Nova calls it.
fn client_raised(error: ClientError) -> RemoteException {
    match error {
        ClientError::NotFound { resource: VOLUME, id } => exception::volume_not_found(&id),
        ClientError::BadRequest(reason) => exception::invalid_input(&reason),
        ClientError::Forbidden(message) => exception::nova("Forbidden", message, 403, &[]),
        other => exception::internal(&other),
    }
}
