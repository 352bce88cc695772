//! Making connections: login, TLS, and the socket's options. With `amqp.rs` this is all that knows `lapin`.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::tcp::RustlsConnector;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{AsyncTcpStream, ConnectionProperties};

use super::RabbitError;
use super::amqp::Connection;
use super::error::AmqpError;
use super::options::{LoginMethod, RabbitOptions};
use super::tls;
use super::url::{Host, TransportUrl};
use crate::{lock, new_id};

/// How long all of it may take: name lookup, TCP, TLS, and AMQP's greetings.
const CONNECT_BOUND: Duration = Duration::from_secs(10);

/// The largest frame, in bytes. lapin keeps 32 of them for each direction of each connection, and of RabbitMQ's own 128 KiB
/// that would be more memory than all else in an idle service. A longer message goes in several frames.
const FRAME_MAX: u32 = 16 * 1024;

/// Where the socket of a connection in the making is kept, to end it if it takes too long.
type SocketSlot = Arc<Mutex<Option<TcpStream>>>;

/// Makes connections to any of a URL's hosts.
pub(super) struct Dialer {
    pub(super) hosts: Vec<Host>,
    virtual_host: String,
    heartbeat_s: u16,
    mechanism: SASLMechanism,
    tls: Option<RustlsConnector>,
    /// Begins the connection's name, which the broker shows.
    process_name: String,
}

impl Dialer {
    pub(super) fn new(url: TransportUrl, options: &RabbitOptions) -> Result<Self, RabbitError> {
        let tls = match options.ssl {
            true => Some(RustlsConnector::from(tls::client_config(options, url.hosts.len())?)),
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
        let socket = SocketSlot::default();
        let connecting = self.connect(host, &socket);
        let connected = tokio::time::timeout(CONNECT_BOUND, connecting).await;
        let socket = lock(&socket).take();
        match connected {
            Ok(connected) => Ok(Connection::new(connected?, socket)),
            Err(_) => {
                // lapin would wait for the broker's greeting for ever.
                if let Some(socket) = socket {
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                }
                Err(AmqpError::Silent)
            }
        }
    }

    async fn connect(&self, host: &Host, socket: &SocketSlot) -> Result<lapin::Connection, AmqpError> {
        let failed = |source| AmqpError::Connect { host: host.to_string(), source };
        let found = tokio::net::lookup_host((host.hostname.as_str(), host.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|error| failed(Arc::new(error)))?.collect();
        let runtime = lapin::runtime::default_runtime().map_err(|error| failed(Arc::new(error)))?;
        let (tls, hostname, slot) = (self.tls.clone(), host.hostname.clone(), Arc::clone(socket));
        let user_timeout = Duration::from_secs(self.heartbeat_s.into());
        let reactor = runtime.clone();
        let open = async move |_: AMQPUri, _| {
            let stream = AsyncTcpStream::connect(&reactor, addresses.clone()).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                *lock(&slot) = Some(prepare_socket(plain.get_ref(), user_timeout)?);
            }
            Ok(match &tls {
                None => stream,
                Some(tls) => stream.into_rustls(tls, &hostname).await?,
            })
        };
        let properties = ConnectionProperties::default().with_connection_name(self.connection_name().into());
        let connecting = lapin::Connection::connector(self.uri(host), runtime, open, properties);
        connecting.await.map_err(|error| failed(Arc::new(error)))
    }

    /// `prog:pid:uuid4`, as oslo.messaging names its connections.
    fn connection_name(&self) -> String {
        format!("{}:{}:{}", self.process_name, std::process::id(), uuid::Uuid::new_v4())
    }

    fn uri(&self, host: &Host) -> AMQPUri {
        let userinfo = AMQPUserInfo { username: host.username.clone(), password: host.password.clone() };
        AMQPUri {
            // TLS is `open`'s, above.
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority { userinfo, host: host.hostname.clone(), port: host.port },
            vhost: self.virtual_host.clone(),
            query: AMQPQueryString {
                frame_max: Some(FRAME_MAX),
                heartbeat: Some(self.heartbeat_s),
                auth_mechanism: Some(self.mechanism),
                ..AMQPQueryString::default()
            },
        }
    }
}

/// Bounds the time that written bytes may stay unacknowledged by the other machine, and returns a second handle.
fn prepare_socket(stream: &tokio::net::TcpStream, user_timeout: Duration) -> std::io::Result<TcpStream> {
    let milliseconds = u32::try_from(user_timeout.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds)?;
    Ok(TcpStream::from(stream.as_fd().try_clone_to_owned()?))
}
