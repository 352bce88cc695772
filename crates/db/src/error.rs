//! What the database can answer but rows.

use crate::retry::{Transient, transient};

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
    /// The URL says nothing that can be connected to.
    #[error("the database URL {url} cannot be used: {reason}")]
    InvalidUrl {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `manage db sync` is due.
    #[error("the database schema is older than this program, {missing} is missing: run `kilonova manage db sync`")]
    SchemaTooOld {
        /// The first step that was not taken.
        missing: String,
    },
    /// The program is older than the one that took the last step.
    #[error("the database schema is newer than this program, which does not know {unknown}: upgrade the program")]
    SchemaTooNew {
        /// A step that this version does not know.
        unknown: String,
    },
    /// Somebody else made the same row first, or removed one that this one belongs to: the transaction, done again, finds
    /// that out. [`crate::Db::retry`] does.
    #[error("another request made or removed the same row at the same time")]
    Overtaken,
    /// The connection broke during a commit: what was written is there, or it is not.
    #[error("the connection to the database broke during a commit, whose outcome is unknown")]
    CommitUnknown(#[source] sea_orm::DbErr),
    /// SQLite has committed, and others may have seen it, but the disk did not take it.
    #[error("what was committed could not be brought to disk")]
    NotOnDisk(#[source] std::io::Error),
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

    /// Why the transaction that failed can be done again: it left nothing.
    pub(crate) fn is_rolled_back(&self) -> Option<Transient> {
        match self {
            Self::Database(error) => transient(error),
            Self::Overtaken => Some(Transient::Deadlock),
            _ => None,
        }
    }

    /// Why it can be done again if doing it twice does no harm.
    pub(crate) fn is_transient(&self) -> Option<Transient> {
        match self {
            Self::CommitUnknown(_) => Some(Transient::Lost),
            other => other.is_rolled_back(),
        }
    }

    /// [`DbError::Overtaken`] where a row that is referred to is gone.
    pub(crate) fn overtaken_or(error: sea_orm::DbErr) -> Self {
        match error.sql_err() {
            Some(sea_orm::SqlErr::ForeignKeyConstraintViolation(_)) => Self::Overtaken,
            _ => error.into(),
        }
    }

    /// Whether a unique key was violated.
    pub fn is_unique_violation(error: &sea_orm::DbErr) -> bool {
        matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
    }
}
