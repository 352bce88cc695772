//! What the database can answer but rows.

/// Why a query did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The row is not there.
    #[error("{resource} {id} could not be found")]
    NotFound {
        /// `instance`, `flavor`, …
        resource: &'static str,
        /// Its id or name.
        id: String,
    },
    /// A row with this key is there already.
    #[error("{resource} {id} already exists")]
    Exists {
        /// `flavor`, `keypair`, …
        resource: &'static str,
        /// Its id or name.
        id: String,
    },
    /// A compare-and-swap found another value than it expected.
    #[error("{0}")]
    Conflict(String),
    /// The row holds something that this version cannot read.
    #[error("{resource} {id} cannot be read: {reason}")]
    Corrupt {
        /// `instance`, …
        resource: &'static str,
        /// Its id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database itself failed.
    #[error("the database failed")]
    Database(#[from] sea_orm::DbErr),
}

impl DbError {
    /// Shorthand for [`DbError::NotFound`].
    pub fn not_found(resource: &'static str, id: impl ToString) -> Self {
        Self::NotFound { resource, id: id.to_string() }
    }

    /// Shorthand for [`DbError::Exists`].
    pub fn exists(resource: &'static str, id: impl ToString) -> Self {
        Self::Exists { resource, id: id.to_string() }
    }

    /// Shorthand for [`DbError::Corrupt`].
    pub fn corrupt(resource: &'static str, id: impl ToString, reason: impl ToString) -> Self {
        Self::Corrupt { resource, id: id.to_string(), reason: reason.to_string() }
    }

    /// Whether a unique key was violated.
    pub fn is_unique_violation(error: &sea_orm::DbErr) -> bool {
        matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
    }
}
