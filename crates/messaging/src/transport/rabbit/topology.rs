//! Which exchanges and queues an address stands for, with all their properties: those of oslo.messaging, to the letter,
//! because the broker refuses to declare a queue with properties other than those that a peer gave it.
//!
//! Plans only; `declare.rs` carries them out.

use std::io;

use super::names::QueueNames;
use super::options::RabbitOptions;
use crate::transport::Address;

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeKind {
    Topic,
    Fanout,
}

/// An exchange as it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Text(String),
    Number(i64),
    Flag(bool),
}

pub(super) type Arguments = Vec<(&'static str, Argument)>;

/// Ties a queue to an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) exchange: Exchange,
    pub(super) routing_key: String,
}

/// What becomes of a queue whose consumer has ended, and who else takes from it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Others take from it too, so what this consumer cannot run is given back to them.
    Shared,
    /// Nobody else takes from it. It stays, or the broker removes it later.
    Own,
    /// As `Own`, but the consumer deletes it at its end.
    OwnUntilEnd,
    /// A stream: reading takes nothing out.
    Stream,
}

/// A queue as it is declared, bound, and consumed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) arguments: Arguments,
    pub(super) consume_arguments: Arguments,
    /// `None` for queues of the default exchange, which need none.
    pub(super) binding: Option<Binding>,
    pub(super) usage: Use,
}

impl Queue {
    /// The queue of an address. A fanout queue gets a new name each time.
    pub(super) fn of(address: &Address, options: &RabbitOptions, names: &QueueNames) -> io::Result<Self> {
        Ok(match address {
            Address::Topic { .. } | Address::Notification { .. } => Self::routed(address, options, Use::Shared),
            Address::Server { .. } => Self::routed(address, options, Use::Own),
            Address::Reply { queue } => Self::transient(queue.clone(), None, options, Use::Own),
            Address::Fanout { topic } if options.rabbit_stream_fanout => Self::stream(address, topic, options),
            Address::Fanout { topic } => {
                let name = format!("{topic}_fanout_{}", names.unique()?);
                let usage = if options.use_queue_manager { Use::Own } else { Use::OwnUntilEnd };
                Self::transient(name, fanout_binding(address, topic, options), options, usage)
            }
        })
    }

    /// A queue whose name is its routing key in the control exchange.
    fn routed(address: &Address, options: &RabbitOptions, usage: Use) -> Self {
        let name = address.routing_key().into_owned();
        let mut arguments = Arguments::new();
        push_mirrors(&mut arguments, options);
        if options.rabbit_quorum_queue {
            push_quorum(&mut arguments, options);
        }
        let routing_key = name.clone();
        Self {
            name,
            durable: options.is_durable(),
            auto_delete: options.amqp_auto_delete,
            arguments,
            consume_arguments: consume_arguments(options),
            binding: Exchange::of(address, options).map(|exchange| Binding { exchange, routing_key }),
            usage,
        }
    }

    /// A queue that goes when it was not used for a while.
    fn transient(name: String, binding: Option<Binding>, options: &RabbitOptions, usage: Use) -> Self {
        let mut arguments = Arguments::new();
        push_mirrors(&mut arguments, options);
        if options.rabbit_transient_quorum_queue {
            push_quorum(&mut arguments, options);
        }
        if options.rabbit_transient_queues_ttl > 0 {
            let ttl_ms = i64::from(options.rabbit_transient_queues_ttl) * 1000;
            arguments.push(("x-expires", Argument::Number(ttl_ms)));
        }
        Self {
            name,
            durable: options.rabbit_transient_quorum_queue,
            auto_delete: false,
            arguments,
            consume_arguments: consume_arguments(options),
            binding,
            usage,
        }
    }

    /// The one stream of a topic's fanouts.
    fn stream(address: &Address, topic: &str, options: &RabbitOptions) -> Self {
        let mut arguments = vec![("x-queue-type", Argument::Text("stream".to_owned()))];
        if options.rabbit_transient_queues_ttl > 0 {
            let max_age = format!("{}s", options.rabbit_transient_queues_ttl);
            arguments.push(("x-max-age", Argument::Text(max_age)));
        }
        Self {
            name: format!("{topic}_fanout"),
            durable: true,
            auto_delete: false,
            arguments,
            consume_arguments: vec![("x-stream-offset", Argument::Text("last".to_owned()))],
            binding: fanout_binding(address, topic, options),
            usage: Use::Stream,
        }
    }

    /// Without durability: what oslo.messaging declares where the exchange or queue exists as not durable.
    pub(super) fn non_durable(&self) -> Self {
        let binding = self.binding.clone().map(|mut binding| {
            binding.exchange.durable = false;
            binding.exchange.auto_delete = self.auto_delete;
            binding
        });
        Self { durable: false, binding, ..self.clone() }
    }

