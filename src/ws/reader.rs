//! `Reader`: makes messages of frames, and checks all that RFC 6455 lets be
//! checked.

use bytes::{Buf, BytesMut};

use super::close::CloseCode;
use super::frame::{FrameHead, Opcode, Role};
use super::mask;
use super::message::Message;
use super::utf8::Utf8;

/// The limits of one WebSocket.
///
/// Always end with `..SocketLimits::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLimits {
    /// Bytes of a message, of all its fragments together. More closes the
    /// WebSocket with 1009. At most 4 GiB. Default 1 MiB.
    pub max_message: u32,
    /// Fragments of a message. More close the WebSocket with 1009. Default 4,096.
    pub max_fragments: u32,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { max_message: 1 << 20, max_fragments: 4096 }
    }
}

/// Why a WebSocket has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: CloseCode,
    pub(crate) reason: &'static str,
}

impl Fault {
    const fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL, reason }
    }

    const NO_TEXT: Self = Self { code: CloseCode::INVALID, reason: "a text is no UTF-8" };
    const TOO_LARGE: Self = Self { code: CloseCode::TOO_LARGE, reason: "a message is too large" };
    const TOO_MANY: Self = Self { code: CloseCode::TOO_LARGE, reason: "a message has too many fragments" };
}

/// What a reader has found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Message(Message<'a>),
    Ping(&'a [u8]),
    Pong,
    /// The peer closes, with this code if it gave one.
    Close(Option<CloseCode>),
}

/// A message that is not complete.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    data: Vec<u8>,
    utf8: Utf8,
    fragments: u32,
    /// The frame whose payload is coming: what is left of it, its mask, how much of
    /// it has come, and whether it is the last. `None` between two frames.
    frame: Option<Open>,
    /// It was returned, and its memory goes with the next call.
    is_returned: bool,
}

/// A frame whose payload is coming.
#[derive(Clone, Copy, Debug)]
struct Open {
    left: u64,
    mask: Option<[u8; 4]>,
    offset: usize,
    is_last: bool,
}

/// Makes messages of frames. Between two messages it owns no memory.
#[derive(Debug)]
pub(crate) struct Reader {
    from: Role,
    limits: SocketLimits,
    /// The message that is coming, or was returned last.
    partial: Option<Box<Partial>>,
    /// Bytes of `input` that belong to what was returned last.
    spent: u32,
}

impl Reader {
    /// A reader of what this side sends.
    pub(crate) const fn new(from: Role, limits: SocketLimits) -> Self {
        Self { from, limits, partial: None, spent: 0 }
    }

    /// Takes the next message or control frame from the front of `input`; `None` if
    /// the rest has not come. What was returned is taken with the next call.
    pub(crate) fn next<'a>(&'a mut self, input: &'a mut BytesMut) -> Result<Option<Found<'a>>, Fault> {
        self.settle(input);
        loop {
            if self.partial.as_ref().is_some_and(|partial| partial.frame.is_some()) {
                match self.take_payload(input)? {
                    Step::Message => return self.whole().map(Some),
                    Step::More => return Ok(None),
                    Step::Next => continue,
                }
            }
            let parsed = FrameHead::parse(input, self.from).map_err(Fault::protocol)?;
            let Some((head, end)) = parsed else { return Ok(None) };
            if head.opcode.is_control() {
                let length = usize::try_from(head.length).unwrap_or(usize::MAX);
                if input.len() - end < length {
                    return Ok(None);
                }
                self.spent = small(end + length);
                let payload = &mut input[end..end + length];
                if let Some(mask) = head.mask {
                    mask::apply(payload, mask, 0);
                }
                return control(head.opcode, payload).map(Some);
            }
            self.check(head)?;
            let is_whole =
                head.is_last && self.partial.is_none() && (input.len() - end) as u64 >= head.length;
            if is_whole {
                let length = usize::try_from(head.length).unwrap_or(usize::MAX);
                self.spent = small(end + length);
                let payload = &mut input[end..end + length];
                if let Some(mask) = head.mask {
                    mask::apply(payload, mask, 0);
                }
                let message = if head.opcode == Opcode::Text {
                    Message::Text(std::str::from_utf8(payload).map_err(|_| Fault::NO_TEXT)?)
                } else {
                    Message::Binary(payload)
                };
                return Ok(Some(Found::Message(message)));
            }
            self.begin(head);
            input.advance(end);
        }
    }

