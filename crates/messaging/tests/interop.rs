//! Python services with oslo.messaging on the other side of a broker, in both directions, with each kind of queue.
//!
//! `interop_peer.py` is that other side. The interpreter is that of `KILONOVA_OSLO_PYTHON`, or of an environment that is
//! made below the target directory.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code, reason = "each kind of queues is in the URL here")]
mod broker;
mod golden;
#[allow(dead_code, unused_macros, unused_imports, reason = "the suite itself runs elsewhere")]
mod suite;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kilonova_messaging::{
    Address, Args, Consumer, Endpoint, MessagingError, NotificationDriver, NotificationOptions, Notifier, Priority,
    RabbitOptions, RemoteException, RpcServer, Version, envelope,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use broker::{connect, shared_url};
use golden::{golden, payload};
use suite::{Bus, Log, context, next, object, reply_address, soon};

const OSLO_PYTHON: &str = "KILONOVA_OSLO_PYTHON";

/// The interpreter that has oslo.messaging.
fn python() -> PathBuf {
    std::env::var_os(OSLO_PYTHON).map_or_else(make_environment, PathBuf::from)
}

/// `cargo xtask test` does the same in advance. Several tests may come here at once, so the result is moved into place.
fn make_environment() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let requirements = manifest.join("../../xtask/oslo-requirements.txt");
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oslo-venv");
    let lock = std::fs::File::create(environment.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let done = environment.join("installed-requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return environment.join("bin/python");
    }
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?} failed");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let mut pip = Command::new(environment.join("bin/pip"));
    run(pip.args(["install", "--quiet", "--requirement"]).arg(&requirements));
    std::fs::write(&done, wanted).unwrap();
    environment.join("bin/python")
}

/// A kind of queues: the URL's query for both sides, and an exchange, which is of that kind too.
#[derive(Clone, Copy)]
struct Kind {
    query: &'static str,
    exchange: &'static str,
}

const DEFAULT: Kind = Kind { query: "", exchange: "nova" };
const DURABLE: Kind = Kind { query: "?amqp_durable_queues=true", exchange: "durable" };
const QUORUM: Kind = Kind { query: "?rabbit_quorum_queue=true&rabbit_transient_quorum_queue=true", exchange: "quorum" };

impl Kind {
    fn url(self) -> String {
        format!("{}{}", shared_url(), self.query)
    }

    fn bus(self) -> Bus {
        let options = RabbitOptions { control_exchange: self.exchange.to_owned(), ..broker::quick() };
        Bus::new(connect(&self.url(), options))
    }
}

