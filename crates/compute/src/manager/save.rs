//! Reading and saving an instance although answers get lost.

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_messaging::MessagingError;
use kilonova_objects::{Instance, Tracked};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::objects::Expected;
use uuid::Uuid;

use super::{Manager, ManagerError};

/// How long to wait before a call is tried again; after the last one it has failed. A lost answer takes its timeout
/// beside that, so the conductor has minutes to come back.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

impl Manager {
    /// The instance as it is now; none if it is deleted.
    pub(super) async fn find(&self, context: &RequestContext, uuid: Uuid) -> Result<Option<Instance>, ManagerError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match Box::pin(self.conductor.instance_get(context, uuid)).await {
                Ok(instance) => return Ok(Some(instance)),
                Err(error) if error.is("InstanceNotFound") => return Ok(None),
                Err(error @ RpcError::Messaging(MessagingError::Closed)) => return Err(error.into()),
                Err(error) => error,
            };
            let Some(pause) = pauses.next() else { return Err(error.into()) };
            tracing::warn!(instance = %uuid, %error, "an instance could not be read and is asked for again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Writes what changed, if the instance is still in an expected state. What may be a passing failure is tried
    /// again: the end of a long operation must not be lost with one message.
    pub(super) async fn save(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        expected: Expected<'_>,
    ) -> Result<(), ManagerError> {
        let mut pauses = PAUSES.into_iter();
        let mut may_be_saved = false;
        loop {
            let error = match Box::pin(self.conductor.instance_save(context, instance, expected)).await {
                Ok(()) => return Ok(()),
                Err(error @ RpcError::Messaging(MessagingError::Closed)) => return Err(error.into()),
                Err(error) => ManagerError::from(error),
            };
            if error.is_conflict() && may_be_saved {
                return self.find_saved(context, instance, error).await;
            }
            if error.is_deletion() || error.is_conflict() {
                return Err(error);
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            tracing::warn!(instance = %instance.uuid, error = %super::details(&error), "a save failed and is tried again");
            tokio::time::sleep(pause).await;
            may_be_saved = true;
        }
    }

    /// The state is not the expected one any more: because an earlier try was written and only its answer lost?
    async fn find_saved(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        conflict: ManagerError,
    ) -> Result<(), ManagerError> {
        let now = self.find(context, instance.uuid).await?;
        let state = |instance: &Instance| (instance.vm_state, instance.task_state, instance.host.clone());
        if now.is_none_or(|now| state(&now) != state(instance)) {
            return Err(conflict);
        }
        instance.reset_changes();
        Ok(())
    }
}
