//! The networks, ports and security groups of a new server.

use std::collections::BTreeSet;

use futures::future::join_all;
use kilonova_clients::ClientError;
use kilonova_clients::network::Network;
use kilonova_core::RequestContext;
use kilonova_objects::{NETWORK_ID_AUTO, NETWORK_ID_NONE, NetworkRequest, NetworkRequestList, SecurityGroup};
use uuid::Uuid;

use super::CreateServers;
use crate::compute::ComputeError;
use crate::policy::Target;
use crate::state::ApiState;

/// The group that a server is in when nobody says anything.
const DEFAULT_GROUP: &str = "default";

/// What the request says of networks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RequestedNetworks {
    /// Nothing (up to 2.36): the project's only network, if it has one.
    Unspecified,
    /// `auto`: the project's only network; one is made if it has none.
    Auto,
    /// `none`
    None,
    /// These.
    These(Vec<NetworkRequest>),
}

impl RequestedNetworks {
    /// Whether servers will be attached to something that the request named.
    pub(crate) fn is_attached(&self) -> bool {
        matches!(self, Self::Auto) || matches!(self, Self::These(list) if !list.is_empty())
    }

    /// An address or a port is for one server.
    pub(super) fn check_for_several(&self) -> Result<(), ComputeError> {
        let Self::These(list) = self else { return Ok(()) };
        let failed = |reason: &str| Err(ComputeError::Invalid(format!("Failed to launch instances: {reason}")));
        if list.iter().any(|request| request.network_id.is_some() && request.address.is_some()) {
            return failed("max_count cannot be greater than 1 if an fixed_ip is specified.");
        }
        if list.iter().any(|request| request.port_id.is_some()) {
            return failed(
                "Unable to launch multiple instances with a single configured port ID. Please launch your instance one \
                 by one with different ports.",
            );
        }
        Ok(())
    }
}

/// The networks on the wire, once they are known to be usable.
pub(super) async fn look_up(
    state: &ApiState,
    context: &RequestContext,
    wanted: &RequestedNetworks,
) -> Result<Option<NetworkRequestList>, ComputeError> {
    let special = |id: &str| vec![NetworkRequest { network_id: Some(id.to_owned()), ..NetworkRequest::default() }];
    match wanted {
        RequestedNetworks::None => Ok(Some(special(NETWORK_ID_NONE).into())),
        RequestedNetworks::Auto => {
            let project = context.project_id();
            let has_network = only_network(state, context).await?.is_some();
            if !has_network && !state.clients.network.can_auto_allocate(context, project).await? {
                return Err(ComputeError::Invalid(format!(
                    "Unable to automatically allocate a network for project {project}"
                )));
            }
            Ok(Some(special(NETWORK_ID_AUTO).into()))
        }
        RequestedNetworks::These(list) if !list.is_empty() => Ok(Some(named(state, context, list).await?.into())),
        RequestedNetworks::These(_) => {
            only_network(state, context).await?;
            Ok(Some(NetworkRequestList::default()))
        }
        RequestedNetworks::Unspecified => {
            only_network(state, context).await?;
            Ok(None)
        }
    }
}

/// The network that is meant where none is named. More than one is ambiguous.
async fn only_network(state: &ApiState, context: &RequestContext) -> Result<Option<Network>, ComputeError> {
    let mut networks = state.clients.network.available_networks(context).await?;
    networks.retain(|network| !network.is_external);
    if networks.len() > 1 {
        return Err(ComputeError::NetworkAmbiguous);
    }
    Ok(networks.pop())
}

