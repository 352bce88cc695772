//! Network (Neutron): networks, ports, addresses, security groups.

use async_trait::async_trait;
use kilonova_core::RequestContext;
use kilonova_objects::network_model::Vif;
use uuid::Uuid;

use crate::ClientError;
use crate::neutron::Neutron;

/// A network that a server may be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project_id: String,
    /// Usable by every project.
    pub is_shared: bool,
    /// Leads outside; only admins attach servers to it directly.
    pub is_external: bool,
    /// Its subnets.
    pub subnet_ids: Vec<Uuid>,
    /// False: ports on it have no security groups.
    pub port_security_enabled: bool,
}

/// A port, as far as compute looks at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its id.
    pub id: Uuid,
    /// Its network.
    pub network_id: Uuid,
    /// Its project.
    pub project_id: String,
    /// MAC address.
    pub mac_address: String,
    /// The server that has it, or the empty string.
    pub device_id: String,
    /// Its fixed addresses.
    pub fixed_ips: Vec<String>,
}

/// A security group, as far as compute looks at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project_id: String,
}

/// A port to be made, or taken, for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRequest {
    /// The network; may be absent when `port_id` is there.
    pub network_id: Option<Uuid>,
    /// An existing port to use.
    pub port_id: Option<Uuid>,
    /// The wanted fixed address.
    pub fixed_ip: Option<String>,
    /// Ids of the security groups of a port that is made.
    pub security_group_ids: Vec<Uuid>,
}

/// What compute asks of the network service, beside what [`Neutron`] has.
#[async_trait]
pub trait NetworkService: Neutron {
    /// The networks that the caller's project can attach servers to: its own and the shared ones.
    async fn available_networks(&self, context: &RequestContext) -> Result<Vec<Network>, ClientError>;

    /// Whether a network could be made for a project that has none.
    async fn can_auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<bool, ClientError>;

    /// The network that is made, or was, for a project that has none of its own. [`ClientError::Conflict`] where none can
    /// be made.
    async fn auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<Uuid, ClientError>;

    /// A port that the caller may use.
    async fn show_port(&self, context: &RequestContext, port_id: Uuid) -> Result<Port, ClientError>;

    /// The security groups of a project; its `default` group is made if it was not there.
    async fn security_groups(
        &self,
        context: &RequestContext,
        project_id: &str,
    ) -> Result<Vec<SecurityGroup>, ClientError>;

    /// Makes, or takes, the ports of a server on a host and returns its interfaces in the order of the requests.
    ///
    /// All or nothing: on an error what was made is deleted and what was taken is released. Idempotent per server:
    /// a port that this server got for the same network in an earlier, interrupted try is used again.
    async fn allocate_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        requests: &[PortRequest],
    ) -> Result<Vec<Vif>, ClientError>;

    /// Deletes the ports that were made for a server and releases the ones that it was given. Nothing there is success.
    async fn deallocate_for_instance(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<(), ClientError>;

    /// One interface more for a server that has some: as [`Self::allocate_for_instance`], but the ports in `held` stay as
    /// they are, and are not used again.
    async fn allocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        request: &PortRequest,
        held: &[Uuid],
    ) -> Result<Vif, ClientError>;

    /// Ends what a server has of one of its ports: deletes one that was made for it, and releases one that it was given.
    /// One that it does not have is success.
    async fn deallocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        port_id: Uuid,
    ) -> Result<(), ClientError>;

    /// The interfaces of a server as its ports are now, without floating addresses.
    async fn instance_vifs(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<Vec<Vif>, ClientError>;

    /// Binds all ports of a server to `host`; to none where it is the empty string. No ports is success.
    async fn setup_instance_network_on_host(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        host: &str,
    ) -> Result<(), ClientError>;

    /// Every server that has ports, for the reconciler.
    async fn devices_with_ports(&self, context: &RequestContext) -> Result<Vec<Uuid>, ClientError>;
}
