//! The options of `[oslo_messaging_rabbit]`, under oslo.messaging's names and with its defaults where it matters to the
//! wire.

use std::path::PathBuf;
use std::time::Duration;

/// How to log in: `rabbit_login_method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginMethod {
    /// User and password, in the way of AMQP.
    #[default]
    AmqPlain,
    /// User and password, in the way of SASL.
    Plain,
    /// By the client certificate.
    External,
}

/// How to talk to RabbitMQ. [`RabbitOptions::set`] sets one from its name.
#[derive(Clone, Debug, PartialEq)]
pub struct RabbitOptions {
    /// The exchange of targets that name none. Nova sets it to `nova`.
    pub control_exchange: String,
    /// Exchange and queues of topics and servers survive a restart of the broker.
    pub amqp_durable_queues: bool,
    /// They go when nobody uses them.
    pub amqp_auto_delete: bool,
    /// They are quorum queues.
    pub rabbit_quorum_queue: bool,
    /// Deliveries of one message before a quorum queue drops it; 0 leaves that to the broker.
    pub rabbit_quorum_delivery_limit: u32,
    /// Messages that a quorum queue keeps in memory; 0 leaves that to the broker.
    pub rabbit_quorum_max_memory_length: u32,
    /// Bytes that a quorum queue keeps in memory; 0 leaves that to the broker.
    pub rabbit_quorum_max_memory_bytes: u32,
    /// Reply and fanout queues are quorum queues.
    pub rabbit_transient_quorum_queue: bool,
    /// Each topic has one fanout stream in place of one fanout queue per server.
    pub rabbit_stream_fanout: bool,
    /// Seconds after which an unused reply or fanout queue goes; 0 is never.
    pub rabbit_transient_queues_ttl: u32,
    /// Reply and fanout queues have the names of host and process, so that a restarted service finds its own.
    pub use_queue_manager: bool,
    /// The host in those names.
    pub hostname: String,
    /// The process in those names, and the first part of the connection's name.
    pub processname: String,
    /// Unacknowledged messages per queue of a consumer. oslo.messaging's default is 0, no limit; it is not seen by peers,
    /// and a limit keeps a flood in the broker, where others can help with it.
    pub rabbit_qos_prefetch_count: u16,
    /// Seconds between AMQP heartbeats; a connection that is silent for twice this is lost. 0 leaves that to the broker.
    pub heartbeat_timeout_threshold: u16,
    /// How to log in.
    pub rabbit_login_method: LoginMethod,
    /// Whether to use TLS. The port stays what the URL says.
    pub ssl: bool,
    /// Certificates to trust, PEM; `None` is those of the system.
    pub ssl_ca_file: Option<PathBuf>,
    /// The client's certificates, PEM.
    pub ssl_cert_file: Option<PathBuf>,
    /// The client's key, PEM.
    pub ssl_key_file: Option<PathBuf>,
    /// Whether the certificate must be for the host's name. As in oslo.messaging it is checked only if there is a CA file
    /// and the URL names a single host.
    pub ssl_enforce_hostname_verification: bool,
    /// Seconds before the second attempt to connect.
    pub rabbit_retry_interval: u32,
    /// Seconds by which that grows with every attempt.
    pub rabbit_retry_backoff: u32,
    /// Seconds that it grows to.
    pub rabbit_interval_max: u32,
    /// Queues are declared as mirrored, for brokers before RabbitMQ 3.
    pub rabbit_ha_queues: bool,
    /// The broker tells consumers of mirrored queues of a failover.
    pub enable_cancel_on_failover: bool,
    /// How long a cast, a reply or a notification waits for the broker to take it over. Not an option of oslo.messaging.
    pub send_timeout: Duration,
    /// How often a consumer looks whether its queues and bindings are there; the broker tells it at once of a queue that
    /// is deleted, but of nothing else. Not an option of oslo.messaging.
    pub queue_check_interval: Duration,
}

impl Default for RabbitOptions {
    fn default() -> Self {
        Self {
            control_exchange: "openstack".to_owned(),
            amqp_durable_queues: false,
            amqp_auto_delete: false,
            rabbit_quorum_queue: false,
            rabbit_quorum_delivery_limit: 0,
            rabbit_quorum_max_memory_length: 0,
            rabbit_quorum_max_memory_bytes: 0,
            rabbit_transient_quorum_queue: false,
            rabbit_stream_fanout: false,
            rabbit_transient_queues_ttl: 1800,
            use_queue_manager: false,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            processname: process_name(),
            rabbit_qos_prefetch_count: 100,
            heartbeat_timeout_threshold: 60,
            rabbit_login_method: LoginMethod::default(),
            ssl: false,
            ssl_ca_file: None,
            ssl_cert_file: None,
            ssl_key_file: None,
            ssl_enforce_hostname_verification: true,
            rabbit_retry_interval: 1,
            rabbit_retry_backoff: 2,
            rabbit_interval_max: 30,
            rabbit_ha_queues: false,
            enable_cancel_on_failover: false,
            send_timeout: Duration::from_secs(60),
            queue_check_interval: Duration::from_secs(30),
        }
    }
}

