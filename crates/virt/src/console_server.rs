//! Consoles of guests on one TCP port of the host, for the console proxies.
//!
//! ```text
//!   driver.console() ──> a permit: an address with a path that nobody can guess
//!   proxy: CONNECT <path> HTTP/1.1 ──> 200 ──> the console's own bytes, both ways
//! ```
//!
//! That is how Nova's proxies reach a console that has an `internal_access_path`. A permit is good once, and for as long as
//! the token that the proxy's user has.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use kilonova_core::{Config, ConfigError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::driver::{ConsoleAddress, DriverError};

/// What a proxy sends first is not longer.
const HEAD_MAX_BYTES: usize = 1024;
/// In which it sends that, and the console answers.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\r\n";
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\n\r\n";

/// Where consoles are, and for how long they may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleServerConfig {
    /// `[vnc] server_listen`
    pub listen: IpAddr,
    /// `[vnc] server_proxyclient_address`: this host, as proxies reach it.
    pub proxyclient_address: String,
    /// `[consoleauth] token_ttl`
    pub ttl: Duration,
}

impl Default for ConsoleServerConfig {
    fn default() -> Self {
        Self {
            listen: Ipv4Addr::LOCALHOST.into(),
            proxyclient_address: Ipv4Addr::LOCALHOST.to_string(),
            ttl: Duration::from_secs(600),
        }
    }
}

impl ConsoleServerConfig {
    /// From `nova.conf`.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let default = Self::default();
        Ok(Self {
            listen: config.parse("vnc", "server_listen", default.listen)?,
            proxyclient_address: config.get("vnc", "server_proxyclient_address").unwrap_or(default.proxyclient_address),
            ttl: Duration::from_secs(config.parse("consoleauth", "token_ttl", default.ttl.as_secs())?),
        })
    }
}

/// The bytes of a console.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Reaches a console, when somebody comes with the permit for it.
pub(crate) type Connect = Box<dyn FnOnce() -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send>;

struct Permit {
    until: Instant,
    connect: Connect,
}

type Permits = Arc<Mutex<HashMap<String, Permit>>>;

/// Listens from the first permit on.
#[derive(Default)]
pub(crate) struct ConsoleServer {
    config: ConsoleServerConfig,
    permits: Permits,
    listening: OnceCell<Listening>,
}

struct Listening {
    port: u16,
    task: tokio::task::AbortHandle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for ConsoleServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleServer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ConsoleServer {
    pub(crate) fn new(config: ConsoleServerConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Lets one connection come by, to what `connect` reaches.
    pub(crate) async fn permit(&self, connect: Connect) -> Result<ConsoleAddress, DriverError> {
        let listening = self.listening.get_or_try_init(|| self.listen()).await?;
        let path = Uuid::new_v4().to_string();
        let now = Instant::now();
        let mut permits = lock(&self.permits);
        permits.retain(|_, permit| permit.until > now);
        permits.insert(path.clone(), Permit { until: now + self.config.ttl, connect });
        Ok(ConsoleAddress {
            host: self.config.proxyclient_address.clone(),
            port: listening.port,
            tls_port: None,
            internal_access_path: Some(path),
        })
    }

    async fn listen(&self) -> Result<Listening, DriverError> {
        let address = SocketAddr::new(self.config.listen, 0);
        let refused = |error| DriverError::Host(format!("cannot listen on {address} ([vnc] server_listen): {error}"));
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let port = listener.local_addr().map_err(refused)?.port();
        tracing::info!(listen = %self.config.listen, port, "consoles can be reached");
        let task = tokio::spawn(accept(listener, self.permits.clone())).abort_handle();
        Ok(Listening { port, task })
    }
}

async fn accept(listener: TcpListener, permits: Permits) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let permits = permits.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &permits).await {
                        tracing::debug!(%peer, %error, "a connection to a console ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to a console could not be taken");
                // Too many open files, mostly: they get fewer.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, permits: &Permits) -> io::Result<()> {
    let path = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream)).await??;
    let permit = path.and_then(|path| lock(permits).remove(&path)).filter(|permit| permit.until > Instant::now());
    let Some(permit) = permit else {
        return stream.write_all(FORBIDDEN).await;
    };
    let console = tokio::time::timeout(HEAD_TIMEOUT, (permit.connect)()).await;
    let mut console = match console {
        Ok(Ok(console)) => console,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a console could not be reached");
            return stream.write_all(BAD_GATEWAY).await;
        }
        Err(_) => return stream.write_all(BAD_GATEWAY).await,
    };
    stream.write_all(OK).await?;
    stream.set_nodelay(true)?;
    copy_bidirectional(&mut stream, &mut console).await.map(drop)
}

/// The path of `CONNECT <path> HTTP/1.1`; none where it is something else. Not a byte more is read.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX_BYTES {
            return Ok(None);
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    Ok(match (words.next(), words.next()) {
        (Some("CONNECT"), Some(path)) => Some(path.to_owned()),
        _ => None,
    })
}

fn lock(permits: &Permits) -> MutexGuard<'_, HashMap<String, Permit>> {
    permits.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A console that says back what it hears.
    fn echo() -> Connect {
        Box::new(|| {
            Box::pin(async {
                let (ours, theirs) = tokio::io::duplex(64);
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(theirs);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
                Ok(Box::new(ours) as Box<dyn Stream>)
            })
        })
    }

    async fn ask(address: &ConsoleAddress, head: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(answer).unwrap())
    }

    fn connect_to(address: &ConsoleAddress) -> String {
        format!("CONNECT {} HTTP/1.1\r\n\r\n", address.internal_access_path.as_deref().unwrap())
    }

    #[tokio::test]
    async fn a_permit_leads_to_its_console_once() {
        let server = ConsoleServer::default();
        let address = server.permit(echo()).await.unwrap();
        let (mut stream, answer) = ask(&address, &connect_to(&address)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stream.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        let (_, again) = ask(&address, &connect_to(&address)).await;
        assert!(again.starts_with("HTTP/1.1 403"), "{again}");
    }

    #[tokio::test]
    async fn nobody_else_gets_in() {
        let config = ConsoleServerConfig { ttl: Duration::ZERO, ..ConsoleServerConfig::default() };
        let server = ConsoleServer::new(config);
        let late = server.permit(echo()).await.unwrap();
        for head in [connect_to(&late), "CONNECT x HTTP/1.1\r\n\r\n".into(), "GET / HTTP/1.1\r\n\r\n".into()] {
            let (_, answer) = ask(&late, &head).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{head}: {answer}");
        }
        let (_, endless) = ask(&late, &"x".repeat(HEAD_MAX_BYTES)).await;
        assert!(endless.starts_with("HTTP/1.1 403"), "{endless}");
    }

    #[tokio::test]
    async fn a_console_that_is_gone_is_said_to_be() {
        let server = ConsoleServer::default();
        let gone: Connect = Box::new(|| Box::pin(async { Err(io::ErrorKind::NotFound.into()) }));
        let address = server.permit(gone).await.unwrap();
        let (_, answer) = ask(&address, &connect_to(&address)).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }

    #[test]
    fn novas_options_are_read() {
        let text =
            "[vnc]\nserver_listen = 0.0.0.0\nserver_proxyclient_address = host1\n[consoleauth]\ntoken_ttl = 60\n";
        let found = ConsoleServerConfig::from_config(&Config::from_text(text).unwrap()).unwrap();
        let expected = ConsoleServerConfig {
            listen: Ipv4Addr::UNSPECIFIED.into(),
            proxyclient_address: "host1".to_owned(),
            ttl: Duration::from_secs(60),
        };
        assert_eq!(found, expected);
    }
}
