//! Brokers that are not there, not yet, not any more, silent, or full.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kilonova_messaging::{MessagingError, RabbitOptions};
use kilonova_testing::RabbitMq;
use serde_json::{Value, json};

use crate::broker::{durable, quick};
use crate::suite::{Gate, Log, context, entry, noting, soon};
use crate::{Admin, Logged, bus, call_until_answered, eventually};

const TRY: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_service_waits_for_its_broker_its_virtual_host_and_its_password_and_says_so() {
    let mut broker = RabbitMq::start().unwrap();
    let url = format!("rabbit://nova:right@127.0.0.1:{}/cloud", broker.port());
    broker.rabbitmqctl(&["add_user", "nova", "wrong"]).unwrap();
    broker.stop();
    let (logged, _guard) = Logged::collect();
    let (transport, bus) = bus(&url, quick());
    let log = Log::new();
    let starting = bus.serve("h1", vec![noting("h1", &log)]);
    let obstacles = async {
        eventually("a refused connection is logged", || logged.has("Connection refused")).await;
        assert!(logged.has("cannot connect to the broker"));
        // A caller is told in its own time.
        let answer = bus.client().prepare().timeout(TRY).call(&context(), "note", entry(0)).await;
        assert!(matches!(answer, Err(MessagingError::Timeout { .. })), "{answer:?}");

        broker.start_again().unwrap();
        eventually("a wrong password is logged", || logged.has("ACCESS_REFUSED")).await;
        broker.rabbitmqctl(&["change_password", "nova", "right"]).unwrap();
        eventually("a missing virtual host is logged", || logged.has("vhost cloud not found")).await;
        broker.rabbitmqctl(&["add_vhost", "cloud"]).unwrap();
        broker.rabbitmqctl(&["set_permissions", "-p", "cloud", "nova", ".*", ".*", ".*"]).unwrap();
    };
    let (_server, ()) = tokio::join!(starting, obstacles);
    assert_eq!(call_until_answered(&bus.client().prepare(), "at last").await, json!(["h1", "at last"]));
    assert!(transport.metrics().failed_connects.get() >= 3);
    assert!(!logged.has("right"), "the password is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_costs_no_call_that_runs_and_no_cast_that_was_taken() {
    let mut broker = RabbitMq::start().unwrap();
    let (transport, bus) = bus(&broker.url(), durable());
    let (log, gate) = (Log::new(), Gate::new());
    let _server = bus.serve("h1", vec![noting("h1", &log), gate.endpoint()]).await;
    bus.serve("h2", vec![noting("h2", &log)]).await.stop().await;
    let (client, context) = (bus.client(), context());
    for number in 0..20 {
        client.prepare().server("h2").cast(&context, "note", entry(number)).await.unwrap();
    }
    let call = client.prepare().server("h1").timeout(Duration::from_secs(60));
    let outage = async {
        gate.started.reach(1).await;
        broker.kill();
        eventually("both connections are lost", || transport.metrics().failed_connects.get() >= 2).await;
        let during = client.prepare().server("h1");
        let cast = during.cast(&context, "note", entry("during"));
        let (cast, started) = tokio::join!(cast, async { broker.start_again() });
        started.unwrap();
        cast.unwrap();
        // The reply's queue was lost with the broker.
        gate.let_pass(1);
    };
    let (answer, ()) = tokio::join!(call.call(&context, "hold", entry("held")), outage);
    assert_eq!(answer.unwrap(), "held");
    let _again = bus.serve("h2", vec![noting("h2", &log)]).await;
    let mut entries = log.reach(21).await;
    entries.sort_by_key(|noted| noted[1].as_u64().map_or(0, |number| number + 1));
    let expected = std::iter::once(json!(["h1", "during"])).chain((0..20).map(|number| json!(["h2", number])));
    assert_eq!(entries, expected.collect::<Vec<_>>());
    client.prepare().fanout().cast(&context, "note", entry("all")).await.unwrap();
    let mut entries = log.reach(23).await.split_off(21);
    entries.sort_by_key(Value::to_string);
    assert_eq!(entries, [json!(["h1", "all"]), json!(["h2", "all"])]);
    assert_eq!(transport.metrics().reconnects.get(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_lose_and_repeat_no_cast() {
    let broker = RabbitMq::start().unwrap();
    let (transport, bus) = bus(&broker.url(), quick());
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let client = bus.client();
    let (is_over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let caster = || {
        let (client, is_over, sent) = (client.clone(), Arc::clone(&is_over), Arc::clone(&sent));
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let number = sent.fetch_add(1, Ordering::SeqCst);
                client.prepare().cast(&context(), "note", entry(number)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let casters: Vec<_> = (0..16).map(|_| caster()).collect();
    for round in 1..=2 {
        broker.rabbitmqctl(&["close_all_connections", "maintenance"]).unwrap();
        eventually("both are connected again", || transport.metrics().reconnects.get() >= 2 * round).await;
    }
    is_over.store(true, Ordering::SeqCst);
    soon(join_all(casters)).await.into_iter().for_each(|ended| ended.unwrap());
    let sent = sent.load(Ordering::SeqCst);
    let noted = log.reach(sent).await;
    let numbers: HashSet<u64> = noted.iter().map(|noted| noted[1].as_u64().unwrap()).collect();
    assert_eq!((noted.len(), numbers.len()), (sent, sent), "some came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_broker_is_given_up_for_the_next_host() {
    let brokers = [RabbitMq::start().unwrap(), RabbitMq::start().unwrap()];
    let url = format!("rabbit://127.0.0.1:{},127.0.0.1:{}/", brokers[0].port(), brokers[1].port());
    let (transport, bus) = bus(&url, RabbitOptions { heartbeat_timeout_threshold: 1, ..quick() });
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let call = bus.client().prepare().timeout(TRY);
    call_until_answered(&call, "before").await;
    let is_first = Admin::connect(&brokers[0].url()).await.waiting(&bus.topic).await.is_some();
    let used = if is_first { &brokers[0] } else { &brokers[1] };
    used.pause();
    call_until_answered(&call, "after").await;
    assert_eq!(transport.metrics().reconnects.get(), 2);
    used.resume();
}

#[tokio::test]
async fn a_full_broker_makes_senders_wait_and_loses_nothing() {
    const CASTS: usize = 2_000;
    let broker = RabbitMq::start().unwrap();
    let limit_disk = |limit| broker.rabbitmqctl(&["set_disk_free_limit", limit]).unwrap();
    let (logged, _guard) = Logged::collect();
    let (transport, bus) = bus(&broker.url(), quick());
    let log = Log::new();
    let server = bus.serve("h1", vec![noting("h1", &log)]).await;
    call_until_answered(&bus.client().prepare(), "before").await;

    limit_disk("100000GB");
    let client = bus.client();
    let done = Arc::new(AtomicUsize::new(0));
    let casts: Vec<_> = (0..CASTS)
        .map(|number| {
            let (client, done) = (client.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                client.prepare().server("h1").cast(&context(), "note", entry(number)).await.unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    eventually("the broker says that it is full", || transport.metrics().blocked.get() == 1).await;
    assert!(logged.has("the broker takes no messages until it has room") && logged.has("disk"));
    // A caller is told in its own time, and is no longer in the way afterwards.
    let answer = client.prepare().timeout(TRY).call(&context(), "note", entry("impatient")).await;
    assert!(matches!(answer, Err(MessagingError::Timeout { .. })), "{answer:?}");
    assert_eq!(done.load(Ordering::SeqCst), 0, "a cast was taken by a full broker");
    assert!(transport.metrics().published.get() < 1_100, "all was left with the connection");

    limit_disk("1MB");
    soon(join_all(casts)).await.into_iter().for_each(|cast| cast.unwrap());
    log.reach(CASTS + 1).await;
    server.stop().await;
    let mut numbers: Vec<u64> = log.entries().iter().filter_map(|noted| noted[1].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..CASTS as u64).collect::<Vec<_>>());
    eventually("the end is logged", || logged.has("the broker takes messages again")).await;
    assert_eq!(transport.metrics().reconnects.get(), 0);
}
