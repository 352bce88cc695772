//! The OpenStack services that compute needs — identity, image, network, placement, volume — each as a trait.
//!
//! `kilonova up` puts the built-in services behind these traits, the tests the in-memory fakes, and a cloud of many
//! machines the HTTP clients of [`http`]. Who calls does not know which.

pub mod error;
pub mod fake;
pub mod http;
pub mod identity;
pub mod image;
pub mod network;
pub mod neutron;
pub mod placement;
pub mod volume;

use std::sync::Arc;

pub use error::ClientError;
/// The interfaces that [`network::NetworkService`] answers with.
pub use kilonova_objects::network_model;

/// One of each.
#[derive(Clone)]
pub struct Clients {
    /// Who may do what.
    pub identity: Arc<dyn identity::Identity>,
    /// Disk images.
    pub image: Arc<dyn image::ImageService>,
    /// Networks, ports, addresses.
    pub network: Arc<dyn network::NetworkService>,
    /// What hosts have and what is taken of it.
    pub placement: Arc<dyn placement::Placement>,
    /// Volumes, their snapshots, and who has them.
    pub volume: Arc<dyn volume::VolumeService>,
}
