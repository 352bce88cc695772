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
    /// A resource class that is neither standard nor somebody's own.
    #[error("No such resource class {0}.")]
    UnknownClass(String),
    /// A trait that is neither standard nor somebody's own.
    #[error("No such trait(s): {0}.")]
    UnknownTrait(String),
    /// The provider has nothing of that class.
    #[error(
        "Unable to allocate inventory: Inventory for '{resource_class}' on resource provider \
         '{provider}' invalid."
    )]
    NoInventory {
        /// What.
        resource_class: String,
        /// Of whom.
        provider: String,
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
        generation_text(.expected, "null"),
        generation_text(.got, "None")
    )]
    ConsumerGeneration {
        /// What it is.
        expected: Option<i64>,
        /// What the caller thought.
        got: Option<i64>,
    },
    /// The provider is not as the caller saw it.
    #[error("{0}")]
    ProviderGeneration(String),
    /// A provider with allocations cannot go.
    #[error("Unable to delete resource provider {0}: Resource provider has allocations.")]
    ProviderInUse(Uuid),
    /// A provider with others below it cannot go.
    #[error("Unable to delete parent resource provider {0}: It has child resource providers.")]
    ProviderIsParent(Uuid),
    /// An inventory with allocations cannot go.
    #[error("Inventory for '{resource_classes}' on resource provider '{provider}' in use.")]
    InventoryInUse {
        /// What, with commas between them.
        resource_classes: String,
        /// Of whom.
        provider: Uuid,
    },
    /// An inventory that is to be changed is not there.
    #[error("No inventory of class {0} found.")]
    NoSuchInventory(String),
    /// An inventory that is to be made is there.
    #[error("Update conflict: there is an inventory of class {0} already")]
    InventoryExists(String),
    /// Another provider has that name or uuid.
    #[error("Conflicting resource provider {0} already exists.")]
    ProviderExists(String),
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

fn generation_text(generation: &Option<i64>, none: &str) -> String {
    generation.map_or_else(|| none.to_owned(), |generation| generation.to_string())
}

impl From<PlacementError> for ClientError {
    fn from(error: PlacementError) -> Self {
        use PlacementError as E;
        match error {
            E::NoProvider(id) => Self::not_found("resource provider", id),
            E::UnknownProvider(_) | E::UnknownClass(_) | E::UnknownTrait(_) | E::NoSuchInventory(_) | E::Invalid(_) => {
                Self::BadRequest(error.to_string())
            }
            E::ConsumerGeneration { .. } | E::ProviderGeneration(_) | E::InventoryExists(_) => {
                Self::ConcurrentUpdate(error.to_string())
            }
            E::NoInventory { .. }
            | E::OverCapacity { .. }
            | E::Constraint { .. }
            | E::ProviderInUse(_)
            | E::ProviderIsParent(_)
            | E::InventoryInUse { .. }
            | E::ProviderExists(_) => Self::Conflict(error.to_string()),
            E::Database(source) => {
                tracing::error!(error = ?source, "placement cannot reach its rows");
                Self::unavailable("placement", source)
            }
        }
    }
}
