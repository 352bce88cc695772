//! Networks, ports, security groups and floating addresses in memory.

mod neutron;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kilonova_core::RequestContext;
use kilonova_objects::network_model::{FixedIp, Ip, Network as VifNetwork, Subnet, Vif};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::ClientError;
use crate::network::{Network, NetworkService, Port, PortRequest, SecurityGroup};

/// A network service with one /16 per network.
#[derive(Debug, Default)]
pub struct FakeNetwork {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    networks: Vec<Network>,
    ports: Vec<FakePort>,
    groups: HashMap<String, Vec<SecurityGroup>>,
    /// Hosts of one network: the last address given.
    last_host: HashMap<Uuid, u16>,
    /// The groups of ports that have some.
    port_groups: HashMap<Uuid, Vec<Uuid>>,
    /// The descriptions of groups that have one.
    descriptions: HashMap<Uuid, String>,
    /// As Neutron has them.
    rules: Vec<Value>,
    /// As Neutron has them.
    floating_ips: Vec<Value>,
    /// How many more there can be.
    floating_ips_left: Option<usize>,
    failures: u32,
    /// Whether projects without networks get one.
    allocates: bool,
    /// Where the ports of a server were last bound to, once they were moved.
    hosts: HashMap<Uuid, String>,
}

#[derive(Clone, Debug)]
struct FakePort {
    port: Port,
    is_made_for_server: bool,
}

impl FakeNetwork {
    /// One without networks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the ports of a server were moved to; none for one that was not moved.
    pub fn host_of(&self, instance_uuid: Uuid) -> Option<String> {
        self.lock().hosts.get(&instance_uuid).cloned()
    }

    /// Adds a network of a project.
    pub fn add_network(&self, name: &str, project_id: &str, is_shared: bool) -> Network {
        let id = Uuid::new_v4();
        let network = Network {
            id,
            name: name.to_owned(),
            project_id: project_id.to_owned(),
            is_shared,
            is_external: false,
            subnet_ids: vec![Uuid::new_v4()],
            port_security_enabled: true,
        };
        self.lock().networks.push(network.clone());
        network
    }

    /// Adds a network that leads outside, and that floating addresses come from.
    pub fn add_external_network(&self, name: &str, project_id: &str) -> Network {
        let mut network = self.add_network(name, project_id, false);
        network.is_external = true;
        let mut state = self.lock();
        let known = state.networks.iter_mut().filter(|known| known.id == network.id);
        known.for_each(|known| known.is_external = true);
        network
    }

    /// Takes the security off the ports of a network.
    pub fn disable_port_security(&self, network_id: Uuid) {
        let mut state = self.lock();
        let known = state.networks.iter_mut().filter(|known| known.id == network_id);
        known.for_each(|known| known.port_security_enabled = false);
    }

    /// Lets there be only so many floating addresses more.
    pub fn limit_floating_ips(&self, left: usize) {
        self.lock().floating_ips_left = Some(left);
    }

    /// Forgets a port, as if its owner had deleted it.
    pub fn delete_port(&self, port_id: Uuid) {
        self.lock().ports.retain(|port| port.port.id != port_id);
    }

    /// Adds a port of a project that no server has.
    pub fn add_port(&self, network_id: Uuid, project_id: &str) -> Port {
        let mut state = self.lock();
        let port = state.new_port(network_id, project_id, "", None);
        state.ports.push(FakePort { port: port.clone(), is_made_for_server: false });
        port
    }

    /// Adds a security group.
    pub fn add_security_group(&self, name: &str, project_id: &str) -> SecurityGroup {
        let group = SecurityGroup { id: Uuid::new_v4(), name: name.to_owned(), project_id: project_id.to_owned() };
        self.lock().groups_of(project_id).push(group.clone());
        group
    }

    /// From now on, projects that have no network can get one.
    pub fn enable_auto_allocation(&self) {
        self.lock().allocates = true;
    }

    /// Lets the next `count` allocations fail.
    pub fn fail_allocations(&self, count: u32) {
        self.lock().failures = count;
    }

