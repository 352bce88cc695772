//! Which queue gets which message, in what form, and for how long.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kilonova_messaging::{
    ClientOptions, Dispatcher, Endpoint, MessagingError, Outgoing, ServerOptions, Transport, Version,
};
use serde_json::{Value, json};

use super::{Bus, Gate, Log, SOON, context, entry, next, noting, object, reply_address, soon};

/// Takes the ids out, which differ each time, after a look at their form.
fn take_hex_id(payload: &mut Value, key: &str, prefix: &str) -> String {
    let id = payload.as_object_mut().unwrap().remove(key).unwrap_or_else(|| panic!("no {key}"));
    let id = id.as_str().unwrap().to_owned();
    let hex = id.strip_prefix(prefix).unwrap();
    assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{key} = {id}");
    id
}

pub(crate) async fn a_cast_is_on_the_wire_as_oslo_messaging_writes_it(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let mut consumer = bus.consume(bus.server_address("h1")).await;
    let args = object(json!({"host_list": [], "node": "n1"}));
    bus.client().prepare().server("h1").cast(&context(), "build_and_run_instance", args).await.unwrap();

    let delivery = soon(consumer.receive()).await.unwrap();
    let envelope: Value = serde_json::from_slice(&delivery.body).unwrap();
    assert_eq!(envelope.as_object().unwrap().len(), 2);
    assert_eq!(envelope["oslo.version"], "2.0");
    let mut payload: Value = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
    take_hex_id(&mut payload, "_unique_id", "");
    let expected = json!({
        "method": "build_and_run_instance", "args": {"host_list": [], "node": "n1"}, "version": "6.0",
        "_context_request_id": "req-1", "_context_project_id": "p",
    });
    assert_eq!(payload, expected);
}

pub(crate) async fn a_call_is_on_the_wire_as_oslo_messaging_writes_it(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let mut consumer = bus.consume(bus.topic_address()).await;
    let call = bus.client().prepare().namespace(Some("baseapi")).version(Version::new(1, 1));
    let call = call.call_monitor_timeout(Duration::from_secs(60));
    let answering = async {
        let mut payload: Value = next(&mut *consumer).await;
        let queue = take_hex_id(&mut payload, "_reply_q", "reply_");
        let msg_id = take_hex_id(&mut payload, "_msg_id", "");
        take_hex_id(&mut payload, "_unique_id", "");
        let reply = json!({"result": "pong", "failure": null, "ending": true, "_msg_id": msg_id, "_unique_id": "u"});
        let reply = json!({"oslo.version": "2.0", "oslo.message": reply.to_string()});
        bus.send_raw(&reply_address(&queue), reply.to_string()).await;
        payload
    };
    let context = context();
    let (answer, payload) = tokio::join!(call.call(&context, "ping", object(json!({"arg": 1}))), answering);
    assert_eq!(answer.unwrap(), "pong");
    let expected = json!({
        "method": "ping", "args": {"arg": 1}, "namespace": "baseapi", "version": "1.1", "_timeout": 60,
        "_context_request_id": "req-1", "_context_project_id": "p",
    });
    assert_eq!(payload, expected);
}

pub(crate) async fn servers_of_a_topic_share_its_messages(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _one = bus.serve("h1", vec![noting("h1", &log)]).await;
    let _two = bus.serve("h2", vec![noting("h2", &log)]).await;
    let client = bus.client();
    let mut hosts = BTreeSet::new();
    for number in 0..20 {
        let answer = client.prepare().call(&context(), "note", entry(number)).await.unwrap();
        assert_eq!(answer[1], number);
        hosts.insert(answer[0].to_string());
    }
    assert_eq!(hosts.len(), 2, "one server got everything");
    let numbers: Vec<Value> = log.entries().iter().map(|noted| noted[1].clone()).collect();
    assert_eq!(numbers, (0..20).map(Value::from).collect::<Vec<_>>());
}

