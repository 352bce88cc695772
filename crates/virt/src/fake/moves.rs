//! Fake guests on their way: a guest travels as the text of its record, and a live migration takes as long as its hook
//! says, unless somebody ends it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::FakeGuest;
use crate::driver::{DriverError, LiveMigration};

/// A guest as another host gets it.
pub(super) fn to_text(guest: &FakeGuest) -> Result<String, DriverError> {
    serde_json::to_string(guest).map_err(|error| DriverError::Hypervisor(format!("a guest cannot travel: {error}")))
}

pub(super) fn from_text(text: &str) -> Result<FakeGuest, DriverError> {
    serde_json::from_str(text).map_err(|error| DriverError::Hypervisor(format!("what came is no guest: {error}")))
}

/// How somebody ends a live migration that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Abort,
    ForceComplete,
}

/// The live migrations that go on, each with the way to end it.
#[derive(Debug, Default)]
pub(super) struct LiveMigrations(Mutex<HashMap<Uuid, oneshot::Sender<End>>>);

impl LiveMigrations {
    /// Waits for `copying`, or for somebody who does not want to.
    pub(super) async fn run(
        &self,
        uuid: Uuid,
        copying: impl Future<Output = Result<(), DriverError>>,
    ) -> Result<LiveMigration, DriverError> {
        let (sender, ended) = oneshot::channel();
        self.lock().insert(uuid, sender);
        let result = tokio::select! {
            copied = copying => copied.map(|()| LiveMigration::Completed),
            Ok(end) = ended => Ok(match end {
                End::Abort => LiveMigration::Aborted,
                End::ForceComplete => LiveMigration::Completed,
            }),
        };
        self.lock().remove(&uuid);
        result
    }

    pub(super) fn end(&self, uuid: Uuid, end: End) -> Result<(), DriverError> {
        let sender = self.lock().remove(&uuid).ok_or(DriverError::InstanceNotFound(uuid))?;
        // It may just have ended by itself.
        sender.send(end).map_err(|_| DriverError::InstanceNotFound(uuid))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<End>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
