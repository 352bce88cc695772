//! The SPICE port of fake guests. One port for all of them, as all have the same screen; of the protocol no more than its
//! first exchange, in which client and server find that they can talk.
//!
//! ```text
//!   client  "REDQ" major minor size │ connection channel caps…        RedLinkMess
//!   server  "REDQ" major minor size │ error public key caps           RedLinkReply, then the end
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

use crate::driver::DriverError;

const MAGIC: &[u8; 4] = b"REDQ";
const MAJOR: u32 = 2;
const MINOR: u32 = 2;
/// A client's message is not longer: 18 bytes and a few words of capabilities.
const LINK_MAX_BYTES: u32 = 4096;
/// Of the key that a client encrypts its ticket with; here nobody asks for a ticket, and the key is zeros.
const PUBLIC_KEY_BYTES: usize = 162;
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// `SPICE_LINK_ERR_…`
const OK: u32 = 0;
const INVALID_MAGIC: u32 = 2;
const INVALID_DATA: u32 = 3;
const VERSION_MISMATCH: u32 = 4;

/// Listens from the first time that it is asked where.
#[derive(Debug, Default)]
pub(super) struct SpiceServer(OnceCell<Listening>);

#[derive(Debug)]
struct Listening {
    port: u16,
    task: AbortHandle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SpiceServer {
    /// The port at `listen`.
    pub(super) async fn port(&self, listen: IpAddr) -> Result<u16, DriverError> {
        let start = || async move {
            let listener = TcpListener::bind(SocketAddr::new(listen, 0)).await?;
            let port = listener.local_addr()?.port();
            Ok(Listening { port, task: tokio::spawn(accept(listener)).abort_handle() })
        };
        let refused = |error: io::Error| DriverError::Host(format!("cannot listen for SPICE on {listen}: {error}"));
        Ok(self.0.get_or_try_init(start).await.map_err(refused)?.port)
    }
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((mut stream, peer)) => {
                tokio::spawn(async move {
                    let served = tokio::time::timeout(GREETING_TIMEOUT, greet(&mut stream)).await;
                    tracing::debug!(%peer, ?served, "a client of a fake SPICE screen has gone");
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to a fake SPICE screen could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers a client's first message.
async fn greet(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut magic = [0; 4];
    client.read_exact(&mut magic).await?;
    let error = if &magic == MAGIC { judge(client).await? } else { INVALID_MAGIC };
    client.write_all(&reply(error)).await
}

/// What is wrong with a message that is one of SPICE.
async fn judge(client: &mut (impl AsyncRead + Unpin)) -> io::Result<u32> {
    let major = client.read_u32_le().await?;
    let _minor = client.read_u32_le().await?;
    let size = client.read_u32_le().await?;
    if major != MAJOR {
        return Ok(VERSION_MISMATCH);
    }
    if size > LINK_MAX_BYTES {
        return Ok(INVALID_DATA);
    }
    let read = tokio::io::copy(&mut client.take(u64::from(size)), &mut tokio::io::sink()).await?;
    if read == u64::from(size) { Ok(OK) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn reply(error: u32) -> Vec<u8> {
    let mut body = error.to_le_bytes().to_vec();
    body.resize(body.len() + PUBLIC_KEY_BYTES, 0);
    // No capabilities, neither common ones nor of the channel, which would begin behind this.
    let offset = u32::try_from(body.len() + 12).unwrap_or_default();
    for word in [0, 0, offset] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    let mut reply = MAGIC.to_vec();
    for word in [MAJOR, MINOR, u32::try_from(body.len()).unwrap_or_default()] {
        reply.extend_from_slice(&word.to_le_bytes());
    }
    reply.append(&mut body);
    reply
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpStream;

    use super::*;

    async fn answer(message: &[u8]) -> Vec<u8> {
        let server = SpiceServer::default();
        let port = server.port(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        assert_eq!(server.port(Ipv4Addr::LOCALHOST.into()).await.unwrap(), port);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(message).await.unwrap();
        let mut answer = vec![0; 16 + 4 + PUBLIC_KEY_BYTES + 12];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    }

    fn link(magic: &[u8; 4], major: u32, size: u32, body: usize) -> Vec<u8> {
        let mut message = magic.to_vec();
        for word in [major, 2, size] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message.resize(message.len() + body, 0);
        message
    }

    #[tokio::test]
    async fn a_client_is_greeted() {
        let answer = answer(&link(MAGIC, 2, 26, 26)).await;
        assert_eq!(answer[..20], *b"REDQ\x02\0\0\0\x02\0\0\0\xb2\0\0\0\0\0\0\0");
        assert_eq!(answer[answer.len() - 4..], 178_u32.to_le_bytes());
    }

    #[tokio::test]
    async fn a_stranger_is_told_why_not() {
        for (message, error) in [
            (b"GET ".to_vec(), INVALID_MAGIC),
            (link(MAGIC, 1, 26, 0), VERSION_MISMATCH),
            (link(MAGIC, 2, u32::MAX, 0), INVALID_DATA),
        ] {
            assert_eq!(answer(&message).await[16..20], error.to_le_bytes());
        }
    }
}
