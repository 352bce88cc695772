//! `live_migrate_instance`, and `migrate_server` with `live`: the checks and the choice, up to the source's turn.
//!
//! ```text
//!   record's status     asked again
//!   accepted            all of it
//!   queued … running    live_migration: the source, which knows whether it still works on it, ends what it does not
//!   post-migrating      live_migration: the source finishes it
//! ```

use kilonova_clients::placement::Allocations;
use kilonova_core::RequestContext;
use kilonova_db::{compute_nodes, server_migrations};
use kilonova_messaging::RemoteException;
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{
    ComputeNode, Instance, LiveMigrateData, Migration, PowerState, RequestSpec, SchedulerLimits, TaskState,
};
use kilonova_rpcapi::compute::{CheckCanLiveMigrateDestination, LiveMigration};
use kilonova_rpcapi::conductor::LiveMigrateInstance;
use kilonova_rpcapi::workflow::STEP_LIVE_MIGRATE;
use kilonova_rpcapi::{RpcError, exception};
use serde_json::{Value, json};
use uuid::Uuid;

use super::TaskError;
use super::moves::{Move, MoveError};
use crate::Conductor;

/// Exceptions of the destination's checks after which another host may do: Nova's `Invalid` and its pre-check error.
const TRY_ANOTHER: [&str; 8] = [
    "MigrationPreCheckError",
    "InvalidHypervisorType",
    "DestinationHypervisorTooOld",
    "InvalidCPUInfo",
    "InvalidLocalStorage",
    "InvalidSharedStorage",
    "UnableToMigrateToSelf",
    "HypervisorUnavailable",
];

/// Where a live migration goes, and what its source is told.
struct Destination {
    node: ComputeNode,
    availability_zone: Option<String>,
    migrate_data: LiveMigrateData,
}

impl Conductor {
    /// A live migration was asked for. `Err` of the inner result: Nova's exception for why there is none.
    pub(crate) async fn live_migrate(
        &self,
        instance_uuid: Uuid,
        event: &'static str,
    ) -> Result<Result<(), RemoteException>, TaskError> {
        let Some(mut moving) = self.begin_move(instance_uuid, STEP_LIVE_MIGRATE).await? else { return Ok(Ok(())) };
        match Box::pin(self.start_live_migration(&mut moving, event)).await {
            Ok(started) => Ok(started),
            Err(error) => {
                self.retry_soon(&moving.workflow).await;
                Err(error)
            }
        }
    }

    /// A live migration was taken over.
    pub(crate) async fn resume_live_migrate(&self, mut moving: Move) -> Result<(), TaskError> {
        if moving.instance.task_state != Some(TaskState::Migrating) {
            return self.end_move(&moving.workflow).await;
        }
        match self.migration_of(&moving).await?.filter(|migration| migration.status != status::ACCEPTED) {
            None => Box::pin(self.start_live_migration(&mut moving, "conductor_live_migrate_instance")).await.map(drop),
            Some(migration) => {
                let asked: LiveMigrateInstance = moving.payload.method(&moving.instance)?;
                let source = migration.source_compute.clone();
                let message = LiveMigration {
                    instance: *moving.instance,
                    dest: migration.dest_compute.clone().unwrap_or_default(),
                    block_migration: asked.block_migration,
                    migrate_data: LiveMigrateData { migration: Some(migration.clone()), ..LiveMigrateData::default() },
                    migration,
                };
                self.ask_again(&moving.context, source.as_deref(), message).await
            }
        }
    }

    async fn start_live_migration(
        &self,
        moving: &mut Move,
        event: &'static str,
    ) -> Result<Result<(), RemoteException>, TaskError> {
        let (context, uuid, vm_state) = (moving.context.clone(), moving.uuid(), moving.instance.vm_state);
        let started = self.send_to_source(&context, moving);
        match Box::pin(self.with_move_event(&context, uuid, event, started)).await {
            Ok(()) => Ok(Ok(())),
            Err(MoveError::Refused(refusal)) => {
                let tasks = [TaskState::Migrating];
                self.refuse_move(moving, "migrate_server", (vm_state, &tasks), &refusal).await?;
                Ok(Err(refusal))
            }
            Err(MoveError::Failed(error)) => Err(error),
        }
    }

