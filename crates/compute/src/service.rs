//! The role: queues, heartbeats and periodic passes of one compute agent.
//!
//! ```text
//!   start: service row ──> resources ──> init_host ──> queues open ──> heartbeats and passes
//!   stop:  queues close ──> running work ends, within a bound
//! ```

use std::collections::HashSet;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kilonova_core::{RequestContext, Supervisor, TaskKind};
use kilonova_messaging::{Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Transport};
use kilonova_rpcapi::compute::{
    self, AddFixedIpToInstance, AttachInterface, AttachVolume, BackupInstance, BuildAndRunInstance, CacheImages,
    CheckCanLiveMigrateDestination, CheckCanLiveMigrateSource, ConfirmResize, DetachInterface, DetachVolume,
    ExternalInstanceEvent, FinishResize, FinishRevertResize, GetConsoleOutput, GetDiagnostics, GetInstanceDiagnostics,
    GetMksConsole, GetSerialConsole, GetSpiceConsole, GetVncConsole, HostMaintenanceMode, HostPowerAction,
    InjectNetworkInfo, LiveMigration, LiveMigrationAbort, LiveMigrationForceComplete, PauseInstance,
    PostLiveMigrationAtDestination, PreLiveMigration, PrepResize, RebootInstance, RebuildInstance,
    RemoveFixedIpFromInstance, RescueInstance, ReserveBlockDeviceName, ResizeInstance, RestoreInstance, ResumeInstance,
    RevertResize, RollbackLiveMigrationAtDestination, SetAdminPassword, SetHostEnabled, ShelveInstance,
    ShelveOffloadInstance, SnapshotInstance, SoftDeleteInstance, StartInstance, StopInstance, SuspendInstance,
    SwapVolume, TerminateInstance, TriggerCrashDump, UnpauseInstance, UnrescueInstance, UnshelveInstance,
    VolumeSnapshotCreate, VolumeSnapshotDelete,
};
use kilonova_rpcapi::{Notifications, RpcError, base, exception, register, servicegroup};
use kilonova_virt::{ConsoleKind, DriverError, RebootKind};
use serde_json::Value;
use uuid::Uuid;

use crate::Manager;
use crate::manager::ManagerError;

/// What Nova calls the process.
pub(crate) const BINARY: &str = "nova-compute";
/// Between looks at the guests alone: what Nova learns from libvirt's events.
const WATCH_GUESTS_INTERVAL: Duration = Duration::from_secs(10);
/// Between looks for power actions that nobody works on; Nova has no option for it.
const STALE_TASKS_INTERVAL: Duration = Duration::from_secs(60);
/// Between looks whether a period is over whose audit was not made; Nova has no option for it.
const USAGE_AUDIT_INTERVAL: Duration = Duration::from_secs(60);
/// Between looks for instances that are rescued or soft-deleted for too long, or less where that is shorter: Nova's
/// default pace.
const LIMITS_INTERVAL: Duration = Duration::from_secs(60);
/// How long an agent that stops waits for a broker to take its last notifications.
const FLUSH_BOUND: Duration = Duration::from_secs(5);

