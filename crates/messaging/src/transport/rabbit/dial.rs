//! Making connections: login, TLS, and the socket's options.

use std::sync::Arc;
use std::time::Duration;

use amq_protocol::uri::SASLMechanism;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::RabbitError;
use super::amqp::{Connection, Login};
use super::error::AmqpError;
use super::options::{LoginMethod, RabbitOptions};
use super::tls;
use super::url::{Host, TransportUrl};
use crate::new_id;

/// How long all of it may take: name lookup, TCP, TLS, and AMQP's greetings.
const CONNECT_BOUND: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections to any of a URL's hosts.
pub(super) struct Dialer {
    pub(super) hosts: Vec<Host>,
    virtual_host: String,
    heartbeat_s: u16,
    mechanism: SASLMechanism,
    tls: Option<TlsConnector>,
    /// Begins the connection's name, which the broker shows.
    process_name: String,
}

impl Dialer {
    pub(super) fn new(url: TransportUrl, options: &RabbitOptions) -> Result<Self, RabbitError> {
        let tls = match options.ssl {
            true => Some(TlsConnector::from(Arc::new(tls::client_config(options, url.hosts.len())?))),
            false => None,
        };
        // Brokers of a cluster share the load because their clients try them in different orders.
        let mut hosts = url.hosts;
        hosts.sort_by_cached_key(|_| new_id());
        Ok(Self {
            hosts,
            virtual_host: url.virtual_host,
            heartbeat_s: options.heartbeat_timeout_threshold,
            mechanism: match options.rabbit_login_method {
                LoginMethod::AmqPlain => SASLMechanism::AMQPlain,
                LoginMethod::Plain => SASLMechanism::Plain,
                LoginMethod::External => SASLMechanism::External,
            },
            tls,
            process_name: options.processname.clone(),
        })
    }

    /// One attempt at one host.
    pub(super) async fn dial(&self, host: &Host) -> Result<Connection, AmqpError> {
        let connected = tokio::time::timeout(CONNECT_BOUND, self.connect(host)).await;
        let connected = connected.map_err(|_| AmqpError::Silent)?;
        connected.map_err(|source| AmqpError::Connect { host: host.to_string(), source: Arc::from(source) })
    }

    async fn connect(&self, host: &Host) -> Result<Connection, BoxError> {
        let login = self.login(host);
        let stream = TcpStream::connect((host.hostname.as_str(), host.port)).await?;
        prepare(&stream, Duration::from_secs(self.heartbeat_s.into()))?;
        match &self.tls {
            None => Ok(Connection::open_tcp(stream, &login).await?),
            Some(tls) => {
                let name = ServerName::try_from(host.hostname.clone())?;
                Ok(Connection::open(tls.connect(name, stream).await?, &login).await?)
            }
        }
    }

    fn login(&self, host: &Host) -> Login {
        Login {
            mechanism: self.mechanism,
            username: host.username.clone(),
            password: host.password.clone(),
            virtual_host: self.virtual_host.clone(),
            heartbeat_s: self.heartbeat_s,
            // `prog:pid:uuid4`, as oslo.messaging names its connections.
            connection_name: format!("{}:{}:{}", self.process_name, std::process::id(), uuid::Uuid::new_v4()),
        }
    }
}

/// Small messages go at once, and written bytes may stay unacknowledged by the other machine for a bounded time.
fn prepare(stream: &TcpStream, user_timeout: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let milliseconds = u32::try_from(user_timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)?)
}
