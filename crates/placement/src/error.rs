//! Why placement refuses, in Placement's own sentences where clients know them.

use kilonova_clients::ClientError;
use kilonova_db::{DbError, Failure};
use uuid::Uuid;

/// Why placement did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The provider that is asked about is not there.
    #[error("No resource provider with uuid {0} found")]
    NoProvider(String),
    /// The provider that a claim names is not there.
    #[error("Allocation for resource provider '{0}' that does not exist.")]
    UnknownProvider(Uuid),
    /// The provider has nothing of that class.
    #[error(
        "Unable to allocate inventory: Inventory for '{resource_class}' on resource provider \
         '{provider}' invalid."
    )]
    NoInventory {
        /// What.
        resource_class: String,
        /// Of whom.
        provider: Uuid,
    },
    /// The provider has not that much left.
    #[error(
        "Unable to allocate inventory: Unable to create allocation for '{resource_class}' on \
         resource provider '{provider}'. The requested amount would exceed the capacity."
    )]
    OverCapacity {
        /// What.
        resource_class: String,
        /// Of whom.
        provider: Uuid,
    },
    /// The amount is below the smallest, above the largest, or between two steps.
    #[error(
        "Unable to allocate inventory: Unable to create allocation for '{resource_class}' on \
         resource provider '{provider}'. The requested amount would violate inventory constraints."
    )]
    Constraint {
        /// What.
        resource_class: String,
        /// Of whom.
        provider: Uuid,
    },
    /// The consumer is not as the caller saw it.
    #[error(
        "consumer generation conflict - expected {} but got {}",
        generation_text(.expected),
        generation_text(.got)
    )]
    ConsumerGeneration {
        /// What it is.
        expected: Option<i64>,
        /// What the caller thought.
        got: Option<i64>,
    },
    /// The provider is not as the caller saw it.
    #[error("resource provider generation conflict: {0} was changed by somebody else")]
    ProviderGeneration(Uuid),
    /// A provider with allocations cannot go.
    #[error("Unable to delete resource provider {0}: Resource provider has allocations.")]
    ProviderInUse(Uuid),
    /// An inventory with allocations cannot go.
    #[error("Inventory for '{resource_class}' on resource provider '{provider}' in use.")]
    InventoryInUse {
        /// What.
        resource_class: String,
        /// Of whom.
        provider: Uuid,
    },
    /// Another provider has that name.
    #[error("Conflicting resource provider name: {0} already exists.")]
    NameTaken(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The database failed.
    #[error("placement cannot reach its rows")]
    Database(#[from] DbError),
}

impl Failure for PlacementError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

fn generation_text(generation: &Option<i64>) -> String {
    generation.map_or_else(|| "null".to_owned(), |generation| generation.to_string())
}

impl From<PlacementError> for ClientError {
    fn from(error: PlacementError) -> Self {
        use PlacementError as E;
        match error {
            E::NoProvider(id) => Self::not_found("resource provider", id),
            E::UnknownProvider(_) | E::Invalid(_) => Self::BadRequest(error.to_string()),
            E::ConsumerGeneration { .. } | E::ProviderGeneration(_) => Self::ConcurrentUpdate(error.to_string()),
            E::NoInventory { .. }
            | E::OverCapacity { .. }
            | E::Constraint { .. }
            | E::ProviderInUse(_)
            | E::InventoryInUse { .. }
            | E::NameTaken(_) => Self::Conflict(error.to_string()),
            E::Database(source) => {
                tracing::error!(error = ?source, "placement cannot reach its rows");
                Self::unavailable("placement", source)
            }
        }
    }
}
