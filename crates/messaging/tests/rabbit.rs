//! The transport over RabbitMQ passes the suite of all transports, whatever the kind of its queues.

#![allow(missing_docs, clippy::unwrap_used)]

mod broker;
mod suite;

use broker::{connect, shared_url};
use suite::transport_suite;

mod with_default_queues {
    use super::*;
    transport_suite!(tokio::test(flavor = "multi_thread", worker_threads = 2), async {
        connect(&shared_url(), broker::quick())
    });
}

mod with_durable_queues {
    use super::*;
    transport_suite!(tokio::test(flavor = "multi_thread", worker_threads = 2), async {
        connect(&shared_url(), broker::durable())
    });
}

mod with_quorum_queues {
    use super::*;
    transport_suite!(tokio::test(flavor = "multi_thread", worker_threads = 2), async {
        connect(&shared_url(), broker::quorum())
    });
}