/// Checks the named networks and ports; a port brings its network.
async fn named(
    state: &ApiState,
    context: &RequestContext,
    list: &[NetworkRequest],
) -> Result<Vec<NetworkRequest>, ComputeError> {
    let ports = join_all(list.iter().map(|request| async move {
        match request.port_id {
            Some(id) => port_network(state, context, id).await.map(Some),
            None => Ok(None),
        }
    }));
    let (networks, ports) = futures::join!(state.clients.network.available_networks(context), ports);
    let networks = networks?;
    let mut checked = Vec::with_capacity(list.len());
    for (request, port) in list.iter().zip(ports) {
        let network_id = port?.map(|id| id.to_string()).or_else(|| request.network_id.clone());
        checked.push(NetworkRequest { network_id, ..request.clone() });
    }
    let named = list.iter().filter(|request| request.port_id.is_none());
    let wanted: BTreeSet<Uuid> = named.filter_map(|request| request.network_id.as_ref()?.parse().ok()).collect();
    check_networks(state, context, &networks, &wanted)?;
    Ok(checked)
}

async fn port_network(state: &ApiState, context: &RequestContext, id: Uuid) -> Result<Uuid, ComputeError> {
    let port = state.clients.network.show_port(context, id).await.map_err(|error| match error {
        ClientError::NotFound { .. } => ComputeError::Invalid(format!("Port id {id} could not be found.")),
        other => other.into(),
    })?;
    if !port.device_id.is_empty() {
        return Err(ComputeError::PortInUse { port: id });
    }
    if port.fixed_ips.is_empty() {
        return Err(ComputeError::Invalid(format!("Port {id} requires a FixedIP in order to be used.")));
    }
    Ok(port.network_id)
}

fn check_networks(
    state: &ApiState,
    context: &RequestContext,
    available: &[Network],
    wanted: &BTreeSet<Uuid>,
) -> Result<(), ComputeError> {
    let found: Vec<&Network> = available.iter().filter(|network| wanted.contains(&network.id)).collect();
    if let Some(bare) = found.iter().find(|network| network.subnet_ids.is_empty()) {
        let id = bare.id;
        return Err(ComputeError::Invalid(format!("Network {id} requires a subnet in order to boot instances on.")));
    }
    let lost: Vec<String> =
        wanted.iter().filter(|id| !found.iter().any(|network| network.id == **id)).map(Uuid::to_string).collect();
    if !lost.is_empty() {
        return Err(ComputeError::Invalid(format!("Network {} could not be found.", lost.join(", "))));
    }
    let own = Target { project_id: context.project_id(), user_id: context.user_id() };
    let external = found.iter().find(|network| network.is_external && !network.is_shared);
    match external {
        Some(network) if !state.policy.allows("network:attach_external_network", context, own) => {
            Err(ComputeError::ExternalNetworkAttachForbidden { network: network.id })
        }
        _ => Ok(()),
    }
}

/// The groups by name, each with its id but for `default`, which the network service makes when it is first needed.
pub(super) async fn security_groups(
    state: &ApiState,
    context: &RequestContext,
    wanted: &CreateServers,
) -> Result<Vec<SecurityGroup>, ComputeError> {
    let default = || SecurityGroup { name: DEFAULT_GROUP.to_owned(), ..SecurityGroup::default() };
    let names: BTreeSet<&str> = wanted.security_groups.iter().flatten().map(String::as_str).collect();
    if names.is_empty() {
        return Ok(vec![default()]);
    }
    if names.iter().all(|name| *name == DEFAULT_GROUP) {
        return Ok(vec![default()]);
    }
    let known = state.clients.network.security_groups(context, context.project_id()).await?;
    names
        .into_iter()
        .map(|name| {
            if name == DEFAULT_GROUP {
                return Ok(default());
            }
            let by_id = known.iter().find(|group| group.id.to_string() == name);
            let mut by_name = known.iter().filter(|group| group.name == name);
            let group = by_id.or_else(|| by_name.next()).ok_or_else(|| {
                ComputeError::Invalid(format!("Unable to find security_group with name or id '{name}'"))
            })?;
            if by_id.is_none() && by_name.next().is_some() {
                return Err(ComputeError::NoUniqueMatch);
            }
            Ok(SecurityGroup { name: group.name.clone(), uuid: Some(group.id), ..SecurityGroup::default() })
        })
        .collect()
}
