//! Tasks that belong to a service: who they are, what their failure means, and how they end.
//!
//! ```text
//!   spawn ──> running ──> returned            nothing happens
//!                    ├──> panicked, Critical   the whole supervisor shuts down
//!                    ├──> panicked, Background an error in the log; the service goes on
//!                    └──> shutdown             cancelled, and waited for within a bound
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the end of a task by panic means to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// The service cannot go on without it.
    Critical,
    /// The next pass, or the next message, makes up for it.
    Background,
}

/// Owns the tasks of one process or one service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves when a shutdown was asked for.
    pub async fn cancelled(&self) {
        self.shutdown.cancelled().await;
    }

    /// Whether a shutdown was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Asks all tasks to end.
    pub fn cancel(&self) {
        self.shutdown.cancel();
    }

    /// Runs `future` until it returns or a shutdown cuts it off at an await.
    pub fn spawn<F>(&self, kind: TaskKind, name: impl Into<String>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let work = tokio::spawn({
                let shutdown = shutdown.clone();
                async move { shutdown.run_until_cancelled_owned(future).await }
            });
            if let Err(error) = work.await {
                tracing::error!(task = %name, ?kind, %error, "a task ended by panic");
                if kind == TaskKind::Critical {
                    shutdown.cancel();
                }
            }
        });
    }

    /// Runs `pass` now and then every `interval`, one pass at a time; a pass that panics does not end the next ones. An
    /// interval of zero is none: no pass runs.
    pub fn periodic<F, Fut>(&self, name: impl Into<String>, interval: Duration, pass: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if interval.is_zero() {
            return;
        }
        let name: Arc<str> = name.into().into();
        let task_name = name.to_string();
        self.spawn(TaskKind::Background, task_name, async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = AbortOnDrop(tokio::spawn(pass())).await {
                    tracing::error!(task = %name, %error, "a periodic pass ended by panic");
                }
            }
        });
    }

    /// Waits until all tasks have ended by themselves; those that run at the bound are asked to end: false.
    pub async fn drain(&self, bound: Duration) -> bool {
        self.tasks.close();
        let is_drained = tokio::time::timeout(bound, self.tasks.wait()).await.is_ok();
        self.shutdown.cancel();
        is_drained
    }

    /// Asks all tasks to end and waits for them; false if some still ran at the bound.
    pub async fn shutdown(&self, bound: Duration) -> bool {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(bound, self.tasks.wait()).await.is_ok()
    }
}

/// A pass does not outlive the loop that started it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Future for AbortOnDrop {
    type Output = Result<(), tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BOUND: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn shutdown_cuts_off_a_task_that_waits() {
        let supervisor = Supervisor::new();
        supervisor.spawn(TaskKind::Background, "waits", std::future::pending());
        assert!(supervisor.shutdown(BOUND).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_lets_work_end_and_cuts_it_off_at_the_bound() {
        for (takes_s, drained) in [(4, true), (6, false)] {
            let supervisor = Supervisor::new();
            let done = Arc::new(AtomicUsize::new(0));
            let counted = done.clone();
            supervisor.spawn(TaskKind::Background, "works", async move {
                tokio::time::sleep(Duration::from_secs(takes_s)).await;
                counted.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(supervisor.drain(BOUND).await, drained);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(done.load(Ordering::SeqCst), usize::from(drained));
        }
    }

    #[tokio::test]
    async fn a_critical_panic_shuts_the_supervisor_down() {
        let supervisor = Supervisor::new();
        supervisor.spawn(TaskKind::Critical, "panics", async { panic!("as the test wants") });
        tokio::time::timeout(BOUND, supervisor.cancelled()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_panics_is_followed_by_the_next() {
        let supervisor = Supervisor::new();
        let passes = Arc::new(AtomicUsize::new(0));
        let (seen, counted) = (passes.clone(), Arc::new(tokio::sync::Notify::new()));
        let notify = counted.clone();
        supervisor.periodic("panics", Duration::from_secs(1), move || {
            let (seen, notify) = (seen.clone(), notify.clone());
            async move {
                if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                    panic!("as the test wants");
                }
                notify.notify_one();
            }
        });
        tokio::time::timeout(BOUND, counted.notified()).await.unwrap();
        assert!(passes.load(Ordering::SeqCst) >= 2);
    }
}
