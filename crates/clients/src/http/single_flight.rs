//! Many who want the same thing at the same time get one piece of work.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::ClientError;

type Work<V> = BoxFuture<'static, Result<V, ClientError>>;

/// Work that is going on, by what it is for.
///
/// It goes on while somebody waits for it: whoever asks first may leave without taking it from the others, and when
/// all have left, it is dropped.
pub(super) struct SingleFlight<K, V> {
    running: Mutex<HashMap<K, WeakShared<Work<V>>>>,
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K: Hash + Eq, V: Clone> SingleFlight<K, V> {
    /// The outcome of the work for `key` that is going on, or else of `work`.
    pub(super) async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<V, ClientError>
    where
        F: Future<Output = Result<V, ClientError>> + Send + 'static,
    {
        self.join(key, work).await
    }

    fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Shared<Work<V>>
    where
        F: Future<Output = Result<V, ClientError>> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let is_going_on = |work: &Shared<Work<V>>| work.peek().is_none();
        if let Some(work) = running.get(&key).and_then(WeakShared::upgrade).filter(is_going_on) {
            return work;
        }
        running.retain(|_, work| work.upgrade().is_some_and(|work| is_going_on(&work)));
        let work = work().boxed().shared();
        if let Some(weak) = work.downgrade() {
            running.insert(key, weak);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_meanwhile_share_and_the_next_one_begins_anew() {
        let flights = SingleFlight::<&str, u32>::default();
        let (count, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let work = || {
            let (count, gate) = (count.clone(), gate.clone());
            async move {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let _pass = gate.acquire().await;
                Ok(number)
            }
        };
        let open = async { gate.add_permits(1) };
        let (one, other, different, ()) =
            tokio::join!(flights.run("a", work), flights.run("a", work), flights.run("b", work), open);
        assert_eq!((one, other, different), (Ok(1), Ok(1), Ok(2)));
        assert_eq!(flights.run("a", work).await, Ok(3));
    }

    #[tokio::test]
    async fn who_leaves_does_not_take_the_work_from_the_others() {
        let flights = SingleFlight::<(), u32>::default();
        let gate = Arc::new(Semaphore::new(0));
        let work = || {
            let gate = gate.clone();
            async move {
                let _pass = gate.acquire().await;
                Ok(7)
            }
        };
        let first = flights.join((), work);
        let second = flights.join((), || async { Ok(8) });
        assert!(futures::poll!(first.clone()).is_pending());
        drop(first);
        gate.add_permits(1);
        assert_eq!(second.await, Ok(7));
    }
}
