//! What this crate writes is what oslo.messaging writes: the messages of `golden/`.

#![allow(missing_docs, clippy::unwrap_used)]

mod golden;
#[allow(dead_code, unused_macros, unused_imports, reason = "the suite itself runs elsewhere")]
mod suite;

use std::time::Duration;

use kilonova_messaging::message::{Reply, Request};
use kilonova_messaging::{
    Address, Endpoint, MemoryTransport, NotificationDriver, NotificationOptions, Notifier, Priority, RemoteException,
    Version, envelope,
};
use serde_json::{Value, json};

use golden::{golden, payload};
use suite::{Bus, context, object, reply_address, soon};

fn args(name: &str) -> kilonova_messaging::Args {
    object(golden(name)["args"].clone())
}

#[tokio::test(start_paused = true)]
async fn requests_are_golden() {
    let bus = Bus::new(MemoryTransport::new());
    let mut consumer = bus.consume(bus.topic_address()).await;
    let cast = bus.client().prepare().version(Version::new(1, 0));
    cast.cast(&context(), "note", args("cast")).await.unwrap();
    assert_eq!(payload(&soon(consumer.receive()).await.unwrap().body), golden("cast"));
    for (name, namespace, method, monitor) in
        [("call", Some("baseapi"), "echo", None), ("monitored_call", None, "slow", Some(Duration::from_secs(2)))]
    {
        let call = bus.client().prepare().version(Version::new(1, 0)).namespace(namespace);
        let call = match monitor {
            Some(monitor) => call.call_monitor_timeout(monitor),
            None => call,
        };
        let context = context();
        tokio::select! {
            answer = call.call(&context, method, args(name)) => panic!("{answer:?} from nobody"),
            delivery = consumer.receive() => assert_eq!(payload(&delivery.unwrap().body), golden(name)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replies_are_golden() {
    let bus = Bus::new(MemoryTransport::new());
    let endpoint = Endpoint::new(None, Version::new(1, 5))
        .method("echo", |context, args| async move {
            Ok(json!({"value": args["value"], "request_id": context["request_id"]}))
        })
        .method("fail", |_, _| async {
            let kwargs = object(json!({"code": 404, "instance_id": "abc"}));
            Err(RemoteException::new("peer", "PeerError", "Instance abc could not be found.").with_kwargs(kwargs))
        })
        .method("slow", |_, _| async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            Ok(Value::Null)
        });
    let _server = bus.serve("h1", vec![endpoint]).await;
    let mut replies = bus.consume(reply_address("reply_golden")).await;
    let mut request = golden("call");
    request["_reply_q"] = json!("reply_golden");
    request.as_object_mut().unwrap().remove("namespace");
    for (number, (method, timeout, expected)) in [
        ("echo", None, "reply"),
        ("fail", None, "failure"),
        ("nothing", None, "no_such_method"),
        ("slow", Some(2), "heartbeat"),
    ]
    .into_iter()
    .enumerate()
    {
        request["method"] = json!(method);
        request["_timeout"] = json!(timeout);
        request["_unique_id"] = json!(number.to_string());
        bus.send_raw(&bus.topic_address(), envelope::seal(&request).unwrap()).await;
        let delivery = soon(replies.receive()).await.unwrap();
        assert_eq!(payload(&delivery.body), golden(expected), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn notifications_are_golden() {
    let bus = Bus::new(MemoryTransport::new());
    let options = NotificationOptions {
        drivers: vec![NotificationDriver::MessagingV2],
        topics: vec![bus.topic.clone()],
        ..NotificationOptions::default()
    };
    let notifier = Notifier::new(bus.transport.clone(), "nova-compute:h1", options);
    notifier.notify(&context(), Priority::Info, "instance.create.end", &json!({"a": [1]})).await;
    let priority = "info".to_owned();
    let mut listener = bus.consume(Address::Notification { exchange: None, topic: bus.topic.clone(), priority }).await;
    assert_eq!(payload(&soon(listener.receive()).await.unwrap().body), golden("notification"));
}

#[test]
fn golden_messages_are_read() {
    let request: Request = serde_json::from_value(golden("call")).unwrap();
    assert_eq!((request.method.as_str(), request.namespace.as_deref()), ("echo", Some("baseapi")));
    assert_eq!((request.version.as_deref(), request.timeout_s), (Some("1.0"), None));
    assert_eq!(request.context, context());
    let request: Request = serde_json::from_value(golden("monitored_call")).unwrap();
    assert_eq!(request.timeout_s, Some(2.0));

    let heartbeat: Reply = serde_json::from_value(golden("heartbeat")).unwrap();
    assert_eq!((heartbeat.result, heartbeat.failure, heartbeat.ending), (Value::Null, None, false));
    let mut failure = golden("failure")["failure"].take();
    failure["tb"] = json!([]);
    let exception = RemoteException::from_failure(&failure.to_string()).unwrap();
    assert_eq!((exception.module.as_str(), exception.class.as_str()), ("peer", "PeerError"));
    assert_eq!(exception.kwargs["code"], 404);
}
