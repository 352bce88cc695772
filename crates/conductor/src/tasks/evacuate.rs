//! `rebuild_instance` of an instance whose host is down: a host is chosen, and makes it again.
//!
//! What the instance had on its host is held by the record, as in every move, until that host comes back and removes the
//! guest that it may still have.

use kilonova_clients::placement::Allocations;
use kilonova_core::RequestContext;
use kilonova_db::compute_nodes;
use kilonova_objects::migration::status;
use kilonova_objects::{Instance, Migration, RequestSpec, TaskState, VmState};
use kilonova_rpcapi::compute;
use kilonova_rpcapi::conductor::RebuildInstance;
use kilonova_rpcapi::exception;
use kilonova_rpcapi::workflow::STEP_EVACUATE;
use serde_json::json;
use uuid::Uuid;

use super::TaskError;
use super::moves::{Move, MoveError};
use crate::Conductor;

/// Nova's name of the step.
const EVENT: &str = "rebuild_server";

/// The tasks of an evacuation.
const TASKS: [TaskState; 3] = [TaskState::Rebuilding, TaskState::RebuildBlockDeviceMapping, TaskState::RebuildSpawning];

/// Where an instance is made again.
struct Destination {
    host: String,
    node: Option<String>,
    availability_zone: Option<String>,
}

impl Conductor {
    /// An evacuation was asked for.
    pub(crate) async fn evacuate(&self, instance_uuid: Uuid) -> Result<(), TaskError> {
        let Some(moving) = self.begin_move(instance_uuid, STEP_EVACUATE).await? else { return Ok(()) };
        let result = Box::pin(self.place_again(&moving)).await;
        self.or_move_later(&moving.workflow, result).await;
        Ok(())
    }

    /// An evacuation was taken over: the chosen host is asked again, or, if it is down too, another one is chosen.
    pub(crate) async fn resume_evacuate(&self, moving: Move) -> Result<(), TaskError> {
        let is_rebuilt = moving.instance.task_state.is_some_and(|task| TASKS.contains(&task));
        let Some(migration) = self.migration_of(&moving).await?.filter(|_| is_rebuilt) else {
            return self.end_move(&moving.workflow).await;
        };
        match migration.dest_compute.clone() {
            Some(host) if migration.dest_node.is_some() && self.is_compute_up(&host).await? => {
                let destination = Destination {
                    host,
                    node: migration.dest_node.clone(),
                    availability_zone: moving.instance.availability_zone.clone(),
                };
                let asked = moving.payload.method(&moving.instance)?;
                Box::pin(self.ask_to_rebuild(&moving.context, &moving.instance, asked, migration, destination)).await
            }
            _ => Box::pin(self.place_again(&moving)).await,
        }
    }

    async fn place_again(&self, moving: &Move) -> Result<(), TaskError> {
        let (context, uuid) = (&moving.context, moving.uuid());
        match Box::pin(self.with_move_event(context, uuid, EVENT, self.choose_and_ask(context, moving))).await {
            Ok(()) => Ok(()),
            Err(MoveError::Refused(refusal)) => {
                self.refuse_move(moving, "rebuild_server", (VmState::Error, &TASKS), &refusal).await
            }
            Err(MoveError::Failed(error)) => Err(error),
        }
    }

    async fn choose_and_ask(&self, context: &RequestContext, moving: &Move) -> Result<(), MoveError> {
        let Some(migration) = self.migration_of(moving).await? else {
            return Ok(self.end_move(&moving.workflow).await?);
        };
        let instance = &moving.instance;
        let asked: RebuildInstance = moving.payload.method(instance)?;
        self.hold_allocations(context, instance, &migration).await?;
        let destination = match &asked.host {
            Some(host) => self.forced_evacuation(context, instance, &migration, host).await?,
            None => self.chosen_evacuation(context, instance, &asked).await?,
        };
        let changes = json!({
            "dest_compute": destination.host, "dest_node": destination.node, "status": status::ACCEPTED,
        });
        let migration = self.save_migration(migration.id, changes).await?;
        Ok(Box::pin(self.ask_to_rebuild(context, instance, asked, migration, destination)).await?)
    }

    async fn chosen_evacuation(
        &self,
        context: &RequestContext,
        instance: &Instance,
        asked: &RebuildInstance,
    ) -> Result<Destination, MoveError> {
        let spec = self.spec_of(instance, asked.request_spec.clone()).await?;
        let spec = RequestSpec { ignore_hosts: Some(instance.host.iter().cloned().collect()), ..spec };
        let selection = self.schedule_move(context, spec, instance.uuid, false).await?.into_iter().next();
        let selection = selection
            .ok_or_else(|| MoveError::Refused(exception::no_valid_host("There are not enough hosts available.")))?;
        Ok(Destination {
            host: selection.service_host,
            node: Some(selection.nodename),
            availability_zone: selection.availability_zone,
        })
    }

    async fn forced_evacuation(
        &self,
        context: &RequestContext,
        instance: &Instance,
        migration: &Migration,
        host: &str,
    ) -> Result<Destination, MoveError> {
        let node = compute_nodes::list_by_host(&self.db, host).await?.into_iter().next();
        let node = node.ok_or_else(|| MoveError::Refused(exception::compute_host_not_found(host)))?;
        let held = self.clients.placement.allocations(context, migration.uuid).await?;
        let wanted: Allocations = held.into_values().map(|resources| (node.uuid, resources)).collect();
        if !wanted.is_empty() && !self.claim_for_move(context, instance, &wanted).await? {
            let reason = format!("Unable to claim on the forced destination {host}.");
            return Err(MoveError::Refused(exception::no_valid_host(&reason)));
        }
        let availability_zone = instance.availability_zone.clone();
        Ok(Destination { host: host.to_owned(), node: node.hypervisor_hostname, availability_zone })
    }

    async fn ask_to_rebuild(
        &self,
        context: &RequestContext,
        instance: &Instance,
        asked: RebuildInstance,
        migration: Migration,
        destination: Destination,
    ) -> Result<(), TaskError> {
        let message = compute::RebuildInstance {
            instance: Instance { availability_zone: destination.availability_zone, ..instance.clone() },
            orig_image_ref: asked.orig_image_ref,
            image_ref: asked.image_ref,
            injected_files: asked.injected_files,
            new_pass: asked.new_pass,
            orig_sys_metadata: asked.orig_sys_metadata,
            bdms: asked.bdms,
            recreate: true,
            on_shared_storage: asked.on_shared_storage,
            preserve_ephemeral: asked.preserve_ephemeral,
            migration: Some(migration),
            scheduled_node: destination.node,
            limits: json!({}),
            request_spec: asked.request_spec,
            accel_uuids: Vec::new(),
            reimage_boot_volume: Some(false),
            target_state: asked.target_state,
        };
        Ok(self.compute.cast(context, &destination.host, message).await?)
    }
}
