//! The console proxies: what nova-novncproxy and nova-serialproxy do. A browser's WebSocket comes with a token, and is led to
//! the console that the token permits.
//!
//! ```text
//!   GET /vnc_auto.html?path=…token%3DT      a page that opens a WebSocket at that path
//!   GET …?token=T, Upgrade: websocket ──> token, Origin ──> host:port (CONNECT internal_access_path) ──> bytes both ways
//! ```
//!
//! As Nova's proxies, this accepts the WebSocket first and closes it when the token is not good: a client that is not let in
//! sees no difference between the reasons. The log says which it was.

mod novnc;
mod origin;
mod pump;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use kilonova_core::time::utcnow;
use kilonova_core::{Config, ConfigError};
use kilonova_db::{Db, console_auth_tokens};
use kilonova_objects::ConsoleAuthToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower_http::services::ServeDir;

use origin::Origins;

/// How long a compute host may take to take a connection, and to let it through.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a host answers to CONNECT is not longer.
const ANSWER_MAX_BYTES: usize = 4096;
/// The page, where the operator has no other.
const PAGE: &str = include_str!("vnc_auto.html");

/// What the proxies of a process share.
struct Proxy {
    db: Db,
    origins: Origins,
    /// `[consoleauth] enforce_session_timeout`: a console that is open is closed when its token ends.
    ends_with_token: bool,
}

/// The proxies' routes.
pub(crate) fn router(config: &Config, db: &Db) -> Result<Router, ConfigError> {
    let proxy = Arc::new(Proxy {
        db: db.clone(),
        origins: Origins::from_config(config),
        ends_with_token: config.flag("consoleauth", "enforce_session_timeout", false)?,
    });
    let page = || std::future::ready(Html(PAGE));
    let router = Router::new()
        .route("/", get(console))
        .route("/websockify", get(console))
        .route("/vnc_auto.html", get(page))
        .with_state(proxy);
    Ok(match config.get("DEFAULT", "web") {
        Some(web) => router.fallback_service(ServeDir::new(PathBuf::from(web))),
        None => router.fallback(novnc::file),
    })
}

/// A WebSocket, or a person who looks what is here.
async fn console(
    State(proxy): State<Arc<Proxy>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return Html(PAGE).into_response();
    };
    let token = token(query.as_deref(), &headers);
    upgrade.protocols(["binary"]).on_upgrade(move |socket| async move {
        serve(&proxy, socket, peer, token.as_deref(), &headers).await;
    })
}

/// From the query, or from a cookie as older pages send it.
fn token(query: Option<&str>, headers: &HeaderMap) -> Option<String> {
    let value = |text: &str, ends: &[char]| {
        text.split(ends).find_map(|pair| pair.trim().strip_prefix("token=")).map(|token| token.trim().to_owned())
    };
    let cookies = headers.get(header::COOKIE).and_then(|cookies| cookies.to_str().ok());
    query.and_then(|query| value(query, &['&'])).or_else(|| cookies.and_then(|cookies| value(cookies, &[';'])))
}

async fn serve(proxy: &Proxy, mut socket: WebSocket, peer: SocketAddr, token: Option<&str>, headers: &HeaderMap) {
    let reached = match permitted(proxy, token, headers).await {
        Ok(console) => connect(&console).await.map(|stream| (console, stream)).map_err(|error| error.to_string()),
        Err(reason) => Err(reason),
    };
    let (console, stream) = match reached {
        Ok(reached) => reached,
        Err(reason) => {
            tracing::warn!(%peer, reason, "a console was refused");
            // A client that has gone needs no farewell.
            let _ = socket.send(Message::Close(None)).await;
            return;
        }
    };
    let (instance, kind) = (console.instance_uuid, console.console_type.as_str());
    tracing::info!(%peer, %instance, kind, "a console is open");
    let begun = Instant::now();
    let left = console.expires.saturating_sub(utcnow().timestamp());
    let bound = proxy.ends_with_token.then(|| Duration::from_secs(left.try_into().unwrap_or_default()));
    let (to_guest, to_user) = pump::pump(socket, stream, bound).await;
    let seconds = begun.elapsed().as_secs();
    tracing::info!(%peer, %instance, kind, seconds, to_guest, to_user, "a console is closed");
}

/// What the token permits, to who comes from where these headers say.
async fn permitted(proxy: &Proxy, token: Option<&str>, headers: &HeaderMap) -> Result<ConsoleAuthToken, String> {
    let token = token.ok_or("there is no token")?;
    let found = console_auth_tokens::validate(&proxy.db, token).await.map_err(|error| error.to_string())?;
    let console = found.ok_or("the token has expired or is invalid")?;
    proxy.origins.check(headers, console.access_url_base.as_deref())?;
    Ok(console)
}

/// To the console, by way of its host's own door where it has one.
async fn connect(console: &ConsoleAuthToken) -> io::Result<TcpStream> {
    let connecting = async {
        let port = u16::try_from(console.port).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect((console.host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        if let Some(path) = &console.internal_access_path {
            stream.write_all(format!("CONNECT {path} HTTP/1.1\r\n\r\n").as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                if answer.len() == ANSWER_MAX_BYTES {
                    return Err(io::Error::other("the host's answer has no end"));
                }
                answer.push(stream.read_u8().await?);
            }
            if answer.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
                return Err(io::Error::other("the host does not let this token in (again)"));
            }
        }
        Ok(stream)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_in_the_query_or_in_a_cookie() {
        let cookie = |text: &str| HeaderMap::from_iter([(header::COOKIE, text.parse().unwrap())]);
        let none = HeaderMap::new();
        assert_eq!(token(Some("a=b&token=t"), &none).as_deref(), Some("t"));
        assert_eq!(token(Some("token=t"), &cookie("token=other")).as_deref(), Some("t"));
        assert_eq!(token(None, &cookie("a=b; token=t; c=d")).as_deref(), Some("t"));
        assert_eq!(token(Some("x=token"), &none), None);
    }
}
