//! One read of the hosts for all requests that wait for it.
//!
//! A time-based cache would send servers to a host that was disabled a moment ago, and miss one that has just come.
//! Here a request never sees hosts read before it came: while one read is under way, those who come later wait and
//! share the next. Under a burst that is one read for many requests, and alone it is one read for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use kilonova_core::RequestContext;
use kilonova_objects::Aggregate;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{HostInput, HostInventory, HostSource, HostSourceError, SchedulerError};

/// What one read found.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// By the uuid of their compute node.
    pub(crate) by_uuid: BTreeMap<Uuid, Arc<HostInput>>,
    /// All of them, those without a host too.
    pub(crate) aggregates: Vec<Arc<Aggregate>>,
}

impl From<HostInventory> for Hosts {
    fn from(read: HostInventory) -> Self {
        let by_uuid = read.hosts.into_iter().map(|host| (host.node.uuid, host)).collect();
        Self { by_uuid, aggregates: read.aggregates }
    }
}

struct Read {
    began: Instant,
    hosts: Arc<Hosts>,
}

/// The hosts, read together.
pub(crate) struct HostCache {
    source: Arc<dyn HostSource>,
    turn: Semaphore,
    last: Mutex<Option<Read>>,
}

impl HostCache {
    pub(crate) fn new(source: Arc<dyn HostSource>) -> Self {
        Self { source, turn: Semaphore::new(1), last: Mutex::new(None) }
    }

    /// The hosts as they were at some moment after this was called.
    pub(crate) async fn hosts(&self, context: &RequestContext) -> Result<Arc<Hosts>, SchedulerError> {
        let came = Instant::now();
        let _turn = self.turn.acquire().await.map_err(|closed| HostSourceError(closed.into()))?;
        if let Some(hosts) = self.read_since(came) {
            return Ok(hosts);
        }
        let began = Instant::now();
        let hosts = Arc::new(Hosts::from(self.source.hosts(context).await?));
        let read = Read { began, hosts: hosts.clone() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
        Ok(hosts)
    }

    fn read_since(&self, came: Instant) -> Option<Arc<Hosts>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|read| read.began >= came).map(|read| read.hosts.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::task::JoinSet;

    use super::*;

    struct Counting {
        reads: AtomicUsize,
        gate: Semaphore,
    }

    #[async_trait]
    impl HostSource for Counting {
        async fn hosts(&self, _: &RequestContext) -> Result<HostInventory, HostSourceError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            Ok(HostInventory::default())
        }
    }

    #[tokio::test]
    async fn those_who_come_during_a_read_share_the_next_one() {
        let source = Arc::new(Counting { reads: AtomicUsize::new(0), gate: Semaphore::new(0) });
        let cache = Arc::new(HostCache::new(source.clone()));
        let ask = |tasks: &mut JoinSet<()>| {
            let cache = cache.clone();
            tasks.spawn(async move {
                cache.hosts(&RequestContext::admin()).await.unwrap();
            });
        };
        let mut tasks = JoinSet::new();
        ask(&mut tasks);
        while source.reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            ask(&mut tasks);
        }
        // On one thread, a yield lets all of them come.
        tokio::task::yield_now().await;
        source.gate.add_permits(100);
        tasks.join_all().await;
        assert_eq!(source.reads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_who_comes_after_a_read_gets_a_new_one() {
        let source = Arc::new(Counting { reads: AtomicUsize::new(0), gate: Semaphore::new(9) });
        let cache = HostCache::new(source.clone());
        for _ in 0..3 {
            cache.hosts(&RequestContext::admin()).await.unwrap();
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 3);
    }
}
