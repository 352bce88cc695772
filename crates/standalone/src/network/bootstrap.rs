//! What `kilonova up` starts with.

use kilonova_core::RequestContext;
use kilonova_db::network::networks as rows;
use serde_json::json;
use uuid::Uuid;

use super::attributes::Attributes;
use super::error::NetworkError;
use super::routes::Kind;
use super::{BuiltinNetwork, networks, subnets};

const NETWORK: &str = "private";
const SUBNET: &str = "private-subnet";
/// Room for 4,093 servers.
const CIDR: &str = "10.0.0.0/20";

impl BuiltinNetwork {
    /// Gives the demo project a network that every project can use, and both projects their default security group.
    ///
    /// What is there already stays as it is.
    pub async fn bootstrap(&self, demo_project_id: &str, admin_project_id: &str) -> Result<(), NetworkError> {
        for project_id in [demo_project_id, admin_project_id] {
            self.default_group(project_id).await?;
        }
        let known = rows::list(self.db.read(), Some(demo_project_id)).await?;
        if known.iter().any(|network| network.name == NETWORK && network.project_id == demo_project_id) {
            return Ok(());
        }
        let context = RequestContext::new("", demo_project_id).elevated();
        let network = json!({"name": NETWORK, "shared": true});
        let network = Attributes::for_create(Kind::Network, &context, &network)?;
        self.db
            .retry(|| async {
                let tx = self.db.begin().await?;
                let network_id: Uuid = networks::create(&tx, &context, &network).await?;
                let subnet = json!({"name": SUBNET, "network_id": network_id, "ip_version": 4, "cidr": CIDR});
                let subnet = Attributes::for_create(Kind::Subnet, &context, &subnet)?;
                subnets::create(&tx, &context, &subnet).await?;
                Ok(tx.commit().await?)
            })
            .await
    }
}
