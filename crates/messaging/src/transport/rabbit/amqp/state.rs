//! What is known of a connection: its channels, who waits for what on each, and what is to be written. Callers and the task
//! of the connection change it in turns; no lock is held while anybody waits.

use std::collections::{BTreeSet, HashMap, VecDeque};

use amq_protocol::frame::AMQPContentHeader;
use amq_protocol::protocol::{AMQPClass, AMQPErrorKind, BasicProperties, basic, channel, confirm, connection};
use amq_protocol::types::{AMQPValue, ShortString};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::error::AmqpError;
use super::frames::{self, Frame};
use super::greeting::Agreement;
use super::tcp::SharedTcp;
use super::{Arrival, EndReason, Outcome};

/// So many bytes of memory a message gets by its word for it; the rest of a longer one as it comes.
const TRUSTED_SIZE: usize = 1 << 20;

type Answer = Result<AMQPClass, AmqpError>;

/// What the task of the connection does next, beside writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The broker is short of memory or disk, or is not any more.
    Blocked(bool),
    /// All was said that is to be said.
    End,
}

#[derive(Default)]
pub(super) struct State {
    /// To be written, whole frames.
    pub(super) out: Vec<u8>,
    frame_max: usize,
    channel_max: u16,
    channels: HashMap<u16, ChannelState>,
    last_channel: u16,
    /// Channels with acknowledgements that are not in `out` yet.
    gathering: Vec<u16>,
    /// Something was delivered since the task looked.
    pub(super) has_deliveries: bool,
    /// The task will look for acknowledgements soon, by its own clock.
    pub(super) is_watched: bool,
    /// The task is writing what it has taken of `out`.
    pub(super) is_writing: bool,
    /// The socket, where others than the task may write to it.
    direct: Option<SharedTcp>,
    /// Why the connection is no more.
    end: Option<EndReason>,
    closing: Option<oneshot::Sender<()>>,
    /// The broker's words when it takes no messages.
    pub(super) blocked_reason: String,
}

#[derive(Default)]
struct ChannelState {
    /// In the order of their questions, which is that of the answers.
    questions: VecDeque<oneshot::Sender<Answer>>,
    confirms: VecDeque<(u64, oneshot::Sender<Result<Outcome, AmqpError>>)>,
    published: u64,
    /// The broker returned the message that it will confirm next.
    is_returned: bool,
    consumers: HashMap<String, mpsc::UnboundedSender<Arrival>>,
    content: Option<Content>,
    acks: Acks,
    /// Why the broker closed it.
    refusal: Option<AmqpError>,
    /// Nobody has it any more; only the broker's last word is awaited.
    is_closing: bool,
}

/// A message that is arriving.
struct Content {
    /// Whom it goes to; `None` for one that was returned.
    to: Option<(String, u64)>,
    header: Option<Box<AMQPContentHeader>>,
    body: Vec<u8>,
}

/// Deliveries that are to be acknowledged. They are gathered, because one word acknowledges many.
#[derive(Default)]
struct Acks {
    /// Delivered, and not settled.
    open: BTreeSet<u64>,
    /// Settled, and not said.
    settled: BTreeSet<u64>,
    /// So many are said at once.
    enough: usize,
}

impl Acks {
    /// What to say: tag and whether all before it are meant, too.
    fn take(&mut self) -> Vec<(u64, bool)> {
        let settled = std::mem::take(&mut self.settled);
        let first_open = self.open.first().copied().unwrap_or(u64::MAX);
        let (through, alone): (Vec<u64>, Vec<u64>) = settled.into_iter().partition(|tag| *tag < first_open);
        let through = through.last().map(|last| (*last, through.len() > 1));
        through.into_iter().chain(alone.into_iter().map(|tag| (tag, false))).collect()
    }
}

impl State {
    pub(super) fn new(agreement: Agreement, direct: Option<SharedTcp>) -> Self {
        let Agreement { frame_max, channel_max, .. } = agreement;
        Self { frame_max, channel_max, direct, ..Self::default() }
    }

