//! Calls: answers, exceptions, timeouts, and what the demultiplexer keeps.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kilonova_messaging::message::Request;
use kilonova_messaging::{
    Args, ClientOptions, Consumer, Context, Endpoint, MessagingError, RemoteException, RpcClient, Transport, Version,
    envelope,
};
use serde_json::{Value, json};

use super::{Bus, Gate, Log, SOON, context, entry, next, noting, object, reply_address, soon};

/// Answers calls by hand.
struct Answerer<'a> {
    bus: &'a Bus,
    consumer: Box<dyn Consumer>,
}

impl<'a> Answerer<'a> {
    async fn new(bus: &'a Bus) -> Self {
        Self { bus, consumer: bus.consume(bus.topic_address()).await }
    }

    async fn request(&mut self) -> Request {
        next(&mut *self.consumer).await
    }

    async fn reply(&self, to: &Request, mut reply: Value) {
        reply["_msg_id"] = json!(to.msg_id);
        let address = reply_address(to.reply_q.as_deref().unwrap());
        self.bus.send_raw(&address, envelope::seal(&reply).unwrap()).await;
    }
}

fn timeout_of(answer: Result<Value, MessagingError>) -> Duration {
    match answer {
        Err(MessagingError::Timeout { timeout, .. }) => timeout,
        other => panic!("{other:?} is no timeout"),
    }
}

pub(crate) async fn a_call_returns_what_the_method_returned(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let endpoint = Endpoint::new(None, Version::new(6, 5))
        .method("show", |context, args| async move { Ok(json!({"context": context, "args": args})) })
        .method("nothing", |_, _| async { Ok(Value::Null) });
    let _server = bus.serve("h1", vec![endpoint]).await;
    let (client, args) = (bus.client(), object(json!({"a": [1, null, {"b": 2.5}]})));
    let answer = client.prepare().call(&context(), "show", args.clone()).await.unwrap();
    assert_eq!(answer, json!({"context": context(), "args": args}));
    assert_eq!(client.prepare().call(&Context::new(), "nothing", Args::new()).await.unwrap(), Value::Null);
    assert_eq!(bus.transport.replies().in_flight(), 0);
}

pub(crate) async fn an_exception_arrives_as_it_was_raised(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let mut raised = RemoteException::new("nova.exception", "InstanceNotFound", "Instance abc could not be found.")
        .with_kwargs(object(json!({"instance_id": "abc", "code": 404})));
    raised.traceback = vec!["Traceback (most recent call last):\n".to_owned()];
    let raising = raised.clone();
    let endpoint = Endpoint::new(None, Version::new(6, 5)).method("fail", move |_, _| {
        let raising = raising.clone();
        async move { Err(raising) }
    });
    let _server = bus.serve("h1", vec![endpoint]).await;
    let answer = bus.client().prepare().call(&context(), "fail", Args::new()).await;
    let Err(MessagingError::Remote(exception)) = answer else {
        panic!("{answer:?} is no exception");
    };
    assert_eq!(exception, raised);
}

pub(crate) async fn a_call_without_answer_times_out(transport: Arc<dyn Transport>) {
    let (bus, gate) = (Bus::new(transport), Gate::new());
    let _server = bus.serve("h1", vec![gate.endpoint()]).await;
    let timeout = Duration::from_millis(100);
    let answer = bus.client().prepare().timeout(timeout).call(&context(), "hold", entry(1)).await;
    assert_eq!(timeout_of(answer), timeout);
    assert_eq!(bus.transport.replies().in_flight(), 0);
    // The late reply finds nobody, and the next call works.
    gate.let_pass(2);
    let answer = bus.client().prepare().call(&context(), "hold", entry(2)).await;
    assert_eq!(answer.unwrap(), 2);
}

pub(crate) async fn a_silent_server_trips_the_call_monitor(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let _silent = Answerer::new(&bus).await;
    let monitor = Duration::from_millis(100);
    let call = bus.client().prepare().timeout(SOON).call_monitor_timeout(monitor);
    assert_eq!(timeout_of(call.call(&context(), "work", Args::new()).await), monitor);
}

pub(crate) async fn heartbeats_keep_a_long_call_alive(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let endpoint = Endpoint::new(None, Version::new(6, 5)).method("work", |_, _| async {
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        Ok(json!("done"))
    });
    let _server = bus.serve("h1", vec![endpoint]).await;
    let call = bus.client().prepare().timeout(SOON).call_monitor_timeout(Duration::from_secs(2));
    assert_eq!(call.call(&context(), "work", Args::new()).await.unwrap(), "done");
}

pub(crate) async fn heartbeats_do_not_outlast_the_total_timeout(transport: Arc<dyn Transport>) {
    let (bus, gate) = (Bus::new(transport), Gate::new());
    let _server = bus.serve("h1", vec![gate.endpoint()]).await;
    let total = Duration::from_millis(2_500);
    let call = bus.client().prepare().timeout(total).call_monitor_timeout(Duration::from_secs(2));
    assert_eq!(timeout_of(call.call(&context(), "hold", entry(1)).await), total);
}

pub(crate) async fn a_cancelled_call_leaves_nothing_behind(transport: Arc<dyn Transport>) {
    let (bus, gate) = (Bus::new(transport), Gate::new());
    let _server = bus.serve("h1", vec![gate.endpoint()]).await;
    let call = bus.client().prepare();
    let context = context();
    tokio::select! {
        answer = call.call(&context, "hold", entry(1)) => panic!("{answer:?} came through a closed gate"),
        _ = gate.started.reach(1) => {}
    }
    assert_eq!(bus.transport.replies().in_flight(), 0);
    gate.let_pass(2);
    assert_eq!(call.call(&context, "hold", entry(2)).await.unwrap(), 2);
}

