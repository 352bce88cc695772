//! A transport whose consumers die: server and client must subscribe again by themselves.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_messaging::{
    Address, Args, ClientOptions, Consumer, Context, Delivery, Dispatcher, Endpoint, MemoryTransport, MessagingError,
    Outgoing, Replies, RpcClient, RpcServer, ServerOptions, Target, Transport, Version,
};
use serde_json::json;
use tokio::sync::watch;

/// The memory transport, with consumers that can be killed and a `subscribe` that then fails for a while.
struct Fragile {
    inner: Arc<MemoryTransport>,
    replies: Replies,
    kills: watch::Sender<usize>,
    refusals: AtomicUsize,
    subscriptions: AtomicUsize,
}

struct FragileConsumer {
    inner: Box<dyn Consumer>,
    kills: watch::Receiver<usize>,
}

fn broken() -> MessagingError {
    MessagingError::Transport("the connection broke".into())
}

impl Fragile {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryTransport::new(),
            replies: Replies::default(),
            kills: watch::Sender::new(0),
            refusals: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
        })
    }

    /// Kills all consumers, and refuses the next `refusals` subscriptions.
    fn break_all(&self, refusals: usize) {
        self.refusals.store(refusals, Ordering::SeqCst);
        self.kills.send_modify(|kills| *kills += 1);
    }
}

#[async_trait]
impl Transport for Fragile {
    async fn send(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        self.inner.send(address, message).await
    }

    async fn subscribe(&self, addresses: &[Address]) -> Result<Box<dyn Consumer>, MessagingError> {
        let refuse = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
            return Err(broken());
        }
        self.subscriptions.fetch_add(1, Ordering::SeqCst);
        let inner = self.inner.subscribe(addresses).await?;
        Ok(Box::new(FragileConsumer { inner, kills: self.kills.subscribe() }))
    }

    fn replies(&self) -> &Replies {
        &self.replies
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Consumer for FragileConsumer {
    async fn receive(&mut self) -> Result<Delivery, MessagingError> {
        tokio::select! {
            biased;
            _ = self.kills.changed() => Err(broken()),
            delivery = self.inner.receive() => delivery,
        }
    }

    async fn ack(&mut self, tag: u64) -> Result<(), MessagingError> {
        self.inner.ack(tag).await
    }

    async fn reject(&mut self, tag: u64) -> Result<(), MessagingError> {
        self.inner.reject(tag).await
    }

    async fn cancel(self: Box<Self>) {
        self.inner.cancel().await;
    }
}

async fn serve(transport: Arc<Fragile>) -> RpcServer {
    let endpoint =
        Endpoint::new(None, Version::new(1, 0)).method("double", |_, args| async move { Ok(json!([args, args])) });
    let target = Target::new("t").server("h1");
    RpcServer::start(transport, target, Dispatcher::new(vec![endpoint]), ServerOptions::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn server_and_client_subscribe_again_after_their_consumers_died() {
    let transport = Fragile::new();
    let _server = serve(transport.clone()).await;
    let client = RpcClient::new(transport.clone(), Target::new("t"), ClientOptions::default());
    let call = client.prepare();
    call.call(&Context::new(), "double", Args::new()).await.unwrap();
    assert_eq!(transport.subscriptions.load(Ordering::SeqCst), 2);
    for (round, refusals) in [0, 1, 5].into_iter().enumerate() {
        transport.break_all(refusals);
        // The request waits in its queue. The reply's queue comes back too, while the server tries to reply.
        let answer = call.call(&Context::new(), "double", Args::new()).await;
        assert_eq!(answer.unwrap(), json!([{}, {}]), "round {round}");
        assert_eq!(transport.subscriptions.load(Ordering::SeqCst), 2 * (round + 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_subscribe_again_can_still_be_stopped() {
    let transport = Fragile::new();
    let server = serve(transport.clone()).await;
    transport.break_all(usize::MAX);
    tokio::time::sleep(Duration::from_secs(100)).await;
    tokio::time::timeout(Duration::from_secs(1), server.stop()).await.expect("stop did not return");
    assert!(server.wait(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn a_transport_without_users_is_freed() {
    let transport = Fragile::new();
    let server = serve(transport.clone()).await;
    let client = RpcClient::new(transport.clone(), Target::new("t"), ClientOptions::default());
    client.prepare().call(&Context::new(), "double", Args::new()).await.unwrap();
    let watcher = Arc::downgrade(&transport);
    server.stop().await;
    assert!(server.wait(Duration::from_secs(1)).await);
    drop((transport, server, client));
    assert!(watcher.upgrade().is_none(), "a task keeps the transport alive");
}
