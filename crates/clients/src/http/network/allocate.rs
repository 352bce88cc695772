//! The ports of a server: made, or taken, and bound to its host.
//!
//! ```text
//!   1  GET ports of the server, ports that are given     service's token
//!   2  GET networks, subnets, security groups            caller's token: what it does not see it cannot use
//!   3  POST ports, all that are missing at once          caller's token: its quota and what its policy lets it choose
//!   4  PUT each port: server, host, mark                 service's token: only services may bind
//! ```
//!
//! A process that dies after 3 leaves ports that have the server's id and no owner. The next try uses them; where there
//! is none, they go with the server.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use futures::future::{join_all, try_join, try_join3};
use kilonova_core::RequestContext;
use kilonova_objects::network_model::Vif;
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::{Mark, NetworkBody, PortBody, SecurityGroupBody, SubnetBody};
use super::{HttpNetwork, KIND, has_token, owns, parse};
use crate::ClientError;
use crate::http::adapter::{By, Call};
use crate::network::PortRequest;

/// The server that gets ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'a> {
    pub(super) uuid: Uuid,
    pub(super) project_id: &'a str,
    pub(super) host: &'a str,
}

/// Where the port of a request comes from.
enum Source {
    There(Box<PortBody>, Mark),
    /// To be made: the body of it.
    Missing(Value),
}

/// What the ports of a server need to know of the networks that they are on.
struct Networks {
    networks: HashMap<Uuid, NetworkBody>,
    subnets: Vec<SubnetBody>,
    groups: Vec<SecurityGroupBody>,
}

impl HttpNetwork {
    /// The interfaces of the requests, in their order. The server's ports in `kept` are no leftovers of an earlier try.
    pub(super) async fn allocate(
        &self,
        context: &RequestContext,
        server: &Server<'_>,
        requests: &[PortRequest],
        kept: &[Uuid],
    ) -> Result<Vec<Vif>, ClientError> {
        let given_ids: BTreeSet<Uuid> = requests.iter().filter_map(|request| request.port_id).collect();
        if let Some(id) = given_ids.iter().find(|id| kept.contains(id)) {
            return Err(in_use(*id));
        }
        let (held, given) = try_join(self.ports_of(context, server.uuid), self.ports(context, &given_ids)).await?;
        let known = self.networks(context, requests, &given).await?;
        let reusable: Vec<PortBody> = held.iter().filter(|port| !kept.contains(&port.id)).cloned().collect();
        let sources = plan(context, server, requests, &known, &reusable, given)?;
        let free: Vec<PortBody> = sources.iter().filter_map(Source::free).collect();
        match self.carry_out(context, server, &known, sources).await {
            Ok(vifs) => Ok(vifs),
            Err(error) => {
                self.undo(context, server, &held, &free).await;
                Err(error)
            }
        }
    }