pub(crate) async fn a_message_to_one_server_reaches_only_that_one(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _one = bus.serve("h1", vec![noting("h1", &log)]).await;
    let _two = bus.serve("h2", vec![noting("h2", &log)]).await;
    let client = bus.client();
    for (host, number) in [("h1", 1), ("h2", 2), ("h2", 3), ("h1", 4)] {
        let answer = client.prepare().server(host).call(&context(), "note", entry(number)).await.unwrap();
        assert_eq!(answer, json!([host, number]));
    }
    assert_eq!(log.entries(), [json!(["h1", 1]), json!(["h2", 2]), json!(["h2", 3]), json!(["h1", 4])]);
}

pub(crate) async fn a_fanout_reaches_every_server_once(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _one = bus.serve("h1", vec![noting("h1", &log)]).await;
    let _two = bus.serve("h2", vec![noting("h2", &log)]).await;
    let gone = bus.serve("h3", vec![noting("h3", &log)]).await;
    gone.stop().await;
    bus.client().prepare().fanout().cast(&context(), "note", entry("all")).await.unwrap();
    let mut entries = log.reach(2).await;
    entries.sort_by_key(Value::to_string);
    assert_eq!(entries, [json!(["h1", "all"]), json!(["h2", "all"])]);
    // A server that comes back starts with an empty fanout queue.
    let _back = bus.serve("h3", vec![noting("h3", &log)]).await;
    bus.client().prepare().server("h3").call(&context(), "note", entry("back")).await.unwrap();
    assert_eq!(log.entries()[2..], [json!(["h3", "back"])]);
}

pub(crate) async fn messages_wait_in_a_declared_queue_for_a_server(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    bus.serve("h1", vec![noting("h1", &log)]).await.stop().await;
    let client = bus.client();
    client.prepare().cast(&context(), "note", entry("topic")).await.unwrap();
    client.prepare().server("h1").cast(&context(), "note", entry("server")).await.unwrap();
    assert_eq!(log.entries(), [] as [Value; 0]);
    let _again = bus.serve("h1", vec![noting("h1", &log)]).await;
    let mut entries = log.reach(2).await;
    entries.sort_by_key(Value::to_string);
    assert_eq!(entries, [json!(["h1", "server"]), json!(["h1", "topic"])]);
}

pub(crate) async fn messages_to_queues_never_declared_are_dropped(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let client = bus.client();
    client.prepare().cast(&context(), "note", entry("topic")).await.unwrap();
    client.prepare().server("h1").cast(&context(), "note", entry("server")).await.unwrap();
    client.prepare().fanout().cast(&context(), "note", entry("fanout")).await.unwrap();
    let short = client.prepare().server("h1").timeout(Duration::from_millis(50));
    let answer = short.call(&context(), "note", entry("call")).await;
    assert!(matches!(answer, Err(MessagingError::Timeout { .. })), "{answer:?}");

    let server = bus.serve("h1", vec![noting("h1", &log)]).await;
    client.prepare().call(&context(), "note", entry("after, topic")).await.unwrap();
    client.prepare().server("h1").call(&context(), "note", entry("after, server")).await.unwrap();
    server.stop().await;
    assert!(server.wait(SOON).await);
    assert_eq!(log.entries(), [json!(["h1", "after, topic"]), json!(["h1", "after, server"])]);
}

pub(crate) async fn a_call_expires_in_the_queue_and_a_cast_does_not(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    bus.serve("h1", vec![noting("h1", &log)]).await.stop().await;
    let client = bus.client_with(ClientOptions { timeout: Duration::from_millis(50), ..ClientOptions::default() });
    let to_h1 = || client.prepare().server("h1");
    to_h1().cast(&context(), "note", entry("cast")).await.unwrap();
    let answer = to_h1().call(&context(), "note", entry("expired")).await;
    assert!(matches!(answer, Err(MessagingError::Timeout { .. })), "{answer:?}");
    // Its time in the queue began when it got there, which may be a good deal after the caller began to wait.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let _again = bus.serve("h1", vec![noting("h1", &log)]).await;
    to_h1().timeout(SOON).call(&context(), "note", entry("live")).await.unwrap();
    let mut entries = log.reach(2).await;
    entries.sort_by_key(Value::to_string);
    assert_eq!(entries, [json!(["h1", "cast"]), json!(["h1", "live"])]);
}