fn process_name() -> String {
    let first = std::env::args_os().next().map(PathBuf::from);
    let name = first.as_ref().and_then(|path| path.file_name());
    name.map_or_else(|| "kilonova".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no such option.
    #[error("there is no option {name}")]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The text is no value of the option.
    #[error("{value:?} is no value of {name}, which takes {expected}")]
    Invalid {
        /// The option.
        name: String,
        /// The text given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Two options exclude one another.
    #[error("{one} and {other} cannot both be set")]
    Conflict {
        /// One of them.
        one: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// One option needs another one.
    #[error("{name} needs {needs}")]
    Incomplete {
        /// The option.
        name: &'static str,
        /// What has to be set too.
        needs: &'static str,
    },
}

/// Options of oslo.messaging that have no meaning here: connections are not pooled, and the TLS versions are rustls's.
const WITHOUT_EFFECT: [&str; 13] = [
    "rpc_conn_pool_size",
    "conn_pool_min_size",
    "conn_pool_ttl",
    "ssl_version",
    "ssl_enforce_fips_mode",
    "heartbeat_in_pthread",
    "heartbeat_rate",
    "kombu_reconnect_delay",
    "kombu_reconnect_splay",
    "kombu_missing_consumer_retry_timeout",
    "kombu_failover_strategy",
    "direct_mandatory_flag",
    "rabbit_max_retries",
];

impl RabbitOptions {
    /// Sets an option from its name and its text, as they are in a configuration file or in a URL's query. Options of
    /// oslo.messaging that have no meaning here are accepted.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let text = Text { name, value: value.trim() };
        match name {
            "control_exchange" => self.control_exchange = value.to_owned(),
            "amqp_durable_queues" => self.amqp_durable_queues = text.boolean()?,
            "amqp_auto_delete" => self.amqp_auto_delete = text.boolean()?,
            "rabbit_quorum_queue" => self.rabbit_quorum_queue = text.boolean()?,
            "rabbit_quorum_delivery_limit" => self.rabbit_quorum_delivery_limit = text.number()?,
            "rabbit_quorum_max_memory_length" => self.rabbit_quorum_max_memory_length = text.number()?,
            "rabbit_quorum_max_memory_bytes" => self.rabbit_quorum_max_memory_bytes = text.number()?,
            "rabbit_transient_quorum_queue" => self.rabbit_transient_quorum_queue = text.boolean()?,
            "rabbit_stream_fanout" => self.rabbit_stream_fanout = text.boolean()?,
            "rabbit_transient_queues_ttl" => self.rabbit_transient_queues_ttl = text.number()?,
            "use_queue_manager" => self.use_queue_manager = text.boolean()?,
            "hostname" => self.hostname = value.to_owned(),
            "processname" => self.processname = value.to_owned(),
            // 0 is oslo.messaging's default and means that nobody chose a number.
            "rabbit_qos_prefetch_count" => match text.number()? {
                0 => self.rabbit_qos_prefetch_count = Self::default().rabbit_qos_prefetch_count,
                count => self.rabbit_qos_prefetch_count = count,
            },
            "heartbeat_timeout_threshold" => self.heartbeat_timeout_threshold = text.number()?,
            "rabbit_login_method" => self.rabbit_login_method = text.login_method()?,
            "ssl" => self.ssl = text.boolean()?,
            "ssl_ca_file" => self.ssl_ca_file = text.path(),
            "ssl_cert_file" => self.ssl_cert_file = text.path(),
            "ssl_key_file" => self.ssl_key_file = text.path(),
            "ssl_enforce_hostname_verification" => self.ssl_enforce_hostname_verification = text.boolean()?,
            "rabbit_retry_interval" => self.rabbit_retry_interval = text.number()?,
            "rabbit_retry_backoff" => self.rabbit_retry_backoff = text.number()?,
            "rabbit_interval_max" => self.rabbit_interval_max = text.number()?,
            "rabbit_ha_queues" => self.rabbit_ha_queues = text.boolean()?,
            "enable_cancel_on_failover" => self.enable_cancel_on_failover = text.boolean()?,
            "send_timeout" => self.send_timeout = Duration::from_secs(text.number()?),
            "queue_check_interval" => self.queue_check_interval = Duration::from_secs(text.number()?),
            // To ignore it would be to throw away what compressing peers send.
            "kombu_compression" if text.value.is_empty() => {}
            "kombu_compression" => return Err(text.invalid("no value: messages are not compressed here")),
            other if WITHOUT_EFFECT.contains(&other) => {}
            other => return Err(OptionError::Unknown { name: other.to_owned() }),
        }
        Ok(())
    }

    /// Whether the options go together.
    pub fn check(&self) -> Result<(), OptionError> {
        let is_quorum = self.rabbit_quorum_queue || self.rabbit_transient_quorum_queue;
        if self.rabbit_ha_queues && is_quorum {
            return Err(OptionError::Conflict { one: "rabbit_ha_queues", other: "quorum queues" });
        }
        if self.rabbit_stream_fanout && !self.rabbit_transient_quorum_queue {
            let needs = "rabbit_transient_quorum_queue";
            return Err(OptionError::Incomplete { name: "rabbit_stream_fanout", needs });
        }
        match (&self.ssl_cert_file, &self.ssl_key_file) {
            (Some(_), None) => Err(OptionError::Incomplete { name: "ssl_cert_file", needs: "ssl_key_file" }),
            (None, Some(_)) => Err(OptionError::Incomplete { name: "ssl_key_file", needs: "ssl_cert_file" }),
            _ => Ok(()),
        }
    }

    /// Whether exchange and queues of topics and servers are durable: quorum queues always are.
    pub(super) fn is_durable(&self) -> bool {
        self.amqp_durable_queues || self.rabbit_quorum_queue
    }
}

/// An option's name and text.
struct Text<'a> {
    name: &'a str,
    value: &'a str,
}

impl Text<'_> {
    fn invalid(&self, expected: &'static str) -> OptionError {
        OptionError::Invalid { name: self.name.to_owned(), value: self.value.to_owned(), expected }
    }

    /// As oslo.config reads a boolean.
    fn boolean(&self) -> Result<bool, OptionError> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.invalid("true or false")),
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, OptionError> {
        self.value.parse().map_err(|_| self.invalid("a whole number"))
    }

    fn login_method(&self) -> Result<LoginMethod, OptionError> {
        match self.value.to_ascii_uppercase().as_str() {
            "PLAIN" => Ok(LoginMethod::Plain),
            "AMQPLAIN" => Ok(LoginMethod::AmqPlain),
            "EXTERNAL" => Ok(LoginMethod::External),
            _ => Err(self.invalid("PLAIN, AMQPLAIN or EXTERNAL")),
        }
    }

    /// oslo.messaging's default for files is the empty text.
    fn path(&self) -> Option<PathBuf> {
        (!self.value.is_empty()).then(|| PathBuf::from(self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_set_by_its_name_and_text() {
        let mut options = RabbitOptions::default();
        let texts = [
            ("amqp_durable_queues", "True"),
            ("rabbit_quorum_delivery_limit", " 5 "),
            ("rabbit_login_method", "plain"),
            ("ssl_ca_file", "/etc/ca.pem"),
            ("ssl_key_file", ""),
            ("send_timeout", "7"),
            ("kombu_reconnect_delay", "1.0"),
        ];
        for (name, value) in texts {
            options.set(name, value).unwrap();
        }
        let expected = RabbitOptions {
            amqp_durable_queues: true,
            rabbit_quorum_delivery_limit: 5,
            rabbit_login_method: LoginMethod::Plain,
            ssl_ca_file: Some("/etc/ca.pem".into()),
            send_timeout: Duration::from_secs(7),
            ..RabbitOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn an_unlimited_prefetch_is_taken_as_the_default() {
        let mut options = RabbitOptions { rabbit_qos_prefetch_count: 3, ..RabbitOptions::default() };
        options.set("rabbit_qos_prefetch_count", "0").unwrap();
        assert_eq!(options.rabbit_qos_prefetch_count, 100);
    }

    #[test]
    fn what_is_no_option_or_no_value_is_named() {
        let mut options = RabbitOptions::default();
        let unknown = options.set("rabbit_colour", "red").unwrap_err();
        assert_eq!(unknown.to_string(), "there is no option rabbit_colour");
        for (name, value) in [("ssl", "maybe"), ("rabbit_retry_interval", "-1"), ("kombu_compression", "gzip")] {
            let error = options.set(name, value).unwrap_err();
            assert!(error.to_string().contains(name) && error.to_string().contains(value), "{error}");
        }
        assert_eq!(options, RabbitOptions::default());
    }

    #[test]
    fn options_that_exclude_or_need_each_other_are_refused() {
        let default = RabbitOptions::default;
        assert_eq!(default().check(), Ok(()));
        let wrong = [
            RabbitOptions { rabbit_ha_queues: true, rabbit_quorum_queue: true, ..default() },
            RabbitOptions { rabbit_stream_fanout: true, ..default() },
            RabbitOptions { ssl_cert_file: Some("c".into()), ..default() },
            RabbitOptions { ssl_key_file: Some("k".into()), ..default() },
        ];
        for options in wrong {
            assert!(options.check().is_err(), "{options:?}");
        }
    }
}
