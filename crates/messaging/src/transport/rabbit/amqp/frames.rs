//! Frames as bytes: a type, a channel, a size, the payload, and an end mark. What is in the payload is the codec's.

use amq_protocol::frame::parsing::parse_content_header;
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, ProtocolVersion, WriteContext, gen_frame};
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic, parse_class};
use bytes::Buf as _;

/// Type, channel and size.
const HEAD: usize = 7;
/// All of a frame but its payload.
pub(super) const OVERHEAD: usize = HEAD + 1;
const END: u8 = 0xCE;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// The class of messages.
const BASIC: u16 = 60;

/// What was received; of a body only as much as is in one frame.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Method(AMQPClass),
    Header(Box<AMQPContentHeader>),
    Body(&'a [u8]),
    Heartbeat,
}

/// What the other side sent is not AMQP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum FrameError {
    #[error("a frame of type {0} came, which there is not")]
    Type(u8),
    #[error("a frame of {size} bytes came, and {max} is the most that was agreed")]
    Size { size: usize, max: usize },
    #[error("a frame does not end where it should")]
    End,
    #[error("a frame of type {0} cannot be read")]
    Payload(u8),
    #[error("the broker speaks AMQP {0}.{1}.{2} and not 0.9.1")]
    Version(u8, u8, u8),
}

/// The first frame of `input`, its channel, and its length; `None` while it is not there whole. `max`: the most bytes that a
/// frame may have.
pub(super) fn next(input: &[u8], max: usize) -> Result<Option<(u16, Frame<'_>, usize)>, FrameError> {
    let Some((mut head, rest)) = input.split_at_checked(HEAD) else { return Ok(None) };
    let kind = head.get_u8();
    if kind == b'A' {
        // Only a broker that does not speak our version sends this.
        return Err(FrameError::Version(input[5], input[6], input.get(7).copied().unwrap_or_default()));
    }
    let (channel, size) = (head.get_u16(), head.get_u32() as usize);
    if size + OVERHEAD > max {
        return Err(FrameError::Size { size: size + OVERHEAD, max });
    }
    let Some((payload, rest)) = rest.split_at_checked(size) else { return Ok(None) };
    let Some(end) = rest.first() else { return Ok(None) };
    if *end != END {
        return Err(FrameError::End);
    }
    let frame = match kind {
        METHOD => Frame::Method(whole(kind, parse_class(payload))?),
        HEADER => Frame::Header(Box::new(whole(kind, parse_content_header(payload))?)),
        BODY => Frame::Body(payload),
        HEARTBEAT => Frame::Heartbeat,
        other => return Err(FrameError::Type(other)),
    };
    Ok(Some((channel, frame, size + OVERHEAD)))
}

fn whole<T, E>(kind: u8, parsed: Result<(&[u8], T), E>) -> Result<T, FrameError> {
    match parsed {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(FrameError::Payload(kind)),
    }
}

/// The first bytes of a connection.
pub(super) fn write_protocol_header(out: &mut Vec<u8>) {
    write(out, &AMQPFrame::ProtocolHeader(ProtocolVersion::amqp_0_9_1()));
}

pub(super) fn write_heartbeat(out: &mut Vec<u8>) {
    write(out, &AMQPFrame::Heartbeat);
}

pub(super) fn write_method(out: &mut Vec<u8>, channel: u16, method: AMQPClass) {
    write(out, &AMQPFrame::Method(channel, method));
}

/// A message: its method, its header, and its body in frames of `max` bytes at most.
pub(super) fn write_message(
    out: &mut Vec<u8>,
    channel: u16,
    publish: basic::Publish,
    properties: BasicProperties,
    body: &[u8],
    max: usize,
) {
    write_method(out, channel, AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
    let header = AMQPContentHeader { class_id: BASIC, body_size: body.len() as u64, properties };
    write(out, &AMQPFrame::Header(channel, header));
    for part in body.chunks(max - OVERHEAD) {
        out.push(BODY);
        out.extend_from_slice(&channel.to_be_bytes());
        out.extend_from_slice(&u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(part);
        out.push(END);
    }
}

fn write(out: &mut Vec<u8>, frame: &AMQPFrame) {
    // Memory does not refuse to be written to, and names were looked at before. Should it fail all the same, what was not
    // sent yet is gone with it, and whoever waits for an answer sees a timeout.
    let length = out.len();
    match gen_frame(frame)(WriteContext::from(std::mem::take(out))) {
        Ok(written) => *out = written.into_inner().0,
        Err(error) => tracing::error!(%error, length, "a frame could not be written"),
    }
}

#[cfg(test)]
mod tests {
    use amq_protocol::protocol::{channel, connection};

    use super::*;

    const MAX: usize = 64;

    fn message(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let publish =
            basic::Publish { exchange: "e".into(), routing_key: "k".into(), mandatory: true, immediate: false };
        write_message(&mut out, 3, publish, BasicProperties::default().with_priority(0), body, MAX);
        out
    }

    /// Every frame as `channel kind length of a body`.
    fn read(mut input: &[u8]) -> Vec<String> {
        let mut read = Vec::new();
        while let Some((channel, frame, length)) = next(input, MAX).unwrap() {
            read.push(match frame {
                Frame::Method(method) => format!("{channel} method {}", method.get_amqp_class_id()),
                Frame::Header(header) => format!("{channel} header {}", header.body_size),
                Frame::Body(body) => format!("{channel} body {}", body.len()),
                Frame::Heartbeat => format!("{channel} heartbeat"),
            });
            input = &input[length..];
        }
        assert!(input.is_empty());
        read
    }

    #[test]
    fn a_message_reads_back_in_frames_that_are_not_too_long() {
        assert_eq!(read(&message(b"")), ["3 method 60", "3 header 0"]);
        assert_eq!(read(&message(&[7; 56])), ["3 method 60", "3 header 56", "3 body 56"]);
        assert_eq!(read(&message(&[7; 57])), ["3 method 60", "3 header 57", "3 body 56", "3 body 1"]);
        let mut heartbeat = Vec::new();
        write_heartbeat(&mut heartbeat);
        assert_eq!(read(&heartbeat), ["0 heartbeat"]);
    }

    #[test]
    fn what_is_not_there_whole_is_waited_for() {
        let message = message(b"hello");
        let first = next(&message, MAX).unwrap().unwrap().2;
        for length in 0..first {
            assert!(next(&message[..length], MAX).unwrap().is_none(), "{length}");
        }
        assert!(next(&message[..first], MAX).unwrap().is_some());
    }

    #[test]
    fn what_is_not_amqp_is_refused() {
        let mut good = Vec::new();
        write_method(&mut good, 0, AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {})));
        let changed = |index: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[index] = byte;
            next(&bytes, MAX).unwrap_err()
        };
        assert_eq!(changed(0, 4), FrameError::Type(4));
        assert_eq!(changed(good.len() - 1, 0), FrameError::End);
        assert_eq!(changed(8, 99), FrameError::Payload(METHOD));
        assert_eq!(changed(4, 1), FrameError::Size { size: 0x1_0000 + 4 + OVERHEAD, max: MAX });
        assert_eq!(next(b"AMQP\x00\x01\x00\x00", MAX).unwrap_err(), FrameError::Version(1, 0, 0));
    }

    #[test]
    fn methods_are_on_their_channel() {
        let mut out = Vec::new();
        write_method(&mut out, 258, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})));
        assert_eq!(read(&out), ["258 method 20"]);
    }
}
