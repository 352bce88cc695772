//! What runs in a process: each role is there or not.

use std::time::Duration;

use kilonova_compute::ComputeService;
use kilonova_conductor::ConductorService;
use kilonova_db::Db;
use kilonova_scheduler::service::SchedulerService;

use super::http::HttpServer;
use crate::bus::Bus;
use crate::state_dir::StateDir;

/// The parts of a process, in the order in which they end.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) http: Option<HttpServer>,
    pub(crate) computes: Vec<ComputeService>,
    pub(crate) conductor: Option<ConductorService>,
    /// After the conductor, whose last work asks it.
    pub(crate) scheduler: Option<SchedulerService>,
    pub(crate) bus: Option<Bus>,
    pub(crate) db: Option<Db>,
    /// Last, so that nobody else takes the directory before everything is closed.
    pub(crate) _state_dir: Option<StateDir>,
}

impl Running {
    /// Resolves when a part cannot go on.
    pub(crate) async fn failed(&self) {
        match &self.conductor {
            Some(conductor) => conductor.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Takes no new work, lets what runs end within `bound` for each part, and closes everything. Guests go on.
    pub(crate) async fn stop(self, bound: Duration) {
        if let Some(http) = self.http {
            http.stop(bound).await;
        }
        let stopping = self.computes.iter().map(|compute| compute.stop(bound));
        let mut is_drained = futures::future::join_all(stopping).await.into_iter().all(|drained| drained);
        if let Some(conductor) = &self.conductor {
            is_drained &= conductor.stop(bound).await;
        }
        if let Some(scheduler) = &self.scheduler {
            is_drained &= scheduler.stop(bound).await;
        }
        if !is_drained {
            tracing::warn!(bound_s = bound.as_secs(), "some work did not end in time; its workflow goes on with it");
        }
        if let Some(bus) = self.bus {
            bus.close().await;
        }
        if let Some(db) = self.db
            && let Err(error) = db.close().await
        {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}
