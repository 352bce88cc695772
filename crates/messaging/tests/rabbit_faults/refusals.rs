//! What the broker refuses: declarations that do not fit, and messages that are too large.

use std::time::Duration;

use futures::future::join_all;
use kilonova_messaging::{Endpoint, MessagingError, RabbitOptions, Target, Version};
use kilonova_testing::RabbitMq;
use lapin::options::QueueDeclareOptions;
use serde_json::{Value, json};

use crate::broker::{durable, quick, shared_url};
use crate::suite::{Log, context, entry, noting, soon};
use crate::{Admin, Logged, bus, said};

const CONFLICT: &str = "PRECONDITION_FAILED";

#[tokio::test]
async fn a_queue_that_exists_with_other_properties_is_an_error_that_says_so() {
    let url = shared_url();
    let (logged, _guard) = Logged::collect();
    let (transport, bus) = bus(&url, quick());
    let admin = Admin::connect(&url).await;
    admin.declare_queue(&bus.topic, QueueDeclareOptions::default(), &[("x-max-length", 5)]).await;
    let error = bus.transport.subscribe(&[bus.topic_address()]).await.err().unwrap();
    assert!(said(&error).contains(CONFLICT), "{}", said(&error));
    assert!(logged.has("it exists with other properties: set amqp_durable_queues"));
    assert_eq!(transport.metrics().declare_conflicts.get(), 1);

    // Once it is gone, nothing stands in the way.
    admin.delete_queue(&bus.topic).await;
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    bus.client().prepare().call(&context(), "note", entry(1)).await.unwrap();
    assert_eq!(transport.metrics().declare_conflicts.get(), 1);
}

#[tokio::test]
async fn an_exchange_of_another_kind_fails_its_senders_and_nobody_else() {
    let url = shared_url();
    let (_, bus) = bus(&url, quick());
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let exchange = format!("exchange-{}", bus.topic);
    Admin::connect(&url).await.declare_exchange(&exchange, lapin::ExchangeKind::Direct).await;
    let client = bus.client();
    let there = kilonova_messaging::RpcClient::new(
        bus.transport.clone(),
        Target::new(&bus.topic).exchange(&exchange),
        kilonova_messaging::ClientOptions::default(),
    );
    let (context, here) = (context(), client.prepare());
    let there = there.prepare();
    let cast = soon(there.cast(&context, "note", entry("there")));
    let call = soon(there.call(&context, "note", entry("there")));
    let fine = soon(here.call(&context, "note", entry("here")));
    let (cast, call, fine) = tokio::join!(cast, call, fine);
    for error in [cast.unwrap_err(), call.unwrap_err()] {
        assert!(said(&error).contains(CONFLICT), "{}", said(&error));
    }
    assert_eq!(fine.unwrap(), json!(["h1", "here"]));
}

#[tokio::test]
async fn what_exists_without_durability_is_used_as_it_is() {
    let url = shared_url();
    let control_exchange = format!("exchange-{}", uuid::Uuid::new_v4().simple());
    let (transport, bus) = bus(&url, RabbitOptions { control_exchange: control_exchange.clone(), ..durable() });
    let admin = Admin::connect(&url).await;
    admin.declare_exchange(&control_exchange, lapin::ExchangeKind::Topic).await;
    admin.declare_queue(&bus.topic, QueueDeclareOptions::default(), &[]).await;
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    for call in [bus.client().prepare(), bus.client().prepare().server("h1")] {
        assert_eq!(call.call(&context(), "note", entry(1)).await.unwrap(), json!(["h1", 1]));
    }
    assert!(transport.metrics().declare_conflicts.get() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_fails_its_sender_and_no_other_message() {
    const LIMIT: usize = 100_000;
    let broker = RabbitMq::start_with(&format!("max_message_size = {LIMIT}\n"), &[]).unwrap();
    let (_, bus) = bus(&broker.url(), quick());
    let log = Log::new();
    let large = || Value::from("x".repeat(LIMIT));
    let endpoint = noting("h1", &log).method("grow", move |_, _| async move { Ok(large()) });
    let _server = bus.serve("h1", vec![endpoint, Endpoint::new(Some("other"), Version::new(1, 0))]).await;
    let (client, context) = (bus.client(), context());

    let small = (0..50).map(|number| {
        let (client, context) = (client.clone(), &context);
        async move { client.prepare().server("h1").cast(context, "note", entry(number)).await }
    });
    let call = client.prepare();
    let (small, cast, called) = tokio::join!(
        soon(join_all(small)),
        soon(call.cast(&context, "note", entry(large()))),
        soon(call.call(&context, "note", entry(large()))),
    );
    for error in [cast.unwrap_err(), called.unwrap_err()] {
        assert!(matches!(error, MessagingError::Transport(_)) && said(&error).contains("larger than"), "{error:?}");
    }
    small.into_iter().for_each(|sent| sent.unwrap());
    let mut entries = log.reach(50).await;
    entries.sort_by_key(|noted| noted[1].as_u64());
    assert_eq!(entries, (0..50).map(|number| json!(["h1", number])).collect::<Vec<_>>());

    // A reply that is too large is an exception, not a silence until the caller's timeout.
    let answer = tokio::time::timeout(Duration::from_secs(10), call.call(&context, "grow", entry(0))).await.unwrap();
    let Err(MessagingError::Remote(exception)) = answer else { panic!("{answer:?} is no exception") };
    assert!(exception.message.contains("larger than"), "{exception}");
}