    pub(super) fn end_reason(&self) -> Option<EndReason> {
        self.end.clone()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Fails all that waits: there will be nothing any more.
    pub(super) fn end(&mut self, reason: EndReason) {
        if self.end.is_some() {
            return;
        }
        let error = AmqpError::Lost(reason.clone());
        self.end = Some(reason);
        for (_, mut channel) in self.channels.drain() {
            channel.fail(&error);
        }
        self.closing = None;
        self.out.clear();
        // The socket is closed when the task lets go of it.
        self.direct = None;
    }

    fn lost(&self) -> Result<(), AmqpError> {
        self.end.clone().map_or(Ok(()), |reason| Err(AmqpError::Lost(reason)))
    }

    // Of the whole connection.

    /// Says goodbye; the receiver learns of the broker's.
    pub(super) fn close(&mut self) -> Option<oneshot::Receiver<()>> {
        self.lost().ok()?;
        self.gather();
        let close = connection::Close { reply_code: 200, reply_text: "OK".into(), class_id: 0, method_id: 0 };
        self.say(0, AMQPClass::Connection(connection::AMQPMethod::Close(close)));
        let (closing, closed) = oneshot::channel();
        self.closing = Some(closing);
        Some(closed)
    }

    /// Opens a channel; its number, and the broker's answer to come.
    pub(super) fn open_channel(&mut self) -> Result<(u16, oneshot::Receiver<Answer>), AmqpError> {
        self.lost()?;
        let id = self.free_channel().ok_or(AmqpError::NoChannel { max: self.channel_max })?;
        self.last_channel = id;
        self.channels.insert(id, ChannelState::default());
        let answer = self.ask(id, AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))?;
        Ok((id, answer))
    }

    fn free_channel(&self) -> Option<u16> {
        let after = self.last_channel.saturating_add(1);
        (after..=self.channel_max).chain(1..after.min(self.channel_max)).find(|id| !self.channels.contains_key(id))
    }

    fn say(&mut self, channel: u16, method: AMQPClass) {
        frames::write_method(&mut self.out, channel, method);
    }

    // Of one channel.

    fn channel(&mut self, id: u16) -> Result<&mut ChannelState, AmqpError> {
        self.lost()?;
        let channel = self.channels.get_mut(&id).ok_or(AmqpError::ChannelClosed)?;
        match &channel.refusal {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(channel),
        }
    }

    pub(super) fn is_open(&self, id: u16) -> bool {
        self.end.is_none() && self.channels.get(&id).is_some_and(|channel| channel.refusal.is_none())
    }

    /// Says what the broker answers.
    pub(super) fn ask(&mut self, id: u16, method: AMQPClass) -> Result<oneshot::Receiver<Answer>, AmqpError> {
        let (question, answer) = oneshot::channel();
        self.channel(id)?.questions.push_back(question);
        self.say(id, method);
        Ok(answer)
    }

    /// Takes a consumer in before its messages come.
    pub(super) fn add_consumer(&mut self, id: u16, tag: &str) -> Result<mpsc::UnboundedReceiver<Arrival>, AmqpError> {
        let (arrivals, receiver) = mpsc::unbounded_channel();
        self.channel(id)?.consumers.insert(tag.to_owned(), arrivals);
        Ok(receiver)
    }

