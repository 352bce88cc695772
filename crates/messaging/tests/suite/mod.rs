//! What every transport must do, seen through client and server. A transport's test file calls `transport_suite!`.

use std::sync::Arc;
use std::time::Duration;

use kilonova_messaging::{
    Address, Args, ClientOptions, Consumer, Context, Dispatcher, Endpoint, Outgoing, RpcClient, RpcServer,
    ServerOptions, Target, Transport, Version, envelope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

pub(crate) mod calls;
pub(crate) mod delivery;
pub(crate) mod serving;

/// Instantiates the suite: the test attribute, and an async expression that makes a transport.
macro_rules! transport_suite {
    ($attribute:meta, $make:expr) => {
        transport_suite! {
            @cases $attribute, $make,
            delivery: [
                a_cast_is_on_the_wire_as_oslo_messaging_writes_it,
                a_call_is_on_the_wire_as_oslo_messaging_writes_it,
                servers_of_a_topic_share_its_messages,
                a_message_to_one_server_reaches_only_that_one,
                a_fanout_reaches_every_server_once,
                messages_wait_in_a_declared_queue_for_a_server,
                messages_to_queues_never_declared_are_dropped,
                a_call_expires_in_the_queue_and_a_cast_does_not,
                a_cast_with_a_timeout_expires_in_the_queue,
                messages_of_one_queue_run_in_order,
                a_mandatory_message_without_queue_is_undeliverable,
                a_large_message_arrives_unchanged,
                a_closed_transport_ends_calls_and_servers,
            ]
            calls: [
                a_call_returns_what_the_method_returned,
                an_exception_arrives_as_it_was_raised,
                a_call_without_answer_times_out,
                a_silent_server_trips_the_call_monitor,
                heartbeats_keep_a_long_call_alive,
                heartbeats_do_not_outlast_the_total_timeout,
                a_cancelled_call_leaves_nothing_behind,
                all_clients_of_a_transport_share_one_reply_queue,
                replies_are_read_until_the_ending_one,
                garbage_in_the_reply_queue_harms_no_call,
                the_version_cap_stops_newer_messages_at_the_client,
                a_call_to_all_servers_is_refused,
                concurrent_calls_get_their_own_answers,
            ]
            serving: [
                a_method_is_found_by_namespace_and_version,
                unknown_methods_versions_and_namespaces_are_remote_errors,
                a_panic_is_a_remote_error_and_the_server_goes_on,
                garbage_is_rejected_and_the_server_goes_on,
                a_payload_without_envelope_is_served,
                a_duplicate_runs_once,
                no_more_requests_run_than_the_pool_has_places,
                a_full_server_leaves_messages_to_others,
                a_stopped_server_finishes_its_work_and_takes_no_more,
                a_missing_reply_queue_is_waited_for_without_a_place_in_the_pool,
                a_stop_does_not_wait_for_a_missing_reply_queue,
                ping_is_answered_only_if_enabled,
            ]
        }
    };
    (@cases $attribute:meta, $make:expr, $($group:ident: [$($name:ident),* $(,)?])*) => {
        $($(
            #[$attribute]
            async fn $name() {
                $crate::suite::$group::$name($make.await).await;
            }
        )*)*
    };
}
pub(crate) use transport_suite;

/// The bound of every wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it did not happen in time")
}

/// A list that handlers append to and tests wait on.
#[derive(Clone)]
pub(crate) struct Log(Arc<watch::Sender<Vec<Value>>>);

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    pub(crate) fn push(&self, entry: impl Into<Value>) {
        self.0.send_modify(|entries| entries.push(entry.into()));
    }

    pub(crate) fn entries(&self) -> Vec<Value> {
        self.0.borrow().clone()
    }

    /// The entries, once there are `count` or more.
    pub(crate) async fn reach(&self, count: usize) -> Vec<Value> {
        let mut receiver = self.0.subscribe();
        soon(receiver.wait_for(|entries| entries.len() >= count)).await.unwrap().clone()
    }
}

/// One topic of its own on a transport, for one test.
pub(crate) struct Bus {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) topic: String,
}

