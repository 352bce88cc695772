//! In-memory stand-ins for identity, image, network and volume: for tests, of this and of other crates.
//!
//! They keep the promises of the traits — visibility, idempotence, all or nothing — and can be told to fail.

mod identity;
mod image;
mod network;
mod volume;

pub use identity::FakeIdentity;
pub use image::FakeImage;
pub use network::FakeNetwork;
pub use volume::FakeVolumes;