    /// A message, and the broker's decision on it to come.
    pub(super) fn publish(
        &mut self,
        id: u16,
        publish: basic::Publish,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<oneshot::Receiver<Result<Outcome, AmqpError>>, AmqpError> {
        let (decision, decided) = oneshot::channel();
        let channel = self.channel(id)?;
        channel.published += 1;
        channel.confirms.push_back((channel.published, decision));
        frames::write_message(&mut self.out, id, publish, properties, body, self.frame_max);
        Ok(decided)
    }

    /// How many acknowledgements may wait for company, where the broker hands out `prefetch` messages before the first.
    pub(super) fn set_prefetch(&mut self, id: u16, prefetch: u16) -> Result<(), AmqpError> {
        self.channel(id)?.acks.enough = usize::from(prefetch / 4);
        Ok(())
    }

    /// Writes what is to be said, if there is one message under way and nobody else writes: its caller is awake anyway,
    /// and the task need not be woken for it. Where there are more they had better go together. Returns whether nothing is
    /// left to be written.
    pub(super) fn say_alone(&mut self) -> bool {
        let under_way: usize = self.channels.values().map(|channel| channel.confirms.len()).sum();
        if self.is_writing || under_way > 1 {
            return false;
        }
        // An error is found by the task, too.
        let Some(Ok(count)) = self.direct.as_ref().map(|direct| direct.try_write(&self.out)) else { return false };
        self.out.drain(..count);
        self.out.is_empty()
    }

    /// Settles a delivery; the word is said with what is written next. Returns whether the task is to be woken for it.
    pub(super) fn ack(&mut self, id: u16, tag: u64) -> Result<bool, AmqpError> {
        let acks = &mut self.channel(id)?.acks;
        acks.open.remove(&tag);
        let (is_first, is_enough) = (acks.settled.is_empty(), acks.settled.len() + 1 >= acks.enough);
        acks.settled.insert(tag);
        if is_first {
            self.gathering.push(id);
        }
        if is_enough {
            self.gather();
        }
        Ok(is_enough || !self.is_watched)
    }

    pub(super) fn reject(&mut self, id: u16, tag: u64, requeue: bool) -> Result<(), AmqpError> {
        self.channel(id)?.acks.open.remove(&tag);
        let reject = basic::Reject { delivery_tag: tag, requeue };
        self.say(id, AMQPClass::Basic(basic::AMQPMethod::Reject(reject)));
        Ok(())
    }

    /// Says goodbye to a channel, if it is there.
    pub(super) fn close_channel(&mut self, id: u16) -> Option<oneshot::Receiver<Answer>> {
        if self.end.is_some() {
            return None;
        }
        let channel = self.channels.get_mut(&id)?;
        if channel.is_closing {
            return None;
        }
        if channel.refusal.is_some() {
            // The broker has closed it, and has our answer.
            self.channels.remove(&id);
            return None;
        }
        self.gather();
        let close = channel::Close { reply_code: 200, reply_text: "OK".into(), class_id: 0, method_id: 0 };
        let answer = self.ask(id, AMQPClass::Channel(channel::AMQPMethod::Close(close))).ok()?;
        self.channels.get_mut(&id)?.is_closing = true;
        Some(answer)
    }

    /// Whether there is something to say that waits for company.
    pub(super) fn has_acks(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// Has the gathered acknowledgements said.
    pub(super) fn gather(&mut self) {
        for id in std::mem::take(&mut self.gathering) {
            let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.refusal.is_none()) else {
                continue;
            };
            for (delivery_tag, multiple) in channel.acks.take() {
                let ack = basic::Ack { delivery_tag, multiple };
                frames::write_method(&mut self.out, id, AMQPClass::Basic(basic::AMQPMethod::Ack(ack)));
            }
        }
    }

    // What the broker says.

    /// Acts on a frame of the broker's.
    pub(super) fn heard(&mut self, id: u16, frame: Frame<'_>) -> Result<Next, Unexpected> {
        match frame {
            Frame::Heartbeat => Ok(Next::GoOn),
            Frame::Method(AMQPClass::Connection(method)) if id == 0 => self.heard_of_connection(method),
            Frame::Method(method) => self.heard_on_channel(id, method),
            Frame::Header(header) => {
                let channel = self.channels.get_mut(&id).ok_or(Unexpected)?;
                let content = channel.content.as_mut().filter(|content| content.header.is_none()).ok_or(Unexpected)?;
                let is_whole = header.body_size == 0;
                content.body.reserve_exact(usize::try_from(header.body_size).unwrap_or_default().min(TRUSTED_SIZE));
                content.header = Some(header);
                if is_whole {
                    channel.arrived();
                }
                Ok(Next::GoOn)
            }
            Frame::Body(part) => {
                let channel = self.channels.get_mut(&id).ok_or(Unexpected)?;
                let content = channel.content.as_mut().ok_or(Unexpected)?;
                let size = content.header.as_ref().ok_or(Unexpected)?.body_size;
                content.body.extend_from_slice(part);
                match (content.body.len() as u64).cmp(&size) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal => channel.arrived(),
                    std::cmp::Ordering::Greater => return Err(Unexpected),
                }
                Ok(Next::GoOn)
            }
        }
    }

