//! The OpenStack services over HTTP: Keystone, Glance, Neutron, Placement and Cinder, or Kilonova's own services in another
//! process.
//!
//! ```text
//!   nova.conf ── options ──> Session (one per set of credentials: token, catalog)
//!                               │
//!                               v
//!   trait method ──> Adapter (one per service: endpoint, whose token, retries, request id) ──> HTTP
//! ```
//!
//! Who asks with whose token is Nova's choice: images, and what a user may see of networks, with the caller's; token
//! validation, placement and the binding of ports with the service's own.

mod adapter;
mod answer;
mod catalog;
mod identity;
mod image;
mod network;
mod options;
mod placement;
mod session;
mod single_flight;
mod volume;

use std::path::Path;
use std::sync::Arc;

use kilonova_core::Config;

pub use identity::HttpIdentity;
pub use image::HttpImage;
pub use network::HttpNetwork;
pub use options::HttpConfigError;
pub use placement::HttpPlacement;
pub use session::{Session, Sessions, install_tls_provider};
pub use volume::HttpVolume;

use crate::Clients;

/// All services as `nova.conf` says: `[keystone_authtoken]`, `[glance]`, `[neutron]`, `[placement]`, `[cinder]` and
/// `[service_user]`.
///
/// Nothing is sent before the first use. `download_dir` is where images are on their way to the driver; it belongs to
/// this process alone, and what an earlier one left in it is removed.
pub fn clients(config: &Config, download_dir: &Path) -> Result<Clients, HttpConfigError> {
    let mut sessions = Sessions::default();
    let image = HttpImage::from_config(config, &mut sessions, download_dir)?;
    with_image(config, sessions, image)
}

/// The same for processes that never read the bytes of an image: api, conductor, scheduler. They need no directory, and
/// [`download`](crate::image::ImageService::download) is refused.
pub fn clients_without_downloads(config: &Config) -> Result<Clients, HttpConfigError> {
    let mut sessions = Sessions::default();
    let image = HttpImage::without_downloads(config, &mut sessions)?;
    with_image(config, sessions, image)
}

fn with_image(config: &Config, mut sessions: Sessions, image: HttpImage) -> Result<Clients, HttpConfigError> {
    Ok(Clients {
        identity: Arc::new(HttpIdentity::from_config(config, &mut sessions)?),
        image: Arc::new(image),
        network: Arc::new(HttpNetwork::from_config(config, &mut sessions)?),
        placement: Arc::new(HttpPlacement::from_config(config, &mut sessions)?),
        volume: Arc::new(HttpVolume::from_config(config, &mut sessions)?),
    })
}