pub(crate) async fn a_cast_with_a_timeout_expires_in_the_queue(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    bus.serve("h1", vec![noting("h1", &log)]).await.stop().await;
    let to_h1 = || bus.client().prepare().server("h1");
    // The first message waits for the connection, which counts.
    to_h1().cast(&context(), "note", entry("first")).await.unwrap();
    to_h1().cast_timeout(Duration::from_secs(1)).cast(&context(), "note", entry("late")).await.unwrap();
    to_h1().cast_timeout(SOON).cast(&context(), "note", entry("in time")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let server = bus.serve("h1", vec![noting("h1", &log)]).await;
    to_h1().call(&context(), "note", entry("after")).await.unwrap();
    server.stop().await;
    assert!(server.wait(SOON).await);
    let mut entries = log.entries();
    entries.sort_by_key(Value::to_string);
    assert_eq!(entries, ["after", "first", "in time"].map(|value| json!(["h1", value])));
}

pub(crate) async fn messages_of_one_queue_run_in_order(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let dispatcher = Dispatcher::new(vec![noting("h1", &log)]);
    let _server = bus.serve_with("h1", dispatcher, ServerOptions { max_concurrency: 1 }).await;
    let client = bus.client();
    for number in 0..200 {
        client.prepare().server("h1").cast(&context(), "note", entry(number)).await.unwrap();
    }
    let expected: Vec<Value> = (0..200).map(|number| json!(["h1", number])).collect();
    assert_eq!(log.reach(200).await, expected);
}

pub(crate) async fn a_mandatory_message_without_queue_is_undeliverable(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let message = Outgoing { mandatory: true, ..Outgoing::new("{}") };
    for address in [reply_address(&bus.topic), bus.server_address("h1")] {
        let sent = bus.transport.send(&address, message.clone()).await;
        assert!(matches!(sent, Err(MessagingError::Undeliverable { .. })), "{address}: {sent:?}");
    }
    let mut consumer = bus.consume(reply_address(&bus.topic)).await;
    bus.transport.send(&reply_address(&bus.topic), message.clone()).await.unwrap();
    assert_eq!(soon(consumer.receive()).await.unwrap().body, message.body);
}

pub(crate) async fn a_large_message_arrives_unchanged(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let echo = Endpoint::new(None, Version::new(6, 5)).method("echo", |_, args| async { Ok(Value::Object(args)) });
    let _server = bus.serve("h1", vec![echo]).await;
    let line = "\"quoted\" \\ back\nnewline \u{1} \u{2028} naïve 日本 🦀 ";
    let args = object(json!({"text": line.repeat(20_000), "nested": {"json": json!({"a": line}).to_string()}}));
    let answer = bus.client().prepare().call(&context(), "echo", args.clone()).await.unwrap();
    assert!(answer == Value::Object(args), "the message was changed");
}

pub(crate) async fn a_closed_transport_ends_calls_and_servers(transport: Arc<dyn Transport>) {
    let (bus, gate) = (Bus::new(transport), Gate::new());
    let server = bus.serve("h1", vec![gate.endpoint()]).await;
    let call = bus.client().prepare();
    let closing = async {
        gate.started.reach(1).await;
        bus.transport.close().await;
    };
    let context = context();
    let (answer, ()) = tokio::join!(call.call(&context, "hold", entry(1)), closing);
    assert!(matches!(answer, Err(MessagingError::Closed)), "{answer:?}");
    assert!(matches!(call.cast(&context, "hold", entry(2)).await, Err(MessagingError::Closed)));
    assert!(matches!(call.call(&context, "hold", entry(3)).await, Err(MessagingError::Closed)));
    gate.let_pass(1);
    soon(server.stop()).await;
    assert!(server.wait(SOON).await);
}
