//! The built-in placement service: what hosts have, what is taken of it by whom, and who could take more.
//!
//! Two faces of one thing: the [`Placement`](kilonova_clients::placement::Placement) trait, which compute, the
//! scheduler and the conductor call in the same process, and Placement's REST API ([`PlacementService::router`]) for
//! everybody else. Both go through the same checks; there is no second way to claim.
//!
//! The world is flat here: every provider is the root of its own tree, there are no aggregates and no sharing
//! providers. Requests that speak of trees and aggregates are answered for that world.

mod candidates;
mod claim;
mod error;
mod http;
mod names;
mod provider;
mod service;
mod stock;

pub use error::PlacementError;
pub use service::PlacementService;
