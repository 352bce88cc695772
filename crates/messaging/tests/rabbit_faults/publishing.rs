//! Many senders at once, senders that go away, and what they leave behind.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::join_all;
use kilonova_messaging::{Address, MessagingError, Outgoing, Transport};

use crate::broker::{quick, shared_url};
use crate::suite::{reply_address, soon};
use crate::{Admin, bus};

fn mandatory(number: u32) -> Outgoing {
    Outgoing { mandatory: true, ..Outgoing::new(number.to_string()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_sender_keep_their_order_however_many_are_on_their_way() {
    // No more at a time than need not wait to be handed in.
    const COUNT: u32 = 1400;
    let (_, bus) = bus(&shared_url(), quick());
    let address = bus.server_address("h1");
    let mut consumer = bus.consume(address.clone()).await;
    bus.send_raw(&address, "first".to_owned()).await;
    let sending = async {
        // Twice, so that some find the broker idle and some do not.
        for half in [0..COUNT / 2, COUNT / 2..COUNT] {
            let sent = half.map(|number| bus.transport.send(&address, Outgoing::new(number.to_string())));
            // Each is begun before the next, which tokio would not have so of many.
            tokio::task::unconstrained(join_all(sent)).await.into_iter().for_each(|sent| sent.unwrap());
        }
    };
    let receiving = async {
        let mut received = Vec::new();
        for _ in 0..=COUNT {
            let delivery = consumer.receive().await.unwrap();
            consumer.ack(delivery.tag).await.unwrap();
            received.push(String::from_utf8(delivery.body.to_vec()).unwrap());
        }
        received
    };
    let ((), received) = soon(async { tokio::join!(sending, receiving) }).await;
    let expected: Vec<String> =
        std::iter::once("first".to_owned()).chain((0..COUNT).map(|number| number.to_string())).collect();
    let first_wrong = received.iter().zip(&expected).position(|(received, expected)| received != expected);
    assert_eq!(first_wrong, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_go_away_take_nothing_with_them() {
    let (transport, bus) = bus(&shared_url(), quick());
    let missing = reply_address(&format!("reply_{}", uuid::Uuid::new_v4().simple()));
    let there = bus.topic_address();
    let mut consumer = bus.consume(there.clone()).await;
    bus.send_raw(&there, "begin".to_owned()).await;
    soon(consumer.receive()).await.unwrap();

    let published = transport.metrics().published.get();
    let mut number = 0;
    // More than there are channels for mandatory messages.
    while transport.metrics().published.get() < published + 30 {
        number += 1;
        let sent = transport.send(&missing, mandatory(number)).now_or_never();
        // Now and then the broker is faster.
        assert!(matches!(sent, None | Some(Err(MessagingError::Undeliverable { .. }))), "{sent:?}");
        tokio::task::yield_now().await;
    }
    // The broker's word on each of those is nobody's but theirs.
    let sends = (0..50).map(|number| {
        let transport: Arc<dyn Transport> = transport.clone();
        let address: &Address = if number % 2 == 0 { &missing } else { &there };
        async move { transport.send(address, mandatory(number)).await }
    });
    let sent = soon(join_all(sends)).await;
    for (number, sent) in sent.into_iter().enumerate() {
        match sent {
            Ok(()) => assert_eq!(number % 2, 1, "{number} went nowhere, and was sent"),
            Err(MessagingError::Undeliverable { .. }) => assert_eq!(number % 2, 0, "{number} was sent, and came back"),
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    for expected in (1..50).step_by(2) {
        let delivery = soon(consumer.receive()).await.unwrap();
        let number: u32 = std::str::from_utf8(&delivery.body).unwrap().parse().unwrap();
        assert_eq!(number % 2, 1, "{number} before {expected}");
        consumer.ack(delivery.tag).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_an_orderly_end_is_not_delivered_again() {
    const COUNT: u32 = 70;
    let url = shared_url();
    let (_, sender) = bus(&url, quick());
    let (receiving, receiver) = bus(&url, quick());
    let address = sender.topic_address();
    let queue = sender.topic.clone();
    let mut consumer = receiver.transport.subscribe(std::slice::from_ref(&address)).await.unwrap();
    for number in 0..COUNT {
        sender.send_raw(&address, number.to_string()).await;
    }
    for _ in 0..COUNT {
        let delivery = soon(consumer.receive()).await.unwrap();
        consumer.ack(delivery.tag).await.unwrap();
    }
    receiving.close().await;
    drop(consumer);
    assert_eq!(Admin::connect(&url).await.waiting(&queue).await, Some(0));
}
