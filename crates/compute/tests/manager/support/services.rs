//! Placement in memory (the real one needs the database, which this crate must not see), and a network service whose
//! releases can fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::fake::FakeNetwork;
use kilonova_clients::network::{Network, NetworkService, Port, PortRequest, SecurityGroup};
use kilonova_clients::network_model::Vif;
use kilonova_clients::neutron::{Collection, Filters, Neutron};
use kilonova_clients::placement::{Allocations, Candidate, CandidatesQuery, Inventory, Placement, Resources};
use kilonova_core::RequestContext;
use serde_json::Value;
use uuid::Uuid;

/// A provider as it was last set.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub name: String,
    pub inventory: BTreeMap<String, Inventory>,
    pub traits: Vec<String>,
}

#[derive(Default)]
pub struct MemoryPlacement {
    pub providers: Mutex<BTreeMap<Uuid, Provider>>,
    pub consumers: Mutex<BTreeMap<Uuid, Allocations>>,
    pub failing_releases: Mutex<usize>,
}

#[async_trait]
impl Placement for MemoryPlacement {
    async fn set_provider(
        &self,
        _context: &RequestContext,
        uuid: Uuid,
        name: &str,
        inventory: &BTreeMap<String, Inventory>,
        traits: &[String],
    ) -> Result<(), ClientError> {
        let provider = Provider { name: name.to_owned(), inventory: inventory.clone(), traits: traits.to_vec() };
        self.providers.lock().unwrap().insert(uuid, provider);
        Ok(())
    }

