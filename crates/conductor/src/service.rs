//! The role: queues and passes of one conductor.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kilonova_core::{RequestContext, Supervisor};
use kilonova_messaging::{
    Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Transport,
};
use kilonova_rpcapi::conductor::{
    BuildInstances, ObjectAction, ObjectClassActionVersions, ScheduleAndBuildInstances, TASK_NAMESPACE, TASK_VERSION,
    TOPIC, VERSION,
};
use kilonova_rpcapi::{base, exception, register};

use crate::Conductor;
use crate::tasks::TaskError;

/// A running conductor.
pub struct ConductorService {
    conductor: Arc<Conductor>,
    server: RpcServer,
    supervisor: Supervisor,
}

impl ConductorService {
    /// Opens the queues. The passes over workflows start with [`ConductorService::start_passes`], once the services
    /// that they ask are there.
    pub async fn start(conductor: Arc<Conductor>, transport: Arc<dyn Transport>) -> Result<Self, MessagingError> {
        let target = kilonova_rpcapi::target(TOPIC).server(conductor.config.host.as_str());
        let server = RpcServer::start(transport, target, dispatcher(&conductor), ServerOptions::default()).await?;
        Ok(Self { conductor, server, supervisor: Supervisor::new() })
    }

    /// Takes up what an earlier process left, and from now on whatever nobody works on.
    pub async fn start_passes(&self) -> Result<(), kilonova_db::DbError> {
        if self.conductor.config.is_alone {
            let prefix = format!("{}/", self.conductor.config.host);
            let left = kilonova_db::workflows::expire_owner(&self.conductor.db, &prefix).await?;
            tracing::info!(left, "workflows of the last run");
        }
        self.conductor.start_workflow_passes(&self.supervisor);
        let conductor = self.conductor.clone();
        self.supervisor.periodic("reconcile", conductor.config.reconcile_interval, move || {
            let conductor = conductor.clone();
            async move {
                if let Err(error) = conductor.reconcile().await {
                    tracing::warn!(%error, "reconciliation failed; the next pass looks again");
                }
            }
        });
        Ok(())
    }

    /// Takes no more messages and waits for running work; false if some still ran at the bound.
    pub async fn stop(&self, bound: Duration) -> bool {
        self.server.stop().await;
        let drained = self.server.wait(bound).await;
        self.supervisor.shutdown(bound).await && drained
    }
}

fn dispatcher(conductor: &Arc<Conductor>) -> Dispatcher {
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
    let c = conductor.clone();
    let tasks = Endpoint::new(Some(TASK_NAMESPACE), TASK_VERSION);
    let tasks = register(tasks, move |context: RequestContext, message: ScheduleAndBuildInstances| {
        let conductor = c.clone();
        async move { logged(conductor.schedule_and_build_instances(&context, message)).await }
    });
    let c = conductor.clone();
    let tasks = register(tasks, move |context: RequestContext, message: BuildInstances| {
        let conductor = c.clone();
        async move { logged(conductor.build_instances(&context, message)).await }
    });
    Dispatcher::new(vec![objects, tasks, base::endpoint("conductor")])
}

/// Nobody waits for the answer of a cast: its failure is in the log, and the workflow pass makes up for it.
async fn logged(task: impl Future<Output = Result<(), TaskError>>) -> Result<(), RemoteException> {
    task.await.map_err(|error| {
        tracing::error!(%error, "a task failed; its workflow will be taken up again");
        exception::internal(&error)
    })
}
