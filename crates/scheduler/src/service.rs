//! The role: the scheduler's queues, and what it knows of the hosts through the conductor.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kilonova_core::{Config, ConfigError, RequestContext, Supervisor};
use kilonova_messaging::{Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Transport};
use kilonova_objects::aggregate::zones_by_host;
use kilonova_objects::{Aggregate, ImageMetaProps};
use kilonova_rpcapi::scheduler::{SelectDestinations, TOPIC, VERSION};
use kilonova_rpcapi::{ConductorApi, RpcError, base, exception, register, servicegroup};

use crate::{HostInput, HostInventory, HostSource, HostSourceError, SchedulerError, SchedulerManager, weights};

/// What Nova calls the process.
const BINARY: &str = "nova-scheduler";

/// Servers that are asked for at a time.
const PAGE: usize = 1000;

type ImageProperties = HashMap<String, Vec<BTreeMap<String, String>>>;

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
    weighs_image_properties: bool,
}

impl ConductorHosts {
    /// Hosts that no aggregate puts into another zone are in `[DEFAULT] default_availability_zone`.
    pub fn new(conductor: ConductorApi, config: &Config) -> Result<Self, ConfigError> {
        let zone = config.get("DEFAULT", "default_availability_zone");
        Ok(Self {
            conductor,
            availability_zone: zone.unwrap_or_else(|| "nova".to_owned()),
            weighs_image_properties: weights::weighs_image_properties(config)?,
        })
    }

    /// By host, for each server on it the properties of its image; nothing where nobody weighs them.
    async fn image_properties(&self, context: &RequestContext) -> Result<ImageProperties, RpcError> {
        let mut by_host = ImageProperties::new();
        if !self.weighs_image_properties {
            return Ok(by_host);
        }
        let mut marker = None;
        loop {
            let page = self.conductor.instances(context, marker, PAGE).await?;
            let is_last = page.len() < PAGE;
            marker = page.last().map(|instance| instance.uuid);
            for instance in page {
                let properties = of_image(instance.system_metadata);
                if let Some(host) = instance.host {
                    by_host.entry(host).or_default().push(properties);
                }
            }
            if is_last {
                return Ok(by_host);
            }
        }
    }
}

fn of_image(system_metadata: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    let property = |(key, value): (String, Option<String>)| {
        let name = key.strip_prefix("image_").filter(|name| ImageMetaProps::knows(name))?;
        Some((name.to_owned(), value?))
    };
    system_metadata.into_iter().filter_map(property).collect()
}

#[async_trait]
impl HostSource for ConductorHosts {
    async fn hosts(&self, context: &RequestContext) -> Result<HostInventory, HostSourceError> {
        let (nodes, services, aggregates, image_properties) = tokio::try_join!(
            self.conductor.compute_nodes(context),
            self.conductor.services_by_binary(context, "nova-compute"),
            self.conductor.aggregates(context),
            self.image_properties(context),
        )
        .map_err(|error| HostSourceError(Box::new(error)))?;
        let services: HashMap<_, _> =
            services.into_iter().filter_map(|service| Some((service.host.clone()?, service))).collect();
        let zones = zones_by_host(&aggregates);
        let aggregates: Vec<Arc<Aggregate>> = aggregates.into_iter().map(Arc::new).collect();
        let by_host = by_host(&aggregates);
        let input = |node: kilonova_objects::ComputeNode| {
            let host = node.host.as_deref()?;
            Some(Arc::new(HostInput {
                service: services.get(host)?.clone(),
                availability_zone: Some(zones.get(host).unwrap_or(&self.availability_zone).clone()),
                aggregates: by_host.get(host).cloned().unwrap_or_default(),
                image_properties: image_properties.get(host).cloned().unwrap_or_default(),
                node,
            }))
        };
        Ok(HostInventory { hosts: nodes.into_iter().filter_map(input).collect(), aggregates: aggregates.clone() })
    }
}

/// The aggregates that each host is in.
fn by_host(aggregates: &[Arc<Aggregate>]) -> HashMap<&str, Vec<Arc<Aggregate>>> {
    let mut by_host = HashMap::<&str, Vec<Arc<Aggregate>>>::new();
    for aggregate in aggregates {
        for host in aggregate.hosts() {
            by_host.entry(host).or_default().push(aggregate.clone());
        }
    }
    by_host
}
