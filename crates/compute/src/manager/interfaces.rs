//! Interfaces and addresses of an instance: added, taken away, read again.
//!
//! ```text
//!   attach  port allocated ──> cache ──> driver ──> done      the driver fails: the port is given back, the cache as before
//!   detach  driver ──> port given back ──> cache ──> done     an error: the interface stays, and may be detached again
//! ```
//!
//! What is cut off can be asked for again: an attach then gets the port that is in no cache yet, or the guest gets an
//! interface that is in the cache at its next start; a detach finds the interface in the cache.

use kilonova_clients::ClientError;
use kilonova_clients::network::PortRequest;
use kilonova_clients::network_model::Vif;
use kilonova_clients::neutron::{floating_ips, ports};
use kilonova_core::RequestContext;
use kilonova_objects::state::{Action, Refusal};
use kilonova_objects::{Instance, InstanceInfoCache, NetworkInfo, Tracked};
use kilonova_rpcapi::compute::AttachInterface;
use kilonova_rpcapi::exception;
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Manager, ManagerError, details};

/// Where a tag is kept: the network model lets an interface have more than it names.
const TAG: &str = "tag";

impl Manager {
    /// Plugs a new interface into an instance and returns it, as the network model has it.
    pub async fn attach_interface(
        &self,
        context: &RequestContext,
        asked: AttachInterface,
    ) -> Result<Value, ManagerError> {
        let uuid = asked.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let attach = Box::pin(self.attach(context, &asked));
        let attached = self.with_event(context, uuid, "compute_attach_interface", attach).await;
        let attached = self.with_fault(context, &asked.instance, attached).await?;
        Ok(json!(attached))
    }

    /// Takes an interface from an instance.
    pub async fn detach_interface(
        &self,
        context: &RequestContext,
        instance: Instance,
        port_id: &str,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let detach = Box::pin(self.detach(context, &instance, port_id));
        let detached = self.with_event(context, instance.uuid, "compute_detach_interface", detach).await;
        self.with_fault(context, &instance, detached).await
    }