    /// Ports by their ids, whosever they are.
    async fn ports(&self, context: &RequestContext, ids: &BTreeSet<Uuid>) -> Result<Vec<PortBody>, ClientError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.list(context, Call::get(&["ports"]).queries("id", ids).by(By::Service), "ports").await
    }

    async fn networks(
        &self,
        context: &RequestContext,
        requests: &[PortRequest],
        given: &[PortBody],
    ) -> Result<Networks, ClientError> {
        let asked = requests.iter().filter(|request| request.port_id.is_none()).filter_map(|it| it.network_id);
        let ids: BTreeSet<Uuid> = asked.chain(given.iter().map(|port| port.network_id)).collect();
        let groups: BTreeSet<Uuid> = requests.iter().flat_map(|request| request.security_group_ids.clone()).collect();
        let (networks, subnets, groups) = try_join3(
            self.chosen(context, "networks", "networks", "id", &ids),
            self.chosen(context, "subnets", "subnets", "network_id", &ids),
            self.chosen(context, "security-groups", "security_groups", "id", &groups),
        )
        .await?;
        let by_id = |network: NetworkBody| (network.id, network);
        Ok(Networks { networks: networks.into_iter().map(by_id).collect(), subnets, groups })
    }

    /// The interfaces that a server has by its ports.
    pub(super) async fn vifs(&self, context: &RequestContext, ports: &[PortBody]) -> Result<Vec<Vif>, ClientError> {
        let known = self.networks(context, &[], ports).await?;
        let vif = |port: &PortBody| {
            let network = known.networks.get(&port.network_id)?;
            // Without a mark of ours: bound by another service, which would not delete it either.
            Some(port.vif(port.mark().unwrap_or(Mark::Given), network, &known.subnets))
        };
        Ok(ports.iter().filter_map(vif).collect())
    }

    /// What the caller sees of a collection, where `filter` is one of `ids`.
    async fn chosen<T: serde::de::DeserializeOwned>(
        &self,
        context: &RequestContext,
        path: &'static str,
        key: &'static str,
        filter: &'static str,
        ids: &BTreeSet<Uuid>,
    ) -> Result<Vec<T>, ClientError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.list(context, Call::get(&[path]).queries(filter, ids), key).await
    }

    async fn carry_out(
        &self,
        context: &RequestContext,
        server: &Server<'_>,
        known: &Networks,
        sources: Vec<Source>,
    ) -> Result<Vec<Vif>, ClientError> {
        let ports = self.make_missing(context, sources).await?;
        // All come to their end before the first error counts: what is undone then does not change any more.
        let bound = join_all(ports.into_iter().map(|(port, mark)| self.bind(context, server, port, mark))).await;
        let vif = |bound: Result<(PortBody, Mark), ClientError>| {
            let (port, mark) = bound?;
            let network = known.networks.get(&port.network_id);
            let network = network.ok_or_else(|| ClientError::not_found("network", port.network_id))?;
            Ok(port.vif(mark, network, &known.subnets))
        };
        bound.into_iter().map(vif).collect()
    }

    /// The ports in the order of the requests.
    async fn make_missing(
        &self,
        context: &RequestContext,
        sources: Vec<Source>,
    ) -> Result<Vec<(PortBody, Mark)>, ClientError> {
        let missing: Vec<Value> = sources.iter().filter_map(Source::missing).cloned().collect();
        let mut made = self.make(context, missing).await?.into_iter();
        let mut port = |source| match source {
            Source::There(port, mark) => Ok((*port, mark)),
            Source::Missing(_) => {
                let fewer = || ClientError::unavailable(KIND.service, "fewer ports were made than were asked for");
                Ok((made.next().ok_or_else(fewer)?, Mark::Made))
            }
        };
        sources.into_iter().map(&mut port).collect()
    }

    async fn make(&self, context: &RequestContext, ports: Vec<Value>) -> Result<Vec<PortBody>, ClientError> {
        let Some(network_id) = ports.first().map(|port| port["network_id"].as_str().unwrap_or_default().to_owned())
        else {
            return Ok(Vec::new());
        };
        let answer = self.adapter.send(context, &Call::post(&["ports"], json!({ "ports": ports }))).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, "network", network_id))?;
        parse(body["ports"].take())
    }

    async fn bind(
        &self,
        context: &RequestContext,
        server: &Server<'_>,
        port: PortBody,
        mark: Mark,
    ) -> Result<(PortBody, Mark), ClientError> {
        let port = match port.is_bound_to(server, mark) {
            true => port,
            false => self.update_port(context, port.id, port.bound_to(server, mark)).await?,
        };
        if port.is_binding_failed() {
            let text = format!("Binding failed for port {}, please check neutron logs for more information.", port.id);
            return Err(ClientError::unavailable(KIND.service, text));
        }
        Ok((port, mark))
    }

    /// Makes the server's ports what they were: those that it did not hold before are deleted or released.
    ///
    /// Looks at Neutron, because a request that failed may have been carried out.
    async fn undo(&self, context: &RequestContext, server: &Server<'_>, held: &[PortBody], free: &[PortBody]) {
        let undone = async {
            let now = self.ports_of(context, server.uuid).await?;
            let is_new = |port: &&PortBody| held.iter().all(|before| before.id != port.id);
            let ended = now.iter().filter(is_new).map(|port| self.undo_port(context, port, free));
            join_all(ended).await.into_iter().collect::<Result<(), ClientError>>()
        };
        if let Err(error) = undone.await {
            tracing::warn!(instance = %server.uuid, %error, "ports of a failed allocation are left until the server goes");
        }
    }

    async fn undo_port(&self, context: &RequestContext, port: &PortBody, free: &[PortBody]) -> Result<(), ClientError> {
        match free.iter().find(|before| before.id == port.id) {
            Some(before) => self.release_port(context, before).await,
            None => self.delete_port(context, port.id).await,
        }
    }
}

impl Source {
    fn missing(&self) -> Option<&Value> {
        match self {
            Self::There(..) => None,
            Self::Missing(body) => Some(body),
        }
    }

    /// A given port that nobody has yet.
    fn free(&self) -> Option<PortBody> {
        match self {
            Self::There(port, Mark::Given) if port.device_id().is_empty() => Some((**port).clone()),
            _ => None,
        }
    }
}