/// An agent that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its first steps failed.
    #[error("the compute service cannot start")]
    Start(#[source] ManagerError),
    /// Its queues cannot be opened.
    #[error("the queues of the compute service cannot be opened")]
    Messaging(#[from] MessagingError),
}

impl From<ManagerError> for ServiceError {
    fn from(error: ManagerError) -> Self {
        Self::Start(error)
    }
}

impl From<RpcError> for ServiceError {
    fn from(error: RpcError) -> Self {
        Self::Start(error.into())
    }
}

/// A running compute agent.
pub struct ComputeService {
    server: RpcServer,
    /// Builds: they are let end.
    work: Supervisor,
    /// Heartbeats and passes: they are cut off.
    supervisor: Supervisor,
    notifications: Notifications,
}

impl ComputeService {
    /// Starts an agent and returns when it takes messages.
    pub async fn start(manager: Arc<Manager>, transport: Arc<dyn Transport>) -> Result<Self, ServiceError> {
        let context = RequestContext::admin();
        let service = servicegroup::join(manager.conductor(), &context, manager.host(), BINARY, compute::TOPIC).await?;
        manager.tracker().update_available_resource(&context, service.id).await?;
        manager.init_host(&context).await?;
        let target = kilonova_rpcapi::target(compute::TOPIC).server(manager.host());
        let (work, supervisor) = (Supervisor::new(), Supervisor::new());
        let builds = Builds { supervisor: work.clone(), manager: manager.clone(), asked: Arc::default() };
        let dispatcher = dispatcher(&manager, &builds);
        let server = RpcServer::start(transport, target, dispatcher, ServerOptions::default()).await?;
        periodic_passes(&supervisor, &manager, service.id);
        servicegroup::report_state(&supervisor, manager.conductor().clone(), service, manager.config().report_interval);
        tracing::info!(host = manager.host(), "compute service started");
        Ok(Self { server, work, supervisor, notifications: manager.notifications().clone() })
    }

    /// Takes no more messages and waits for running work; false if some still ran at the bound. A build that is cut off
    /// goes on by its workflow, here after a restart or elsewhere.
    pub async fn stop(&self, bound: Duration) -> bool {
        self.server.stop().await;
        let (answered, built) = tokio::join!(self.server.wait(bound), self.work.drain(bound));
        if !self.notifications.flush(bound.min(FLUSH_BOUND)).await {
            tracing::warn!("some notifications were not sent before the end");
        }
        self.supervisor.shutdown(bound).await && answered && built
    }
}

fn periodic_passes(supervisor: &Supervisor, manager: &Arc<Manager>, service_id: i64) {
    let config = manager.config();
    periodic_pass(supervisor, manager, "update_available_resource", config.update_resources_interval, {
        move |manager, context| async move { manager.tracker().update_available_resource(&context, service_id).await }
    });
    periodic_pass(supervisor, manager, "sync_power_states", config.sync_power_state_interval, {
        |manager, context| async move { manager.sync_power_states(&context).await }
    });
    periodic_pass(supervisor, manager, "watch_guests", WATCH_GUESTS_INTERVAL, {
        |manager, context| async move { manager.watch_guests(&context).await }
    });
    periodic_pass(supervisor, manager, "repair_stale_tasks", STALE_TASKS_INTERVAL, {
        |manager, context| async move { manager.repair_stale_tasks(&context).await }
    });
    let interval = if config.instance_usage_audit { USAGE_AUDIT_INTERVAL } else { Duration::ZERO };
    periodic_pass(supervisor, manager, "instance_usage_audit", interval, {
        |manager, context| async move { manager.instance_usage_audit(&context).await }
    });
    periodic_pass(supervisor, manager, "poll_shelved_instances", config.shelved_poll_interval, {
        |manager, context| async move { manager.poll_shelved_instances(&context).await }
    });
    let pace = |limit: Option<Duration>| limit.map_or(Duration::ZERO, |limit| limit.min(LIMITS_INTERVAL));
    periodic_pass(supervisor, manager, "poll_rescued_instances", pace(config.rescue_timeout), {
        |manager, context| async move { manager.poll_rescued_instances(&context).await }
    });
    let interval = pace(config.reclaim_instance_interval);
    periodic_pass(supervisor, manager, "reclaim_queued_deletes", interval, {
        |manager, context| async move { manager.reclaim_queued_deletes(&context).await }
    });
    let interval = config.running_deleted_instance_poll_interval;
    periodic_pass(supervisor, manager, "cleanup_running_deleted_instances", interval, {
        |manager, context| async move { manager.cleanup_running_deleted_instances(&context).await }
    });
}

/// A pass at every interval; none where that is zero. What fails is looked at afresh by the next one.
fn periodic_pass<F, Fut>(
    supervisor: &Supervisor,
    manager: &Arc<Manager>,
    name: &'static str,
    interval: Duration,
    pass: F,
) where
    F: Fn(Arc<Manager>, RequestContext) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), ManagerError>> + Send + 'static,
{
    let manager = manager.clone();
    supervisor.periodic(name, interval, move || {
        let pass = pass(manager.clone(), RequestContext::admin());
        async move {
            if let Err(error) = pass.await {
                tracing::warn!(pass = name, %error, "a periodic pass failed; the next one looks again");
            }
        }
    });
}

/// Builds run beside the server's pool, not in it: many may wait for their turn, and a delete or a look at a console
/// must not wait behind them.
#[derive(Clone)]
struct Builds {
    supervisor: Supervisor,
    manager: Arc<Manager>,
    /// What waits or runs: the same asked again meanwhile is one build.
    asked: Arc<Mutex<HashSet<Uuid>>>,
}

