//! The unshelve workflow: a shelved instance that still has its host is started there; one that was offloaded gets a
//! host again. The workflow ends with the task `unshelving`, in the transaction that writes another one.
//!
//! ```text
//!   unshelving ──scheduler chooses and claims──> host written to the row ──> the host is asked ──> spawning
//!       │ no valid host                                │ deleted meanwhile                           (the agent's)
//!       v                                              v
//!   no task: shelved as before                   claim given back
//! ```

use kilonova_clients::ClientError;
use kilonova_clients::image::Image;
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted};
use kilonova_db::workflows::{self, Workflow, WorkflowKind};
use kilonova_db::{DbError, request_specs};
use kilonova_objects::{Destination, Instance, RequestSpec, Selection, TaskState, VmState, Wire as _};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::compute::{StartInstance, UnshelveInstance};
use kilonova_rpcapi::scheduler::SelectDestinations;
use kilonova_rpcapi::workflow::UnshelvePayload;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::TaskError;
use super::build::NO_VALID_HOST;
use crate::Conductor;

impl Conductor {
    /// `unshelve_instance`: the nudge to do what the API has just written.
    pub(crate) async fn unshelve_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
    ) -> Result<(), TaskError> {
        let found = workflows::get(&self.db, WorkflowKind::Unshelve, instance_uuid).await?;
        let Some(workflow) = found.filter(|workflow| workflow.attempts == 0) else { return Ok(()) };
        if let Some(workflow) = self.take(workflow).await? {
            let payload = UnshelvePayload::from_value(&workflow.payload)?;
            let done = Box::pin(self.unshelve(context, &workflow, payload)).await;
            self.or_retry(&workflow, done).await;
        }
        Ok(())
    }

    /// Works on an unshelve that was taken over.
    pub(crate) async fn resume_unshelve(&self, workflow: &Workflow) -> Result<(), TaskError> {
        let payload = UnshelvePayload::from_value(&workflow.payload)?;
        let context = Self::acting_for(&payload.context);
        Box::pin(self.unshelve(&context, workflow, payload)).await
    }

    async fn unshelve(
        &self,
        context: &RequestContext,
        workflow: &Workflow,
        payload: UnshelvePayload,
    ) -> Result<(), TaskError> {
        let instance = match instances::get(&self.db, workflow.instance_uuid, Deleted::No).await {
            Err(DbError::NotFound { .. }) => return Ok(workflows::finish(&self.db, workflow.id).await?),
            found => found?,
        };
        if instance.task_state != Some(TaskState::Unshelving) {
            return Ok(workflows::finish(&self.db, workflow.id).await?);
        }
        match instance.vm_state {
            VmState::Shelved => self.start_shelved(context, &instance).await,
            VmState::ShelvedOffloaded => Box::pin(self.unshelve_offloaded(context, workflow, instance, payload)).await,
            _ => self.leave(context, instance.uuid, &state(VmState::Error)).await.map(drop),
        }
    }

    /// It has its host and its disk. A start that gets lost is found by the agent.
    async fn start_shelved(&self, context: &RequestContext, instance: &Instance) -> Result<(), TaskError> {
        let changes = Map::from_iter([("task_state".to_owned(), TaskState::PoweringOn.to_wire())]);
        let saved = self.save_in_task(context, instance.uuid, TaskState::Unshelving, &changes).await?;
        if let Some(instance) = saved
            && let Some(host) = instance.host.clone()
        {
            self.compute.cast(context, &host, StartInstance { instance }).await?;
        }
        Ok(())
    }

    async fn unshelve_offloaded(
        &self,
        context: &RequestContext,
        workflow: &Workflow,
        instance: Instance,
        payload: UnshelvePayload,
    ) -> Result<(), TaskError> {
        let uuid = instance.uuid;
        if workflow.attempts >= self.config.workflow_max_attempts {
            let message = format!("The unshelve was begun {} times and never finished.", workflow.attempts);
            self.record_fault(uuid, 500, &message).await;
            self.leave(context, uuid, &nowhere()).await?;
            return self.release_unless_placed(context, uuid).await;
        }
        let Some(image) = self.shelved_image(context, &instance).await? else { return Ok(()) };
        let mut spec = request_specs::get(&self.db, uuid).await?;
        prepare(&mut spec, &instance, payload.host);
        let selection = match &instance.host {
            // An earlier try wrote it, and may or may not have asked it.
            Some(host) if self.is_compute_up(host).await? => None,
            _ => match Box::pin(self.place_shelved(context, &spec, uuid)).await? {
                Some(selection) => Some(selection),
                None => return Ok(()),
            },
        };
        let instance = match &selection {
            None => Some(instance),
            Some(selection) => {
                let changes = placed(selection);
                self.save_in_task(context, uuid, TaskState::Unshelving, &changes).await?
            }
        };
        match instance {
            Some(instance) => Box::pin(self.ask_host_to_unshelve(context, instance, image, spec)).await,
            None => self.release_unless_placed(context, uuid).await,
        }
    }

    /// The image that the instance was kept in: `Some(None)` for one without; `None` if it is gone, and the instance in
    /// error.
    async fn shelved_image(
        &self,
        context: &RequestContext,
        instance: &Instance,
    ) -> Result<Option<Option<Image>>, TaskError> {
        let uuid = instance.uuid;
        let Some(id) = instance.system_metadata.get("shelved_image_id").and_then(Option::as_deref) else {
            return Ok(Some(None));
        };
        let look = async {
            let image_id = id.parse().map_err(|_| ClientError::not_found("image", id))?;
            Ok::<_, TaskError>(self.clients.image.show(context, image_id).await?)
        };
        match self.with_event(context, uuid, "get_image_info", look).await {
            Ok(image) => Ok(Some(Some(image))),
            Err(TaskError::Client(ClientError::NotFound { .. })) => {
                let reason = format!("Unshelve attempted but the image {id} cannot be found.");
                self.record_fault(uuid, 404, &reason).await;
                self.leave(context, uuid, &state(VmState::Error)).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A host with a claim; `None` if there is none, and the instance is as before.
    async fn place_shelved(
        &self,
        context: &RequestContext,
        spec: &RequestSpec,
        uuid: Uuid,
    ) -> Result<Option<Selection>, TaskError> {
        let mut spec = spec.clone();
        self.setup_instance_group(&mut spec, &[uuid]).await?;
        let request = SelectDestinations {
            spec_obj: spec,
            instance_uuids: vec![uuid],
            return_objects: true,
            return_alternates: false,
        };
        let ask = async { Ok(self.scheduler.call(context, request).await?) };
        match self.with_event(context, uuid, "schedule_instances", ask).await {
            Ok(hosts) => Ok(hosts.into_iter().flatten().next()),
            Err(TaskError::Rpc(RpcError::Remote(exception))) if exception.class == NO_VALID_HOST => {
                tracing::warn!(instance = %uuid, reason = exception.message, "no host for a shelved instance");
                self.leave(context, uuid, &nowhere()).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask_host_to_unshelve(
        &self,
        context: &RequestContext,
        instance: Instance,
        image: Option<Image>,
        spec: RequestSpec,
    ) -> Result<(), TaskError> {
        let Some(host) = instance.host.clone() else { return Ok(()) };
        let hosts = json!([[instance.host, instance.node]]);
        let message = UnshelveInstance {
            image: image.map(|image| image.to_dict()),
            filter_properties: json!({"retry": {"num_attempts": 1, "hosts": hosts}, "limits": {}}),
            node: instance.node.clone(),
            request_spec: Some(spec),
            accel_uuids: Vec::new(),
            instance,
        };
        Ok(self.compute.cast(context, &host, message).await?)
    }

    /// The task is over, with these changes.
    async fn leave(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        changes: &Map<String, Value>,
    ) -> Result<Option<Instance>, TaskError> {
        let mut changes = changes.clone();
        changes.insert("task_state".to_owned(), Value::Null);
        self.save_in_task(context, uuid, TaskState::Unshelving, &changes).await
    }

    /// What was claimed for an instance that is on no host, or goes, belongs to nobody.
    async fn release_unless_placed(&self, context: &RequestContext, uuid: Uuid) -> Result<(), TaskError> {
        let is_placed = match instances::get(&self.db, uuid, Deleted::No).await {
            Ok(now) => now.host.is_some() && now.task_state != Some(TaskState::Deleting),
            Err(DbError::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !is_placed {
            self.clients.placement.delete_allocations(context, uuid).await?;
        }
        Ok(())
    }
}

/// Nothing of an earlier placement binds the instance but its zone.
fn prepare(spec: &mut RequestSpec, instance: &Instance, host: Option<String>) {
    spec.instance_uuid = instance.uuid;
    spec.num_instances = 1;
    spec.force_hosts = None;
    spec.force_nodes = None;
    spec.ignore_hosts = None;
    spec.requested_destination = host.map(|host| Destination { host: Some(host), ..Destination::default() });
}

fn placed(selection: &Selection) -> Map<String, Value> {
    Map::from_iter([
        ("host".to_owned(), json!(selection.service_host)),
        ("node".to_owned(), json!(selection.nodename)),
        ("availability_zone".to_owned(), json!(selection.availability_zone)),
    ])
}

fn nowhere() -> Map<String, Value> {
    Map::from_iter(["host", "node"].map(|name| (name.to_owned(), Value::Null)))
}

fn state(vm_state: VmState) -> Map<String, Value> {
    Map::from_iter([("vm_state".to_owned(), vm_state.to_wire())])
}
