//! Queues, bindings and exchanges that somebody removes from under their users, and floods.

use std::time::Duration;

use kilonova_messaging::{Dispatcher, RabbitOptions, ServerOptions};
use serde_json::json;

use crate::broker::{quick, shared_url};
use crate::suite::{Gate, Log, context, entry, noting};
use crate::{Admin, bus, call_until_answered, eventually};

const TRY: Duration = Duration::from_millis(500);

/// Options under which all queues have names that can be told: the fanout queue of the first server ends in `:1`.
fn named() -> RabbitOptions {
    let hostname = format!("h-{}", uuid::Uuid::new_v4().simple());
    RabbitOptions { use_queue_manager: true, hostname, processname: "faults".to_owned(), ..quick() }
}

fn forget_names(options: &RabbitOptions) {
    let _ = std::fs::remove_file(format!("/dev/shm/{}_{}_qmanager", options.hostname, options.processname));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_deleted_under_its_consumer_is_made_again() {
    let (options, url) = (named(), shared_url());
    let (transport, bus) = bus(&url, options.clone());
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let client = bus.client();
    let by_topic = client.prepare().timeout(TRY);
    let by_server = client.prepare().server("h1").timeout(TRY);
    call_until_answered(&by_topic, "before").await;
    let name = |prefix: &str, number: u32| format!("{prefix}_{}:faults:{number}", options.hostname);
    let reply_queue = name("reply", 2);
    let fanout_queue = name(&format!("{}_fanout", bus.topic), 1);

    let admin = Admin::connect(&url).await;
    for queue in [bus.topic.clone(), format!("{}.h1", bus.topic), fanout_queue, reply_queue] {
        let declared_before = transport.metrics().redeclared_queues.get();
        admin.delete_queue(&queue).await;
        eventually("the queue is declared again", || transport.metrics().redeclared_queues.get() > declared_before)
            .await;
        call_until_answered(&by_topic, "topic").await;
        call_until_answered(&by_server, "server").await;
        let noted = log.entries().len();
        client.prepare().fanout().cast(&context(), "note", entry(queue.as_str())).await.unwrap();
        assert!(log.reach(noted + 1).await.contains(&json!(["h1", queue])), "{queue}");
    }
    assert_eq!(transport.metrics().reconnects.get(), 0);
    forget_names(&options);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_that_was_removed_is_restored() {
    let (options, url) = (named(), shared_url());
    let (_, bus) = bus(&url, options.clone());
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let admin = Admin::connect(&url).await;
    admin.unbind(&bus.topic, "openstack", &bus.topic).await;
    call_until_answered(&bus.client().prepare().timeout(TRY), "topic").await;

    let queue = format!("{}.h1", bus.topic);
    admin.unbind(&queue, "openstack", &queue).await;
    call_until_answered(&bus.client().prepare().server("h1").timeout(TRY), "server").await;

    let fanout = format!("{}_fanout", bus.topic);
    admin.unbind(&format!("{fanout}_{}:faults:1", options.hostname), &fanout, &bus.topic).await;
    let noted = log.entries().len();
    let casting = async {
        loop {
            bus.client().prepare().fanout().cast(&context(), "note", entry("fanout")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = casting => {}
        entries = log.reach(noted + 1) => assert_eq!(entries[noted], json!(["h1", "fanout"])),
    }
    forget_names(&options);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_exchange_is_made_again_with_its_bindings() {
    let url = shared_url();
    let control_exchange = format!("exchange-{}", uuid::Uuid::new_v4().simple());
    let (transport, bus) = bus(&url, RabbitOptions { control_exchange: control_exchange.clone(), ..quick() });
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    let call = bus.client().prepare().timeout(TRY);
    call_until_answered(&call, "before").await;
    Admin::connect(&url).await.delete_exchange(&control_exchange).await;
    // What the broker refuses for want of the exchange is published again: the cast is no error.
    bus.client().prepare().cast(&context(), "note", entry("cast")).await.unwrap();
    call_until_answered(&call, "after").await;
    assert!(transport.metrics().republished.get() <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_takes_no_more_messages_than_its_prefetch() {
    const CASTS: u32 = 20;
    const PREFETCH: u32 = 5;
    let url = shared_url();
    let (_, bus) = bus(&url, RabbitOptions { rabbit_qos_prefetch_count: 5, ..quick() });
    let gate = Gate::new();
    let dispatcher = Dispatcher::new(vec![gate.endpoint()]);
    let _server = bus.serve_with("h1", dispatcher, ServerOptions { max_concurrency: 1 }).await;
    for number in 0..CASTS {
        bus.client().prepare().server("h1").cast(&context(), "hold", entry(number)).await.unwrap();
    }
    gate.started.reach(1).await;
    // One runs, which is acknowledged.
    let queue = format!("{}.h1", bus.topic);
    let expected = CASTS - 1 - PREFETCH;
    let waiting = async {
        while Admin::connect(&url).await.waiting(&queue).await != Some(expected) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    crate::soon(waiting).await;
    Admin::connect(&url).await.purge(&queue).await;
    gate.let_pass(PREFETCH as usize + 1);
    gate.started.reach(PREFETCH as usize + 1).await;
    gate.all_done().await;
    assert_eq!(gate.started.entries().len(), PREFETCH as usize + 1);
}

/// Services start in any order, and the broker drops what no queue takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_a_server_that_comes_later() {
    let (transport, bus) = bus(&shared_url(), quick());
    let call = bus.client().prepare().timeout(Duration::from_secs(20));
    let early = tokio::spawn(async move { call.call(&context(), "note", entry("early")).await });
    eventually("the broker returned the call", || transport.metrics().returned.get() > 0).await;
    let log = Log::new();
    let _server = bus.serve("h1", vec![noting("h1", &log)]).await;
    early.await.unwrap().unwrap();
    assert_eq!(log.entries(), [json!(["h1", "early"])]);

    let returned = transport.metrics().returned.get();
    call_until_answered(&bus.client().prepare().timeout(TRY), "later").await;
    assert_eq!(transport.metrics().returned.get(), returned);
}