    async fn send_to_source(&self, context: &RequestContext, moving: &mut Move) -> Result<(), MoveError> {
        let asked: LiveMigrateInstance = moving.payload.method(&moving.instance)?;
        let forced = asked.scheduler_hint.get("host").and_then(Value::as_str).map(str::to_owned);
        let migration = self.live_migration_record(moving, forced.as_deref()).await?;
        let instance = moving.instance.clone();
        let source = instance.host.clone().unwrap_or_default();
        check_is_running(&instance)?;
        self.check_is_up(&source).await?;
        self.hold_allocations(context, &instance, &migration).await?;
        let destination = match forced {
            Some(host) => self.forced_destination(context, &instance, &asked, &migration, &host).await?,
            None => self.find_destination(context, &instance, &asked, &migration).await?,
        };
        let node = &destination.node;
        let changes = json!({
            "source_node": instance.node, "dest_node": node.hypervisor_hostname, "dest_compute": node.host,
            "dest_compute_id": node.id,
        });
        let migration = self.save_migration(migration.id, changes).await?;
        let message = LiveMigration {
            instance: Instance { availability_zone: destination.availability_zone, ..*instance },
            dest: node.host.clone().unwrap_or_default(),
            block_migration: asked.block_migration,
            migrate_data: LiveMigrateData { migration: Some(migration.clone()), ..destination.migrate_data },
            migration,
        };
        Ok(self.compute.cast(context, &source, message).await?)
    }

    async fn live_migration_record(&self, moving: &mut Move, forced: Option<&str>) -> Result<Migration, TaskError> {
        if let Some(migration) = self.migration_of(moving).await? {
            return Ok(migration);
        }
        let instance = &moving.instance;
        let flavor = instance.flavor.as_ref().map(|flavor| flavor.id);
        let migration = Migration {
            uuid: Uuid::new_v4(),
            instance_uuid: instance.uuid,
            source_compute: instance.host.clone(),
            dest_compute: forced.map(str::to_owned),
            old_instance_type_id: flavor,
            new_instance_type_id: flavor,
            status: status::ACCEPTED.to_owned(),
            migration_type: migration_type::LIVE_MIGRATION.to_owned(),
            user_id: moving.context.user_id.clone(),
            project_id: moving.context.project_id.clone(),
            ..Migration::default()
        };
        let migration = server_migrations::create(&self.db, &migration).await?;
        self.remember(moving, &migration).await?;
        Ok(migration)
    }

    async fn check_is_up(&self, host: &str) -> Result<(), MoveError> {
        if self.is_compute_up(host).await? {
            return Ok(());
        }
        let message = format!("Compute service of {host} is unavailable at this time.");
        Err(refused("ComputeServiceUnavailable", message, 400, &[("host", json!(host))]))
    }

    /// The host that an admin insists on: no filter is asked, only what could not work at all.
    async fn forced_destination(
        &self,
        context: &RequestContext,
        instance: &Instance,
        asked: &LiveMigrateInstance,
        migration: &Migration,
        host: &str,
    ) -> Result<Destination, MoveError> {
        if instance.host.as_deref() == Some(host) {
            return Err(unable_to_migrate_to_self(instance, host));
        }
        self.check_is_up(host).await?;
        let node = self.node_of(host).await?;
        check_memory(instance, &node)?;
        self.check_hypervisor(instance, &node).await?;
        let held = self.clients.placement.allocations(context, migration.uuid).await?;
        let wanted: Allocations = held.into_values().map(|resources| (node.uuid, resources)).collect();
        if !wanted.is_empty() && !self.claim_for_move(context, instance, &wanted).await? {
            let reason = format!("Unable to claim on the forced destination {host}.");
            return Err(MoveError::Refused(exception::no_valid_host(&reason)));
        }
        let migrate_data = self.check_destination(context, instance, asked, migration, host, None).await?;
        let availability_zone = instance.availability_zone.clone();
        Ok(Destination { node, availability_zone, migrate_data })
    }

