//! The role: queues, heartbeats and periodic passes of one compute agent.
//!
//! ```text
//!   start: service row ──> resources ──> init_host ──> queues open ──> heartbeats and passes
//!   stop:  queues close ──> running work ends, within a bound
//! ```

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kilonova_core::{RequestContext, Supervisor, TaskKind};
use kilonova_messaging::{Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Transport};
use kilonova_rpcapi::compute::{
    self, BuildAndRunInstance, GetConsoleOutput, GetDiagnostics, GetInstanceDiagnostics, InjectNetworkInfo,
    PauseInstance, RebootInstance, RescueInstance, RestoreInstance, ResumeInstance, SetAdminPassword,
    SoftDeleteInstance, StartInstance, StopInstance, SuspendInstance, TerminateInstance, TriggerCrashDump,
    UnpauseInstance, UnrescueInstance,
};
use kilonova_rpcapi::{Notifications, RpcError, base, exception, register, servicegroup};
use kilonova_virt::{DriverError, RebootKind};
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
    let builds = builds.clone();
    let endpoint = register(endpoint, move |context, build: BuildAndRunInstance| {
        builds.begin(context, build);
        std::future::ready(Ok(()))
    });
    let m = manager.clone();
    let endpoint = register(endpoint, move |context, TerminateInstance { instance, bdms }| {
        let manager = m.clone();
        async move { manager.terminate_instance(&context, instance, &bdms.objects).await.map_err(raised) }
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
    Dispatcher::new(vec![endpoint, base::endpoint("compute")])
}

/// The exception that a caller sees.
fn raised(error: ManagerError) -> RemoteException {
    match error {
        ManagerError::Driver(DriverError::InstanceNotFound(uuid)) => exception::instance_not_found(uuid),
        ManagerError::Driver(DriverError::NotSupported(_)) => exception::not_implemented(error.to_string()),
        ManagerError::PasswordSetFailed { uuid, reason } => exception::instance_password_set_failed(uuid, &reason),
        ManagerError::NoDiagnostics { uuid, state } => {
            exception::instance_invalid_state(uuid, "power state", state.as_str(), "get_diagnostics")
        }
        ManagerError::Rpc(RpcError::Remote(exception)) => exception,
        other => exception::internal(&other),
    }
}
