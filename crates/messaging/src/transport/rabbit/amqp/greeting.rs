//! How a connection begins.
//!
//! ```text
//!   "AMQP 0.9.1" ──>          <── start (mechanisms)
//!   start-ok (login) ──>      <── tune (limits)
//!   tune-ok, open (virtual host) ──>      <── open-ok
//! ```

use amq_protocol::auth::Credentials;
use amq_protocol::protocol::{AMQPClass, connection};
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};
use amq_protocol::uri::SASLMechanism;
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::frames::{self, Frame, FrameError};

/// Before anything was agreed.
const FRAME_MIN: usize = 4096;
/// RabbitMQ's own largest frame; a longer message goes in several.
const FRAME_MAX: u32 = 128 * 1024;
const CHANNEL_MAX: u16 = 2047;
const LOCALE: &str = "en_US";
/// The broker's code for a login that it does not take.
const ACCESS_REFUSED: u16 = 403;
/// Its code for a virtual host that is not there, or is closed to the user.
const NOT_ALLOWED: u16 = 530;

/// Who wants to connect, and to what.
pub(in super::super) struct Login {
    pub(in super::super) mechanism: SASLMechanism,
    pub(in super::super) username: String,
    pub(in super::super) password: String,
    pub(in super::super) virtual_host: String,
    /// Seconds; 0 for none.
    pub(in super::super) heartbeat_s: u16,
    /// What the broker shows of us.
    pub(in super::super) connection_name: String,
}

/// What both sides hold to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) channel_max: u16,
    /// Bytes of a whole frame.
    pub(super) frame_max: usize,
    /// Seconds; 0 for none.
    pub(super) heartbeat_s: u16,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum GreetingError {
    #[error("the socket failed")]
    Io(#[from] std::io::Error),
    #[error("the broker closed the connection before it was open: it does that to a wrong password, too")]
    HungUp,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the broker refused: {code} {text}{}", remedy(*code))]
    Refused { code: u16, text: String },
    #[error("the broker does not take {wanted}, only {offered}: see rabbit_login_method")]
    Mechanism { wanted: String, offered: String },
    #[error("the broker sent something else than the greeting")]
    Unexpected,
    #[error("a name of the connection is too long for AMQP: {0:.60}…")]
    TooLong(String),
}

/// What an operator can do about it, after the broker's words.
fn remedy(code: u16) -> &'static str {
    match code {
        ACCESS_REFUSED => ": see user and password in transport_url, and rabbit_login_method",
        NOT_ALLOWED => ": see the virtual host at the end of transport_url, and the user's permissions there",
        _ => "",
    }
}

