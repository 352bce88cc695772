//! The role: queues and passes of one conductor.

use std::future::{Future, Ready};
use std::sync::Arc;
use std::time::Duration;

use kilonova_core::{RequestContext, Supervisor, TaskKind};
use kilonova_messaging::{Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Transport};
use kilonova_rpcapi::conductor::{
    AttachVolume, BuildInstances, CacheImages, LiveMigrateInstance, MigrateServer, ObjectAction,
    ObjectClassActionVersions, RebuildInstance, ScheduleAndBuildInstances, TASK_NAMESPACE, TASK_VERSION, TOPIC,
    UnshelveInstance, VERSION,
};
use kilonova_rpcapi::{base, exception, register};
use tokio::sync::Semaphore;

use crate::Conductor;
use crate::tasks::TaskError;

/// How long a conductor that stops waits for a broker to take its last notifications.
const FLUSH_BOUND: Duration = Duration::from_secs(5);

/// A conductor that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its queues cannot be opened.
    #[error("the queues of the conductor cannot be opened")]
    Messaging(#[from] MessagingError),
    /// What an earlier process left cannot be read.
    #[error("the workflows of the last run cannot be read")]
    Db(#[from] kilonova_db::DbError),
}

/// A running conductor.
pub struct ConductorService {
    conductor: Arc<Conductor>,
    server: RpcServer,
    /// The work behind casts: it is let end.
    work: Supervisor,
    /// Heartbeats and passes: they are cut off.
    supervisor: Supervisor,
}

impl ConductorService {
    /// Opens the queues. The passes over workflows start with [`ConductorService::start_passes`], once the services
    /// that they ask are there.
    pub async fn start(conductor: Arc<Conductor>, transport: Arc<dyn Transport>) -> Result<Self, ServiceError> {
        let target = kilonova_rpcapi::target(TOPIC).server(conductor.config.host.as_str());
        if conductor.config.is_alone {
            // Whoever held a lease is dead: there is only this process, and it takes no message yet.
            let left = kilonova_db::workflows::expire_owner(&conductor.db, "").await?;
            tracing::info!(left, "workflows of the last run");
        }
        let (work, supervisor) = (Supervisor::new(), Supervisor::new());
        let tasks = Tasks { supervisor: work.clone(), slots: Arc::new(Semaphore::new(CONCURRENT_TASKS)) };
        let dispatcher = dispatcher(&conductor, &tasks);
        let server = RpcServer::start(transport, target, dispatcher, ServerOptions::default()).await?;
        Ok(Self { conductor, server, work, supervisor })
    }

    /// Takes up what an earlier process left, and from now on whatever nobody works on; reports that it is there.
    pub fn start_passes(&self) {
        self.conductor.start_heartbeats(&self.supervisor);
        self.conductor.start_workflow_passes(&self.supervisor);
        self.conductor.start_confirming_resizes(&self.supervisor);
        let conductor = self.conductor.clone();
        self.supervisor.periodic("reconcile", conductor.config.reconcile_interval, move || {
            let conductor = conductor.clone();
            async move {
                if let Err(error) = conductor.reconcile().await {
                    tracing::warn!(%error, "reconciliation failed; the next pass looks again");
                }
            }
        });
    }

    /// Resolves when the conductor cannot go on.
    pub async fn failed(&self) {
        self.supervisor.cancelled().await;
    }

    /// Takes no more messages and waits for running work; false if some still ran at the bound.
    pub async fn stop(&self, bound: Duration) -> bool {
        self.server.stop().await;
        let (answered, worked) = tokio::join!(self.server.wait(bound), self.work.drain(bound));
        if !self.conductor.notifications.flush(bound.min(FLUSH_BOUND)).await {
            tracing::warn!("some notifications were not sent before the end");
        }
        self.supervisor.shutdown(bound).await && answered && worked
    }
}

fn dispatcher(conductor: &Arc<Conductor>, tasks: &Tasks) -> Dispatcher {
    let c = conductor.clone();
    let objects = register(Endpoint::new(None, VERSION), move |context, action: ObjectClassActionVersions| {
        let conductor = c.clone();
        async move { conductor.object_class_action(&context, action).await }
    });
    let c = conductor.clone();
    let objects = register(objects, move |context, action: ObjectAction| {
        let conductor = c.clone();
        async move { conductor.object_action(&context, action).await }
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = Endpoint::new(Some(TASK_NAMESPACE), TASK_VERSION);
    let orchestration = register(orchestration, move |context: RequestContext, message: ScheduleAndBuildInstances| {
        // All else is in the workflows' rows: a message that waits for its turn should be small.
        let instance_uuids = message.build_requests.iter().map(|request| request.instance_uuid).collect();
        let conductor = c.clone();
        t.begin(async move { conductor.schedule_and_build_instances(&context, instance_uuids).await })
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = register(orchestration, move |context: RequestContext, message: BuildInstances| {
        let conductor = c.clone();
        t.begin(async move { Box::pin(conductor.build_instances(&context, message)).await })
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = register(orchestration, move |_: RequestContext, message: MigrateServer| {
        let (conductor, tasks) = (c.clone(), t.clone());
        async move {
            if message.live {
                // The one task that a caller waits for: it is told what the checks say.
                let event = "conductor_migrate_server";
                let started = conductor.live_migrate(message.instance.uuid, event).await;
                return started.map_err(|error| exception::internal(&error))?;
            }
            tasks.begin(async move { Box::pin(conductor.cold_migrate(message)).await }).await
        }
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = register(orchestration, move |_: RequestContext, message: LiveMigrateInstance| {
        let conductor = c.clone();
        let event = "conductor_live_migrate_instance";
        t.begin(async move { conductor.live_migrate(message.instance.uuid, event).await.map(drop) })
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = register(orchestration, move |context: RequestContext, message: CacheImages| {
        let conductor = c.clone();
        t.begin(async move { conductor.cache_images(&context, message.aggregate, message.image_ids).await })
    });
    let c = conductor.clone();
    let orchestration = register(orchestration, move |context: RequestContext, message: AttachVolume| {
        let conductor = c.clone();
        async move { Box::pin(conductor.attach_volume(&context, message)).await }
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = register(orchestration, move |context: RequestContext, message: RebuildInstance| {
        let conductor = c.clone();
        t.begin(async move {
            if message.recreate {
                return conductor.evacuate(message.instance.uuid).await;
            }
            Box::pin(conductor.rebuild_instance(&context, message)).await
        })
    });
    let (c, t) = (conductor.clone(), tasks.clone());
    let orchestration = register(orchestration, move |context: RequestContext, message: UnshelveInstance| {
        // All else is in the workflow's row.
        let (conductor, uuid) = (c.clone(), message.instance.uuid);
        t.begin(async move { Box::pin(conductor.unshelve_instance(&context, uuid)).await })
    });
    Dispatcher::new(vec![objects, orchestration, base::endpoint("conductor")])
}

/// Requests for servers that are placed at the same time; the others wait.
const CONCURRENT_TASKS: usize = 16;

/// The work behind casts. It runs beside the server's pool, not in it: it asks the scheduler, which asks this
/// conductor for the hosts, and that answer must never wait for a place behind the question.
#[derive(Clone)]
struct Tasks {
    supervisor: Supervisor,
    slots: Arc<Semaphore>,
}

impl Tasks {
    /// Nobody waits for the answer of a cast: its failure is in the log, and the workflow pass makes up for it.
    fn begin<T>(&self, task: T) -> Ready<Result<(), RemoteException>>
    where
        T: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let slots = self.slots.clone();
        self.supervisor.spawn(TaskKind::Background, "compute task", async move {
            let _slot = slots.acquire_owned().await;
            if let Err(error) = task.await {
                tracing::error!(%error, "a task failed; its workflow will be taken up again");
            }
        });
        std::future::ready(Ok(()))
    }
}
