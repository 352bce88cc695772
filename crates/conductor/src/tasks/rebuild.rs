//! `rebuild_instance`: the host that an instance is on is asked to make it anew. Of another image the scheduler is asked
//! first whether that host may have it; it places nothing.
//!
//! No workflow: the instance has a host, and its agent finds what was lost on the way (`stale_tasks`).

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted};
use kilonova_objects::{Instance, TaskState, VmState, Wire as _};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::compute;
use kilonova_rpcapi::conductor::RebuildInstance;
use kilonova_rpcapi::notifications::Fault;
use kilonova_rpcapi::scheduler::SelectDestinations;
use serde_json::{Map, Value, json};

use super::TaskError;
use super::build::NO_VALID_HOST;
use crate::Conductor;

const EVENT: &str = "rebuild_server";

impl Conductor {
    /// Has an instance made anew.
    pub(crate) async fn rebuild_instance(
        &self,
        context: &RequestContext,
        message: RebuildInstance,
    ) -> Result<(), TaskError> {
        let uuid = message.instance.uuid;
        let work = Box::pin(self.rebuild_server(context, message));
        self.with_event(context, uuid, EVENT, work).await
    }

    async fn rebuild_server(&self, context: &RequestContext, message: RebuildInstance) -> Result<(), TaskError> {
        let (host, node) = match &message.host {
            Some(host) => (host.clone(), message.instance.node.clone()),
            None => match self.ask_where_to_rebuild(context, &message).await {
                Ok(found) => found,
                Err(error) => {
                    self.fail_rebuild(context, &message, &error).await?;
                    return Err(error);
                }
            },
        };
        self.notifications.rebuild_scheduled(context, &message.instance);
        let rebuild = compute::RebuildInstance {
            instance: message.instance,
            new_pass: message.new_pass,
            injected_files: message.injected_files,
            image_ref: message.image_ref,
            orig_image_ref: message.orig_image_ref,
            orig_sys_metadata: message.orig_sys_metadata,
            bdms: message.bdms,
            recreate: message.recreate,
            on_shared_storage: message.on_shared_storage,
            preserve_ephemeral: message.preserve_ephemeral,
            migration: None,
            scheduled_node: node,
            limits: json!({}),
            request_spec: message.request_spec,
            accel_uuids: Vec::new(),
            reimage_boot_volume: Some(message.reimage_boot_volume),
            target_state: message.target_state,
        };
        Ok(self.compute.cast(context, &host, rebuild).await?)
    }

    /// Host and node.
    async fn ask_where_to_rebuild(
        &self,
        context: &RequestContext,
        message: &RebuildInstance,
    ) -> Result<(String, Option<String>), TaskError> {
        let mut spec = message.request_spec.clone().unwrap_or_default();
        let uuid = message.instance.uuid;
        spec.instance_uuid = uuid;
        spec.num_instances = 1;
        self.setup_instance_group(&mut spec, &[uuid]).await?;
        let request = SelectDestinations {
            spec_obj: spec,
            instance_uuids: vec![uuid],
            return_objects: true,
            return_alternates: false,
        };
        let hosts = self.scheduler.call(context, request).await?;
        let chosen = hosts.into_iter().flatten().next();
        let chosen = chosen.ok_or_else(|| kilonova_objects::WireError::type_of("a selection", &Value::Null))?;
        Ok((chosen.service_host, Some(chosen.nodename)))
    }

    /// The instance is in error, and of the image that it still is.
    async fn fail_rebuild(
        &self,
        context: &RequestContext,
        message: &RebuildInstance,
        error: &TaskError,
    ) -> Result<(), TaskError> {
        let uuid = message.instance.uuid;
        let before = instances::get(&self.db, uuid, Deleted::No).await?;
        let changes = failed_rebuild(&before, message);
        if self.save_in_task(context, uuid, TaskState::Rebuilding, &changes).await?.is_none() {
            return Ok(());
        }
        let (class, text) = match error {
            TaskError::Rpc(RpcError::Remote(exception)) => (exception.class.clone(), exception.message.clone()),
            other => ("NovaException".to_owned(), other.to_string()),
        };
        let code = if class == NO_VALID_HOST { 404 } else { 500 };
        self.record_fault(uuid, code, &text).await;
        let reason = Fault {
            class,
            message: text.clone(),
            code,
            module: "kilonova_conductor::tasks",
            function: EVENT,
            traceback: text,
        };
        let spec = message.request_spec.as_ref();
        self.notifications.compute_task_error(context, EVENT, uuid, spec, VmState::Error, &reason);
        Ok(())
    }
}

fn failed_rebuild(before: &Instance, message: &RebuildInstance) -> Map<String, Value> {
    let mut changes =
        Map::from_iter([("vm_state".to_owned(), VmState::Error.to_wire()), ("task_state".to_owned(), Value::Null)]);
    if message.orig_image_ref.is_some() && before.image_ref != message.orig_image_ref {
        changes.insert("image_ref".to_owned(), message.orig_image_ref.to_wire());
        if message.orig_sys_metadata.is_object() {
            changes.insert("system_metadata".to_owned(), message.orig_sys_metadata.clone());
        }
    }
    changes
}
