//! Connections to a broker that says what a test makes it say.

use amq_protocol::protocol::connection;
use amq_protocol::types::FieldTable;
use amq_protocol::uri::SASLMechanism;
use bytes::Buf as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::frames::Frame;
use super::*;
use crate::transport::rabbit::topology::Use;

const HEARTBEAT_S: u16 = 10;
const FRAME_MAX: usize = 8192;

/// The broker's side.
pub(in super::super) struct Broker {
    stream: DuplexStream,
    input: BytesMut,
}

impl Broker {
    async fn say(&mut self, channel: u16, method: AMQPClass) {
        let mut out = Vec::new();
        frames::write_method(&mut out, channel, method);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn greet(&mut self, method: connection::AMQPMethod) {
        self.say(0, AMQPClass::Connection(method)).await;
    }

    /// The next frame's channel and method; `None` is a heartbeat.
    async fn hear(&mut self) -> (u16, Option<AMQPClass>) {
        loop {
            if let Some((channel, frame, length)) = frames::next(&self.input, FRAME_MAX).unwrap() {
                let method = match frame {
                    Frame::Method(method) => Some(method),
                    Frame::Heartbeat => None,
                    other => panic!("{other:?}"),
                };
                self.input.advance(length);
                return (channel, method);
            }
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "the connection was closed");
        }
    }

    /// Opens as many channels as are asked for.
    pub(in super::super) async fn open(&mut self, count: usize) {
        for _ in 0..count {
            let (id, _) = self.hear().await;
            self.say(id, AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))).await;
        }
    }

    /// Takes the first message of a channel.
    pub(in super::super) async fn confirm_first(&mut self, channel: u16) {
        self.say(channel, AMQPClass::Basic(ack(1, false))).await;
    }

    async fn hear_basic(&mut self) -> basic::AMQPMethod {
        match self.hear().await.1 {
            Some(AMQPClass::Basic(method)) => method,
            other => panic!("{other:?}"),
        }
    }

    async fn deliver(&mut self, channel: u16, delivery_tag: u64) {
        let (exchange, routing_key) = (ShortString::default(), ShortString::default());
        let deliver =
            basic::Deliver { consumer_tag: "1".into(), delivery_tag, redelivered: false, exchange, routing_key };
        self.say(channel, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))).await;
        let publish = basic::Publish::default();
        let mut out = Vec::new();
        frames::write_message(&mut out, channel, publish, BasicProperties::default(), b"body", FRAME_MAX);
        // Without its method, a publication looks as a delivery does.
        let (_, _, method_length) = frames::next(&out, FRAME_MAX).unwrap().unwrap();
        self.stream.write_all(&out[method_length..]).await.unwrap();
    }
}

pub(in super::super) async fn connect() -> (Connection, Broker) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut broker = Broker { stream: theirs, input: BytesMut::new() };
    let greeting = async {
        broker.input.reserve(8);
        while broker.input.len() < 8 {
            broker.stream.read_buf(&mut broker.input).await.unwrap();
        }
        broker.input.advance(8);
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: FieldTable::default(),
            mechanisms: "PLAIN".into(),
            locales: "en_US".into(),
        };
        broker.greet(connection::AMQPMethod::Start(start)).await;
        broker.hear().await;
        let frame_max = u32::try_from(FRAME_MAX).unwrap();
        let tune = connection::Tune { channel_max: 10, frame_max, heartbeat: HEARTBEAT_S };
        broker.greet(connection::AMQPMethod::Tune(tune)).await;
        broker.hear().await;
        broker.hear().await;
        broker.greet(connection::AMQPMethod::OpenOk(connection::OpenOk {})).await;
    };
    let login = Login {
        mechanism: SASLMechanism::Plain,
        username: "guest".to_owned(),
        password: "guest".to_owned(),
        virtual_host: "/".to_owned(),
        heartbeat_s: 60,
        connection_name: "test".to_owned(),
    };
    let (connection, ()) = tokio::join!(Connection::open(ours, &login), greeting);
    (connection.unwrap(), broker)
}

fn queue() -> Queue {
    Queue {
        name: "q".to_owned(),
        durable: false,
        auto_delete: false,
        arguments: Arguments::new(),
        consume_arguments: Arguments::new(),
        binding: None,
        usage: Use::Own,
    }
}

/// A channel that takes from a queue, with all messages of the broker's choice.
async fn consume(connection: &Connection, broker: &mut Broker) -> (Channel, BoxStream<'static, Arrival>) {
    let consuming = async {
        let channel = connection.channel().await.unwrap();
        channel.set_prefetch(100).await.unwrap();
        let arrivals = channel.consume(&queue(), "1").await.unwrap();
        (channel, arrivals)
    };
    let answering = async {
        for answer in [
            AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})),
            AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {})),
            AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(basic::ConsumeOk { consumer_tag: "1".into() })),
        ] {
            let (id, _) = broker.hear().await;
            broker.say(id, answer).await;
        }
    };
    tokio::join!(consuming, answering).0
}