    /// Whether it can be missed when its consumer count is none.
    pub(super) fn counts_its_consumer(&self) -> bool {
        matches!(self.usage, Use::Own | Use::OwnUntilEnd)
    }
}

impl Exchange {
    /// The exchange that messages to an address go through; `None` is the default one, which needs no declaration.
    pub(super) fn of(address: &Address, options: &RabbitOptions) -> Option<Self> {
        match address {
            Address::Reply { .. } => None,
            Address::Fanout { topic } => Some(Self {
                name: format!("{topic}_fanout"),
                kind: ExchangeKind::Fanout,
                durable: options.rabbit_transient_quorum_queue,
                auto_delete: true,
            }),
            Address::Topic { exchange, .. }
            | Address::Server { exchange, .. }
            | Address::Notification { exchange, .. } => Some(Self {
                name: exchange.as_ref().unwrap_or(&options.control_exchange).clone(),
                kind: ExchangeKind::Topic,
                durable: options.is_durable(),
                auto_delete: options.amqp_auto_delete,
            }),
        }
    }
}

fn fanout_binding(address: &Address, topic: &str, options: &RabbitOptions) -> Option<Binding> {
    Exchange::of(address, options).map(|exchange| Binding { exchange, routing_key: topic.to_owned() })
}

fn push_mirrors(arguments: &mut Arguments, options: &RabbitOptions) {
    if options.rabbit_ha_queues {
        arguments.push(("x-ha-policy", Argument::Text("all".to_owned())));
    }
}

fn push_quorum(arguments: &mut Arguments, options: &RabbitOptions) {
    arguments.push(("x-queue-type", Argument::Text("quorum".to_owned())));
    let limits = [
        ("x-delivery-limit", options.rabbit_quorum_delivery_limit),
        ("x-max-in-memory-length", options.rabbit_quorum_max_memory_length),
        ("x-max-in-memory-bytes", options.rabbit_quorum_max_memory_bytes),
    ];
    let set = limits.into_iter().filter(|(_, limit)| *limit > 0);
    arguments.extend(set.map(|(name, limit)| (name, Argument::Number(limit.into()))));
}

