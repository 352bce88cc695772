//! The role: the scheduler's queues, and what it knows of the hosts through the conductor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kilonova_core::{RequestContext, Supervisor};
use kilonova_messaging::{Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Transport};
use kilonova_objects::aggregate::zones_by_host;
use kilonova_rpcapi::scheduler::{SelectDestinations, TOPIC, VERSION};
use kilonova_rpcapi::{ConductorApi, base, exception, register, servicegroup};

use crate::{HostInput, HostSource, HostSourceError, SchedulerError, SchedulerManager};

/// What Nova calls the process.
const BINARY: &str = "nova-scheduler";

/// A running scheduler.
pub struct SchedulerService {
    server: RpcServer,
    supervisor: Supervisor,
}

impl SchedulerService {
    /// Opens the queues of `host`, and reports through the conductor every `report_interval` that it is there.
    pub async fn start(
        manager: Arc<SchedulerManager>,
        transport: Arc<dyn Transport>,
        conductor: ConductorApi,
        host: &str,
        report_interval: Duration,
    ) -> Result<Self, MessagingError> {
        let target = kilonova_rpcapi::target(TOPIC).server(host);
        let server = RpcServer::start(transport, target, dispatcher(&manager), ServerOptions::default()).await?;
        let supervisor = Supervisor::new();
        servicegroup::join_and_report_state(&supervisor, conductor, (host, BINARY, TOPIC), report_interval);
        Ok(Self { server, supervisor })
    }

    /// Takes no more messages and waits for running work; false if some still ran at the bound.
    pub async fn stop(&self, bound: Duration) -> bool {
        self.server.stop().await;
        let drained = self.server.wait(bound).await;
        self.supervisor.shutdown(bound).await && drained
    }
}

fn dispatcher(manager: &Arc<SchedulerManager>) -> Dispatcher {
    let manager = manager.clone();
    let endpoint = register(Endpoint::new(None, VERSION), move |context, request: SelectDestinations| {
        let manager = manager.clone();
        async move {
            let SelectDestinations { spec_obj, instance_uuids, return_alternates, .. } = request;
            let selected = manager.select_destinations(&context, &spec_obj, &instance_uuids, return_alternates);
            selected.await.map_err(raised)
        }
    });
    Dispatcher::new(vec![endpoint, base::endpoint("scheduler")])
}

fn raised(error: SchedulerError) -> RemoteException {
    match &error {
        SchedulerError::NoValidHost { reason } => exception::no_valid_host(reason),
        _ => {
            tracing::error!(%error, "hosts could not be selected");
            exception::internal(&error)
        }
    }
}

/// The hosts as the conductor knows them.
pub struct ConductorHosts {
    conductor: ConductorApi,
    availability_zone: String,
}

impl ConductorHosts {
    /// Hosts that no aggregate puts into another zone are in `availability_zone` (`[DEFAULT] default_availability_zone`).
    pub fn new(conductor: ConductorApi, availability_zone: &str) -> Self {
        Self { conductor, availability_zone: availability_zone.to_owned() }
    }
}

#[async_trait]
impl HostSource for ConductorHosts {
    async fn hosts(&self, context: &RequestContext) -> Result<Vec<HostInput>, HostSourceError> {
        let (nodes, services, aggregates) = tokio::try_join!(
            self.conductor.compute_nodes(context),
            self.conductor.services_by_binary(context, "nova-compute"),
            self.conductor.aggregates(context),
        )
        .map_err(|error| HostSourceError(Box::new(error)))?;
        let services: HashMap<_, _> =
            services.into_iter().filter_map(|service| Some((service.host.clone()?, service))).collect();
        let zones = zones_by_host(&aggregates);
        let input = |node: kilonova_objects::ComputeNode| {
            let service = services.get(node.host.as_deref()?)?.clone();
            let zone = zones.get(node.host.as_deref()?).unwrap_or(&self.availability_zone).clone();
            Some(HostInput { node, service, availability_zone: Some(zone) })
        };
        Ok(nodes.into_iter().filter_map(input).collect())
    }
}
