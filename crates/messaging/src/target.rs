//! Where a message goes, or where a server listens.

use crate::transport::Address;
use crate::{MessagingError, Version};

/// A destination of messages, as oslo.messaging's `Target`. What is `None` is left to the transport or the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The exchange; `None` is the transport's control exchange.
    pub exchange: Option<String>,
    /// The interface's name, for example `compute`.
    pub topic: String,
    /// One server of the topic; `None` is any one of them.
    pub server: Option<String>,
    /// All servers of the topic. Wins over `server`.
    pub fanout: bool,
    /// The endpoint's namespace.
    pub namespace: Option<String>,
    /// The version that a message needs.
    pub version: Option<Version>,
}

impl Target {
    /// Any one server of `topic`.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// Sets the exchange.
    #[must_use]
    pub fn exchange(mut self, exchange: impl Into<String>) -> Self {
        self.exchange = Some(exchange.into());
        self
    }

    /// Sets the one server.
    #[must_use]
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// Sets whether all servers get a copy.
    #[must_use]
    pub fn fanout(mut self, fanout: bool) -> Self {
        self.fanout = fanout;
        self
    }

    /// Sets the namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The address that a message to this target is sent to.
    pub(crate) fn address(&self) -> Address {
        let topic = self.topic.clone();
        let exchange = self.exchange.clone();
        match &self.server {
            _ if self.fanout => Address::Fanout { topic },
            Some(server) => Address::Server { exchange, topic, server: server.clone() },
            None => Address::Topic { exchange, topic },
        }
    }

    /// The addresses that a server of this target listens on, in the order in which oslo.messaging declares them.
    pub(crate) fn listen_addresses(&self) -> Result<[Address; 3], MessagingError> {
        let Some(server) = self.server.clone() else {
            return Err(MessagingError::InvalidTarget { reason: "a server's target needs a server name" });
        };
        if self.topic.is_empty() {
            return Err(MessagingError::InvalidTarget { reason: "a server's target needs a topic" });
        }
        let (exchange, topic) = (self.exchange.clone(), self.topic.clone());
        Ok([
            Address::Topic { exchange: exchange.clone(), topic: topic.clone() },
            Address::Server { exchange, topic: topic.clone(), server },
            Address::Fanout { topic },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_fanout_then_server_then_topic() {
        let target = Target::new("compute").exchange("nova");
        let topic = "compute".to_owned();
        let exchange = Some("nova".to_owned());
        assert_eq!(target.address(), Address::Topic { exchange: exchange.clone(), topic: topic.clone() });

        let target = target.server("h1");
        let one = Address::Server { exchange, topic: topic.clone(), server: "h1".to_owned() };
        assert_eq!(target.address(), one);
        assert_eq!(target.fanout(true).address(), Address::Fanout { topic });
    }

    #[test]
    fn a_server_listens_on_topic_then_server_then_fanout() {
        let [first, second, third] = Target::new("compute").server("h1").listen_addresses().unwrap();
        assert_eq!(first.routing_key(), "compute");
        assert_eq!(second.routing_key(), "compute.h1");
        assert_eq!(third, Address::Fanout { topic: "compute".to_owned() });
    }

    #[test]
    fn a_server_without_name_or_topic_is_refused() {
        for target in [Target::new("compute"), Target::new("").server("h1")] {
            assert!(matches!(target.listen_addresses(), Err(MessagingError::InvalidTarget { .. })));
        }
    }
}