fn consume_arguments(options: &RabbitOptions) -> Arguments {
    match options.enable_cancel_on_failover {
        true => vec![("x-cancel-on-ha-failover", Argument::Flag(true))],
        false => Arguments::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nova() -> RabbitOptions {
        RabbitOptions { control_exchange: "nova".to_owned(), ..RabbitOptions::default() }
    }

    fn queue(address: &Address, options: &RabbitOptions) -> Queue {
        Queue::of(address, options, &QueueNames::new(options)).unwrap()
    }

    fn topic() -> Address {
        Address::Topic { exchange: None, topic: "compute".to_owned() }
    }

    fn server() -> Address {
        Address::Server { exchange: None, topic: "compute".to_owned(), server: "h1".to_owned() }
    }

    fn fanout() -> Address {
        Address::Fanout { topic: "compute".to_owned() }
    }

    fn reply() -> Address {
        Address::Reply { queue: "reply_1".to_owned() }
    }

    fn text(value: &str) -> Argument {
        Argument::Text(value.to_owned())
    }

    fn exchange(name: &str, kind: ExchangeKind, durable: bool, auto_delete: bool) -> Exchange {
        Exchange { name: name.to_owned(), kind, durable, auto_delete }
    }

    #[test]
    fn by_default_everything_is_as_oslo_messaging_declares_it() {
        let nova_exchange = exchange("nova", ExchangeKind::Topic, false, false);
        let expected = Queue {
            name: "compute".to_owned(),
            durable: false,
            auto_delete: false,
            arguments: vec![],
            consume_arguments: vec![],
            binding: Some(Binding { exchange: nova_exchange.clone(), routing_key: "compute".to_owned() }),
            usage: Use::Shared,
        };
        assert_eq!(queue(&topic(), &nova()), expected);

        let expected = Queue {
            name: "compute.h1".to_owned(),
            binding: Some(Binding { exchange: nova_exchange, routing_key: "compute.h1".to_owned() }),
            usage: Use::Own,
            ..expected
        };
        assert_eq!(queue(&server(), &nova()), expected);

        let expires = vec![("x-expires", Argument::Number(1_800_000))];
        let fanout = queue(&fanout(), &nova());
        let suffix = fanout.name.strip_prefix("compute_fanout_").unwrap();
        assert!(suffix.len() == 32 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit()), "{suffix}");
        let fanout_exchange = exchange("compute_fanout", ExchangeKind::Fanout, false, true);
        let expected = Queue {
            name: fanout.name.clone(),
            arguments: expires.clone(),
            binding: Some(Binding { exchange: fanout_exchange, routing_key: "compute".to_owned() }),
            usage: Use::OwnUntilEnd,
            ..expected
        };
        assert_eq!(fanout, expected);

        let expected = Queue { name: "reply_1".to_owned(), binding: None, usage: Use::Own, ..expected };
        assert_eq!(queue(&reply(), &nova()), expected);
        assert_eq!(Exchange::of(&reply(), &nova()), None);
    }

    #[test]
    fn durable_and_auto_delete_concern_topics_and_servers_only() {
        let options = RabbitOptions { amqp_durable_queues: true, amqp_auto_delete: true, ..nova() };
        for address in [topic(), server()] {
            let queue = queue(&address, &options);
            assert!(queue.durable && queue.auto_delete, "{queue:?}");
            assert_eq!(queue.binding.unwrap().exchange, exchange("nova", ExchangeKind::Topic, true, true));
        }
        for address in [fanout(), reply()] {
            let queue = queue(&address, &options);
            assert!(!queue.durable && !queue.auto_delete, "{queue:?}");
        }
        let fanout_exchange = exchange("compute_fanout", ExchangeKind::Fanout, false, true);
        assert_eq!(Exchange::of(&fanout(), &options), Some(fanout_exchange));
    }

    #[test]
    fn quorum_queues_are_durable_and_carry_the_limits_that_are_set() {
        let options = RabbitOptions {
            rabbit_quorum_queue: true,
            rabbit_quorum_delivery_limit: 3,
            rabbit_quorum_max_memory_length: 4,
            rabbit_quorum_max_memory_bytes: 5,
            ..nova()
        };
        let queue_type = ("x-queue-type", text("quorum"));
        let limits = [("x-delivery-limit", 3), ("x-max-in-memory-length", 4), ("x-max-in-memory-bytes", 5)];
        let limits = limits.map(|(name, limit)| (name, Argument::Number(limit)));
        let all: Arguments = [queue_type.clone()].into_iter().chain(limits.clone()).collect();
        let of_topic = queue(&topic(), &options);
        assert!(of_topic.durable && of_topic.binding.as_ref().unwrap().exchange.durable);
        assert_eq!(of_topic.arguments, all);
        assert!(!queue(&reply(), &options).durable);

        let options = RabbitOptions { rabbit_quorum_queue: false, rabbit_transient_quorum_queue: true, ..options };
        assert_eq!(queue(&topic(), &options).arguments, []);
        let mut with_expiry = all;
        with_expiry.push(("x-expires", Argument::Number(1_800_000)));
        for address in [fanout(), reply()] {
            let queue = queue(&address, &options);
            assert!(queue.durable && !queue.auto_delete);
            assert_eq!(queue.arguments, with_expiry);
        }
        let fanout_exchange = exchange("compute_fanout", ExchangeKind::Fanout, true, true);
        assert_eq!(Exchange::of(&fanout(), &options), Some(fanout_exchange));
    }

    #[test]
    fn a_fanout_stream_is_one_durable_queue_read_from_its_last_message() {
        let options = RabbitOptions { rabbit_transient_quorum_queue: true, rabbit_stream_fanout: true, ..nova() };
        let expected = Queue {
            name: "compute_fanout".to_owned(),
            durable: true,
            auto_delete: false,
            arguments: vec![("x-queue-type", text("stream")), ("x-max-age", text("1800s"))],
            consume_arguments: vec![("x-stream-offset", text("last"))],
            binding: Some(Binding {
                exchange: exchange("compute_fanout", ExchangeKind::Fanout, true, true),
                routing_key: "compute".to_owned(),
            }),
            usage: Use::Stream,
        };
        assert_eq!(queue(&fanout(), &options), expected);
    }

    #[test]
    fn the_other_options_change_arguments_only() {
        let mirrored = RabbitOptions { rabbit_ha_queues: true, rabbit_transient_queues_ttl: 0, ..nova() };
        for address in [topic(), server(), fanout(), reply()] {
            assert_eq!(queue(&address, &mirrored).arguments, [("x-ha-policy", text("all"))]);
        }
        let failover = RabbitOptions { enable_cancel_on_failover: true, ..nova() };
        for address in [topic(), reply()] {
            let cancel = [("x-cancel-on-ha-failover", Argument::Flag(true))];
            assert_eq!(queue(&address, &failover).consume_arguments, cancel);
        }
    }

    #[test]
    fn a_notification_queue_is_named_by_topic_and_priority() {
        let address = Address::Notification {
            exchange: Some("cinder".to_owned()),
            topic: "versioned_notifications".to_owned(),
            priority: "info".to_owned(),
        };
        let queue = queue(&address, &nova());
        assert_eq!(queue.name, "versioned_notifications.info");
        let binding = queue.binding.unwrap();
        assert_eq!(binding.routing_key, "versioned_notifications.info");
        assert_eq!(binding.exchange.name, "cinder");
    }

    #[test]
    fn the_fallback_is_durable_in_nothing() {
        let options = RabbitOptions { amqp_durable_queues: true, ..nova() };
        let fallback = queue(&topic(), &options).non_durable();
        assert_eq!(fallback, queue(&topic(), &nova()));
    }
}