    /// All ports.
    pub fn ports(&self) -> Vec<Port> {
        self.lock().ports.iter().map(|port| port.port.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn groups_of(&mut self, project_id: &str) -> &mut Vec<SecurityGroup> {
        self.groups.entry(project_id.to_owned()).or_insert_with(|| {
            vec![SecurityGroup { id: Uuid::new_v4(), name: "default".to_owned(), project_id: project_id.to_owned() }]
        })
    }

    fn network(&self, context: &RequestContext, id: Uuid) -> Result<&Network, ClientError> {
        let is_usable = |network: &&Network| {
            network.id == id && (network.is_shared || context.is_admin || network.project_id == context.project_id())
        };
        self.networks.iter().find(is_usable).ok_or_else(|| ClientError::not_found("network", id))
    }

    /// MAC and IP address that no port of the network has.
    fn next_address(&mut self, network_id: Uuid) -> (String, String) {
        let last = self.last_host.entry(network_id).or_insert(1);
        *last += 1;
        let [high, low] = last.to_be_bytes();
        (format!("fa:16:3e:00:{high:02x}:{low:02x}"), Ipv4Addr::new(10, 1, high, low).to_string())
    }

    fn new_port(&mut self, network_id: Uuid, project_id: &str, device_id: &str, fixed_ip: Option<&str>) -> Port {
        let (mac_address, address) = self.next_address(network_id);
        Port {
            id: Uuid::new_v4(),
            network_id,
            project_id: project_id.to_owned(),
            mac_address,
            device_id: device_id.to_owned(),
            fixed_ips: vec![fixed_ip.map_or(address, str::to_owned)],
        }
    }

    fn take(&mut self, context: &RequestContext, id: Uuid, device_id: &str) -> Result<Port, ClientError> {
        let is_usable = |port: &&mut FakePort| {
            port.port.id == id && (context.is_admin || port.port.project_id == context.project_id())
        };
        let found = self.ports.iter_mut().find(is_usable).ok_or_else(|| ClientError::not_found("port", id))?;
        if !found.port.device_id.is_empty() && found.port.device_id != device_id {
            return Err(ClientError::Conflict(format!("Port {id} is still in use.")));
        }
        found.port.device_id = device_id.to_owned();
        Ok(found.port.clone())
    }

    fn allocate_or_nothing(
        &mut self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        requests: &[PortRequest],
        kept: &[Uuid],
    ) -> Result<Vec<Vif>, ClientError> {
        let before = self.ports.clone();
        let result = self.allocate(context, &instance_uuid.to_string(), project_id, requests, kept);
        if result.is_err() {
            self.ports = before;
        }
        result
    }

    /// The ports of the requests, in their order. Those in `kept` are not used again.
    fn allocate(
        &mut self,
        context: &RequestContext,
        device_id: &str,
        project_id: &str,
        requests: &[PortRequest],
        kept: &[Uuid],
    ) -> Result<Vec<Vif>, ClientError> {
        let mut used: Vec<Uuid> = kept.to_vec();
        let mut vifs = Vec::new();
        for request in requests {
            let port = match (request.port_id, request.network_id) {
                (Some(id), _) if used.contains(&id) => {
                    return Err(ClientError::Conflict(format!("Port {id} is still in use.")));
                }
                (Some(id), _) => self.take(context, id, device_id)?,
                (None, Some(network_id)) => {
                    self.network(context, network_id)?;
                    self.made_port(network_id, device_id, project_id, request, &used)?
                }
                (None, None) => return Err(ClientError::BadRequest("neither a network nor a port".to_owned())),
            };
            used.push(port.id);
            vifs.push(self.vif(&port));
        }
        Ok(vifs)
    }

    fn made_port(
        &mut self,
        network_id: Uuid,
        device_id: &str,
        project_id: &str,
        request: &PortRequest,
        used: &[Uuid],
    ) -> Result<Port, ClientError> {
        let is_again = |port: &&FakePort| {
            port.is_made_for_server
                && port.port.device_id == device_id
                && port.port.network_id == network_id
                && !used.contains(&port.port.id)
        };
        if let Some(again) = self.ports.iter().find(is_again) {
            return Ok(again.port.clone());
        }
        let wanted = request.fixed_ip.as_deref();
        let is_taken = |wanted: &str| {
            self.ports
                .iter()
                .any(|port| port.port.network_id == network_id && port.port.fixed_ips.iter().any(|ip| ip == wanted))
        };
        if let Some(wanted) = wanted.filter(|wanted| is_taken(wanted)) {
            return Err(ClientError::Conflict(format!("Fixed IP address {wanted} is already in use.")));
        }
        let port = self.new_port(network_id, project_id, device_id, wanted);
        let groups = match request.security_group_ids.as_slice() {
            [] => self.groups_of(project_id).iter().take(1).map(|group| group.id).collect(),
            wanted => wanted.to_vec(),
        };
        self.port_groups.insert(port.id, groups);
        self.ports.push(FakePort { port: port.clone(), is_made_for_server: true });
        Ok(port)
    }

    /// Ends what a server has of its ports, or of one of them.
    fn deallocate(&mut self, device_id: &str, only: Option<Uuid>) {
        let is_meant = |port: &FakePort| port.port.device_id == device_id && only.is_none_or(|id| id == port.port.id);
        self.ports.retain(|port| !(port.is_made_for_server && is_meant(port)));
        for port in self.ports.iter_mut().filter(|port| is_meant(port)) {
            port.port.device_id.clear();
        }
        let (ports, groups) = (&self.ports, &mut self.port_groups);
        groups.retain(|id, _| ports.iter().any(|port| port.port.id == *id));
    }

    fn vif(&self, port: &Port) -> Vif {
        let network = self.networks.iter().find(|network| network.id == port.network_id);
        let is_made = self.ports.iter().any(|known| known.port.id == port.id && known.is_made_for_server);
        let fixed = |address: &String| FixedIp {
            address: address.clone(),
            ip_type: "fixed".to_owned(),
            version: 4,
            meta: Map::new(),
            floating_ips: Vec::new(),
        };
        let gateway = Ip {
            address: Some("10.1.0.1".to_owned()),
            ip_type: "gateway".to_owned(),
            version: Some(4),
            meta: Map::new(),
        };
        let subnet = Subnet {
            cidr: "10.1.0.0/16".to_owned(),
            dns: Vec::new(),
            gateway: Some(gateway),
            ips: port.fixed_ips.iter().map(fixed).collect(),
            routes: Vec::new(),
            version: 4,
            meta: Map::new(),
        };
        let meta = [("tenant_id", Value::from(port.project_id.as_str())), ("mtu", Value::from(1500))];
        Vif {
            id: port.id,
            address: port.mac_address.clone(),
            network: VifNetwork {
                id: port.network_id,
                bridge: None,
                label: network.map(|network| network.name.clone()).unwrap_or_default(),
                subnets: vec![subnet],
                meta: meta.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            },
            vif_type: Some("user".to_owned()),
            details: Map::new(),
            devname: Some(format!("tap{}", &port.id.to_string()[..11])),
            ovs_interfaceid: None,
            qbh_params: None,
            qbg_params: None,
            active: true,
            vnic_type: Some("normal".to_owned()),
            profile: Map::new(),
            preserve_on_delete: !is_made,
            delegate_create: true,
            meta: Map::new(),
        }
    }
}

#[async_trait]
impl NetworkService for FakeNetwork {
    async fn available_networks(&self, context: &RequestContext) -> Result<Vec<Network>, ClientError> {
        let is_available = |network: &&Network| network.is_shared || network.project_id == context.project_id();
        Ok(self.lock().networks.iter().filter(is_available).cloned().collect())
    }

    async fn can_auto_allocate(&self, _context: &RequestContext, _project_id: &str) -> Result<bool, ClientError> {
        Ok(self.lock().allocates)
    }

    async fn auto_allocate(&self, _context: &RequestContext, project_id: &str) -> Result<Uuid, ClientError> {
        if !self.lock().allocates {
            return Err(ClientError::Conflict("there is no default external network".to_owned()));
        }
        let of_project = |network: &&Network| network.project_id == project_id;
        let there = self.lock().networks.iter().find(of_project).map(|network| network.id);
        Ok(there.unwrap_or_else(|| self.add_network("auto_allocated_network", project_id, false).id))
    }

    async fn show_port(&self, context: &RequestContext, port_id: Uuid) -> Result<Port, ClientError> {
        let state = self.lock();
        let found = state.ports.iter().map(|port| &port.port).find(|port| port.id == port_id);
        let found = found.filter(|port| context.is_admin || port.project_id == context.project_id());
        found.cloned().ok_or_else(|| ClientError::not_found("port", port_id))
    }

    async fn security_groups(
        &self,
        _context: &RequestContext,
        project_id: &str,
    ) -> Result<Vec<SecurityGroup>, ClientError> {
        Ok(self.lock().groups_of(project_id).clone())
    }

    async fn allocate_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        _host: &str,
        requests: &[PortRequest],
    ) -> Result<Vec<Vif>, ClientError> {
        let mut state = self.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(ClientError::unavailable("network", "told to fail"));
        }
        state.allocate_or_nothing(context, instance_uuid, project_id, requests, &[])
    }