impl Builds {
    fn begin(&self, context: RequestContext, build: BuildAndRunInstance) {
        let uuid = build.instance.uuid;
        if !self.asked().insert(uuid) {
            return tracing::debug!(instance = %uuid, "asked to build what is being built");
        }
        let builds = self.clone();
        self.supervisor.spawn(TaskKind::Background, "build_and_run_instance", async move {
            let asked = Asked { builds: &builds, uuid };
            if let Err(error) = Box::pin(builds.manager.build_and_run_instance(&context, build)).await {
                tracing::error!(instance = %uuid, %error, "a build did not end; its workflow asks again");
            }
            drop(asked);
        });
    }

    /// What takes long runs beside the server's pool, too.
    fn run<F>(&self, name: &'static str, instance: Uuid, work: F) -> Ready<Result<(), RemoteException>>
    where
        F: Future<Output = Result<(), ManagerError>> + Send + 'static,
    {
        self.supervisor.spawn(TaskKind::Background, name, async move {
            if let Err(error) = work.await {
                tracing::error!(%instance, name, %error, "an action failed");
            }
        });
        ready(Ok(()))
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A build that was asked for is so until it ends, by whatever way.
struct Asked<'a> {
    builds: &'a Builds,
    uuid: Uuid,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.builds.asked().remove(&self.uuid);
    }
}

fn dispatcher(manager: &Arc<Manager>, builds: &Builds) -> Dispatcher {
    let endpoint = Endpoint::new(None, compute::VERSION);
    let endpoint = image_methods(endpoint, manager, builds);
    let endpoint = moves(endpoint, manager, builds);
    let builds = builds.clone();
    let endpoint = register(endpoint, move |context, build: BuildAndRunInstance| {
        builds.begin(context, build);
        std::future::ready(Ok(()))
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, TerminateInstance { instance, bdms }| {
        let manager = m.clone();
        async move { Box::pin(manager.terminate_instance(&context, instance, &bdms.objects)).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, StartInstance { instance }| {
        let manager = m.clone();
        async move { manager.start_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, StopInstance { instance, clean_shutdown }| {
        let manager = m.clone();
        async move { manager.stop_instance(&context, instance, clean_shutdown).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, RebootInstance { instance, reboot_type, .. }| {
        let manager = m.clone();
        let kind = if reboot_type == "HARD" { RebootKind::Hard } else { RebootKind::Soft };
        async move { manager.reboot_instance(&context, instance, kind).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, PauseInstance { instance }| {
        let manager = m.clone();
        async move { manager.pause_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, UnpauseInstance { instance }| {
        let manager = m.clone();
        async move { manager.unpause_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, SuspendInstance { instance }| {
        let manager = m.clone();
        async move { manager.suspend_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, ResumeInstance { instance }| {
        let manager = m.clone();
        async move { manager.resume_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, rescue: RescueInstance| {
        let manager = m.clone();
        async move { manager.rescue_instance(&context, rescue).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, UnrescueInstance { instance }| {
        let manager = m.clone();
        async move { manager.unrescue_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, SoftDeleteInstance { instance }| {
        let manager = m.clone();
        async move { manager.soft_delete_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, RestoreInstance { instance }| {
        let manager = m.clone();
        async move { manager.restore_instance(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, SetAdminPassword { instance, new_pass }| {
        let manager = m.clone();
        let new_pass = new_pass.unwrap_or_default();
        async move { manager.set_admin_password(&context, instance, &new_pass).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, TriggerCrashDump { instance }| {
        let manager = m.clone();
        async move { manager.trigger_crash_dump(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, InjectNetworkInfo { instance }| {
        let manager = m.clone();
        async move { manager.inject_network_info(&context, instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, GetDiagnostics { instance }| {
        let manager = m.clone();
        async move {
            let diagnostics = manager.get_instance_diagnostics(&instance).await.map_err(raised)?;
            Ok(Value::Object(diagnostics.legacy()))
        }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, GetInstanceDiagnostics { instance }| {
        let manager = m.clone();
        async move { manager.get_instance_diagnostics(&instance).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, GetConsoleOutput { instance, tail_length }| {
        let manager = m.clone();
        async move { manager.get_console_output(&instance, tail_length).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, SetHostEnabled { enabled }| {
        let manager = m.clone();
        async move { manager.set_host_enabled(&context, enabled).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, HostPowerAction { action }| {
        let manager = m.clone();
        async move { manager.host_power_action(&action).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, HostMaintenanceMode { mode, .. }| {
        let manager = m.clone();
        async move { manager.host_maintenance_mode(mode).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, CacheImages { image_ids }| {
        let manager = m.clone();
        async move { Ok(manager.cache_images(&context, image_ids).await) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, VolumeSnapshotCreate { instance, volume_id, create_info }| {
        let manager = m.clone();
        async move { manager.volume_snapshot_create(&instance, &volume_id, &create_info).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |_, snapshot: VolumeSnapshotDelete| {
        let manager = m.clone();
        async move { manager.volume_snapshot_delete(snapshot).await.map_err(raised) }
    });
    let endpoint = register_volumes(endpoint, manager);
    let endpoint = register_network(endpoint, manager);
    let endpoint = register_consoles(endpoint, manager);
    Dispatcher::new(vec![endpoint, base::endpoint("compute")])
}

/// What is done to the volumes of instances.
fn register_volumes(endpoint: Endpoint, manager: &Arc<Manager>) -> Endpoint {
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, asked: ReserveBlockDeviceName| {
        let manager = m.clone();
        async move { manager.reserve_block_device_name(&context, asked).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, AttachVolume { instance, bdm }| {
        let manager = m.clone();
        async move { manager.attach_volume(&context, instance, bdm).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, DetachVolume { instance, volume_id, .. }| {
        let manager = m.clone();
        async move { manager.detach_volume(&context, instance, &volume_id).await.map_err(raised) }
    });
    let m = manager.clone();
    register(endpoint, move |context, swap: SwapVolume| {
        let manager = m.clone();
        async move {
            let SwapVolume { instance, old_volume_id, new_volume_id, new_attachment_id } = swap;
            let attachment = new_attachment_id.as_deref();
            manager.swap_volume(&context, instance, &old_volume_id, &new_volume_id, attachment).await.map_err(raised)
        }
    })
}

/// What is done to the interfaces of instances, and what other services tell of instances.
fn register_network(endpoint: Endpoint, manager: &Arc<Manager>) -> Endpoint {
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, asked: AttachInterface| {
        let manager = m.clone();
        async move { manager.attach_interface(&context, asked).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, DetachInterface { instance, port_id }| {
        let manager = m.clone();
        async move { manager.detach_interface(&context, instance, &port_id).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, AddFixedIpToInstance { instance, network_id }| {
        let manager = m.clone();
        async move { manager.add_fixed_ip_to_instance(&context, instance, &network_id).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, RemoveFixedIpFromInstance { instance, address }| {
        let manager = m.clone();
        async move { manager.remove_fixed_ip_from_instance(&context, instance, &address).await.map_err(raised) }
    });
    let m = manager.clone();
    register(endpoint, move |context, ExternalInstanceEvent { instances, events }| {
        let manager = m.clone();
        async move {
            manager.external_instance_event(&context, &instances, &events).await;
            Ok(())
        }
    })
}

/// Where the consoles of instances are.
fn register_consoles(endpoint: Endpoint, manager: &Arc<Manager>) -> Endpoint {
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, GetVncConsole { instance, console_type }| {
        let manager = m.clone();
        async move { manager.get_console(&context, &instance, ConsoleKind::Vnc, &console_type).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, GetSpiceConsole { instance, console_type }| {
        let manager = m.clone();
        async move { manager.get_console(&context, &instance, ConsoleKind::Spice, &console_type).await.map_err(raised) }
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, GetSerialConsole { instance, console_type }| {
        let manager = m.clone();
        async move { manager.get_console(&context, &instance, ConsoleKind::Serial, &console_type).await.map_err(raised) }
    });
    let m = manager.clone();
    register(endpoint, move |context, GetMksConsole { instance, console_type }| {
        let manager = m.clone();
        async move { manager.get_console(&context, &instance, ConsoleKind::Mks, &console_type).await.map_err(raised) }
    })
}

/// What is done with images: all of it takes long.
fn image_methods(endpoint: Endpoint, manager: &Arc<Manager>, builds: &Builds) -> Endpoint {
    let (m, b) = (manager.clone(), builds.clone());
    let endpoint = register(endpoint, move |context: RequestContext, message: SnapshotInstance| {
        let (manager, uuid) = (m.clone(), message.instance.uuid);
        let SnapshotInstance { instance, image_id } = message;
        b.run("snapshot_instance", uuid, async move { manager.snapshot_instance(&context, instance, image_id).await })
    });
    let (m, b) = (manager.clone(), builds.clone());
    let endpoint = register(endpoint, move |context: RequestContext, message: BackupInstance| {
        let (manager, uuid) = (m.clone(), message.instance.uuid);
        let BackupInstance { instance, image_id, backup_type, rotation } = message;
        b.run("backup_instance", uuid, async move {
            manager.backup_instance(&context, instance, image_id, backup_type, rotation).await
        })
    });
    let (m, b) = (manager.clone(), builds.clone());
    let endpoint = register(endpoint, move |context: RequestContext, message: RebuildInstance| {
        let (manager, uuid) = (m.clone(), message.instance.uuid);
        b.run("rebuild_instance", uuid, async move { Box::pin(manager.rebuild_instance(&context, message)).await })
    });
    let (m, b) = (manager.clone(), builds.clone());
    let endpoint = register(endpoint, move |context: RequestContext, message: ShelveInstance| {
        let (manager, uuid) = (m.clone(), message.instance.uuid);
        let ShelveInstance { instance, image_id, clean_shutdown, .. } = message;
        b.run("shelve_instance", uuid, async move {
            Box::pin(manager.shelve_instance(&context, instance, image_id, clean_shutdown)).await
        })
    });
    let (m, b) = (manager.clone(), builds.clone());
    let endpoint = register(endpoint, move |context: RequestContext, message: ShelveOffloadInstance| {
        let (manager, uuid) = (m.clone(), message.instance.uuid);
        let ShelveOffloadInstance { instance, clean_shutdown, .. } = message;
        b.run("shelve_offload_instance", uuid, async move {
            Box::pin(manager.shelve_offload_instance(&context, instance, clean_shutdown)).await
        })
    });
    let (m, b) = (manager.clone(), builds.clone());
    register(endpoint, move |context: RequestContext, message: UnshelveInstance| {
        let (manager, uuid) = (m.clone(), message.instance.uuid);
        b.run("unshelve_instance", uuid, async move { Box::pin(manager.unshelve_instance(&context, message)).await })
    })
}

/// The methods of moves between hosts. Those that take long run beside the server's pool.
fn moves(endpoint: Endpoint, manager: &Arc<Manager>, builds: &Builds) -> Endpoint {
    macro_rules! serve {
        ($endpoint:expr, $method:ty, $function:ident) => {{
            let m = manager.clone();
            register($endpoint, move |context, asked: $method| {
                let manager = m.clone();
                async move { manager.$function(&context, asked).await.map_err(raised) }
            })
        }};
    }
    macro_rules! begin {
        ($endpoint:expr, $method:ty, $function:ident) => {{
            let (m, b) = (manager.clone(), builds.clone());
            register($endpoint, move |context: RequestContext, asked: $method| {
                let (manager, uuid) = (m.clone(), asked.instance.uuid);
                b.run(stringify!($function), uuid, async move { Box::pin(manager.$function(&context, asked)).await })
            })
        }};
    }
    let endpoint = begin!(endpoint, PrepResize, prep_resize);
    let endpoint = begin!(endpoint, ResizeInstance, resize_instance);
    let endpoint = begin!(endpoint, FinishResize, finish_resize);
    let endpoint = begin!(endpoint, ConfirmResize, confirm_resize);
    let endpoint = begin!(endpoint, RevertResize, revert_resize);
    let endpoint = begin!(endpoint, FinishRevertResize, finish_revert_resize);
    let endpoint = serve!(endpoint, CheckCanLiveMigrateDestination, check_can_live_migrate_destination);
    let endpoint = serve!(endpoint, CheckCanLiveMigrateSource, check_can_live_migrate_source);
    let endpoint = serve!(endpoint, PreLiveMigration, pre_live_migration);
    let endpoint = begin!(endpoint, LiveMigration, live_migration);
    let endpoint = serve!(endpoint, PostLiveMigrationAtDestination, post_live_migration_at_destination);
    let endpoint = serve!(endpoint, RollbackLiveMigrationAtDestination, rollback_live_migration_at_destination);
    let endpoint = serve!(endpoint, LiveMigrationForceComplete, live_migration_force_complete);
    serve!(endpoint, LiveMigrationAbort, live_migration_abort)
}

/// The exception that a caller sees.
fn raised(error: ManagerError) -> RemoteException {
    match error {
        ManagerError::Driver(DriverError::InstanceNotFound(uuid)) => exception::instance_not_found(uuid),
        ManagerError::Rpc(RpcError::Remote(exception)) | ManagerError::Raised(exception) => exception,
        ManagerError::Driver(DriverError::NotSupported(_)) => exception::not_implemented(&error.to_string()),
        ManagerError::PasswordSetFailed { uuid, reason } => exception::instance_password_set_failed(uuid, &reason),
        ManagerError::NoDiagnostics { uuid, state } => {
            exception::instance_invalid_state(uuid, "power state", state.as_str(), "get_diagnostics")
        }
        other => exception::internal(&other),
    }
}