pub(crate) async fn all_clients_of_a_transport_share_one_reply_queue(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let mut answerer = Answerer::new(&bus).await;
    let clients: [RpcClient; 3] = std::array::from_fn(|_| bus.client());
    let context = context();
    let calling = join_all(clients.map(|client| {
        let context = &context;
        async move { client.prepare().call(context, "work", Args::new()).await.unwrap() }
    }));
    let answering = async {
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(answerer.request().await);
        }
        // In the wrong order: each call must find its own.
        for request in requests.iter().rev() {
            answerer.reply(request, json!({"result": request.msg_id, "ending": true})).await;
        }
        requests
    };
    let (mut answers, requests) = tokio::join!(calling, answering);
    assert!(requests.iter().all(|request| request.reply_q == requests[0].reply_q), "there is more than one queue");
    let mut expected: Vec<Value> = requests.iter().map(|request| json!(request.msg_id)).collect();
    answers.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(answers, expected);
}

pub(crate) async fn replies_are_read_until_the_ending_one(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let mut answerer = Answerer::new(&bus).await;
    let failure = RemoteException::new("builtins", "ValueError", "no").to_failure().unwrap();
    let cases = [
        (vec![json!({"result": 1, "ending": false}), json!({"result": null, "ending": true})], Some(json!(1))),
        (vec![json!({"result": 1, "ending": false}), json!({"result": 2, "ending": true})], Some(json!(2))),
        (vec![json!({"result": null}), json!({"failure": null, "ending": true})], Some(Value::Null)),
        (vec![json!({"failure": failure, "ending": false}), json!({"ending": true})], None),
        (vec![json!({"result": 5, "failure": failure, "ending": true})], None),
    ];
    for (replies, expected) in cases {
        let call = bus.client().prepare();
        let context = context();
        let answering = async {
            let request = answerer.request().await;
            for reply in &replies {
                answerer.reply(&request, reply.clone()).await;
            }
        };
        let (answer, ()) = tokio::join!(call.call(&context, "work", Args::new()), answering);
        match expected {
            Some(result) => assert_eq!(answer.unwrap(), result, "after {replies:?}"),
            None => assert!(matches!(answer, Err(MessagingError::Remote(_))), "{answer:?} after {replies:?}"),
        }
    }
}

pub(crate) async fn garbage_in_the_reply_queue_harms_no_call(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let mut answerer = Answerer::new(&bus).await;
    let call = bus.client().prepare();
    let context = context();
    let answering = async {
        let request = answerer.request().await;
        let queue = reply_address(request.reply_q.as_deref().unwrap());
        for garbage in ["", "[", "{}", r#"{"oslo.version":"9.0","oslo.message":"{}"}"#, r#"{"_msg_id":7}"#] {
            bus.send_raw(&queue, garbage).await;
        }
        bus.send_raw(&queue, r#"{"_msg_id":"nobody's","result":3,"ending":true}"#).await;
        answerer.reply(&request, json!({"result": 1, "ending": true})).await;
        let request = answerer.request().await;
        answerer.reply(&request, json!({"failure": "not JSON", "ending": true})).await;
    };
    let calling = async {
        assert_eq!(call.call(&context, "work", Args::new()).await.unwrap(), 1);
        call.call(&context, "work", Args::new()).await
    };
    let (answer, ()) = tokio::join!(calling, answering);
    assert!(matches!(answer, Err(MessagingError::Decode { .. })), "{answer:?}");
}

pub(crate) async fn the_version_cap_stops_newer_messages_at_the_client(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let cap = Version::new(6, 2);
    let options = ClientOptions { timeout: SOON, version_cap: Some(cap), ..ClientOptions::default() };
    let client = bus.client_with(options);
    for (version, allowed) in [((6, 2), true), ((6, 0), true), ((6, 3), false), ((5, 0), false)] {
        let version = Version::new(version.0, version.1);
        assert_eq!(client.can_send_version(version), allowed);
        assert_eq!(client.prepare().can_send_version(version), allowed);
        let call = client.prepare().version(version);
        let sent = [
            call.cast(&context(), "note", entry("cast")).await.err(),
            call.call(&context(), "note", entry("call")).await.err(),
        ];
        for error in sent {
            match error {
                None => assert!(allowed, "{version} was sent"),
                Some(MessagingError::VersionCap { version: shown, cap: limit, .. }) => {
                    assert!(!allowed, "{version} was refused");
                    assert_eq!((shown, limit), (Some(version), cap));
                }
                Some(other) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(log.reach(4).await.len(), 4);
    assert!(bus.client().can_send_version(Version::new(99, 0)), "no cap is no limit");
}

pub(crate) async fn a_call_to_all_servers_is_refused(transport: Arc<dyn Transport>) {
    let bus = Bus::new(transport);
    let answer = bus.client().prepare().fanout().call(&context(), "note", Args::new()).await;
    assert!(matches!(answer, Err(MessagingError::InvalidTarget { .. })), "{answer:?}");
}

pub(crate) async fn concurrent_calls_get_their_own_answers(transport: Arc<dyn Transport>) {
    let (bus, log) = (Bus::new(transport), Log::new());
    let _one = bus.serve("h1", vec![noting("h1", &log)]).await;
    let _two = bus.serve("h2", vec![noting("h2", &log)]).await;
    let (client, context) = (bus.client(), context());
    let calls = (0..300).map(|number| {
        let (client, context) = (&client, &context);
        async move { client.prepare().call(context, "note", entry(number)).await.unwrap()[1].clone() }
    });
    let answers = soon(join_all(calls)).await;
    assert_eq!(answers, (0..300).map(Value::from).collect::<Vec<_>>());
    assert_eq!(bus.transport.replies().in_flight(), 0);
}