    async fn change_traits(
        &self,
        _context: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError> {
        let mut providers = self.providers.lock().unwrap();
        let provider = providers.get_mut(&provider).ok_or_else(|| ClientError::not_found("provider", provider))?;
        provider.traits.retain(|name| !remove.contains(name) && !add.contains(name));
        provider.traits.extend(add.iter().cloned());
        Ok(())
    }

    async fn delete_provider(&self, _context: &RequestContext, _provider: Uuid) -> Result<(), ClientError> {
        panic!("an agent deletes no provider")
    }

    async fn provider_traits(&self, _context: &RequestContext, provider: Uuid) -> Result<Vec<String>, ClientError> {
        Ok(self.providers.lock().unwrap()[&provider].traits.clone())
    }

    async fn allocation_candidates(
        &self,
        _context: &RequestContext,
        _query: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError> {
        panic!("an agent asks for no candidates")
    }

    async fn set_allocations(
        &self,
        _context: &RequestContext,
        consumer: Uuid,
        _project_id: &str,
        _user_id: &str,
        allocations: &Allocations,
    ) -> Result<(), ClientError> {
        self.consumers.lock().unwrap().insert(consumer, allocations.clone());
        Ok(())
    }

    async fn allocations(&self, _context: &RequestContext, consumer: Uuid) -> Result<Allocations, ClientError> {
        Ok(self.consumers.lock().unwrap().get(&consumer).cloned().unwrap_or_default())
    }

    async fn delete_allocations(&self, _context: &RequestContext, consumer: Uuid) -> Result<(), ClientError> {
        take_one(&self.failing_releases, "placement")?;
        self.consumers.lock().unwrap().remove(&consumer);
        Ok(())
    }

    async fn move_allocations(&self, _context: &RequestContext, from: Uuid, to: Uuid) -> Result<(), ClientError> {
        let mut consumers = self.consumers.lock().unwrap();
        if let Some(held) = consumers.remove(&from) {
            consumers.insert(to, held);
        }
        Ok(())
    }

    async fn provider_allocations(
        &self,
        _context: &RequestContext,
        provider: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError> {
        let consumers = self.consumers.lock().unwrap();
        let of_provider =
            |(uuid, allocations): (&Uuid, &Allocations)| Some((*uuid, allocations.get(&provider)?.clone()));
        Ok(consumers.iter().filter_map(of_provider).collect())
    }
}

pub struct FlakyNetwork {
    pub fake: Arc<FakeNetwork>,
    pub failing_releases: Mutex<usize>,
    /// What was last asked for.
    pub requests: Mutex<Vec<PortRequest>>,
    /// How long an allocation takes. It goes on when the caller has hung up, as that of a real service does.
    pub slowness: Mutex<Duration>,
}

impl FlakyNetwork {
    pub fn new() -> Self {
        Self {
            fake: Arc::new(FakeNetwork::new()),
            failing_releases: Mutex::default(),
            requests: Mutex::default(),
            slowness: Mutex::default(),
        }
    }
}

fn take_one(failures: &Mutex<usize>, service: &'static str) -> Result<(), ClientError> {
    let mut failures = failures.lock().unwrap();
    if *failures > 0 {
        *failures -= 1;
        return Err(ClientError::unavailable(service, "told to fail"));
    }
    Ok(())
}

#[async_trait]
impl NetworkService for FlakyNetwork {
    async fn available_networks(&self, context: &RequestContext) -> Result<Vec<Network>, ClientError> {
        self.fake.available_networks(context).await
    }

    async fn can_auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<bool, ClientError> {
        self.fake.can_auto_allocate(context, project_id).await
    }

    async fn auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<Uuid, ClientError> {
        self.fake.auto_allocate(context, project_id).await
    }

    async fn show_port(&self, context: &RequestContext, port_id: Uuid) -> Result<Port, ClientError> {
        self.fake.show_port(context, port_id).await
    }

    async fn security_groups(
        &self,
        context: &RequestContext,
        project_id: &str,
    ) -> Result<Vec<SecurityGroup>, ClientError> {
        self.fake.security_groups(context, project_id).await
    }

    async fn allocate_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        requests: &[PortRequest],
    ) -> Result<Vec<Vif>, ClientError> {
        *self.requests.lock().unwrap() = requests.to_vec();
        let slowness = *self.slowness.lock().unwrap();
        let (fake, context, requests) = (self.fake.clone(), context.clone(), requests.to_vec());
        let (project_id, host) = (project_id.to_owned(), host.to_owned());
        let service = tokio::spawn(async move {
            tokio::time::sleep(slowness).await;
            fake.allocate_for_instance(&context, instance_uuid, &project_id, &host, &requests).await
        });
        service.await.unwrap()
    }

    async fn deallocate_for_instance(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<(), ClientError> {
        take_one(&self.failing_releases, "network")?;
        self.fake.deallocate_for_instance(context, instance_uuid).await
    }

    async fn allocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        request: &PortRequest,
        held: &[Uuid],
    ) -> Result<Vif, ClientError> {
        self.fake.allocate_port_for_instance(context, instance_uuid, project_id, host, request, held).await
    }

    async fn deallocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        port_id: Uuid,
    ) -> Result<(), ClientError> {
        take_one(&self.failing_releases, "network")?;
        self.fake.deallocate_port_for_instance(context, instance_uuid, port_id).await
    }

    async fn instance_vifs(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<Vec<Vif>, ClientError> {
        self.fake.instance_vifs(context, instance_uuid).await
    }

    async fn setup_instance_network_on_host(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        host: &str,
    ) -> Result<(), ClientError> {
        self.fake.setup_instance_network_on_host(context, instance_uuid, host).await
    }

    async fn devices_with_ports(&self, context: &RequestContext) -> Result<Vec<Uuid>, ClientError> {
        self.fake.devices_with_ports(context).await
    }
}

#[async_trait]
impl Neutron for FlakyNetwork {
    async fn list_resources(
        &self,
        context: &RequestContext,
        collection: Collection,
        filters: Filters<'_>,
    ) -> Result<Vec<Value>, ClientError> {
        self.fake.list_resources(context, collection, filters).await
    }

    async fn show_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: &str,
    ) -> Result<Value, ClientError> {
        self.fake.show_resource(context, collection, id).await
    }

    async fn create_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        item: Value,
    ) -> Result<Value, ClientError> {
        self.fake.create_resource(context, collection, item).await
    }

    async fn update_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
        item: Value,
    ) -> Result<Value, ClientError> {
        self.fake.update_resource(context, collection, id, item).await
    }

    async fn delete_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
    ) -> Result<(), ClientError> {
        self.fake.delete_resource(context, collection, id).await
    }
}
