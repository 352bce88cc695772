//! Who may do what to a guest at the same time: one operation, and one connection to its monitor.
//!
//! They are two locks because a look at a guest shall not wait for a shutdown that gives the guest a minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// The turn of one operation. Work on a thread holds a clone: it goes on when the operation is dropped, and the next one
/// must wait for it.
pub(super) type Operation = Arc<OwnedMutexGuard<()>>;

#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<Uuid, Arc<GuestLocks>>>);

#[derive(Debug, Default)]
struct GuestLocks {
    operation: Arc<AsyncMutex<()>>,
    monitor: Arc<AsyncMutex<()>>,
}

impl Locks {
    /// For whatever changes the guest.
    pub(super) async fn operation(&self, uuid: Uuid) -> Operation {
        Arc::new(self.of(uuid).operation.clone().lock_owned().await)
    }

    /// For one exchange with the guest's monitor.
    pub(super) async fn monitor(&self, uuid: Uuid) -> OwnedMutexGuard<()> {
        self.of(uuid).monitor.clone().lock_owned().await
    }

    fn of(&self, uuid: Uuid) -> Arc<GuestLocks> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guests.len() > 64 {
            guests.retain(|_, locks| locks.is_in_use());
        }
        guests.entry(uuid).or_default().clone()
    }
}

impl GuestLocks {
    // Whoever holds or awaits a lock has a clone of it; whoever is about to has its clone of the pair.
    fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.operation) > 1 || Arc::strong_count(&self.monitor) > 1
    }
}
