//! Brokers and transports for the tests over RabbitMQ.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kilonova_messaging::{RabbitOptions, RabbitTransport};
use kilonova_testing::{RABBITMQ_URL, RabbitMq};

/// The URL of the broker that all tests share, or else of one that this process starts.
pub(crate) fn shared_url() -> String {
    static OWN: OnceLock<RabbitMq> = OnceLock::new();
    match std::env::var(RABBITMQ_URL) {
        Ok(url) => url,
        Err(_) => OWN.get_or_init(|| RabbitMq::start().expect("RabbitMQ does not start")).url(),
    }
}

/// Options under which what is tested happens soon.
pub(crate) fn quick() -> RabbitOptions {
    RabbitOptions {
        queue_check_interval: Duration::from_millis(500),
        rabbit_retry_interval: 0,
        rabbit_retry_backoff: 1,
        rabbit_interval_max: 1,
        ..RabbitOptions::default()
    }
}

pub(crate) fn connect(url: &str, options: RabbitOptions) -> Arc<RabbitTransport> {
    RabbitTransport::new(url, options).expect("a transport")
}

/// Exchange and queues with an exchange of their own, because the shared broker has others' as well.
pub(crate) fn durable() -> RabbitOptions {
    let control_exchange = "durable".to_owned();
    RabbitOptions { control_exchange, amqp_durable_queues: true, ..quick() }
}

pub(crate) fn quorum() -> RabbitOptions {
    RabbitOptions {
        control_exchange: "quorum".to_owned(),
        rabbit_quorum_queue: true,
        rabbit_transient_quorum_queue: true,
        ..quick()
    }
}