/// A running `interop_peer.py`.
struct Peer {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    async fn start(kind: Kind, role: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop_peer.py");
        let python = tokio::task::spawn_blocking(python).await.unwrap();
        let mut child = tokio::process::Command::new(python)
            .arg(script)
            .args([&kind.url(), kind.exchange])
            .args(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut peer = Self { input: child.stdin.take().unwrap(), output, _child: child };
        assert_eq!(peer.line().await, "ready");
        peer
    }

    async fn line(&mut self) -> String {
        soon(self.output.next_line()).await.unwrap().expect("the peer ended")
    }

    async fn answer(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    /// Lets a client send.
    async fn request(&mut self, request: Value) -> Value {
        self.input.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        self.answer().await
    }
}

fn remote(answer: Result<Value, MessagingError>) -> RemoteException {
    match answer {
        Err(MessagingError::Remote(exception)) => exception,
        other => panic!("{other:?} is no remote error"),
    }
}

mod rust_calls_python {
    use super::*;

    async fn server(kind: Kind) -> (Bus, Peer) {
        let bus = kind.bus();
        let peer = Peer::start(kind, &["server", &bus.topic]).await;
        (bus, peer)
    }

    async fn call(bus: &Bus, method: &str, args: Value) -> Result<Value, MessagingError> {
        bus.client().prepare().version(Version::new(1, 0)).call(&context(), method, object(args)).await
    }

    /// What the server noted, once it noted `count` values.
    async fn noted(bus: &Bus, count: usize) -> Value {
        soon(async {
            loop {
                let noted = call(bus, "get_noted", json!({})).await.unwrap();
                if noted.as_array().unwrap().len() >= count {
                    return noted;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    pub(super) async fn a_call_returns_what_the_method_returned(kind: Kind) {
        let (bus, _peer) = server(kind).await;
        let value = json!({"list": [1, 2.5, null, "é\"\\\n"], "nested": {"a": {}}});
        let answer = call(&bus, "echo", json!({"value": value})).await.unwrap();
        assert_eq!(answer, json!({"value": value, "request_id": "req-1"}));
    }

    pub(super) async fn casts_arrive_by_topic_server_and_fanout(kind: Kind) {
        let (bus, _peer) = server(kind).await;
        let ready = || bus.client().prepare().version(Version::new(1, 0));
        let args = |value: &str| object(json!({"value": value}));
        ready().cast(&context(), "note", args("topic")).await.unwrap();
        assert_eq!(noted(&bus, 1).await, json!(["topic"]));
        ready().server("python").cast(&context(), "note", args("server")).await.unwrap();
        assert_eq!(noted(&bus, 2).await, json!(["topic", "server"]));
        ready().fanout().cast(&context(), "note", args("fanout")).await.unwrap();
        assert_eq!(noted(&bus, 3).await, json!(["topic", "server", "fanout"]));
        let answer = ready().server("python").call(&context(), "echo", args("direct")).await.unwrap();
        assert_eq!(answer["value"], "direct");
    }

    pub(super) async fn an_exception_keeps_its_class_and_its_arguments(kind: Kind) {
        let (bus, _peer) = server(kind).await;
        let exception = remote(call(&bus, "fail", json!({"instance_id": "abc"})).await);
        assert_eq!((exception.module.as_str(), exception.class.as_str()), ("peer", "PeerError"));
        assert_eq!(exception.message, "Instance abc could not be found.");
        assert_eq!(exception.args, [json!("Instance abc could not be found.")]);
        assert_eq!(exception.kwargs, object(json!({"code": 404, "instance_id": "abc"})));
        assert!(exception.traceback.iter().any(|line| line.contains("interop_peer.py")));
    }

    pub(super) async fn an_unknown_method_or_version_is_refused(kind: Kind) {
        let (bus, _peer) = server(kind).await;
        let exception = remote(call(&bus, "nothing", json!({})).await);
        assert_eq!(exception.class, "NoSuchMethod");
        assert_eq!(exception.message, "Endpoint does not support RPC method nothing");
        let newer = bus.client().prepare().version(Version::new(1, 6));
        let exception = remote(newer.call(&context(), "echo", Args::new()).await);
        assert_eq!(exception.class, "UnsupportedVersion");
        assert_eq!(exception.message, "Endpoint does not support RPC version 1.6. Attempted method: echo");
    }

    pub(super) async fn heartbeats_keep_a_long_call_alive(kind: Kind) {
        let (bus, _peer) = server(kind).await;
        let monitored = bus.client().prepare().version(Version::new(1, 0)).call_monitor_timeout(Duration::from_secs(2));
        let answer = monitored.call(&context(), "slow", object(json!({"seconds": 3}))).await;
        assert_eq!(answer.unwrap(), "slept");
    }

    pub(super) async fn a_notification_is_heard_that_was_sent_before_there_was_a_listener(kind: Kind) {
        let bus = kind.bus();
        for driver in [NotificationDriver::MessagingV2, NotificationDriver::Messaging] {
            let transport = Arc::clone(&bus.transport);
            let options = NotificationOptions {
                drivers: vec![driver],
                topics: vec![bus.topic.clone()],
                ..NotificationOptions::default()
            };
            let notifier = Notifier::new(transport, "nova-compute:h1", options);
            notifier.notify(&context(), Priority::Info, "instance.create.end", &json!({"a": [1]})).await;
        }
        let mut listener = Peer::start(kind, &["listener", &bus.topic]).await;
        for _ in 0..2 {
            let heard = listener.answer().await;
            assert_eq!(heard["publisher_id"], "nova-compute:h1");
            assert_eq!(heard["event_type"], "instance.create.end");
            assert_eq!(heard["payload"], json!({"a": [1]}));
            assert_eq!(heard["context"]["request_id"], "req-1");
            assert!(heard["metadata"]["message_id"].is_string() && heard["metadata"]["timestamp"].is_string());
        }
    }
}

mod python_calls_rust {
    use super::*;

    struct Served {
        bus: Bus,
        _server: RpcServer,
        peer: Peer,
        noted: Log,
    }

    async fn serve(kind: Kind) -> Served {
        let (bus, noted) = (kind.bus(), Log::new());
        let note = noted.clone();
        let endpoint = Endpoint::new(None, Version::new(1, 5))
            .method("echo", |context, args| async move { Ok(json!({"context": context, "args": args})) })
            .method("note", move |_, mut args| {
                note.push(args.remove("value").unwrap_or_default());
                async { Ok(Value::Null) }
            })
            .method("fail", |_, _| async {
                let kwargs = object(json!({"instance_id": "abc", "code": 404}));
                Err(RemoteException::new("peer", "PeerError", "Instance abc could not be found.").with_kwargs(kwargs))
            })
            .method("slow", |_, _| async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(json!("slept"))
            });
        let server = bus.serve("rust", vec![endpoint]).await;
        let peer = Peer::start(kind, &["client"]).await;
        Served { bus, _server: server, peer, noted }
    }

    impl Served {
        async fn ask(&mut self, mut request: Value) -> Value {
            request["topic"] = json!(self.bus.topic);
            self.peer.request(request).await
        }
    }

    pub(super) async fn a_call_returns_what_the_method_returned(kind: Kind) {
        let mut served = serve(kind).await;
        let value = json!({"list": [1, 2.5, null, "é\"\\\n"], "nested": {"a": {}}});
        let answer = served.ask(json!({"do": "call", "method": "echo", "args": {"value": value}})).await;
        assert_eq!(answer["result"]["args"], json!({"value": value}));
        assert_eq!(answer["result"]["context"]["request_id"], "req-python");
    }

    pub(super) async fn casts_arrive_by_topic_server_and_fanout(kind: Kind) {
        let mut served = serve(kind).await;
        let cast = |value: &str| json!({"do": "cast", "method": "note", "args": {"value": value}});
        let mut to_server = cast("server");
        to_server["server"] = json!("rust");
        let mut to_all = cast("fanout");
        to_all["fanout"] = json!(true);
        let mut expected = Vec::new();
        for (request, value) in [(cast("topic"), "topic"), (to_server, "server"), (to_all, "fanout")] {
            assert_eq!(served.ask(request).await, json!({"result": null}));
            expected.push(json!(value));
            assert_eq!(served.noted.reach(expected.len()).await, expected);
        }
    }

    pub(super) async fn an_exception_keeps_its_class_and_its_arguments(kind: Kind) {
        let mut served = serve(kind).await;
        let answer = served.ask(json!({"do": "call", "method": "fail"})).await;
        assert_eq!((&answer["error"], &answer["module"]), (&json!("PeerError_Remote"), &json!("peer_Remote")));
        assert_eq!(answer["args"], json!(["Instance abc could not be found."]));
        assert_eq!(answer["kwargs"], json!({"instance_id": "abc", "code": 404}));
    }

    pub(super) async fn an_unknown_method_or_version_is_refused(kind: Kind) {
        let mut served = serve(kind).await;
        let answer = served.ask(json!({"do": "call", "method": "nothing"})).await;
        assert_eq!((&answer["error"], &answer["exc_type"]), (&json!("RemoteError"), &json!("NoSuchMethod")));
        assert_eq!(answer["value"], "Endpoint does not support RPC method nothing");
        let answer = served.ask(json!({"do": "call", "method": "echo", "version": "1.6"})).await;
        assert_eq!((&answer["error"], &answer["exc_type"]), (&json!("RemoteError"), &json!("UnsupportedVersion")));
        assert_eq!(answer["value"], "Endpoint does not support RPC version 1.6. Attempted method: echo");
    }

    pub(super) async fn heartbeats_keep_a_long_call_alive(kind: Kind) {
        let mut served = serve(kind).await;
        let answer = served.ask(json!({"do": "call", "method": "slow", "call_monitor_timeout": 2})).await;
        assert_eq!(answer, json!({"result": "slept"}));
    }

    pub(super) async fn a_notification_is_heard_that_was_sent_before_there_was_a_listener(kind: Kind) {
        let bus = kind.bus();
        let mut peer = Peer::start(kind, &["client"]).await;
        let address = Address::Notification { exchange: None, topic: bus.topic.clone(), priority: "info".to_owned() };
        for driver in ["messagingv2", "messaging"] {
            let notify = json!({
                "do": "notify", "topic": bus.topic, "driver": driver, "event_type": "volume.create", "payload": {"a": 1},
            });
            assert_eq!(peer.request(notify).await, json!({"result": null}));
        }
        let mut listener = bus.consume(address).await;
        for _ in 0..2 {
            let heard: Value = next(&mut *listener).await;
            assert_eq!(heard["publisher_id"], "python:h1");
            assert_eq!(heard["event_type"], "volume.create");
            assert_eq!(heard["payload"], json!({"a": 1}));
            assert_eq!(heard["priority"], "INFO");
        }
    }
}

/// What Python writes today is what is in `golden/`, which is what this crate writes.
mod golden_messages {
    use super::*;

    /// The body of the next message.
    async fn received(consumer: &mut dyn Consumer) -> Vec<u8> {
        let delivery = soon(consumer.receive()).await.unwrap();
        consumer.ack(delivery.tag).await.unwrap();
        delivery.body.into()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn python_writes_golden_requests_and_notifications() {
        let bus = DEFAULT.bus();
        let mut requests = bus.consume(bus.topic_address()).await;
        let mut peer = Peer::start(DEFAULT, &["client"]).await;
        for name in ["cast", "call", "monitored_call"] {
            let expected = golden(name);
            let request = json!({
                "do": if name == "cast" { "cast" } else { "call" }, "topic": bus.topic, "method": expected["method"],
                "args": expected["args"], "namespace": expected.get("namespace"), "context": context(), "timeout": 1,
                "call_monitor_timeout": expected.get("_timeout"),
            });
            let (answer, body) = tokio::join!(peer.request(request), received(&mut *requests));
            assert!(name == "cast" || answer["error"] == "MessagingTimeout", "{answer}");
            assert_eq!(payload(&body), expected, "{name}");
        }
        let expected = golden("notification");
        let request = json!({
            "do": "notify", "topic": bus.topic, "driver": "messagingv2", "event_type": expected["event_type"],
            "payload": expected["payload"], "publisher_id": expected["publisher_id"], "context": context(),
        });
        peer.request(request).await;
        let address = Address::Notification { exchange: None, topic: bus.topic.clone(), priority: "info".to_owned() };
        assert_eq!(payload(&received(&mut *bus.consume(address).await).await), expected);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn python_writes_golden_replies() {
        let bus = DEFAULT.bus();
        let _peer = Peer::start(DEFAULT, &["server", &bus.topic]).await;
        let queue = format!("reply_{}", bus.topic);
        let mut replies = bus.consume(reply_address(&queue)).await;
        let cases = [
            ("echo", golden("call")["args"].clone(), "reply"),
            ("fail", json!({"instance_id": "abc"}), "failure"),
            ("nothing", json!({}), "no_such_method"),
            ("slow", json!({"seconds": 1.5}), "heartbeat"),
        ];
        for (method, args, expected) in cases {
            let request = json!({
                "method": method, "args": args, "version": "1.0", "_unique_id": method, "_msg_id": method,
                "_reply_q": queue, "_timeout": if expected == "heartbeat" { Some(2) } else { None },
                "_context_request_id": "req-1",
            });
            bus.send_raw(&bus.topic_address(), envelope::seal(&request).unwrap()).await;
            assert_eq!(payload(&received(&mut *replies).await), golden(expected), "{method}");
        }
    }
}

/// Each case, with transient and with quorum queues; of the durable ones, what declares all of them.
macro_rules! interop {
    ($($direction:ident: [$($name:ident),* $(,)?])*) => {
        interop! { @kind default_queues, DEFAULT, $($direction: [$($name),*])* }
        interop! { @kind durable_queues, DURABLE, $($direction: [casts_arrive_by_topic_server_and_fanout])* }
        interop! { @kind quorum_queues, QUORUM, $($direction: [$($name),*])* }
    };
    (@kind $module:ident, $kind:ident, $($direction:ident: [$($name:ident),*])*) => {
        mod $module {
            $(mod $direction {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        crate::$direction::$name(crate::$kind).await;
                    }
                )*
            })*
        }
    };
}

interop! {
    rust_calls_python: [
        a_call_returns_what_the_method_returned,
        casts_arrive_by_topic_server_and_fanout,
        an_exception_keeps_its_class_and_its_arguments,
        an_unknown_method_or_version_is_refused,
        heartbeats_keep_a_long_call_alive,
        a_notification_is_heard_that_was_sent_before_there_was_a_listener,
    ]
    python_calls_rust: [
        a_call_returns_what_the_method_returned,
        casts_arrive_by_topic_server_and_fanout,
        an_exception_keeps_its_class_and_its_arguments,
        an_unknown_method_or_version_is_refused,
        heartbeats_keep_a_long_call_alive,
        a_notification_is_heard_that_was_sent_before_there_was_a_listener,
    ]
}
