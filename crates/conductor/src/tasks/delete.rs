//! The delete workflow: the host is asked again, or, where there is none to ask, everything is removed from here.

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted};
use kilonova_db::workflows::{self, Workflow};
use kilonova_db::{DbError, block_devices};
use kilonova_objects::{BlockDeviceMapping, BlockDeviceMappingList, Instance};
use kilonova_rpcapi::compute::TerminateInstance;
use kilonova_rpcapi::notifications::{InstanceAction, InstanceEvent};

use super::TaskError;
use crate::Conductor;

impl Conductor {
    /// Works on a delete that was taken over.
    pub(crate) async fn resume_delete(&self, workflow: &Workflow) -> Result<(), TaskError> {
        let instance = match instances::get(&self.db, workflow.instance_uuid, Deleted::No).await {
            Err(DbError::NotFound { .. }) => return Ok(workflows::finish(&self.db, workflow.id).await?),
            found => found?,
        };
        let context = RequestContext {
            user_id: instance.user_id.clone(),
            project_id: instance.project_id.clone(),
            request_id: workflow.payload.get("request_id").and_then(|id| id.as_str()).map(str::to_owned),
            ..RequestContext::admin()
        };
        match instance.host.clone() {
            Some(host) if self.is_compute_up(&host).await? => {
                self.ask_host_to_terminate(&context, &host, instance).await
            }
            _ => self.delete_here(&context, &instance).await,
        }
    }

    async fn ask_host_to_terminate(
        &self,
        context: &RequestContext,
        host: &str,
        instance: Instance,
    ) -> Result<(), TaskError> {
        let mut bdms = block_devices::list(&self.db, &[instance.uuid]).await?;
        let bdms = BlockDeviceMappingList::from(bdms.remove(&instance.uuid).unwrap_or_default());
        Ok(self.compute.cast(context, host, TerminateInstance { instance, bdms }).await?)
    }

    /// The host is down, or none was chosen. A guest that may be on a host that is down is removed by its agent when
    /// it starts and finds that no instance owns it.
    async fn delete_here(&self, context: &RequestContext, instance: &Instance) -> Result<(), TaskError> {
        let bdms = self.disks_to_tell(instance).await;
        let start = InstanceEvent::start(InstanceAction::Delete).with_disks(bdms.as_deref());
        self.notifications.instance(context, instance, &start);
        self.clients.network.deallocate_for_instance(context, instance.uuid).await?;
        self.release_volumes(context, instance.uuid).await?;
        self.clients.placement.delete_allocations(context, instance.uuid).await?;
        let deleted = instances::destroy(&self.db, instance.uuid).await?;
        let end = InstanceEvent::end(InstanceAction::Delete).with_disks(bdms.as_deref());
        self.notifications.instance(context, &deleted, &end);
        tracing::info!(instance = %instance.uuid, "instance deleted without a host");
        Ok(())
    }

    /// The disks of an instance, where they are to be told.
    async fn disks_to_tell(&self, instance: &Instance) -> Option<Vec<BlockDeviceMapping>> {
        if !self.notifications.shows_disks(InstanceAction::Delete) {
            return None;
        }
        match block_devices::list(&self.db, &[instance.uuid]).await {
            Ok(mut disks) => Some(disks.remove(&instance.uuid).unwrap_or_default()),
            Err(error) => {
                tracing::debug!(instance = %instance.uuid, %error, "a delete is told without the disks");
                None
            }
        }
    }
}
