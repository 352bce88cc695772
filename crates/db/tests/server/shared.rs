//! A server for all tests of a process that run at the same time, where the environment names none.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

/// A running server; it ends with the last test that holds it.
pub(crate) struct SharedServer {
    url: String,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// The one that runs.
pub(crate) type Running = Mutex<Weak<SharedServer>>;

impl SharedServer {
    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The server that runs already, or a new one from `start`.
    pub(crate) fn get<S: 'static>(running: &Running, start: fn() -> (S, String)) -> Arc<Self> {
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start(start));
            *running = Arc::downgrade(&started);
            started
        })
    }

    /// In a thread of its own: a server dies with the thread that starts it, and a test's ends with the test.
    fn start<S: 'static>(start: fn() -> (S, String)) -> Self {
        let (tell_url, url) = channel();
        let (stop, stopped) = channel::<()>();
        let keeper = std::thread::spawn(move || {
            let (server, url) = start();
            tell_url.send(url).unwrap();
            // Nothing is ever sent: it ends when the sender does.
            let _ = stopped.recv();
            drop(server);
        });
        Self { url: url.recv().unwrap(), stop: Some(stop), keeper: Some(keeper) }
    }
}

impl Drop for SharedServer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