    /// Gives an instance one address more on a network that it is on.
    pub async fn add_fixed_ip_to_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        network_id: &str,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let (uuid, network) = (instance.uuid, &*self.clients.network);
        let add = async {
            let mut now = self.mine(context, uuid).await?;
            ports::add_fixed_ip(network, context, uuid, network_id).await.map_err(|error| match error {
                ClientError::NotFound { resource: "network", .. } => {
                    let message = format!("Network could not be found for instance {uuid}.");
                    refused("NetworkNotFoundForInstance", 404, message)
                }
                other => other.into(),
            })?;
            self.refresh_network_info(context, &mut now).await
        };
        let added = add.await;
        self.with_fault(context, &instance, added).await
    }

    /// Takes an address from an instance.
    pub async fn remove_fixed_ip_from_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        address: &str,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let (uuid, network) = (instance.uuid, &*self.clients.network);
        let remove = async {
            let mut now = self.mine(context, uuid).await?;
            ports::remove_fixed_ip(network, context, uuid, address).await.map_err(|error| match error {
                ClientError::NotFound { resource: "fixed IP", .. } => {
                    let message = format!("Instance {uuid} does not have fixed IP '{address}'.");
                    refused("FixedIpNotFoundForInstance", 404, message)
                }
                other => other.into(),
            })?;
            self.refresh_network_info(context, &mut now).await
        };
        let removed = remove.await;
        self.with_fault(context, &instance, removed).await
    }

    /// Reads again the ports that an instance is known to have; the interface of one that is gone goes too. A port that
    /// names the instance and is not known is not believed: whoever owns it can write that.
    pub(super) async fn refresh_network_info(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
    ) -> Result<(), ManagerError> {
        let mut vifs = self.clients.network.instance_vifs(context, instance.uuid).await?;
        floating_ips::add_to_vifs(&*self.clients.network, context, &mut vifs).await?;
        let network_info = refreshed(&instance.network_info(), vifs);
        self.save_network_info(context, instance, &network_info).await
    }

    pub(super) async fn save_network_info(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        network_info: &NetworkInfo,
    ) -> Result<(), ManagerError> {
        if instance.network_info() == *network_info {
            return Ok(());
        }
        instance.info_cache = Some(InstanceInfoCache::new(instance.uuid, network_info));
        self.save(context, instance, Expected::ANY).await
    }

    /// The instance as it is now, if it is this host's.
    pub(super) async fn mine(&self, context: &RequestContext, uuid: Uuid) -> Result<Tracked<Instance>, ManagerError> {
        let now = self.find(context, uuid).await?.filter(|now| self.is_mine(now));
        now.map(Tracked::new).ok_or_else(|| ManagerError::Raised(exception::instance_not_found(uuid)))
    }

    /// The same, if the action may be done to it: what the API has seen may be over.
    async fn free(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        action: Action,
    ) -> Result<Tracked<Instance>, ManagerError> {
        let now = self.mine(context, uuid).await?;
        let checked = action.check(now.vm_state, now.task_state, now.launched_at.is_some());
        checked.map_err(|refusal| invalid_state(&now, action, refusal))?;
        Ok(now)
    }

    async fn attach(&self, context: &RequestContext, asked: &AttachInterface) -> Result<Vif, ManagerError> {
        let uuid = asked.instance.uuid;
        self.ensure_attachable(asked)?;
        let mut instance = self.free(context, uuid, Action::AttachInterface).await?;
        let telling = self.telling(context, uuid, Some(InstanceAction::InterfaceAttach)).await;
        telling.start_now(&instance);
        let request = self.port_request(context, asked, &instance).await?;
        let before = instance.network_info();
        let held: Vec<Uuid> = before.0.iter().map(|vif| vif.id).collect();
        let (network, project_id) = (&self.clients.network, instance.project_id());
        let allocated =
            network.allocate_port_for_instance(context, uuid, project_id, &self.config.host, &request, &held).await;
        let mut vif = allocated.map_err(|error| not_allocated(error, asked, &request))?;
        if let Some(tag) = &asked.tag {
            vif.meta.insert(TAG.to_owned(), json!(tag));
        }
        let mut after = before.clone();
        after.0.push(vif.clone());
        let saved = self.save_network_info(context, &mut instance, &after).await;
        if let Err(error) = saved {
            if error.is_deletion() {
                self.give_back_port(context, uuid, vif.id).await;
            }
            return Err(error);
        }
        if let Err(error) = self.driver.attach_interface(&instance, &vif).await {
            let error = ManagerError::from(error);
            tracing::warn!(instance = %uuid, port = %vif.id, error = %details(&error), "an interface could not be plugged in");
            telling.attach_error(&instance, &error);
            self.give_back_port(context, uuid, vif.id).await;
            self.save_network_info(context, &mut instance, &before).await?;
            let message = format!("Failed to attach network adapter device to {uuid}");
            return Err(refused("InterfaceAttachFailed", 500, message));
        }
        telling.end(&instance);
        Ok(vif)
    }

    async fn detach(&self, context: &RequestContext, instance: &Instance, port_id: &str) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        let mut instance = self.free(context, uuid, Action::DetachInterface).await?;
        let mut network_info = instance.network_info();
        let position = network_info.0.iter().position(|vif| vif.id.to_string() == port_id);
        let position =
            position.ok_or_else(|| refused("PortNotFound", 404, format!("Port {port_id} is not attached")))?;
        let telling = self.telling(context, uuid, Some(InstanceAction::InterfaceDetach)).await;
        telling.start_now(&instance);
        let vif = network_info.0.remove(position);
        if let Err(error) = self.driver.detach_interface(&instance, &vif).await {
            let error = details(&error);
            tracing::warn!(instance = %uuid, port = %vif.id, error, "an interface could not be taken out");
            let message = format!("Failed to detach network adapter device from {uuid}");
            return Err(refused("InterfaceDetachFailed", 400, message));
        }
        self.clients.network.deallocate_port_for_instance(context, uuid, vif.id).await?;
        self.save_network_info(context, &mut instance, &network_info).await?;
        telling.end(&instance);
        Ok(())
    }

    fn ensure_attachable(&self, asked: &AttachInterface) -> Result<(), ManagerError> {
        let (uuid, capabilities) = (asked.instance.uuid, self.driver.capabilities());
        if !capabilities.supports_attach_interface {
            let message = format!("Attaching interfaces is not supported for instance {uuid}.");
            return Err(refused("AttachInterfaceNotSupported", 400, message));
        }
        if asked.tag.is_some() && !capabilities.supports_tagged_attach_interface {
            let message = "Tagged network interface attachment is not supported for this server instance.";
            return Err(refused("NetworkInterfaceTaggedAttachNotSupported", 400, message.to_owned()));
        }
        Ok(())
    }

    /// The port or network that is asked for; where none is, the only network that there is.
    async fn port_request(
        &self,
        context: &RequestContext,
        asked: &AttachInterface,
        instance: &Instance,
    ) -> Result<PortRequest, ManagerError> {
        let parse = |id: &String, class: &'static str, what: &str| {
            id.parse::<Uuid>().map_err(|_| refused(class, 404, format!("{what} {id} could not be found.")))
        };
        if let Some(port_id) = &asked.port_id {
            let port_id = Some(parse(port_id, "PortNotFound", "Port id")?);
            return Ok(PortRequest { port_id, ..PortRequest::default() });
        }
        let network_id = match &asked.network_id {
            Some(network_id) => parse(network_id, "NetworkNotFound", "Network")?,
            None => self.only_network(context, instance).await?,
        };
        let fixed_ip = asked.requested_ip.clone();
        Ok(PortRequest { network_id: Some(network_id), fixed_ip, ..PortRequest::default() })
    }

    async fn only_network(&self, context: &RequestContext, instance: &Instance) -> Result<Uuid, ManagerError> {
        let mut networks = self.clients.network.available_networks(context).await?;
        networks.retain(|network| !network.is_external);
        match networks.as_slice() {
            [network] => Ok(network.id),
            [] => {
                let project_id = instance.project_id();
                let message =
                    format!("No specific network was requested and none are available for project '{project_id}'.");
                Err(refused("InterfaceAttachFailedNoNetwork", 400, message))
            }
            _ => {
                let message = "Multiple possible networks found, use a Network ID to be more specific.";
                Err(refused("NetworkAmbiguous", 400, message.to_owned()))
            }
        }
    }

    async fn give_back_port(&self, context: &RequestContext, instance_uuid: Uuid, port_id: Uuid) {
        let given_back = self.clients.network.deallocate_port_for_instance(context, instance_uuid, port_id).await;
        if let Err(error) = given_back {
            tracing::error!(instance = %instance_uuid, port = %port_id, %error, "a port stays until its server goes");
        }
    }

    /// Keeps why something failed, unless the instance is going anyway.
    pub(super) async fn with_fault<T>(
        &self,
        context: &RequestContext,
        instance: &Instance,
        result: Result<T, ManagerError>,
    ) -> Result<T, ManagerError> {
        if let Err(error) = &result
            && !error.is_deletion()
        {
            self.record_fault(context, instance, error).await;
        }
        result
    }
}

