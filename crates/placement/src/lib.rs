//! The built-in placement service: what hosts have, what is taken of it by whom, and who could take more.
//!
//! Two faces of one thing: the [`Placement`](kilonova_clients::placement::Placement) trait, which compute, the
//! scheduler and the conductor call in the same process, and Placement's REST API ([`PlacementService::router`]) for
//! everybody else. Both go through the same checks; there is no second way to claim.
//!
//! ```text
//! names       traits and resource classes: standard, and custom ones that are rows
//! provider    making, changing and deleting a provider          inventory   what it has
//! claim       who gets what of it                               reshape     both at once
//! stock       providers with what they have and what is taken   forest      the same as trees, remembered
//! candidates  who could take a request
//! ```

mod candidates;
mod claim;
mod error;
mod forest;
mod http;
mod inventory;
mod names;
mod provider;
mod reshape;
mod service;
mod standard_traits;
mod stock;

pub use error::PlacementError;
pub use service::PlacementService;
