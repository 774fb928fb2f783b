//! Reads what a command server says.

use bytes::{Bytes, BytesMut};

use super::Framing;

/// Longer than any header.
const LONGEST_HEADER: usize = 64;

/// The longest line that a greeting may be.
const LONGEST_GREETING: usize = 64 << 10;

/// Where a piece of output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Errors,
}

/// What comes next of what a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What it says before anything was asked.
    Greeting(Bytes),
    /// In chunks: a reply is announced, and comes apart.
    Announced {
        empty: bool,
    },
    Output(Stream, Bytes),
    /// The reply is whole, and its command ended with this status; why that
    /// is not all that it would have written, if so.
    End(u8, Option<&'static str>),
}

#[derive(Debug)]
enum State {
    /// Nothing was asked, or the greeting may still come.
    Before,
    Header,
    /// So many bytes of output come, and then what the header said.
    Body {
        left: usize,
        to: Stream,
        then: Option<End>,
    },
}

/// The exit status that stands for how a command ended, and what to say of it.
type End = (u8, Option<&'static str>);

/// The state of the conversation.
#[derive(Debug)]
pub(crate) struct Reader {
    framing: Framing,
    state: State,
    /// A command was sent.
    asked: bool,
}

impl Reader {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, state: State::Before, asked: false }
    }

    /// A command was sent: what comes is a reply to it, or a late greeting.
    pub(crate) fn expect_reply(&mut self) {
        self.asked = true;
    }

    /// Takes the next part off `input`; `None` if it has not come.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Part>, String> {
        if let State::Body { left: 0, then: Some((status, cut)), .. } = self.state {
            self.state = State::Header;
            return Ok(Some(Part::End(status, cut)));
        }
        if input.is_empty() {
            return Ok(None);
        }
        match &mut self.state {
            State::Before if self.framing == Framing::Chunk && !self.asked => Ok(Some(all_greeting(input))),
            State::Before | State::Header => self.header(input),
            State::Body { left, to, then } => {
                let piece = input.split_to(input.len().min(*left)).freeze();
                let to = *to;
                *left -= piece.len();
                if *left == 0 && then.is_none() {
                    self.state = State::Header;
                }
                Ok(Some(Part::Output(to, piece)))
            }
        }
    }

    fn header(&mut self, input: &mut BytesMut) -> Result<Option<Part>, String> {
        let longest = if matches!(self.state, State::Before) { LONGEST_GREETING } else { LONGEST_HEADER };
        let line = match input.iter().take(longest).position(|byte| *byte == b'\n') {
            Some(end) => input.split_to(end + 1),
            // In chunks the header of a framed reply has no end, and comes alone.
            None if self.framing == Framing::Chunk && input.starts_with(b"info|") => input.split(),
            None if self.framing == Framing::Chunk && matches!(self.state, State::Before) => {
                return Ok(Some(all_greeting(input)));
            }
            None if input.len() < longest => return Ok(None),
            None => return Err(no_reply(input)),
        };
        let text = line.trim_ascii_end();
        let mut parts = text.splitn(3, |byte| *byte == b'|');
        let (kind, first, second) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let number = |part: Option<&[u8]>| std::str::from_utf8(part?).ok()?.parse::<usize>().ok();
        match (kind, number(first), second) {
            (b"info", Some(left), Some(status)) => {
                self.state = State::Body { left, to: Stream::Output, then: Some(end(status)) };
            }
            (b"info", Some(left), None) if self.framing == Framing::Chunk => {
                // Its status is not told.
                let then = (left > 0).then_some((0, None));
                self.state =
                    if left > 0 { State::Body { left, to: Stream::Output, then } } else { State::Header };
                return Ok(Some(Part::Announced { empty: left == 0 }));
            }
            (b"out", Some(left), None) => self.state = State::Body { left, to: Stream::Output, then: None },
            (b"err", Some(left), None) => self.state = State::Body { left, to: Stream::Errors, then: None },
            (b"exit", _, None) if first.is_some() => {
                self.state = State::Header;
                let (status, cut) = end(first.unwrap_or_default());
                return Ok(Some(Part::End(status, cut)));
            }
            _ if matches!(self.state, State::Before) => return Ok(Some(Part::Greeting(line.freeze()))),
            _ => return Err(no_reply(text)),
        }
        self.next(input)
    }
}

/// A greeting in chunks, which has no end of its own.
fn all_greeting(input: &mut BytesMut) -> Part {
    Part::Greeting([&input.split()[..], b"\n"].concat().into())
}

/// What is wrong with what came, as much of it as fits a line.
fn no_reply(came: &[u8]) -> String {
    format!("no reply: {}", came[..came.len().min(LONGEST_HEADER)].escape_ascii())
}

fn end(status: &[u8]) -> End {
    const TIMED_OUT: u8 = 124;
    let text = std::str::from_utf8(status).unwrap_or_default();
    match (text.strip_prefix("signal:"), text) {
        (Some(number), _) => {
            (number.parse::<u8>().map_or(super::BROKEN, |number| number.saturating_add(128)), None)
        }
        (None, "timeout") => (TIMED_OUT, Some("the command was over its time, and the server has ended it")),
        (None, "truncated") => {
            (super::BROKEN, Some("the output is cut off at the server's limit, and the command ended there"))
        }
        (None, text) => (text.parse().unwrap_or(super::BROKEN), None),
    }
}