/// Decides for each request which port it gets; sends nothing.
fn plan(
    context: &RequestContext,
    server: &Server<'_>,
    requests: &[PortRequest],
    known: &Networks,
    held: &[PortBody],
    given: Vec<PortBody>,
) -> Result<Vec<Source>, ClientError> {
    let mut given: HashMap<Uuid, PortBody> = given.into_iter().map(|port| (port.id, port)).collect();
    // A port of another project that names the server as its device is not what an earlier try made.
    let is_ours = |port: &&PortBody| {
        port.project_id() == server.project_id && port.mark() != Some(Mark::Given) && !given.contains_key(&port.id)
    };
    let mut reusable: Vec<PortBody> = held.iter().filter(is_ours).cloned().collect();
    let mut taken = BTreeSet::new();
    let mut sources = Vec::with_capacity(requests.len());
    for request in requests {
        sources.push(match request.port_id {
            Some(id) if taken.contains(&id) => return Err(in_use(id)),
            Some(id) => {
                taken.insert(id);
                let port = given_port(context, server, given.remove(&id), id)?;
                if !known.networks.contains_key(&port.network_id) {
                    return Err(ClientError::not_found("network", port.network_id));
                }
                Source::There(Box::new(port), Mark::Given)
            }
            None => {
                let network = usable_network(context, known, request)?;
                let wanted = wanted_address(request)?;
                match reusable.iter().position(|port| is_again(port, network, wanted)) {
                    Some(position) => Source::There(Box::new(reusable.remove(position)), Mark::Made),
                    None => Source::Missing(new_port(context, server, network, known, request)?),
                }
            }
        });
    }
    Ok(sources)
}

/// A port that the caller names: it must be the caller's, and free or the server's already.
fn given_port(
    context: &RequestContext,
    server: &Server<'_>,
    port: Option<PortBody>,
    id: Uuid,
) -> Result<PortBody, ClientError> {
    let port = port.filter(|port| owns(context, port.project_id()));
    let port = port.ok_or_else(|| ClientError::not_found("port", id))?;
    if !port.device_id().is_empty() && port.device_id() != server.uuid.to_string() {
        return Err(in_use(id));
    }
    Ok(port)
}

fn in_use(id: Uuid) -> ClientError {
    ClientError::Conflict(format!("Port {id} is still in use."))
}

/// The network of a request, if the caller may attach servers to it.
fn usable_network<'a>(
    context: &RequestContext,
    known: &'a Networks,
    request: &PortRequest,
) -> Result<&'a NetworkBody, ClientError> {
    let Some(id) = request.network_id else {
        return Err(ClientError::BadRequest("Either a network or a port must be requested.".to_owned()));
    };
    let network = known.networks.get(&id).ok_or_else(|| ClientError::not_found("network", id))?;
    if owns(context, network.project_id()) || network.shared {
        return Ok(network);
    }
    if network.is_external {
        let text = format!("It is not allowed to create an interface on external network {id}");
        return Err(ClientError::Forbidden(text));
    }
    Err(ClientError::not_found("network", id))
}

fn wanted_address(request: &PortRequest) -> Result<Option<IpAddr>, ClientError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| ClientError::BadRequest(format!("'{text}' is not a valid IP address.")))
    };
    request.fixed_ip.as_ref().map(parse).transpose()
}

/// Whether a port that the server has is what an earlier try made for the request.
fn is_again(port: &PortBody, network: &NetworkBody, wanted: Option<IpAddr>) -> bool {
    let has = |wanted: IpAddr| port.addresses().any(|address| address.parse() == Ok(wanted));
    port.network_id == network.id && wanted.is_none_or(has)
}

fn new_port(
    context: &RequestContext,
    server: &Server<'_>,
    network: &NetworkBody,
    known: &Networks,
    request: &PortRequest,
) -> Result<Value, ClientError> {
    if network.subnets.is_empty() {
        let text = format!("Network {} requires a subnet in order to boot instances on.", network.id);
        return Err(ClientError::BadRequest(text));
    }
    let mut body = json!({
        "network_id": network.id,
        "tenant_id": server.project_id,
        "device_id": server.uuid,
        "admin_state_up": true,
    });
    if let Some(address) = &request.fixed_ip {
        body["fixed_ips"] = json!([{"ip_address": address}]);
    }
    let groups: BTreeSet<Uuid> = request.security_group_ids.iter().copied().collect();
    // Without any, Neutron takes the default group.
    if network.port_security_enabled() && !groups.is_empty() {
        let is_usable = |id: &Uuid| known.groups.iter().any(|group| group.id == *id && may_use(context, server, group));
        if let Some(missing) = groups.iter().find(|id| !is_usable(id)) {
            return Err(ClientError::not_found("security group", missing));
        }
        body["security_groups"] = json!(groups);
    }
    Ok(body)
}

/// A group that Neutron shows to the caller may be used: it is the project's, or shared with it. The service sees all.
fn may_use(context: &RequestContext, server: &Server<'_>, group: &SecurityGroupBody) -> bool {
    group.project_id() == server.project_id || (has_token(context) && !context.is_admin)
}
