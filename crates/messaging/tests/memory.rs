//! The in-process transport: the suite that every transport passes, and what is only its own.

#![allow(missing_docs, clippy::unwrap_used)]

mod suite;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use kilonova_messaging::{
    Address, ClientOptions, Consumer, Faults, MemoryLimits, MemoryTransport, MessagingError, Outgoing, Transport,
};
use serde_json::{Value, json};

use suite::{Bus, Log, SOON, context, entry, noting, soon, transport_suite};

/// On one thread, with a clock that jumps when everybody waits.
mod in_virtual_time {
    use super::*;
    transport_suite!(tokio::test(start_paused = true), async { MemoryTransport::new() });
}

/// On several threads, in real time.
mod on_threads {
    use super::*;
    transport_suite!(tokio::test(flavor = "multi_thread", worker_threads = 4), async { MemoryTransport::new() });
}

/// Messages that arrive late and twice are no excuse.
mod delayed_and_doubled {
    use super::*;

    async fn transport() -> Arc<MemoryTransport> {
        let max_delay = Duration::from_millis(30);
        MemoryTransport::with_faults(Faults { seed: 11, duplicate: 0.5, max_delay, ..Faults::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_calls_get_their_own_answers() {
        suite::calls::concurrent_calls_get_their_own_answers(transport().await).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_exception_arrives_as_it_was_raised() {
        suite::calls::an_exception_arrives_as_it_was_raised(transport().await).await;
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_keep_a_long_call_alive() {
        suite::calls::heartbeats_keep_a_long_call_alive(transport().await).await;
    }
}

fn topic(name: &str) -> Address {
    Address::Topic { exchange: None, topic: name.to_owned() }
}

fn message(body: &str) -> Outgoing {
    Outgoing::new(body.to_owned())
}

async fn body(consumer: &mut dyn Consumer) -> String {
    let delivery = soon(consumer.receive()).await.unwrap();
    consumer.ack(delivery.tag).await.unwrap();
    String::from_utf8(delivery.body.into()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn waiting_consumers_of_a_topic_are_served_in_turn() {
    let transport = MemoryTransport::new();
    let mut consumers = Vec::new();
    for _ in 0..3 {
        consumers.push(transport.subscribe(&[topic("t")]).await.unwrap());
    }
    for round in 0..3 {
        // All of them wait, in an order that is not the order of their subscription.
        let mut receiving: Vec<_> = consumers.iter_mut().map(|consumer| consumer.receive()).collect();
        for index in [2, 0, 1] {
            assert!(receiving[index].as_mut().now_or_never().is_none());
        }
        for number in 0..3 {
            transport.send(&topic("t"), message(&format!("{round}.{number}"))).await.unwrap();
        }
        let received: Vec<_> = join_all(receiving).await.into_iter().map(|delivery| delivery.unwrap().body).collect();
        assert_eq!(received, (0..3).map(|number| format!("{round}.{number}")).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_returns_what_it_did_not_acknowledge_in_order() {
    let transport = MemoryTransport::new();
    let mut first = transport.subscribe(&[topic("t")]).await.unwrap();
    for number in 0..5 {
        transport.send(&topic("t"), message(&number.to_string())).await.unwrap();
    }
    let tags: Vec<u64> = [first.receive().await, first.receive().await, first.receive().await, first.receive().await]
        .map(|delivery| delivery.unwrap().tag)
        .to_vec();
    first.ack(tags[0]).await.unwrap();
    first.reject(tags[2]).await.unwrap();
    drop(first);
    let mut second = transport.subscribe(&[topic("t")]).await.unwrap();
    for expected in ["1", "3", "4"] {
        assert_eq!(body(&mut *second).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_returned_goes_to_a_consumer_that_already_waits() {
    let transport = MemoryTransport::new();
    let mut first = transport.subscribe(&[topic("t")]).await.unwrap();
    let mut second = transport.subscribe(&[topic("t")]).await.unwrap();
    transport.send(&topic("t"), message("once more")).await.unwrap();
    first.receive().await.unwrap();
    let waiting = body(&mut *second);
    let dropping = async { drop(first) };
    assert_eq!(tokio::join!(waiting, dropping).0, "once more");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_receive_loses_nothing() {
    let transport = MemoryTransport::new();
    let mut first = transport.subscribe(&[topic("t")]).await.unwrap();
    let mut second = transport.subscribe(&[topic("t")]).await.unwrap();
    // Cancelled before the message: the message is the other one's.
    assert!(first.receive().now_or_never().is_none());
    transport.send(&topic("t"), message("a")).await.unwrap();
    assert_eq!(body(&mut *second).await, "a");
    // Cancelled after the message was handed over: it is still there next time.
    let mut receiving = first.receive();
    assert!(receiving.as_mut().now_or_never().is_none());
    transport.send(&topic("t"), message("b")).await.unwrap();
    drop(receiving);
    assert_eq!(body(&mut *first).await, "b");
    // And goes back if there is no next time.
    let mut receiving = first.receive();
    assert!(receiving.as_mut().now_or_never().is_none());
    transport.send(&topic("t"), message("c")).await.unwrap();
    drop(receiving);
    drop(first);
    assert_eq!(body(&mut *second).await, "c");
}

#[tokio::test(start_paused = true)]
async fn exchanges_keep_equal_topics_apart() {
    let transport = MemoryTransport::new();
    let address = |exchange: &str| Address::Topic { exchange: Some(exchange.to_owned()), topic: "t".to_owned() };
    let mut nova = transport.subscribe(&[address("nova")]).await.unwrap();
    let mut cinder = transport.subscribe(&[address("cinder")]).await.unwrap();
    transport.send(&address("cinder"), message("volume")).await.unwrap();
    transport.send(&address("nova"), message("server")).await.unwrap();
    assert_eq!(body(&mut *nova).await, "server");
    assert_eq!(body(&mut *cinder).await, "volume");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_messages_until_some_are_taken_or_expire() {
    let limits = MemoryLimits { queue_messages: 3, queue_bytes: 100 };
    let transport = MemoryTransport::with_limits(limits);
    let mut consumer = transport.subscribe(&[topic("t")]).await.unwrap();
    let expiring = Outgoing { expiration: Some(Duration::from_secs(1)), ..message("expiring") };
    transport.send(&topic("t"), message("first")).await.unwrap();
    transport.send(&topic("t"), expiring.clone()).await.unwrap();
    transport.send(&topic("t"), expiring).await.unwrap();
    let refused = transport.send(&topic("t"), message("over")).await;
    assert!(matches!(refused, Err(MessagingError::QueueFull { .. })), "{refused:?}");

    tokio::time::advance(Duration::from_secs(1)).await;
    transport.send(&topic("t"), message("second")).await.unwrap();
    let refused = transport.send(&topic("t"), message(&"x".repeat(90))).await;
    assert!(matches!(refused, Err(MessagingError::QueueFull { .. })), "{refused:?}");
    assert_eq!(body(&mut *consumer).await, "first");
    assert_eq!(body(&mut *consumer).await, "second");
    transport.send(&topic("t"), message(&"x".repeat(100))).await.unwrap();
    assert_eq!(body(&mut *consumer).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn the_queues_of_a_consumer_alone_go_with_it() {
    let transport = MemoryTransport::new();
    let addresses = [Address::Fanout { topic: "t".to_owned() }, Address::Reply { queue: "reply_1".to_owned() }];
    let consumer = transport.subscribe(&addresses).await.unwrap();
    for address in &addresses {
        transport.send(address, Outgoing { mandatory: true, ..message("m") }).await.unwrap();
    }
    consumer.cancel().await;
    for address in &addresses {
        let sent = transport.send(address, Outgoing { mandatory: true, ..message("m") }).await;
        assert!(matches!(sent, Err(MessagingError::Undeliverable { .. })), "{address}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_queue_does_not_starve_the_others_of_a_consumer() {
    let transport = MemoryTransport::new();
    let mut consumer = transport.subscribe(&[topic("busy"), topic("quiet")]).await.unwrap();
    for _ in 0..10 {
        transport.send(&topic("busy"), message("busy")).await.unwrap();
    }
    transport.send(&topic("quiet"), message("quiet")).await.unwrap();
    let first = [body(&mut *consumer).await, body(&mut *consumer).await];
    assert!(first.contains(&"quiet".to_owned()), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_loses_everything_lets_calls_time_out() {
    let (bus, log) = (Bus::new(MemoryTransport::with_faults(Faults { drop: 1.0, ..Faults::default() })), Log::new());
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let answer = bus.client().prepare().call(&context(), "note", entry(1)).await;
    assert!(matches!(answer, Err(MessagingError::Timeout { .. })), "{answer:?}");
    assert_eq!(log.entries(), [] as [Value; 0]);
    assert_eq!(bus.transport.replies().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_doubles_everything_runs_everything_once() {
    let faults = Faults { duplicate: 1.0, ..Faults::default() };
    let (bus, log) = (Bus::new(MemoryTransport::with_faults(faults)), Log::new());
    let server = bus.serve("h1", vec![noting("h1", &log)]).await;
    for number in 0..50 {
        let answer = bus.client().prepare().call(&context(), "note", entry(number)).await;
        assert_eq!(answer.unwrap(), json!(["h1", number]));
    }
    server.stop().await;
    assert!(server.wait(SOON).await);
    assert_eq!(log.entries(), (0..50).map(|number| json!(["h1", number])).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn under_all_faults_a_call_returns_its_own_answer_or_times_out() {
    let max_delay = Duration::from_millis(100);
    let faults = Faults { seed: 42, drop: 0.2, duplicate: 0.0, max_delay };
    let (bus, log) = (Bus::new(MemoryTransport::with_faults(faults)), Log::new());
    let _one = bus.serve("h1", vec![noting("h1", &log)]).await;
    let _two = bus.serve("h2", vec![noting("h2", &log)]).await;
    let client = bus.client_with(ClientOptions { timeout: Duration::from_secs(2), ..ClientOptions::default() });
    let context = context();
    let calls = (0..200).map(|number| {
        let (client, context) = (&client, &context);
        async move { client.prepare().call(context, "note", entry(number)).await.map(|answer| (number, answer)) }
    });
    let mut answered = 0;
    for answer in join_all(calls).await {
        match answer {
            Ok((number, answer)) => {
                assert_eq!(answer[1], number);
                answered += 1;
            }
            Err(error) => assert!(matches!(error, MessagingError::Timeout { .. }), "{error:?}"),
        }
    }
    // Both ways get through with 0.8 x 0.8.
    assert!((90..170).contains(&answered), "{answered} of 200 calls were answered");
    assert_eq!(bus.transport.replies().in_flight(), 0);
    let mut ran: Vec<String> = log.entries().iter().map(|noted| noted[1].to_string()).collect();
    let runs = ran.len();
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), runs, "something ran twice");
    assert!(runs >= answered);
}
