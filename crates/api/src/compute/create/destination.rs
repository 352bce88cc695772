//! Where a new server is to go: a zone, or, for admins, a host.

use std::collections::BTreeSet;

use kilonova_db::{compute_nodes, services};

use crate::compute::{ComputeError, availability_zones};
use crate::state::ApiState;

/// What the request says of the place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Zone {
    /// The availability zone.
    pub name: Option<String>,
    /// `zone:host`, which no filter looks at.
    pub forced_host: Option<String>,
    /// `zone:host:node`, `zone::node`
    pub forced_node: Option<String>,
    /// `host` (2.74), which the filters look at.
    pub requested_host: Option<String>,
    /// `hypervisor_hostname` (2.74)
    pub requested_node: Option<String>,
}

impl Zone {
    /// From `availability_zone`, which may name host and node behind colons.
    pub(crate) fn parse(text: Option<&str>, default: Option<&str>) -> Result<Self, ComputeError> {
        let owned = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let parts: Vec<&str> = text.unwrap_or_default().split(':').collect();
        let (name, host, node) = match parts.as_slice() {
            [name] => (*name, None, None),
            [name, host] => (*name, owned(host), None),
            [name, host, node] => (*name, owned(host), owned(node)),
            _ => {
                return Err(ComputeError::invalid("Invalid input received: Unable to parse availability_zone"));
            }
        };
        let name = owned(name).or_else(|| default.map(str::to_owned));
        Ok(Self { name, forced_host: host, forced_node: node, ..Self::default() })
    }

    /// Whether a host or a node is forced.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced_host.is_some() || self.forced_node.is_some()
    }
}

/// Whether the zone is one, and the requested host and node are there.
pub(super) async fn check(state: &ApiState, zone: &Zone) -> Result<(), ComputeError> {
    if let (Some(name), None) = (&zone.name, &zone.forced_host)
        && !available_zones(state).await?.contains(name)
    {
        return Err(ComputeError::invalid("The requested availability zone is not available"));
    }
    if zone.requested_host.is_none() && zone.requested_node.is_none() {
        return Ok(());
    }
    let nodes = compute_nodes::list(&state.db).await?;
    let not_found = |host: &str| ComputeError::Invalid(format!("Compute host {host} could not be found."));
    let on_host = |host: &Option<String>| zone.requested_host.is_none() || *host == zone.requested_host;
    if let Some(host) = &zone.requested_host
        && !nodes.iter().any(|node| on_host(&node.host))
    {
        return Err(not_found(host));
    }
    match &zone.requested_node {
        Some(name)
            if !nodes.iter().any(|node| on_host(&node.host) && node.hypervisor_hostname.as_ref() == Some(name)) =>
        {
            Err(not_found(name))
        }
        _ => Ok(()),
    }
}

/// The zones of the compute hosts that are not disabled.
pub(in crate::compute) async fn available_zones(state: &ApiState) -> Result<BTreeSet<String>, ComputeError> {
    let zones = availability_zones::read(state).await?;
    let services = services::list(&state.db, Some("nova-compute"), None).await?;
    let enabled = services.iter().filter(|service| !service.disabled);
    Ok(enabled.map(|service| zones.of(service).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_may_name_host_and_node() {
        let parse = |text| {
            let zone = Zone::parse(Some(text), Some("d")).unwrap();
            (zone.name.unwrap(), zone.forced_host, zone.forced_node)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parse("z"), ("z".into(), None, None));
        assert_eq!(parse(""), ("d".into(), None, None));
        assert_eq!(parse("z:h"), ("z".into(), some("h"), None));
        assert_eq!(parse("z:h:n"), ("z".into(), some("h"), some("n")));
        assert_eq!(parse("z::n"), ("z".into(), None, some("n")));
        assert!(Zone::parse(Some("a:b:c:d"), None).is_err());
        assert_eq!(Zone::parse(None, None).unwrap(), Zone::default());
    }
}
