//! Between a WebSocket and a console: messages here, bytes there.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a console says at once becomes one message.
const BUFFER_BYTES: usize = 16 * 1024;

/// Until one side has gone, or for as long as `bound` says. The bytes that went to the guest, and to the user.
pub(super) async fn pump(socket: WebSocket, console: TcpStream, bound: Option<Duration>) -> (u64, u64) {
    let (mut to_user, mut from_user) = socket.split();
    let (mut from_guest, mut to_guest) = console.into_split();
    let (mut up, mut down) = (0_u64, 0_u64);
    let upwards = async {
        while let Some(Ok(message)) = from_user.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => return,
                // The library answers a ping by itself.
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if to_guest.write_all(&bytes).await.is_err() {
                return;
            }
            up += bytes.len() as u64;
        }
    };
    let downwards = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(length @ 1..) = from_guest.read(&mut buffer).await {
            if to_user.send(Message::Binary(buffer[..length].to_vec().into())).await.is_err() {
                return;
            }
            down += length as u64;
        }
        let _ = to_user.send(Message::Close(None)).await;
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
        () = ended(bound) => {}
    }
    (up, down)
}

async fn ended(bound: Option<Duration>) {
    match bound {
        Some(bound) => tokio::time::sleep(bound).await,
        None => std::future::pending().await,
    }
}
