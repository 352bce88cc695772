//! The task of a connection: it alone reads and writes the socket. What callers have to say is gathered, and goes out in one
//! write.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use super::greeting::Agreement;
use super::state::Next;
use super::{Condition, EndReason, Inner, frames};
use crate::lock;

/// How long acknowledgements wait for something else to be written.
const PATIENCE: Duration = Duration::from_millis(5);
/// Bytes that are asked of the socket at a time, at least.
const READ_SIZE: usize = 16 * 1024;
/// What a buffer that once was full keeps.
const KEPT_CAPACITY: usize = 256 * 1024;
/// How long the last word may take.
const LAST_WORD_BOUND: Duration = Duration::from_millis(200);
/// How long a heartbeat that the socket does not take waits before it is tried again.
const BEAT_RETRY: Duration = Duration::from_millis(100);
/// A timer that is not set.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

/// Reads, writes, and tells of the end.
pub(super) async fn run<S>(stream: S, input: BytesMut, agreement: Agreement, inner: Arc<Inner>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let reason = inner.killed.run_until_cancelled(serve(stream, input, agreement, &inner)).await;
    lock(&inner.state).end(reason.unwrap_or(EndReason::Killed));
    inner.condition.send_replace(Condition::Lost);
}

async fn serve<S>(stream: S, mut input: BytesMut, agreement: Agreement, inner: &Inner) -> EndReason
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut heart = Heart::new(agreement.heartbeat_s);
    let mut writing = Writing::default();
    let mut ack_at: Option<Instant> = None;
    let mut alarm = pin!(sleep_until(heart.next()));
    // What came with the last word of the greeting.
    if let Err(reason) = hear(&mut input, agreement.frame_max, inner) {
        return reason;
    }
    loop {
        if writing.is_done() {
            let mut state = lock(&inner.state);
            let is_due = ack_at.is_some_and(|at| at <= Instant::now());
            if state.has_acks() && (is_due || !state.out.is_empty()) {
                state.gather();
            }
            if is_due {
                ack_at = None;
                state.is_watched = false;
            }
            if ack_at.is_none() && (state.has_acks() || state.has_deliveries) {
                ack_at = Some(Instant::now() + PATIENCE);
                state.is_watched = true;
                state.has_deliveries = false;
            }
            writing.take(&mut state.out);
            state.is_writing = !writing.is_done();
        }
        let alarm_at = ack_at.map_or(heart.next(), |at| at.min(heart.next()));
        if alarm_at < alarm.deadline() {
            alarm.as_mut().reset(alarm_at);
        }
        input.reserve(READ_SIZE);
        tokio::select! {
            biased;
            read = reader.read_buf(&mut input) => match read {
                Ok(0) => return EndReason::HungUp,
                Err(error) => return EndReason::Io(Arc::new(error)),
                Ok(_) => {
                    heart.heard();
                    match hear(&mut input, agreement.frame_max, inner) {
                        Ok(true) => {}
                        Ok(false) => return say_last(&mut writer, &writing, inner).await,
                        Err(reason) => return reason,
                    }
                }
            },
            written = writing.push(&mut writer), if !writing.is_done() => match written {
                Ok(()) => heart.said(),
                Err(error) => return EndReason::Io(Arc::new(error)),
            },
            () = inner.wake.notified(), if writing.is_done() => {}
            () = &mut alarm => {
                if heart.is_silent() {
                    return EndReason::Silent;
                }
                if heart.must_beat() && writing.is_done() {
                    frames::write_heartbeat(&mut lock(&inner.state).out);
                }
                alarm.as_mut().reset(heart.next());
            }
        }
    }
}

/// Acts on all whole frames that are there; `false`: there will be no more.
fn hear(input: &mut BytesMut, frame_max: usize, inner: &Inner) -> Result<bool, EndReason> {
    let mut goes_on = true;
    let mut state = lock(&inner.state);
    while goes_on {
        let next = frames::next(input, frame_max).map_err(EndReason::Frame)?;
        let Some((channel, frame, length)) = next else { break };
        match state.heard(channel, frame) {
            Ok(Next::GoOn) => {}
            Ok(Next::Blocked(is_blocked)) => {
                inner.condition.send_replace(if is_blocked { Condition::Blocked } else { Condition::Open });
            }
            Ok(Next::End) => goes_on = false,
            Err(_) => return Err(EndReason::Nonsense),
        }
        input.advance(length);
    }
    Ok(goes_on)
}

/// What remains to be said, to a broker that may not listen any more.
async fn say_last(writer: &mut (impl AsyncWrite + Unpin), writing: &Writing, inner: &Inner) -> EndReason {
    let (last, reason) = {
        let mut state = lock(&inner.state);
        (std::mem::take(&mut state.out), state.end_reason().unwrap_or(EndReason::Finished))
    };
    let _ = tokio::time::timeout(LAST_WORD_BOUND, async {
        writer.write_all(writing.rest()).await?;
        writer.write_all(&last).await?;
        writer.shutdown().await
    })
    .await;
    reason
}

/// What is on its way into the socket.
#[derive(Default)]
struct Writing {
    bytes: Vec<u8>,
    done: usize,
    /// Over TLS, and nowhere else, what was written may be held back.
    is_held_back: bool,
}

impl Writing {
    fn is_done(&self) -> bool {
        self.done == self.bytes.len() && !self.is_held_back
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// Brings it one step further. May be cancelled.
    async fn push(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        if self.rest().is_empty() {
            writer.flush().await?;
            self.is_held_back = false;
            return Ok(());
        }
        match writer.write(self.rest()).await? {
            0 => Err(std::io::ErrorKind::WriteZero.into()),
            count => {
                self.done += count;
                self.is_held_back = true;
                Ok(())
            }
        }
    }

    /// Goes on with `out`, which is empty then.
    fn take(&mut self, out: &mut Vec<u8>) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.done = 0;
        std::mem::swap(&mut self.bytes, out);
    }
}

/// When to give a sign of life, and when the broker has given none for too long.
struct Heart {
    interval: Duration,
    said_at: Instant,
    heard_at: Instant,
}

impl Heart {
    fn new(seconds: u16) -> Self {
        let interval = if seconds == 0 { NEVER } else { Duration::from_secs(seconds.into()) };
        let now = Instant::now();
        Self { interval, said_at: now, heard_at: now }
    }

    fn said(&mut self) {
        self.said_at = Instant::now();
    }

    fn heard(&mut self) {
        self.heard_at = Instant::now();
    }

    fn must_beat(&self) -> bool {
        self.said_at.elapsed() >= self.interval / 2
    }

    /// By AMQP's rule: two intervals without a byte.
    fn is_silent(&self) -> bool {
        self.heard_at.elapsed() >= self.interval * 2
    }

    /// When to look again. What was said late, because the socket took nothing, is no reason to look at once.
    fn next(&self) -> Instant {
        let beat = (self.said_at + self.interval / 2).max(Instant::now() + BEAT_RETRY);
        beat.min(self.heard_at + self.interval * 2)
    }
}
