//! The server: what it runs, how much of it, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use kilonova_messaging::{
    Args, Dispatcher, Endpoint, MessagingError, RemoteException, RpcServer, ServerOptions, Target, Transport, Version,
    envelope,
};
use serde_json::{Value, json};

use super::{Bus, Gate, Log, SOON, context, entry, next, noting, reply_address, soon};

fn remote(answer: Result<Value, MessagingError>) -> RemoteException {
    match answer {
        Err(MessagingError::Remote(exception)) => exception,
        other => panic!("{other:?} is no remote error"),
    }
}

fn returning(namespace: Option<&str>, version: Version, answer: &'static str) -> Endpoint {
    Endpoint::new(namespace, version).method("which", move |_, _| async move { Ok(json!(answer)) })
}

/// A request as another program would write it.
fn raw_request(unique_id: &str, more: Value) -> Vec<u8> {
    let mut request =
        json!({"method": "note", "args": {"entry": unique_id}, "version": "6.0", "_unique_id": unique_id});
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    envelope::seal(&request).unwrap().into()
}

pub(crate) async fn a_method_is_found_by_namespace_and_version(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let endpoints = vec![
        returning(None, Version::new(6, 5), "six"),
        returning(None, Version::new(5, 13), "five"),
        returning(Some("baseapi"), Version::new(1, 1), "base"),
    ];
    let _server = bus.serve("h1", endpoints).await;
    let client = bus.client();
    let cases = [
        (None, Version::new(6, 0), "six"),
        (None, Version::new(5, 0), "five"),
        (Some("baseapi"), Version::new(1, 0), "base"),
    ];
    for (namespace, version, expected) in cases {
        let call = client.prepare().namespace(namespace).version(version);
        assert_eq!(call.call(&context(), "which", Args::new()).await.unwrap(), expected);
    }
}

pub(crate) async fn unknown_methods_versions_and_namespaces_are_remote_errors(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let _server = bus.serve("h1", vec![returning(None, Version::new(6, 5), "six")]).await;
    let client = bus.client();
    let exception = remote(client.prepare().call(&context(), "other", Args::new()).await);
    let sentence = "Endpoint does not support RPC method other";
    assert_eq!(exception, RemoteException::new("oslo_messaging.rpc.dispatcher", "NoSuchMethod", sentence));

    let newer = client.prepare().version(Version::new(6, 6));
    let exception = remote(newer.call(&context(), "which", Args::new()).await);
    let sentence = "Endpoint does not support RPC version 6.6. Attempted method: which";
    assert_eq!(exception, RemoteException::new("oslo_messaging.rpc.dispatcher", "UnsupportedVersion", sentence));

    let elsewhere = client.prepare().namespace(Some("compute_task"));
    let exception = remote(elsewhere.call(&context(), "which", Args::new()).await);
    let sentence = "Endpoint does not support RPC version 6.0. Attempted method: which";
    assert_eq!(exception, RemoteException::new("oslo_messaging.rpc.dispatcher", "UnsupportedVersion", sentence));
}

pub(crate) async fn a_panic_is_a_remote_error_and_the_server_goes_on(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let endpoint = noting("h1", &log).method("crash", |_, _| async { panic!("on purpose") });
    // With a single place: a panic that kept it would block the next request.
    let options = ServerOptions { max_concurrency: 1 };
    let server = bus.serve_with("h1", Dispatcher::new(vec![endpoint]), options).await;
    let client = bus.client();
    let exception = remote(client.prepare().call(&context(), "crash", Args::new()).await);
    assert_eq!(exception.message, "RPC method crash panicked: on purpose");
    client.prepare().cast(&context(), "crash", Args::new()).await.unwrap();
    assert_eq!(client.prepare().call(&context(), "note", entry(1)).await.unwrap(), json!(["h1", 1]));
    server.stop().await;
    assert!(server.wait(SOON).await);
}