impl Bus {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        let topic = format!("topic-{}", uuid::Uuid::new_v4().simple());
        Self { transport, topic }
    }

    pub(crate) fn target(&self) -> Target {
        Target::new(&self.topic).version(Version::new(6, 0))
    }

    pub(crate) fn client(&self) -> RpcClient {
        self.client_with(ClientOptions { timeout: SOON, ..ClientOptions::default() })
    }

    pub(crate) fn client_with(&self, options: ClientOptions) -> RpcClient {
        RpcClient::new(Arc::clone(&self.transport), self.target(), options)
    }

    pub(crate) async fn serve(&self, host: &str, endpoints: Vec<Endpoint>) -> RpcServer {
        self.serve_with(host, Dispatcher::new(endpoints), ServerOptions::default()).await
    }

    pub(crate) async fn serve_with(&self, host: &str, dispatcher: Dispatcher, options: ServerOptions) -> RpcServer {
        let transport = Arc::clone(&self.transport);
        RpcServer::start(transport, self.target().server(host), dispatcher, options).await.unwrap()
    }

    pub(crate) fn topic_address(&self) -> Address {
        Address::Topic { exchange: None, topic: self.topic.clone() }
    }

    pub(crate) fn server_address(&self, host: &str) -> Address {
        Address::Server { exchange: None, topic: self.topic.clone(), server: host.to_owned() }
    }

    /// A bare consumer, for tests that play the server.
    pub(crate) async fn consume(&self, address: Address) -> Box<dyn Consumer> {
        self.transport.subscribe(&[address]).await.unwrap()
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&self, address: &Address, body: impl Into<Vec<u8>>) {
        let message = Outgoing::new(body.into());
        self.transport.send(address, message).await.unwrap();
    }
}

/// The next message's payload, acknowledged.
pub(crate) async fn next<T: DeserializeOwned>(consumer: &mut dyn Consumer) -> T {
    let delivery = soon(consumer.receive()).await.unwrap();
    consumer.ack(delivery.tag).await.unwrap();
    envelope::unseal(&delivery.body).unwrap()
}

pub(crate) fn reply_address(queue: &str) -> Address {
    Address::Reply { queue: queue.to_owned() }
}

pub(crate) fn object(value: Value) -> Args {
    value.as_object().expect("an object").clone()
}

pub(crate) fn context() -> Context {
    object(json!({"request_id": "req-1", "project_id": "p"}))
}

/// `note(entry)` appends the entry to the log and returns `[host, entry]`.
pub(crate) fn noting(host: &str, log: &Log) -> Endpoint {
    let (host, log) = (host.to_owned(), log.clone());
    Endpoint::new(None, Version::new(6, 5)).method("note", move |_, mut args| {
        let (host, log) = (host.clone(), log.clone());
        async move {
            let entry = args.remove("entry").unwrap_or_default();
            log.push(json!([host, entry]));
            Ok(json!([host, entry]))
        }
    })
}

pub(crate) fn entry(value: impl Into<Value>) -> Args {
    Args::from_iter([("entry".to_owned(), value.into())])
}

/// A method `hold(entry)` that logs its start, waits until the gate lets it pass, and returns its entry.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) started: Log,
    passes: Arc<Semaphore>,
    running: Arc<watch::Sender<(usize, usize)>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let running = Arc::new(watch::Sender::new((0, 0)));
        Self { started: Log::new(), passes: Arc::new(Semaphore::new(0)), running }
    }

    pub(crate) fn let_pass(&self, count: usize) {
        self.passes.add_permits(count);
    }

    /// The most that ever ran at the same time.
    pub(crate) fn peak(&self) -> usize {
        self.running.borrow().1
    }

    pub(crate) async fn all_done(&self) {
        let mut running = self.running.subscribe();
        soon(running.wait_for(|(now, _)| *now == 0)).await.unwrap();
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let gate = self.clone();
        Endpoint::new(None, Version::new(6, 5)).method("hold", move |_, mut args| {
            let gate = gate.clone();
            async move {
                let entry = args.remove("entry").unwrap_or_default();
                gate.running.send_modify(|(now, peak)| {
                    *now += 1;
                    *peak = (*peak).max(*now);
                });
                gate.started.push(entry.clone());
                gate.passes.acquire().await.expect("the gate is never closed").forget();
                gate.running.send_modify(|(now, _)| *now -= 1);
                Ok(entry)
            }
        })
    }
}
