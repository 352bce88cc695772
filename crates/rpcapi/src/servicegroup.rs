//! Service groups: a process has a row that says it is there, and writes to it at an interval. Who has not written for
//! `[DEFAULT] service_down_time` counts as down.
//!
//! For the services that do not see the database; a conductor writes its own row itself.

use std::sync::Arc;
use std::time::Duration;

use kilonova_core::time::utcnow;
use kilonova_core::{RequestContext, Supervisor};
use kilonova_objects::{Service, Tracked};
use tokio::sync::Mutex;

use crate::{ConductorApi, RpcError};

/// Nova's service version of 2026.2: what a process of this version can do.
pub const SERVICE_VERSION: i64 = 74;

/// The row of a process that has just started, not yet stored.
pub fn service(host: &str, binary: &str, topic: &str) -> Service {
    Service {
        host: Some(host.to_owned()),
        binary: Some(binary.to_owned()),
        topic: Some(topic.to_owned()),
        version: SERVICE_VERSION,
        last_seen_up: Some(utcnow()),
        ..Service::default()
    }
}

/// Finds or makes the row of `binary` on `host`; a process that starts has been seen up.
pub async fn join(
    conductor: &ConductorApi,
    context: &RequestContext,
    host: &str,
    binary: &str,
    topic: &str,
) -> Result<Service, RpcError> {
    if let Some(existing) = conductor.service_get(context, host, binary).await? {
        let mut existing = Tracked::new(existing);
        existing.version = SERVICE_VERSION;
        existing.report_count += 1;
        conductor.service_save(context, &mut existing).await?;
        return Ok(existing.into_inner());
    }
    conductor.service_create(context, &service(host, binary, topic)).await
}

/// `report_state`: a heartbeat now and at every `interval`. One that is lost is made up for by the next.
pub fn report_state(supervisor: &Supervisor, conductor: ConductorApi, service: Service, interval: Duration) {
    let member =
        Member { host: String::new(), binary: "", topic: "", service: Mutex::new(Some(Tracked::new(service))) };
    member.report(supervisor, conductor, interval);
}

/// The same for a process that need not know its row: it is found or made with the first heartbeat that gets through,
/// and the process starts without waiting for that.
pub fn join_and_report_state(
    supervisor: &Supervisor,
    conductor: ConductorApi,
    (host, binary, topic): (&str, &'static str, &'static str),
    interval: Duration,
) {
    let member = Member { host: host.to_owned(), binary, topic, service: Mutex::new(None) };
    member.report(supervisor, conductor, interval);
}

/// A process in its service group.
struct Member {
    host: String,
    binary: &'static str,
    topic: &'static str,
    /// `None`: not found or made yet.
    service: Mutex<Option<Tracked<Service>>>,
}

impl Member {
    fn report(self, supervisor: &Supervisor, conductor: ConductorApi, interval: Duration) {
        let member = Arc::new(self);
        supervisor.periodic("report_state", interval, move || {
            let (conductor, member) = (conductor.clone(), member.clone());
            async move {
                if let Err(error) = member.beat(&conductor).await {
                    tracing::warn!(%error, "a heartbeat was not recorded");
                }
            }
        });
    }

    async fn beat(&self, conductor: &ConductorApi) -> Result<(), RpcError> {
        let context = RequestContext::admin();
        let mut service = self.service.lock().await;
        match service.as_mut() {
            Some(service) => {
                service.report_count += 1;
                conductor.service_save(&context, service).await
            }
            None => {
                let joined = join(conductor, &context, &self.host, self.binary, self.topic).await?;
                *service = Some(Tracked::new(joined));
                Ok(())
            }
        }
    }
}