pub(crate) async fn garbage_is_rejected_and_the_server_goes_on(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let bodies: [&[u8]; 7] = [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{\"oslo.version\":\"2.0\"",
        b"{\"oslo.version\":\"2.0\",\"oslo.message\":\"nonsense\"}",
        b"{\"oslo.version\":\"3.0\",\"oslo.message\":\"{\\\"method\\\":\\\"note\\\"}\"}",
        b"{\"args\":{}}",
    ];
    for body in bodies {
        bus.send_raw(&bus.server_address("h1"), body).await;
    }
    let answer = bus.client().prepare().server("h1").call(&context(), "note", entry(1)).await;
    assert_eq!(answer.unwrap(), json!(["h1", 1]));
    assert_eq!(log.entries(), [json!(["h1", 1])]);
}

pub(crate) async fn a_payload_without_envelope_is_served(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let bare = json!({"method": "note", "version": "6.0", "args": {"entry": "bare"}});
    bus.send_raw(&bus.server_address("h1"), bare.to_string()).await;
    assert_eq!(log.reach(1).await, [json!(["h1", "bare"])]);
}

pub(crate) async fn a_duplicate_runs_once(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let dispatcher = Dispatcher::new(vec![noting("h1", &log)]);
    let _server = bus.serve_with("h1", dispatcher, ServerOptions { max_concurrency: 1 }).await;
    let queue = bus.server_address("h1");
    for id in ["a", "b", "a", "b", "a", "c"] {
        bus.send_raw(&queue, raw_request(id, json!({}))).await;
    }
    assert_eq!(log.reach(3).await, [json!(["h1", "a"]), json!(["h1", "b"]), json!(["h1", "c"])]);
}

pub(crate) async fn no_more_requests_run_than_the_pool_has_places(transport: Arc<dyn Transport>) {
    let (bus, gate) = (Bus::new(transport), Gate::new());
    let dispatcher = Dispatcher::new(vec![gate.endpoint()]);
    let _server = bus.serve_with("h1", dispatcher, ServerOptions { max_concurrency: 3 }).await;
    let client = bus.client();
    for number in 0..10 {
        client.prepare().cast(&context(), "hold", entry(number)).await.unwrap();
    }
    gate.started.reach(3).await;
    for passed in 1..=10 {
        gate.let_pass(1);
        gate.started.reach(10.min(passed + 3)).await;
    }
    gate.all_done().await;
    assert_eq!(gate.peak(), 3);
}

pub(crate) async fn a_full_server_leaves_messages_to_others(transport: Arc<dyn Transport>) {
    let (bus, gate, log) = (Bus::new(transport), Gate::new(), Log::new());
    let busy = Dispatcher::new(vec![gate.endpoint(), noting("busy", &log)]);
    let _busy = bus.serve_with("busy", busy, ServerOptions { max_concurrency: 2 }).await;
    let client = bus.client();
    for number in 0..2 {
        client.prepare().cast(&context(), "hold", entry(number)).await.unwrap();
    }
    gate.started.reach(2).await;
    for number in 0..5 {
        client.prepare().cast(&context(), "note", entry(number)).await.unwrap();
    }
    let _free = bus.serve("free", vec![noting("free", &log)]).await;
    let mut entries = log.reach(5).await;
    entries.sort_by_key(Value::to_string);
    assert_eq!(entries, (0..5).map(|number| json!(["free", number])).collect::<Vec<_>>());
    gate.let_pass(2);
}

pub(crate) async fn a_stopped_server_finishes_its_work_and_takes_no_more(transport: Arc<dyn Transport>) {
    let (bus, gate) = (Bus::new(transport), Gate::new());
    let server = bus.serve("h1", vec![gate.endpoint()]).await;
    let client = bus.client();
    let context = context();
    let call = client.prepare();
    let stopping = async {
        gate.started.reach(1).await;
        soon(server.stop()).await;
        client.prepare().cast(&context, "hold", entry("later")).await.unwrap();
        assert!(!server.wait(Duration::from_millis(20)).await, "the work cannot have finished");
        gate.let_pass(1);
        assert!(server.wait(SOON).await);
        assert_eq!(gate.started.entries(), ["first"]);
        // A second stop is no error.
        soon(server.stop()).await;
    };
    let (answer, ()) = tokio::join!(call.call(&context, "hold", entry("first")), stopping);
    assert_eq!(answer.unwrap(), "first");

    let _next = bus.serve("h1", vec![gate.endpoint()]).await;
    assert_eq!(gate.started.reach(2).await, ["first", "later"]);
    gate.let_pass(1);
    gate.all_done().await;
}

pub(crate) async fn a_missing_reply_queue_is_waited_for_without_a_place_in_the_pool(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let dispatcher = Dispatcher::new(vec![noting("h1", &log)]);
    let _server = bus.serve_with("h1", dispatcher, ServerOptions { max_concurrency: 1 }).await;
    let missing = format!("reply_{}", bus.topic);
    let request = raw_request("early", json!({"_msg_id": "m1", "_reply_q": missing}));
    bus.send_raw(&bus.server_address("h1"), request).await;
    log.reach(1).await;
    assert_eq!(bus.client().prepare().call(&context(), "note", entry(2)).await.unwrap(), json!(["h1", 2]));

    let mut consumer = bus.consume(reply_address(&missing)).await;
    let mut reply: Value = next(&mut *consumer).await;
    assert!(reply.as_object_mut().unwrap().remove("_unique_id").is_some());
    assert_eq!(reply, json!({"result": ["h1", "early"], "failure": null, "ending": true, "_msg_id": "m1"}));
}

pub(crate) async fn a_stop_does_not_wait_for_a_missing_reply_queue(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let missing = format!("reply_{}", bus.topic);
    let request = raw_request("lost", json!({"_msg_id": "m1", "_reply_q": missing}));
    bus.send_raw(&bus.server_address("h1"), request).await;
    log.reach(1).await;
    server.stop().await;
    assert!(server.wait(SOON).await);
}

pub(crate) async fn ping_is_answered_only_if_enabled(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let endpoints = || vec![returning(None, Version::new(6, 5), "six")];
    let _without = bus.serve("without", endpoints()).await;
    let _with = bus.serve_with("with", Dispatcher::new(endpoints()).with_ping(), ServerOptions::default()).await;
    let ping = bus.client().prepare().version(Version::new(1, 0));
    let answer = ping.server("with").call(&context(), "oslo_rpc_server_ping", Args::new()).await;
    assert_eq!(answer.unwrap(), "pong");
    let ping = bus.client().prepare().version(Version::new(1, 0));
    let answer = ping.server("without").call(&context(), "oslo_rpc_server_ping", Args::new()).await;
    assert_eq!(remote(answer).class, "UnsupportedVersion");

    let nameless = Target::new(&bus.topic);
    let dispatcher = Dispatcher::new(endpoints());
    let refused = RpcServer::start(Arc::clone(&bus.transport), nameless, dispatcher, ServerOptions::default()).await;
    assert!(matches!(refused, Err(MessagingError::InvalidTarget { .. })));
}