    async fn allocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        _host: &str,
        request: &PortRequest,
        held: &[Uuid],
    ) -> Result<Vif, ClientError> {
        let mut state = self.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(ClientError::unavailable("network", "told to fail"));
        }
        let requests = std::slice::from_ref(request);
        let mut vifs = state.allocate_or_nothing(context, instance_uuid, project_id, requests, held)?;
        vifs.pop().ok_or_else(|| ClientError::unavailable("network", "no port was made"))
    }

    async fn setup_instance_network_on_host(
        &self,
        _context: &RequestContext,
        instance_uuid: Uuid,
        host: &str,
    ) -> Result<(), ClientError> {
        self.lock().hosts.insert(instance_uuid, host.to_owned());
        Ok(())
    }

    async fn deallocate_for_instance(&self, _context: &RequestContext, instance_uuid: Uuid) -> Result<(), ClientError> {
        self.lock().deallocate(&instance_uuid.to_string(), None);
        Ok(())
    }

    async fn deallocate_port_for_instance(
        &self,
        _context: &RequestContext,
        instance_uuid: Uuid,
        port_id: Uuid,
    ) -> Result<(), ClientError> {
        self.lock().deallocate(&instance_uuid.to_string(), Some(port_id));
        Ok(())
    }

    async fn instance_vifs(&self, _context: &RequestContext, instance_uuid: Uuid) -> Result<Vec<Vif>, ClientError> {
        let (state, device_id) = (self.lock(), instance_uuid.to_string());
        let ports = state.ports.iter().filter(|port| port.port.device_id == device_id);
        Ok(ports.map(|port| state.vif(&port.port)).collect())
    }

    async fn devices_with_ports(&self, _context: &RequestContext) -> Result<Vec<Uuid>, ClientError> {
        let mut devices: Vec<Uuid> =
            self.lock().ports.iter().filter_map(|port| port.port.device_id.parse().ok()).collect();
        devices.sort();
        devices.dedup();
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_try_gets_the_same_port_and_a_failed_one_leaves_nothing() {
        let fake = FakeNetwork::new();
        let network = fake.add_network("private", "p", false);
        let (context, server) = (RequestContext::new("u", "p"), Uuid::new_v4());
        let wanted = PortRequest { network_id: Some(network.id), ..PortRequest::default() };
        let nowhere = PortRequest { network_id: Some(Uuid::new_v4()), ..PortRequest::default() };

        let both = [wanted.clone(), nowhere];
        assert!(fake.allocate_for_instance(&context, server, "p", "host", &both).await.is_err());
        assert_eq!(fake.ports(), []);

        let one = [wanted];
        let first = fake.allocate_for_instance(&context, server, "p", "host", &one).await.unwrap();
        assert_eq!(fake.allocate_for_instance(&context, server, "p", "host", &one).await.unwrap(), first);
        assert_eq!(fake.devices_with_ports(&context).await.unwrap(), [server]);

        fake.deallocate_for_instance(&context, server).await.unwrap();
        assert_eq!(fake.ports(), []);
    }
}
