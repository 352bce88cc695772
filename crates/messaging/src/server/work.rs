//! One request: dispatch it, show signs of life while it runs, and reply.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::reply::{Replier, ReplyTo};
use crate::message::Request;
use crate::{Dispatcher, RemoteException};

/// Bounds of the time between heartbeats, against requests that ask for nonsense.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
const HEARTBEAT_MAX: Duration = Duration::from_secs(86_400);

/// What all requests of a server share.
pub(super) struct Worker {
    dispatcher: Dispatcher,
    replier: Replier,
}

impl Worker {
    pub(super) fn new(dispatcher: Dispatcher, replier: Replier) -> Self {
        Self { dispatcher, replier }
    }

    /// Runs the request in its place of the pool, until the reply is sent.
    pub(super) async fn run(self: Arc<Self>, mut request: Request, place: OwnedSemaphorePermit) {
        let request_id = request.context.get("request_id").and_then(Value::as_str);
        let span = tracing::info_span!("rpc", method = request.method, request_id);
        let reply_to = ReplyTo::take_from(&mut request);
        let heartbeat = request.timeout_s.and_then(heartbeat_interval);
        async {
            match reply_to {
                None => self.run_cast(request).await,
                Some(reply_to) => {
                    let answer = self.run_call(request, &reply_to, heartbeat).await;
                    self.replier.answer(&reply_to, answer, place).await;
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// Nobody hears of a cast's exception but the log.
    async fn run_cast(&self, request: Request) {
        if let Err(exception) = self.dispatcher.dispatch(request).await {
            tracing::error!(module = exception.module, %exception, "a cast raised");
        }
    }

    async fn run_call(
        &self,
        request: Request,
        reply_to: &ReplyTo,
        heartbeat: Option<Duration>,
    ) -> Result<Value, RemoteException> {
        let work = self.dispatcher.dispatch(request);
        let Some(interval) = heartbeat else {
            return work.await;
        };
        tokio::select! {
            biased;
            answer = work => answer,
            never = self.replier.beat(reply_to, interval) => match never {},
        }
    }
}

/// Half of what the client waits without a sign of life; `None` if it asks for none.
fn heartbeat_interval(timeout_s: f64) -> Option<Duration> {
    if timeout_s.is_nan() || timeout_s <= 0.0 {
        return None;
    }
    let half = Duration::try_from_secs_f64(timeout_s / 2.0).unwrap_or(HEARTBEAT_MAX);
    Some(half.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_twice_per_timeout_within_bounds() {
        assert_eq!(heartbeat_interval(60.0), Some(Duration::from_secs(30)));
        assert_eq!(heartbeat_interval(1.0), Some(Duration::from_millis(500)));
        assert_eq!(heartbeat_interval(1e-9), Some(HEARTBEAT_MIN));
        assert_eq!(heartbeat_interval(1e300), Some(HEARTBEAT_MAX));
        for none in [0.0, -1.0, f64::NAN] {
            assert_eq!(heartbeat_interval(none), None);
        }
    }
}
