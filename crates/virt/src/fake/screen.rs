//! Consoles of fake guests: a screen of one colour that speaks RFB (RFC 6143), and a serial port that says back what it
//! hears.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const WIDTH: u16 = 32;
const HEIGHT: u16 = 24;
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// 32 bits for each pixel, 8 for each colour, little-endian.
const PIXEL_FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
const SECURITY_NONE: u8 = 1;

/// Serves one client of the screen until it goes.
pub(super) async fn vnc(mut client: DuplexStream, name: String) -> io::Result<()> {
    client.write_all(VERSION).await?;
    let mut version = [0; 12];
    client.read_exact(&mut version).await?;
    client.write_all(&[1, SECURITY_NONE]).await?;
    if client.read_u8().await? != SECURITY_NONE {
        return client.write_u32(1).await;
    }
    client.write_u32(0).await?;
    // Whether others may look, too: they may.
    client.read_u8().await?;
    let mut init = Vec::new();
    init.extend_from_slice(&WIDTH.to_be_bytes());
    init.extend_from_slice(&HEIGHT.to_be_bytes());
    init.extend_from_slice(&PIXEL_FORMAT);
    init.extend_from_slice(&u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
    init.extend_from_slice(name.as_bytes());
    client.write_all(&init).await?;
    let mut bytes_per_pixel = 4;
    loop {
        match client.read_u8().await? {
            // SetPixelFormat
            0 => {
                let mut format = [0; 19];
                client.read_exact(&mut format).await?;
                bytes_per_pixel = usize::from(format[3] / 8);
            }
            // SetEncodings
            2 => {
                client.read_u8().await?;
                let count = client.read_u16().await?;
                skip(&mut client, u64::from(count) * 4).await?;
            }
            // FramebufferUpdateRequest: nothing ever changes after the first.
            3 => {
                let is_incremental = client.read_u8().await? != 0;
                skip(&mut client, 8).await?;
                if !is_incremental {
                    client.write_all(&update(bytes_per_pixel)).await?;
                }
            }
            // KeyEvent, PointerEvent
            4 => skip(&mut client, 7).await?,
            5 => skip(&mut client, 5).await?,
            // ClientCutText
            6 => {
                skip(&mut client, 3).await?;
                let length = client.read_u32().await?;
                skip(&mut client, u64::from(length)).await?;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The whole screen, raw.
fn update(bytes_per_pixel: usize) -> Vec<u8> {
    let mut update = vec![0, 0, 0, 1, 0, 0, 0, 0];
    update.extend_from_slice(&WIDTH.to_be_bytes());
    update.extend_from_slice(&HEIGHT.to_be_bytes());
    update.extend_from_slice(&0_u32.to_be_bytes());
    let pixels = usize::from(WIDTH) * usize::from(HEIGHT);
    update.resize(update.len() + pixels * bytes_per_pixel, 0x40);
    update
}

async fn skip(client: &mut DuplexStream, bytes: u64) -> io::Result<()> {
    let skipped = tokio::io::copy(&mut client.take(bytes), &mut tokio::io::sink()).await?;
    if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Serves one client of the serial port until it goes.
pub(super) async fn serial(client: DuplexStream, log: String) -> io::Result<()> {
    let (mut read, mut write) = tokio::io::split(client);
    write.write_all(log.as_bytes()).await?;
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_is_greeted_and_sees_the_screen() {
        let (mut us, them) = tokio::io::duplex(64 * 1024);
        let served = tokio::spawn(vnc(them, "vm".to_owned()));
        let mut version = [0; 12];
        us.read_exact(&mut version).await.unwrap();
        us.write_all(&version).await.unwrap();
        let mut types = [0; 2];
        us.read_exact(&mut types).await.unwrap();
        us.write_all(&[types[1], 1]).await.unwrap();
        assert_eq!(us.read_u32().await.unwrap(), 0);
        let mut init = [0; 26];
        us.read_exact(&mut init).await.unwrap();
        assert_eq!(&init[20..], b"\0\0\0\x02vm");
        // Other messages go by: encodings, a key, the pointer, the clipboard.
        us.write_all(&[2, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
        us.write_all(&[4, 1, 0, 0, 0, 0, 0, 65, 5, 0, 0, 1, 0, 1, 6, 0, 0, 0, 0, 0, 0, 1, 65]).await.unwrap();
        us.write_all(&[3, 0, 0, 0, 0, 0, 0, 32, 0, 24]).await.unwrap();
        let mut screen = vec![0; update(4).len()];
        us.read_exact(&mut screen).await.unwrap();
        assert_eq!(screen, update(4));
        us.write_all(&[99]).await.unwrap();
        assert!(served.await.unwrap().is_err());
    }
}