/// Logs in over a fresh stream. What was read beyond it stays in `input`.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    input: &mut BytesMut,
    login: &Login,
) -> Result<Agreement, GreetingError> {
    let mut out = Vec::new();
    frames::write_protocol_header(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;

    let connection::AMQPMethod::Start(start) = receive(stream, input).await? else {
        return Err(GreetingError::Unexpected);
    };
    let start_ok = connection::AMQPMethod::StartOk(answer(&start, login)?);
    send(stream, vec![start_ok]).await?;

    let connection::AMQPMethod::Tune(tune) = receive(stream, input).await? else {
        return Err(GreetingError::Unexpected);
    };
    let agreement = agree(&tune, login.heartbeat_s);
    let virtual_host = short(&login.virtual_host)?;
    let tune_ok = connection::TuneOk {
        channel_max: agreement.channel_max,
        frame_max: u32::try_from(agreement.frame_max).unwrap_or(FRAME_MAX),
        heartbeat: agreement.heartbeat_s,
    };
    let open = connection::Open { virtual_host };
    send(stream, vec![connection::AMQPMethod::TuneOk(tune_ok), connection::AMQPMethod::Open(open)]).await?;
    match receive(stream, input).await? {
        connection::AMQPMethod::OpenOk(_) => Ok(agreement),
        _ => Err(GreetingError::Unexpected),
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    methods: Vec<connection::AMQPMethod>,
) -> Result<(), GreetingError> {
    let mut out = Vec::new();
    for method in methods {
        frames::write_method(&mut out, 0, AMQPClass::Connection(method));
    }
    stream.write_all(&out).await?;
    // Over TLS, what was written may be held back.
    Ok(stream.flush().await?)
}

async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<connection::AMQPMethod, GreetingError> {
    loop {
        if let Some((channel, frame, length)) = frames::next(input, FRAME_MIN)? {
            let method = match (channel, frame) {
                (0, Frame::Method(AMQPClass::Connection(method))) => Some(method),
                (0, Frame::Heartbeat) => None,
                _ => return Err(GreetingError::Unexpected),
            };
            input.advance(length);
            match method {
                Some(connection::AMQPMethod::Close(close)) => {
                    let text = close.reply_text.to_string();
                    return Err(GreetingError::Refused { code: close.reply_code, text });
                }
                Some(method) => return Ok(method),
                None => continue,
            }
        }
        if stream.read_buf(input).await? == 0 {
            return Err(GreetingError::HungUp);
        }
    }
}

fn answer(start: &connection::Start, login: &Login) -> Result<connection::StartOk, GreetingError> {
    let offered = String::from_utf8_lossy(start.mechanisms.as_bytes()).into_owned();
    let wanted = login.mechanism.name();
    if !offered.split_whitespace().any(|name| name.eq_ignore_ascii_case(wanted)) {
        return Err(GreetingError::Mechanism { wanted: wanted.to_owned(), offered });
    }
    let credentials = Credentials::new(login.username.as_str().into(), login.password.as_str().into());
    Ok(connection::StartOk {
        client_properties: client_properties(&login.connection_name),
        mechanism: wanted.into(),
        response: credentials.sasl_auth_string(login.mechanism),
        locale: LOCALE.into(),
    })
}

/// What the broker shows of us, and what it may do because we understand it.
fn client_properties(connection_name: &str) -> FieldTable {
    let mut capabilities = FieldTable::default();
    for capability in [
        "authentication_failure_close",
        "basic.nack",
        "connection.blocked",
        "consumer_cancel_notify",
        "publisher_confirms",
    ] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let mut properties = FieldTable::default();
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties.insert("connection_name".into(), text(connection_name));
    properties.insert("platform".into(), text("rust"));
    properties.insert("product".into(), text(env!("CARGO_PKG_NAME")));
    properties.insert("version".into(), text(env!("CARGO_PKG_VERSION")));
    properties
}

/// The lower of two limits, where 0 is none.
fn agree(tune: &connection::Tune, heartbeat_s: u16) -> Agreement {
    let frame_max = if tune.frame_max == 0 { FRAME_MAX } else { tune.frame_max.min(FRAME_MAX) };
    Agreement {
        channel_max: if tune.channel_max == 0 { CHANNEL_MAX } else { tune.channel_max.min(CHANNEL_MAX) },
        frame_max: (frame_max as usize).max(FRAME_MIN),
        heartbeat_s: match (tune.heartbeat, heartbeat_s) {
            // Who wants none gets none.
            (_, 0) => 0,
            (0, ours) => ours,
            (theirs, ours) => theirs.min(ours),
        },
    }
}

fn short(text: &str) -> Result<ShortString, GreetingError> {
    ShortString::try_new(text).map_err(|_| GreetingError::TooLong(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login {
            mechanism: SASLMechanism::Plain,
            username: "guest".to_owned(),
            password: "secret".to_owned(),
            virtual_host: "/".to_owned(),
            heartbeat_s: 60,
            connection_name: "me".to_owned(),
        }
    }

    #[test]
    fn of_two_limits_the_lower_one_holds_and_zero_is_none() {
        let tune = |channel_max, frame_max, heartbeat| connection::Tune { channel_max, frame_max, heartbeat };
        let agreed = |channel_max, frame_max, heartbeat_s| Agreement { channel_max, frame_max, heartbeat_s };
        assert_eq!(agree(&tune(0, 0, 0), 60), agreed(2047, 128 * 1024, 60));
        assert_eq!(agree(&tune(100, 8192, 30), 60), agreed(100, 8192, 30));
        assert_eq!(agree(&tune(9999, 1 << 20, 90), 60), agreed(2047, 128 * 1024, 60));
        assert_eq!(agree(&tune(9999, 1 << 20, 90), 0), agreed(2047, 128 * 1024, 0));
    }

    /// A broker that reads what comes and says these bytes.
    async fn with(said: Vec<u8>) -> Result<Agreement, GreetingError> {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        let broker = tokio::spawn(async move {
            theirs.write_all(&said).await.unwrap();
            let mut heard = Vec::new();
            if !said.is_empty() {
                theirs.read_to_end(&mut heard).await.unwrap();
            }
            heard
        });
        let greeted = greet(&mut ours, &mut BytesMut::new(), &login()).await;
        drop(ours);
        let heard = broker.await.unwrap();
        assert!(heard.is_empty() || heard.starts_with(b"AMQP\0\0\x09\x01"), "{heard:?}");
        greeted
    }

    fn said(methods: Vec<connection::AMQPMethod>) -> Vec<u8> {
        let mut out = Vec::new();
        for method in methods {
            frames::write_method(&mut out, 0, AMQPClass::Connection(method));
        }
        out
    }

    fn start(mechanisms: &str) -> connection::AMQPMethod {
        connection::AMQPMethod::Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: FieldTable::default(),
            mechanisms: mechanisms.into(),
            locales: LOCALE.into(),
        })
    }

    #[tokio::test]
    async fn a_broker_that_does_not_want_us_says_why() {
        let close =
            connection::Close { reply_code: 403, reply_text: "ACCESS_REFUSED - no".into(), class_id: 0, method_id: 0 };
        let refused = with(said(vec![start("PLAIN"), connection::AMQPMethod::Close(close)])).await.unwrap_err();
        let expected = "the broker refused: 403 ACCESS_REFUSED - no: see user and password in transport_url, and \
                        rabbit_login_method";
        assert_eq!(refused.to_string(), expected);
        let refused = with(said(vec![start("EXTERNAL AMQPLAIN")])).await.unwrap_err();
        assert!(refused.to_string().contains("does not take PLAIN, only EXTERNAL AMQPLAIN"), "{refused}");
        assert!(matches!(with(b"AMQP\x00\x01\x00\x00".to_vec()).await, Err(GreetingError::Frame(_))));
        assert!(matches!(with(Vec::new()).await, Err(GreetingError::HungUp)));
    }
}
