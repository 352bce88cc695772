//! Sending replies, and what happens when the client's reply queue is not there.
//!
//! A broker that restarts loses reply queues until their clients declare them again. So an undeliverable reply is
//! tried for a minute; then the queue counts as gone, and replies to it are dropped at once for a minute.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::message::{ReplyRef, Request};
use crate::transport::{Address, Outgoing, Transport};
use crate::{MessagingError, RemoteException, envelope, lock, new_id};

/// `kombu_missing_consumer_retry_timeout`.
const RETRY_FOR: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
const GONE_FOR: Duration = Duration::from_secs(60);
const GONE_REMEMBERED: usize = 200;

/// Where the reply to a call goes.
#[derive(Debug)]
pub(super) struct ReplyTo {
    address: Address,
    msg_id: String,
}

impl ReplyTo {
    /// `None`: the request is a cast.
    pub(super) fn take_from(request: &mut Request) -> Option<Self> {
        match (request.msg_id.take(), request.reply_q.take()) {
            (Some(msg_id), Some(queue)) => Some(Self { address: Address::Reply { queue }, msg_id }),
            (None, _) => None,
            (Some(msg_id), None) => {
                tracing::warn!(method = request.method, msg_id, "a call without a reply queue runs as a cast");
                None
            }
        }
    }
}

/// Sends the replies of one server.
pub(super) struct Replier {
    transport: Arc<dyn Transport>,
    /// The server is to stop: no more waiting for queues to come back.
    stop: CancellationToken,
    gone: Mutex<GoneQueues>,
}

impl Replier {
    pub(super) fn new(transport: Arc<dyn Transport>, stop: CancellationToken) -> Self {
        Self { transport, stop, gone: Mutex::default() }
    }

    /// Sends the end of a call. While it waits for a missing queue it leaves its place in the pool to others.
    pub(super) async fn answer(
        &self,
        to: &ReplyTo,
        answer: Result<Value, RemoteException>,
        place: OwnedSemaphorePermit,
    ) {
        let sent = match encode_answer(to, answer) {
            Ok(body) => match self.send(to, body.clone()).await {
                Err(MessagingError::Undeliverable { .. }) => {
                    drop(place);
                    self.retry(to, body).await
                }
                Err(MessagingError::Transport(refusal)) => self.answer_refused(to, refusal.to_string()).await,
                sent => sent,
            },
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, queue = %to.address, msg_id = to.msg_id, "a reply was lost");
        }
    }

    /// The broker takes no such reply, of such a size for example. The caller is told, rather than left to its timeout.
    async fn answer_refused(&self, to: &ReplyTo, refusal: String) -> Result<(), MessagingError> {
        tracing::error!(refusal, queue = %to.address, msg_id = to.msg_id, "a reply was refused");
        let exception = RemoteException::new("builtins", "RuntimeError", format!("the reply was refused: {refusal}"));
        self.send(to, encode_answer(to, Err(exception))?).await
    }

    /// Sends a sign of life every `interval`, for ever.
    pub(super) async fn beat(&self, to: &ReplyTo, interval: Duration) -> Infallible {
        loop {
            tokio::time::sleep(interval).await;
            let sent = match encode(to, &Value::Null, None, false) {
                Ok(body) => self.send(to, body).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, queue = %to.address, msg_id = to.msg_id, "a heartbeat was not sent");
            }
        }
    }

    async fn send(&self, to: &ReplyTo, body: Bytes) -> Result<(), MessagingError> {
        if lock(&self.gone).contains(&to.address) {
            tracing::debug!(queue = %to.address, msg_id = to.msg_id, "dropped a reply to a queue that is gone");
            return Ok(());
        }
        let message = Outgoing { mandatory: true, ..Outgoing::new(body) };
        self.transport.send(&to.address, message).await
    }

    async fn retry(&self, to: &ReplyTo, body: Bytes) -> Result<(), MessagingError> {
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            let is_stopped = self.stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await.is_none();
            match self.send(to, body.clone()).await {
                Err(error @ MessagingError::Undeliverable { .. }) if is_stopped || Instant::now() >= give_up => {
                    lock(&self.gone).insert(to.address.clone());
                    return Err(error);
                }
                Err(MessagingError::Undeliverable { .. }) => {}
                sent => return sent,
            }
        }
    }
}

fn encode_answer(to: &ReplyTo, answer: Result<Value, RemoteException>) -> Result<Bytes, MessagingError> {
    match answer {
        Ok(result) => encode(to, &result, None, true),
        Err(exception) => encode(to, &Value::Null, Some(&exception.to_failure()?), true),
    }
}

fn encode(to: &ReplyTo, result: &Value, failure: Option<&str>, ending: bool) -> Result<Bytes, MessagingError> {
    envelope::seal(&ReplyRef { result, failure, ending, msg_id: &to.msg_id, unique_id: &new_id() })
}

/// Reply queues that were missing for too long, oldest first.
#[derive(Debug, Default)]
struct GoneQueues {
    queues: VecDeque<(Address, Instant)>,
}

impl GoneQueues {
    fn contains(&mut self, address: &Address) -> bool {
        while self.queues.front().is_some_and(|(_, since)| since.elapsed() >= GONE_FOR) {
            self.queues.pop_front();
        }
        self.queues.iter().any(|(gone, _)| gone == address)
    }

    fn insert(&mut self, address: Address) {
        if self.contains(&address) {
            return;
        }
        if self.queues.len() == GONE_REMEMBERED {
            self.queues.pop_front();
        }
        self.queues.push_back((address, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> Address {
        Address::Reply { queue: format!("reply_{number}") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_gone_for_a_minute() {
        let mut gone = GoneQueues::default();
        gone.insert(address(1));
        assert!(gone.contains(&address(1)));
        assert!(!gone.contains(&address(2)));
        tokio::time::advance(GONE_FOR).await;
        assert!(!gone.contains(&address(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_two_hundred_gone_queues_are_remembered() {
        let mut gone = GoneQueues::default();
        (0..=GONE_REMEMBERED).for_each(|number| gone.insert(address(number)));
        assert_eq!(gone.queues.len(), GONE_REMEMBERED);
        assert!(!gone.contains(&address(0)));
        assert!(gone.contains(&address(GONE_REMEMBERED)));
    }
}