    fn heard_of_connection(&mut self, method: connection::AMQPMethod) -> Result<Next, Unexpected> {
        match method {
            connection::AMQPMethod::Close(close) => {
                self.out.clear();
                self.gathering.clear();
                self.say(0, AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {})));
                let last = std::mem::take(&mut self.out);
                let (code, text) = (close.reply_code, close.reply_text.to_string());
                self.end(EndReason::Closed { code, text });
                self.out = last;
                Ok(Next::End)
            }
            connection::AMQPMethod::CloseOk(_) => {
                if let Some(closing) = self.closing.take() {
                    let _ = closing.send(());
                }
                Ok(Next::End)
            }
            connection::AMQPMethod::Blocked(blocked) => {
                self.blocked_reason = blocked.reason.to_string();
                Ok(Next::Blocked(true))
            }
            connection::AMQPMethod::Unblocked(_) => Ok(Next::Blocked(false)),
            _ => Err(Unexpected),
        }
    }

    fn heard_on_channel(&mut self, id: u16, method: AMQPClass) -> Result<Next, Unexpected> {
        let channel = self.channels.get_mut(&id).ok_or(Unexpected)?;
        match method {
            AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)) => {
                channel.acks.open.insert(deliver.delivery_tag);
                self.has_deliveries = true;
                let to = Some((deliver.consumer_tag.to_string(), deliver.delivery_tag));
                channel.content = Some(Content { to, header: None, body: Vec::new() });
            }
            AMQPClass::Basic(basic::AMQPMethod::Return(_)) => {
                channel.is_returned = true;
                channel.content = Some(Content { to: None, header: None, body: Vec::new() });
            }
            AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag, multiple })) => {
                let outcome = if std::mem::take(&mut channel.is_returned) { Outcome::Returned } else { Outcome::Taken };
                channel.decide(delivery_tag, multiple, &Ok(outcome));
            }
            AMQPClass::Basic(basic::AMQPMethod::Nack(basic::Nack { delivery_tag, multiple, .. })) => {
                channel.is_returned = false;
                channel.decide(delivery_tag, multiple, &Err(AmqpError::NotTaken));
            }
            AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)) => {
                channel.consumers.remove(cancel.consumer_tag.as_str());
                if !cancel.nowait {
                    let ok = basic::CancelOk { consumer_tag: cancel.consumer_tag };
                    self.say(id, AMQPClass::Basic(basic::AMQPMethod::CancelOk(ok)));
                }
            }
            AMQPClass::Channel(channel::AMQPMethod::Flow(flow)) => {
                let ok = channel::FlowOk { active: flow.active };
                self.say(id, AMQPClass::Channel(channel::AMQPMethod::FlowOk(ok)));
            }
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => {
                self.say(id, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})));
                self.refused(id, close);
            }
            AMQPClass::Channel(channel::AMQPMethod::CloseOk(ok)) => {
                let mut channel = self.channels.remove(&id).ok_or(Unexpected)?;
                let last = channel.questions.pop_back();
                channel.fail(&AmqpError::ChannelClosed);
                if let Some(last) = last {
                    let _ = last.send(Ok(AMQPClass::Channel(channel::AMQPMethod::CloseOk(ok))));
                }
            }
            answer => {
                if let AMQPClass::Basic(basic::AMQPMethod::CancelOk(ok)) = &answer {
                    channel.consumers.remove(ok.consumer_tag.as_str());
                }
                let question = channel.questions.pop_front().filter(|_| is_answer(&answer)).ok_or(Unexpected)?;
                // Who asked may have given up waiting.
                let _ = question.send(Ok(answer));
            }
        }
        Ok(Next::GoOn)
    }

    /// The broker closed a channel over something.
    fn refused(&mut self, id: u16, close: channel::Close) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let code = close.reply_code;
        let refusal = match AMQPErrorKind::from_id(code) {
            Some(AMQPErrorKind::Soft(_)) => {
                let undecided = channel.confirms.len();
                AmqpError::Refused { code, text: close.reply_text.to_string(), undecided }
            }
            _ => AmqpError::Lost(EndReason::Closed { code, text: close.reply_text.to_string() }),
        };
        channel.fail(&refusal);
        channel.refusal = Some(refusal);
    }
}

