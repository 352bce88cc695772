//! A client of consoles, as a browser is one.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// What may take that long at most: a guest that is emulated says its next line.
const BOUND: Duration = Duration::from_secs(90);

/// A console that is open.
pub(crate) struct Console(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Console {
    /// Opens the WebSocket at an address, from a page of `origin` if there is one.
    pub(crate) async fn open(url: &str, origin: Option<&str>) -> Self {
        let mut request = url.into_client_request().expect("an address");
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "binary".parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert("Origin", origin.parse().expect("a header"));
        }
        let (socket, answer) = connect_async(request).await.expect("a WebSocket");
        assert_eq!(answer.headers()["sec-websocket-protocol"], "binary");
        Self(socket)
    }

    /// The next message; none once the console is closed.
    pub(crate) async fn hear(&mut self) -> Option<Bytes> {
        loop {
            match tokio::time::timeout(BOUND, self.0.next()).await.expect("a message in time") {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("{other:?}"),
            }
        }
    }

    /// What is said until `words` are.
    pub(crate) async fn hear_until(&mut self, words: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(words) {
            let more = self.hear().await.unwrap_or_else(|| panic!("closed after {heard:?}"));
            heard.push_str(&String::from_utf8_lossy(&more));
        }
        heard
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.0.send(Message::Binary(bytes.to_vec().into())).await.expect("the console listens");
    }

    /// Greets a screen (RFC 6143, without authentication) and returns its name.
    pub(crate) async fn greet_screen(&mut self) -> String {
        let version = self.hear().await.expect("a version");
        assert_eq!(&version[..], b"RFB 003.008\n");
        self.say(&version).await;
        let types = self.hear().await.expect("security types");
        assert_eq!(&types[..], [1, 1], "none, and no other");
        self.say(&[1]).await;
        assert_eq!(&self.hear().await.expect("a result")[..], [0; 4]);
        self.say(&[1]).await;
        let init = self.hear().await.expect("what the screen is");
        assert!(init[..4].iter().any(|byte| *byte != 0), "it has a size");
        String::from_utf8_lossy(&init[24..]).into_owned()
    }
}

/// The address of the WebSocket that the page at `url` opens.
pub(crate) fn web_socket_of(url: &str) -> String {
    let (page, query) = url.split_once('?').expect("a query");
    let path = query.split('&').find_map(|pair| pair.strip_prefix("path=")).expect("a path");
    let host = page.splitn(4, '/').take(3).collect::<Vec<_>>().join("/").replacen("http", "ws", 1);
    format!("{host}/{}", path.replace("%3F", "?").replace("%3D", "="))
}