/// One of Nova's exceptions.
pub(super) fn refused(class: &'static str, code: u16, message: String) -> ManagerError {
    ManagerError::Raised(exception::nova(class, message, code, &[]))
}

/// Nova's sentence for users, which its API makes of the exception.
fn invalid_state(instance: &Instance, action: Action, refusal: Refusal) -> ManagerError {
    let (uuid, action) = (instance.uuid, action.method());
    let state = match refusal {
        Refusal::VmState(state) => format!("vm_state {state}"),
        Refusal::TaskState(Some(state)) => format!("task_state {state}"),
        Refusal::TaskState(None) | Refusal::NeverLaunched => {
            let message = format!("Instance {uuid} is in an invalid state for '{action}'");
            return refused("InstanceInvalidState", 400, message);
        }
    };
    let message = format!("Cannot '{action}' instance {uuid} while it is in {state}");
    refused("InstanceInvalidState", 400, message)
}

/// Why there is no port, as Nova calls it.
fn not_allocated(error: ClientError, asked: &AttachInterface, request: &PortRequest) -> ManagerError {
    let network = request.network_id.map(|id| id.to_string()).unwrap_or_default();
    match (error, &asked.port_id, &asked.requested_ip) {
        (ClientError::NotFound { resource: "port", id }, ..) => {
            refused("PortNotFound", 404, format!("Port id {id} could not be found."))
        }
        (ClientError::NotFound { resource: "network", id }, ..) => {
            refused("NetworkNotFound", 404, format!("Network {id} could not be found."))
        }
        (ClientError::Conflict(_), Some(port), _) => refused("PortInUse", 409, format!("Port {port} is still in use.")),
        (ClientError::Conflict(_), None, Some(address)) => {
            refused("FixedIpAlreadyInUse", 409, format!("Fixed IP {address} is already in use."))
        }
        (ClientError::Conflict(_), None, None) => {
            refused("NoMoreFixedIps", 400, format!("No fixed IP addresses available for network: {network}"))
        }
        (ClientError::BadRequest(_), None, Some(address)) => {
            let reason = format!("Fixed IP {address} is not a valid ip address for network {network}.");
            refused("InvalidInput", 400, format!("Invalid input received: {reason}"))
        }
        (ClientError::BadRequest(message), ..) => refused("Invalid", 400, message),
        (ClientError::OverQuota(message), ..) => refused("PortLimitExceeded", 403, message),
        (ClientError::Forbidden(message), ..) => refused("ExternalNetworkAttachForbidden", 403, message),
        (other, ..) => other.into(),
    }
}

/// The known interfaces, in their order and with their tags, as they are now; without those that are gone.
fn refreshed(known: &NetworkInfo, mut now: Vec<Vif>) -> NetworkInfo {
    let current = known.0.iter().filter_map(|known| {
        let position = now.iter().position(|vif| vif.id == known.id)?;
        let mut vif = now.swap_remove(position);
        vif.meta = known.meta.clone();
        Some(vif)
    });
    NetworkInfo(current.collect())
}