/// The broker said what makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unexpected;

fn is_answer(method: &AMQPClass) -> bool {
    use amq_protocol::protocol::{exchange, queue};
    matches!(
        method,
        AMQPClass::Channel(channel::AMQPMethod::OpenOk(_))
            | AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(_))
            | AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(_))
            | AMQPClass::Queue(
                queue::AMQPMethod::DeclareOk(_) | queue::AMQPMethod::BindOk(_) | queue::AMQPMethod::DeleteOk(_)
            )
            | AMQPClass::Basic(
                basic::AMQPMethod::QosOk(_) | basic::AMQPMethod::ConsumeOk(_) | basic::AMQPMethod::CancelOk(_)
            )
    )
}

impl ChannelState {
    fn fail(&mut self, error: &AmqpError) {
        for question in self.questions.drain(..) {
            let _ = question.send(Err(error.clone()));
        }
        for (_, decision) in self.confirms.drain(..) {
            let _ = decision.send(Err(error.clone()));
        }
        self.consumers.clear();
        self.content = None;
    }

    /// The broker's decision on a message, or on all up to it.
    fn decide(&mut self, tag: u64, multiple: bool, outcome: &Result<Outcome, AmqpError>) {
        if multiple {
            while self.confirms.front().is_some_and(|(first, _)| *first <= tag) {
                let decided = self.confirms.pop_front();
                decided.into_iter().for_each(|(_, decision)| drop(decision.send(outcome.clone())));
            }
        } else if let Ok(index) = self.confirms.binary_search_by_key(&tag, |(tag, _)| *tag) {
            let decided = self.confirms.remove(index);
            decided.into_iter().for_each(|(_, decision)| drop(decision.send(outcome.clone())));
        }
    }

    /// The message is here whole.
    fn arrived(&mut self) {
        let Some(Content { to: Some((consumer, delivery_tag)), header: Some(header), body }) = self.content.take()
        else {
            return;
        };
        // A message for a consumer that is gone goes back to the queue with the channel.
        if let Some(arrivals) = self.consumers.get(&consumer) {
            let _ = arrivals.send(arrival(delivery_tag, &header.properties, body));
        }
    }
}