    /// Hosts are tried in the scheduler's order until one says yes.
    async fn find_destination(
        &self,
        context: &RequestContext,
        instance: &Instance,
        asked: &LiveMigrateInstance,
        migration: &Migration,
    ) -> Result<Destination, MoveError> {
        let spec = self.spec_of(instance, asked.request_spec.clone()).await?;
        let mut attempted: Vec<String> = instance.host.iter().cloned().collect();
        loop {
            let spec = RequestSpec { ignore_hosts: Some(attempted.clone()), ..spec.clone() };
            let selections = self.schedule_move(context, spec, instance.uuid, false).await?;
            let Some(selection) = selections.into_iter().next() else {
                return Err(MoveError::Refused(exception::no_valid_host("There are not enough hosts available.")));
            };
            let host = selection.service_host.clone();
            let checked = async {
                let node = self.node_of(&host).await?;
                self.check_hypervisor(instance, &node).await?;
                let data = self.check_destination(context, instance, asked, migration, &host, selection.limits).await?;
                Ok((node, data))
            };
            match checked.await {
                Ok((node, migrate_data)) => {
                    let availability_zone = selection.availability_zone;
                    return Ok(Destination { node, availability_zone, migrate_data });
                }
                Err(MoveError::Refused(refusal)) if TRY_ANOTHER.contains(&refusal.class.as_str()) => {
                    tracing::info!(instance = %instance.uuid, host, reason = refusal.message, "not to this host");
                    attempted.push(host);
                    self.clients.placement.delete_allocations(context, instance.uuid).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn node_of(&self, host: &str) -> Result<ComputeNode, MoveError> {
        let node = compute_nodes::list_by_host(&self.db, host).await?.into_iter().next();
        node.ok_or_else(|| MoveError::Refused(exception::compute_host_not_found(host)))
    }

    async fn check_hypervisor(&self, instance: &Instance, dest: &ComputeNode) -> Result<(), MoveError> {
        let source = self.node_of(instance.host.as_deref().unwrap_or_default()).await?;
        if source.hypervisor_type != dest.hypervisor_type {
            let message = "The supplied hypervisor type of is invalid.".to_owned();
            return Err(refused("InvalidHypervisorType", message, 400, &[]));
        }
        if source.hypervisor_version > dest.hypervisor_version {
            let message = "The instance requires a newer hypervisor version than has been provided.".to_owned();
            return Err(refused("DestinationHypervisorTooOld", message, 400, &[]));
        }
        Ok(())
    }

    async fn check_destination(
        &self,
        context: &RequestContext,
        instance: &Instance,
        asked: &LiveMigrateInstance,
        migration: &Migration,
        host: &str,
        limits: Option<SchedulerLimits>,
    ) -> Result<LiveMigrateData, MoveError> {
        let method = CheckCanLiveMigrateDestination {
            instance: instance.clone(),
            block_migration: asked.block_migration,
            disk_over_commit: asked.disk_over_commit,
            migration: migration.clone(),
            limits,
        };
        match self.compute.call(context, host, method).await {
            Ok(data) => Ok(data),
            Err(RpcError::Remote(refusal)) => Err(MoveError::Refused(refusal)),
            Err(error) if error.is_timeout() => {
                let reason = format!("Timeout while checking if we can live migrate to host: {host}");
                Err(MoveError::Refused(exception::migration_pre_check_error(&reason)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn refused(class: &str, message: String, code: u16, kwargs: &[(&str, Value)]) -> MoveError {
    MoveError::Refused(exception::nova(class, message, code, kwargs))
}

fn unable_to_migrate_to_self(instance: &Instance, host: &str) -> MoveError {
    let uuid = instance.uuid;
    let message = format!("Unable to migrate instance ({uuid}) to current host ({host}).");
    refused("UnableToMigrateToSelf", message, 400, &[("instance_id", json!(uuid)), ("host", json!(host))])
}

fn check_is_running(instance: &Instance) -> Result<(), MoveError> {
    let state = match instance.power_state {
        PowerState::Running | PowerState::Paused => return Ok(()),
        PowerState::NoState => "pending",
        PowerState::Shutdown => "shutdown",
        PowerState::Crashed => "crashed",
        PowerState::Suspended => "suspended",
    };
    let uuid = instance.uuid;
    let message =
        format!("Instance {uuid} in power_state {state}. Cannot live migrate while the instance is in this state.");
    let kwargs = [
        ("instance_uuid", json!(uuid)),
        ("attr", json!("power_state")),
        ("state", json!(state)),
        ("method", json!("live migrate")),
    ];
    Err(refused("InstanceInvalidState", message, 400, &kwargs))
}

fn check_memory(instance: &Instance, dest: &ComputeNode) -> Result<(), MoveError> {
    let wanted = instance.memory_mb.unwrap_or_default();
    let used = dest.memory_mb - dest.free_ram_mb.unwrap_or_default();
    let available = dest.memory_mb as f64 * dest.ram_allocation_ratio - used as f64;
    if wanted > 0 && available > wanted as f64 {
        return Ok(());
    }
    let (uuid, host) = (instance.uuid, dest.host.as_deref().unwrap_or_default());
    let reason = format!("Unable to migrate {uuid} to {host}: Lack of memory(host:{available} <= instance:{wanted})");
    Err(MoveError::Refused(exception::migration_pre_check_error(&reason)))
}
