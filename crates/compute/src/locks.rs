//! One thing at a time per instance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// Locks by instance; one that nobody holds or waits for takes no memory for long.
#[derive(Default)]
pub(crate) struct InstanceLocks {
    locks: Mutex<HashMap<Uuid, Weak<tokio::sync::Mutex<()>>>>,
}

impl InstanceLocks {
    /// Waits until nobody else works on the instance.
    pub(crate) async fn lock(&self, instance_uuid: Uuid) -> OwnedMutexGuard<()> {
        self.get(instance_uuid).lock_owned().await
    }

    /// Does not wait: `None` where somebody works on the instance.
    pub(crate) fn try_lock(&self, instance_uuid: Uuid) -> Option<OwnedMutexGuard<()>> {
        self.get(instance_uuid).try_lock_owned().ok()
    }

    fn get(&self, instance_uuid: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&instance_uuid).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= 64 && locks.len().is_power_of_two() {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(instance_uuid, Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_others_do_not() {
        let locks = InstanceLocks::default();
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let held = locks.lock(one).await;
        assert!(locks.get(one).try_lock().is_err());
        let _other = locks.lock(other).await;
        drop(held);
        let _again = locks.lock(one).await;
    }

    #[tokio::test]
    async fn locks_that_nobody_holds_are_forgotten() {
        let locks = InstanceLocks::default();
        for _ in 0..1000 {
            drop(locks.lock(Uuid::new_v4()).await);
        }
        assert!(locks.locks.lock().unwrap().len() <= 128);
    }
}
