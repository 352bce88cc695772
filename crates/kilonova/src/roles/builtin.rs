//! The built-in services: identity, image, network and placement, small and real, for clouds that have no others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kilonova_clients::Clients;
use kilonova_clients::volume::NoVolumes;
use kilonova_db::Db;
use kilonova_placement::PlacementService;
use kilonova_standalone::identity::{Bootstrap, IdentityConfig, IdentityService};
use kilonova_standalone::image::BuiltinImage;
use kilonova_standalone::network::BuiltinNetwork;

use super::REGION;
use crate::credentials::Credentials;

/// How long a new token is good for: Keystone's default.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// All four, on one database.
pub(crate) struct Builtin {
    identity: Arc<IdentityService>,
    image: Arc<BuiltinImage>,
    network: Arc<BuiltinNetwork>,
    placement: Arc<PlacementService>,
}

impl Builtin {
    /// Opens them; makes users, projects and a network where there are none. Keys and images are kept in `state_dir`.
    pub(crate) async fn open(
        db: &Db,
        state_dir: &Path,
        public_url: &str,
        compute_url: Option<String>,
        credentials: &Credentials,
    ) -> anyhow::Result<Self> {
        let config = IdentityConfig {
            public_url: public_url.to_owned(),
            compute_url,
            region: REGION.to_owned(),
            key_dir: state_dir.join("fernet-keys"),
            token_ttl: TOKEN_TTL,
        };
        let identity = IdentityService::open(db.clone(), config)?;
        let ids = identity
            .bootstrap(&Bootstrap {
                admin_password: credentials.admin_password.clone(),
                demo_password: credentials.demo_password.clone(),
                service_password: credentials.service_password.clone(),
            })
            .await?;
        let image = BuiltinImage::open(db.clone(), state_dir.join("images")).await?;
        let network = BuiltinNetwork::open(db.clone());
        network.bootstrap(&ids.demo_project_id, &ids.admin_project_id).await?;
        Ok(Self { identity, image, network, placement: PlacementService::open(db.clone()) })
    }

    /// The image service, to register images with.
    pub(crate) fn image(&self) -> &BuiltinImage {
        &self.image
    }

    /// For services of the same process.
    pub(crate) fn clients(&self) -> Clients {
        Clients {
            identity: self.identity.clone(),
            image: self.image.clone(),
            network: self.network.clone(),
            placement: self.placement.clone(),
            volume: Arc::new(NoVolumes),
        }
    }

    /// For everybody else: the services by the beginning of their path.
    pub(crate) fn routers(&self) -> Vec<(&'static str, Router)> {
        vec![
            ("identity", self.identity.router()),
            ("image", self.image.router(self.identity.clone())),
            ("network", self.network.router(self.identity.clone())),
            ("placement", self.placement.router(self.identity.clone())),
        ]
    }
}
