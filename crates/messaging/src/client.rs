//! The client's side: which target, which version, cast or call. The calls' replies are `replies.rs`'.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::message::{ReplyToRef, RequestRef};
use crate::transport::{Outgoing, Transport};
use crate::{Args, Context, MessagingError, Target, Version, envelope, new_id};

mod replies;

use replies::Limits;
pub use replies::Replies;

/// What all calls of a client have in common; a [`CallContext`] can change the times.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// How long a call may take: `rpc_response_timeout`.
    pub timeout: Duration,
    /// How long a call may take without a sign of life from the server, which sends one every half of this. Whole
    /// seconds, for Python's sake.
    pub call_monitor_timeout: Option<Duration>,
    /// How long a cast may wait for a server: what none has taken by then is dropped. `None` is for ever, as in
    /// oslo.messaging, where a host that comes back after hours runs what it was asked to do then.
    pub cast_timeout: Option<Duration>,
    /// The newest version that all peers understand; `None` is no limit.
    pub version_cap: Option<Version>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), call_monitor_timeout: None, cast_timeout: None, version_cap: None }
    }
}

/// Sends requests to a target. Cheap to clone.
#[derive(Clone)]
pub struct RpcClient {
    transport: Arc<dyn Transport>,
    target: Arc<Target>,
    options: ClientOptions,
}

impl fmt::Debug for RpcClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcClient")
            .field("target", &self.target)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RpcClient {
    /// A client of `target`. Nothing is sent or declared before the first message.
    pub fn new(transport: Arc<dyn Transport>, target: Target, options: ClientOptions) -> Self {
        Self { transport, target: Arc::new(target), options }
    }

    /// A client of another target, on the same transport and with the same options.
    #[must_use]
    pub fn of(&self, target: Target) -> Self {
        Self::new(self.transport.clone(), target, self.options)
    }

    /// A request to this client's target, to be changed and sent.
    pub fn prepare(&self) -> CallContext {
        CallContext {
            transport: Arc::clone(&self.transport),
            target: Target::clone(&self.target),
            options: self.options,
        }
    }

    /// Whether the version cap allows messages of `version`.
    pub fn can_send_version(&self, version: Version) -> bool {
        self.options.can_send(Some(version))
    }
}

impl ClientOptions {
    fn can_send(&self, version: Option<Version>) -> bool {
        match (self.version_cap, version) {
            (None, _) => true,
            (Some(cap), Some(version)) => cap.is_compatible(version),
            (Some(_), None) => false,
        }
    }
}

/// Where and how to send, for one request or several.
pub struct CallContext {
    transport: Arc<dyn Transport>,
    target: Target,
    options: ClientOptions,
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("target", &self.target)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl CallContext {
    /// To this one server.
    #[must_use]
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.target.server = Some(server.into());
        self
    }

    /// To all servers. Casts only.
    #[must_use]
    pub fn fanout(mut self) -> Self {
        self.target.fanout = true;
        self
    }

    /// To another topic.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.target.topic = topic.into();
        self
    }

    /// To another namespace, or to the one without a name.
    #[must_use]
    pub fn namespace(mut self, namespace: Option<&str>) -> Self {
        self.target.namespace = namespace.map(str::to_owned);
        self
    }

    /// A message of this version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.target.version = Some(version);
        self
    }

    /// How long a call may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How long a call may take without a sign of life.
    #[must_use]
    pub fn call_monitor_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_monitor_timeout = Some(timeout);
        self
    }

    /// How long a cast may wait for a server.
    #[must_use]
    pub fn cast_timeout(mut self, timeout: Duration) -> Self {
        self.options.cast_timeout = Some(timeout);
        self
    }

    /// Whether the version cap allows messages of `version`.
    pub fn can_send_version(&self, version: Version) -> bool {
        self.options.can_send(Some(version))
    }

    /// Sends a request and does not wait for it to run. `Ok` means that the transport took it.
    pub async fn cast(&self, context: &Context, method: &str, args: Args) -> Result<(), MessagingError> {
        self.check_version(method)?;
        let body = self.encode(context, method, &args, None)?;
        drop(args);
        let message = Outgoing { expiration: self.options.cast_timeout, ..Outgoing::new(body) };
        self.transport.send(&self.target.address(), message).await
    }

    /// Sends a request and waits for what the method returns, or raises, or for the timeout. When it is cancelled, the
    /// method may still run, and its reply is dropped.
    pub async fn call(&self, context: &Context, method: &str, args: Args) -> Result<Value, MessagingError> {
        self.check_version(method)?;
        if self.target.fanout {
            return Err(MessagingError::InvalidTarget { reason: "a call cannot be sent to all servers" });
        }
        let limits = Limits::from_now(self.options.timeout, self.options.call_monitor_timeout);
        let replies = self.transport.replies();
        let pending = replies.register();
        let timed_out = || pending.timed_out(method, limits.total);

        let queue = within(limits.deadline, replies.queue(&self.transport)).await.ok_or_else(timed_out)??;
        let reply_to = ReplyToRef {
            msg_id: pending.msg_id(),
            reply_q: queue,
            call_monitor_timeout: self.options.call_monitor_timeout,
        };
        let body = self.encode(context, method, &args, Some(reply_to))?;
        drop(args);
        let message =
            Outgoing { expiration: Some(limits.total), send_timeout: Some(limits.total), ..Outgoing::new(body) };
        let address = self.target.address();
        let refused = async {
            match self.transport.send(&address, message).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        // The reply may be there before the broker's confirmation is, so nobody waits for that.
        tokio::select! {
            biased;
            answer = pending.wait(method, limits) => answer,
            error = refused => Err(error),
        }
    }

    fn check_version(&self, method: &str) -> Result<(), MessagingError> {
        let version = self.target.version;
        match self.options.version_cap {
            Some(cap) if !self.options.can_send(version) => {
                Err(MessagingError::VersionCap { method: method.to_owned(), version, cap })
            }
            _ => Ok(()),
        }
    }

    fn encode(
        &self,
        context: &Context,
        method: &str,
        args: &Args,
        reply_to: Option<ReplyToRef<'_>>,
    ) -> Result<bytes::Bytes, MessagingError> {
        envelope::seal(&RequestRef {
            method,
            args,
            namespace: self.target.namespace.as_deref(),
            version: self.target.version,
            unique_id: &new_id(),
            context,
            reply_to,
        })
    }
}

async fn within<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    timeout_at(deadline, future).await.ok()
}