fn ack(delivery_tag: u64, multiple: bool) -> basic::AMQPMethod {
    basic::AMQPMethod::Ack(basic::Ack { delivery_tag, multiple })
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_silent_for_two_intervals_is_lost_and_hears_of_us_meanwhile() {
    let (connection, mut broker) = connect().await;
    let begun = Instant::now();
    for beat in 1..=3 {
        assert_eq!(broker.hear().await, (0, None));
        let expected = Duration::from_secs(beat * u64::from(HEARTBEAT_S) / 2);
        let late = begun.elapsed().checked_sub(expected).expect("too early");
        assert!(late < Duration::from_secs(1), "{beat}: {late:?}");
    }
    connection.lost().await;
    assert_eq!(begun.elapsed().as_secs(), 2 * u64::from(HEARTBEAT_S));
    let lost = connection.channel().await.err();
    assert!(matches!(lost, Some(AmqpError::Lost(EndReason::Silent))), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_beats_is_kept() {
    let (connection, mut broker) = connect().await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(HEARTBEAT_S.into())).await;
        let mut beat = Vec::new();
        frames::write_heartbeat(&mut beat);
        broker.stream.write_all(&beat).await.unwrap();
    }
    assert!(connection.is_connected());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_go_out_as_one_and_soon() {
    let (connection, mut broker) = connect().await;
    let (channel, mut arrivals) = consume(&connection, &mut broker).await;
    let delivered = Instant::now();
    for tag in 1..=3 {
        broker.deliver(1, tag).await;
        let arrival = arrivals.next().await.unwrap();
        assert_eq!((arrival.delivery_tag, &arrival.body[..]), (tag, &b"body"[..]));
        channel.ack(tag).unwrap();
    }
    assert_eq!(broker.hear_basic().await, ack(3, true));
    assert!(delivered.elapsed() <= Duration::from_millis(20), "{:?}", delivered.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_of_channel_or_connection_loses_no_acknowledgement() {
    let (connection, mut broker) = connect().await;
    let (channel, mut arrivals) = consume(&connection, &mut broker).await;
    broker.deliver(1, 1).await;
    arrivals.next().await.unwrap();
    channel.ack(1).unwrap();
    let answering = async {
        assert_eq!(broker.hear_basic().await, ack(1, false));
        let closing = broker.hear().await.1;
        assert!(matches!(closing, Some(AMQPClass::Channel(channel::AMQPMethod::Close(_)))), "{closing:?}");
        broker.say(1, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))).await;
    };
    tokio::join!(channel.close(), answering);

    let (channel, mut arrivals) = consume(&connection, &mut broker).await;
    broker.deliver(2, 1).await;
    arrivals.next().await.unwrap();
    channel.ack(1).unwrap();
    let answering = async {
        assert_eq!(broker.hear_basic().await, ack(1, false));
        let closing = broker.hear().await.1;
        assert!(matches!(closing, Some(AMQPClass::Connection(connection::AMQPMethod::Close(_)))), "{closing:?}");
        broker.greet(connection::AMQPMethod::CloseOk(connection::CloseOk {})).await;
    };
    tokio::join!(connection.close(), answering);
    connection.lost().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_says_of_itself_is_reported() {
    let (connection, mut broker) = connect().await;
    let reports = Mutex::new(Vec::new());
    let report = |condition, reason: &str| lock(&reports).push((condition, reason.to_owned()));
    let telling = async {
        let blocked = connection::Blocked { reason: "low on memory".into() };
        broker.greet(connection::AMQPMethod::Blocked(blocked)).await;
        connection.wait_for(|condition| condition == Condition::Blocked).await;
        tokio::task::yield_now().await;
        broker.greet(connection::AMQPMethod::Unblocked(connection::Unblocked {})).await;
        connection.unblocked().await;
        tokio::task::yield_now().await;
        let text = "CONNECTION_FORCED - broker forced connection closure".into();
        let close = connection::Close { reply_code: 320, reply_text: text, class_id: 0, method_id: 0 };
        broker.greet(connection::AMQPMethod::Close(close)).await;
        let answer = broker.hear().await.1;
        assert!(matches!(answer, Some(AMQPClass::Connection(connection::AMQPMethod::CloseOk(_)))), "{answer:?}");
    };
    tokio::join!(connection.watch_over(report), telling);
    let expected = [
        (Condition::Blocked, "low on memory"),
        (Condition::Open, ""),
        (Condition::Lost, "the broker closed it: 320 CONNECTION_FORCED - broker forced connection closure"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(condition, reason)| (condition, reason.to_owned())).collect();
    assert_eq!(*lock(&reports), expected);
}