    /// Takes what was returned last.
    pub(crate) fn settle(&mut self, input: &mut BytesMut) {
        input.advance(std::mem::take(&mut self.spent) as usize);
        self.partial.take_if(|partial| partial.is_returned);
    }

    /// True while a part of a message is here, and its end has not come.
    pub(crate) fn is_within_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.is_returned)
    }

    /// Checks the head of a frame of a message against what came before.
    fn check(&self, head: FrameHead) -> Result<(), Fault> {
        let (before, fragments) = match (&self.partial, head.opcode) {
            (None, Opcode::Continuation) => return Err(Fault::protocol("there is nothing to continue")),
            (Some(partial), Opcode::Continuation) => (partial.data.len() as u64, partial.fragments),
            (Some(_), _) => return Err(Fault::protocol("a message begins within another")),
            (None, _) => (0, 0),
        };
        if before.saturating_add(head.length) > u64::from(self.limits.max_message) {
            return Err(Fault::TOO_LARGE);
        }
        if fragments >= self.limits.max_fragments {
            return Err(Fault::TOO_MANY);
        }
        Ok(())
    }

    /// Begins a frame whose payload is to come.
    fn begin(&mut self, head: FrameHead) {
        let partial = self.partial.get_or_insert_with(|| {
            let is_text = head.opcode == Opcode::Text;
            Box::new(Partial {
                is_text,
                data: Vec::new(),
                utf8: Utf8::default(),
                fragments: 0,
                frame: None,
                is_returned: false,
            })
        });
        partial.fragments += 1;
        partial.frame = Some(Open { left: head.length, mask: head.mask, offset: 0, is_last: head.is_last });
    }

    /// Takes what has come of the payload of a frame.
    fn take_payload(&mut self, input: &mut BytesMut) -> Result<Step, Fault> {
        let Some(partial) = self.partial.as_deref_mut() else { return Ok(Step::Next) };
        let Some(frame) = &mut partial.frame else { return Ok(Step::Next) };
        let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
        let begin = partial.data.len();
        partial.data.extend_from_slice(&input[..count]);
        input.advance(count);
        if let Some(mask) = frame.mask {
            mask::apply(&mut partial.data[begin..], mask, frame.offset);
        }
        frame.left -= count as u64;
        frame.offset += count;
        let (is_complete, is_last) = (frame.left == 0, frame.is_last);
        if partial.is_text && !partial.utf8.takes(&partial.data[begin..]) {
            return Err(Fault::NO_TEXT);
        }
        if !is_complete {
            return Ok(Step::More);
        }
        partial.frame = None;
        if !is_last {
            return Ok(Step::Next);
        }
        if partial.utf8.is_complete() { Ok(Step::Message) } else { Err(Fault::NO_TEXT) }
    }

    /// Returns the message that is complete.
    fn whole(&mut self) -> Result<Found<'_>, Fault> {
        let Some(message) = &mut self.partial else { return Ok(Found::Pong) };
        message.is_returned = true;
        Ok(Found::Message(if message.is_text {
            Message::Text(std::str::from_utf8(&message.data).map_err(|_| Fault::NO_TEXT)?)
        } else {
            Message::Binary(&message.data)
        }))
    }
}

/// A place in the input, which never has 4 GiB: a larger one is in a buffer of its
/// own.
fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// What follows a part of a payload.
enum Step {
    /// The message is complete.
    Message,
    /// The next frame.
    Next,
    /// More has to come.
    More,
}

/// Reads a control frame.
fn control(opcode: Opcode, payload: &[u8]) -> Result<Found<'_>, Fault> {
    match (opcode, payload) {
        (Opcode::Ping, payload) => Ok(Found::Ping(payload)),
        (Opcode::Close, []) => Ok(Found::Close(None)),
        (Opcode::Close, [_]) => Err(Fault::protocol("a close has half a code")),
        (Opcode::Close, [high, low, reason @ ..]) => {
            let code = CloseCode::new(u16::from_be_bytes([*high, *low]));
            let code = code.ok_or(Fault::protocol("a close has a code that may not be sent"))?;
            std::str::from_utf8(reason).map_err(|_| Fault::NO_TEXT)?;
            Ok(Found::Close(Some(code)))
        }
        _ => Ok(Found::Pong),
    }
}

#[cfg(test)]
mod tests;