fn arrival(delivery_tag: u64, properties: &BasicProperties, body: Vec<u8>) -> Arrival {
    let milliseconds = properties.expiration().as_ref().map(ShortString::as_str).and_then(|text| text.parse().ok());
    let headers = properties.headers().as_ref();
    let stream_offset = headers.and_then(|headers| match headers.inner().get("x-stream-offset") {
        Some(AMQPValue::LongLongInt(offset)) => Some(*offset),
        Some(AMQPValue::LongInt(offset)) => Some((*offset).into()),
        _ => None,
    });
    Arrival {
        delivery_tag,
        expiration: milliseconds.map(std::time::Duration::from_millis),
        stream_offset,
        body: Bytes::from(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(open: &[u64], settled: &[u64]) -> Vec<(u64, bool)> {
        let set = |tags: &[u64]| tags.iter().copied().collect();
        Acks { open: set(open), settled: set(settled), enough: 0 }.take()
    }

    #[test]
    fn one_word_acknowledges_what_has_no_open_delivery_before_it() {
        assert_eq!(acks(&[], &[]), []);
        assert_eq!(acks(&[], &[4]), [(4, false)]);
        assert_eq!(acks(&[], &[1, 2, 5]), [(5, true)]);
        assert_eq!(acks(&[3], &[1, 2, 4, 5]), [(2, true), (4, false), (5, false)]);
        assert_eq!(acks(&[1], &[2]), [(2, false)]);
    }

    fn state() -> (State, u16) {
        let mut state = State::new(Agreement { channel_max: 3, frame_max: 4096, heartbeat_s: 0 }, None);
        let (id, _) = state.open_channel().unwrap();
        say(&mut state, id, AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})));
        (state, id)
    }

    fn say(state: &mut State, id: u16, method: AMQPClass) {
        assert_eq!(state.heard(id, Frame::Method(method)), Ok(Next::GoOn));
    }

    fn publish(state: &mut State, id: u16) -> oneshot::Receiver<Result<Outcome, AmqpError>> {
        let publish =
            basic::Publish { exchange: "".into(), routing_key: "q".into(), mandatory: true, immediate: false };
        state.publish(id, publish, BasicProperties::default(), b"x").unwrap()
    }

    fn ack(delivery_tag: u64, multiple: bool) -> AMQPClass {
        AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag, multiple }))
    }

    #[test]
    fn confirmations_come_alone_together_and_out_of_order() {
        let (mut state, id) = state();
        let mut confirms: Vec<_> = (0..5).map(|_| publish(&mut state, id)).collect();
        say(&mut state, id, ack(2, false));
        let decided: Vec<bool> = confirms.iter_mut().map(|confirm| confirm.try_recv().is_ok()).collect();
        assert_eq!(decided, [false, true, false, false, false]);
        say(&mut state, id, ack(4, true));
        let nack = basic::Nack { delivery_tag: 5, multiple: false, requeue: false };
        say(&mut state, id, AMQPClass::Basic(basic::AMQPMethod::Nack(nack)));
        for index in [0, 2, 3] {
            assert!(matches!(confirms[index].try_recv(), Ok(Ok(Outcome::Taken))), "{index}");
        }
        assert!(matches!(confirms[4].try_recv(), Ok(Err(AmqpError::NotTaken))));
    }

    #[test]
    fn a_message_that_came_back_is_told_from_one_that_was_taken() {
        let (mut state, id) = state();
        let mut first = publish(&mut state, id);
        let returned = basic::Return {
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
            exchange: "".into(),
            routing_key: "q".into(),
        };
        say(&mut state, id, AMQPClass::Basic(basic::AMQPMethod::Return(returned)));
        let header = AMQPContentHeader { class_id: 60, body_size: 1, properties: BasicProperties::default() };
        assert_eq!(state.heard(id, Frame::Header(Box::new(header))), Ok(Next::GoOn));
        assert_eq!(state.heard(id, Frame::Body(b"x")), Ok(Next::GoOn));
        say(&mut state, id, ack(1, false));
        assert!(matches!(first.try_recv(), Ok(Ok(Outcome::Returned))));
        let mut second = publish(&mut state, id);
        say(&mut state, id, ack(2, false));
        assert!(matches!(second.try_recv(), Ok(Ok(Outcome::Taken))));
    }

    #[test]
    fn a_refusal_fails_what_its_channel_waits_for_and_no_other() {
        let (mut state, id) = state();
        let (other, mut opened) = state.open_channel().unwrap();
        let mut confirm = publish(&mut state, id);
        let mut arrivals = state.add_consumer(id, "1").unwrap();
        let close = channel::Close { reply_code: 404, reply_text: "NOT_FOUND".into(), class_id: 60, method_id: 40 };
        say(&mut state, id, AMQPClass::Channel(channel::AMQPMethod::Close(close)));
        assert!(matches!(confirm.try_recv(), Ok(Err(AmqpError::Refused { code: 404, .. }))));
        assert!(arrivals.try_recv().is_err() && !state.is_open(id) && state.is_open(other));
        assert!(matches!(state.ack(id, 1), Err(AmqpError::Refused { .. })));
        assert!(opened.try_recv().is_err());
        state.end(EndReason::HungUp);
        assert!(matches!(opened.try_recv(), Ok(Err(AmqpError::Lost(_)))));
        assert!(matches!(state.open_channel(), Err(AmqpError::Lost(_))));
    }

    #[test]
    fn numbers_of_closed_channels_are_used_again() {
        let (mut state, first) = state();
        state.open_channel().unwrap();
        state.open_channel().unwrap();
        assert!(matches!(state.open_channel(), Err(AmqpError::NoChannel { max: 3 })));
        let mut closed = state.close_channel(first).unwrap();
        assert!(state.close_channel(first).is_none());
        say(&mut state, first, AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})));
        assert!(closed.try_recv().unwrap().is_ok());
        assert_eq!(state.open_channel().unwrap().0, first);
    }

    #[test]
    fn a_message_arrives_in_parts_and_is_acknowledged_with_the_next_write() {
        let (mut state, id) = state();
        let mut arrivals = state.add_consumer(id, "1").unwrap();
        for tag in 1..=2 {
            let deliver = basic::Deliver {
                consumer_tag: "1".into(),
                delivery_tag: tag,
                redelivered: false,
                exchange: "".into(),
                routing_key: "q".into(),
            };
            say(&mut state, id, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)));
            let properties = BasicProperties::default().with_expiration("1500".into());
            let header = AMQPContentHeader { class_id: 60, body_size: 4, properties };
            assert_eq!(state.heard(id, Frame::Header(Box::new(header))), Ok(Next::GoOn));
            assert_eq!(state.heard(id, Frame::Body(b"ab")), Ok(Next::GoOn));
            assert_eq!(state.heard(id, Frame::Body(b"cd")), Ok(Next::GoOn));
        }
        let arrival = arrivals.try_recv().unwrap();
        assert_eq!((&arrival.body[..], arrival.delivery_tag), (&b"abcd"[..], 1));
        assert_eq!(arrival.expiration, Some(std::time::Duration::from_millis(1500)));
        state.out.clear();
        state.set_prefetch(id, 16).unwrap();
        assert!(state.ack(id, 1).unwrap(), "nobody looks at the clock");
        state.is_watched = true;
        assert!(!state.ack(id, 2).unwrap());
        assert!(state.out.is_empty() && state.has_acks());
        state.gather();
        let (_, frame, _) = frames::next(&state.out, 4096).unwrap().unwrap();
        assert!(matches!(
            frame,
            Frame::Method(AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack { delivery_tag: 2, multiple: true })))
        ));
    }

    #[test]
    fn a_consumer_of_few_at_a_time_does_not_wait_with_its_acknowledgements() {
        let (mut state, id) = state();
        state.set_prefetch(id, 1).unwrap();
        state.is_watched = true;
        state.out.clear();
        assert!(state.ack(id, 1).unwrap() && !state.out.is_empty());
        state.set_prefetch(id, 8).unwrap();
        state.out.clear();
        assert!(!state.ack(id, 2).unwrap() && state.out.is_empty());
        assert!(state.ack(id, 3).unwrap() && !state.out.is_empty());
    }

    #[tokio::test]
    async fn who_is_alone_writes_himself_and_who_is_not_leaves_it_to_the_task() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let agreement = Agreement { channel_max: 3, frame_max: 4096, heartbeat_s: 0 };
        let mut state = State::new(agreement, Some(SharedTcp::new(ours)));
        let (id, _) = state.open_channel().unwrap();
        say(&mut state, id, AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})));
        let first = publish(&mut state, id);
        let said = state.out.clone();
        assert!(state.say_alone() && state.out.is_empty());
        let mut heard = vec![0; said.len()];
        theirs.readable().await.unwrap();
        assert_eq!((theirs.try_read(&mut heard).unwrap(), heard), (said.len(), said));

        let second = publish(&mut state, id);
        assert!(!state.say_alone() && !state.out.is_empty());
        say(&mut state, id, ack(2, true));
        state.is_writing = true;
        let third = publish(&mut state, id);
        assert!(!state.say_alone());
        drop((first, second, third));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let (mut state, id) = state();
        assert_eq!(state.heard(id, Frame::Body(b"x")), Err(Unexpected));
        assert_eq!(state.heard(9, Frame::Method(ack(1, false))), Err(Unexpected));
        let ok = AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {}));
        assert_eq!(state.heard(id, Frame::Method(ok)), Err(Unexpected));
    }
}
