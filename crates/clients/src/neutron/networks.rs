//! Networks, by name.

use kilonova_core::RequestContext;
use serde::Deserialize;
use uuid::Uuid;

use super::{Collection, Filters, Neutron, parse, parse_all};
use crate::ClientError;

/// A network, as far as one is shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NetworkName {
    /// Its id.
    pub id: Uuid,
    /// Its name, which may be empty.
    #[serde(default)]
    pub name: String,
}

impl NetworkName {
    /// The name; the id of a network without one.
    pub fn or_id(&self) -> String {
        if self.name.is_empty() { self.id.to_string() } else { self.name.clone() }
    }
}

/// All that the caller sees.
pub async fn list(neutron: &dyn Neutron, context: &RequestContext) -> Result<Vec<NetworkName>, ClientError> {
    filtered(neutron, context, &[]).await
}

/// One of them.
pub async fn show(neutron: &dyn Neutron, context: &RequestContext, id: &str) -> Result<NetworkName, ClientError> {
    parse(neutron.show_resource(context, Collection::Networks, id).await?)
}

/// Those that floating addresses come from.
pub async fn external(neutron: &dyn Neutron, context: &RequestContext) -> Result<Vec<NetworkName>, ClientError> {
    filtered(neutron, context, &[("router:external", "True".to_owned())]).await
}

async fn filtered(
    neutron: &dyn Neutron,
    context: &RequestContext,
    filters: Filters<'_>,
) -> Result<Vec<NetworkName>, ClientError> {
    parse_all(neutron.list_resources(context, Collection::Networks, filters).await?)
}
