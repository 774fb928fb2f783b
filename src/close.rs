//! Outcomes: why a connection ended, and whether a message was queued.

use std::fmt::Write as _;
use std::ops::AddAssign;
use std::{fmt, io};

use crate::contain::{caught, discard, message};
use crate::error::BoxError;
use crate::printable::Printable;

/// A deadline of [`Limits`](crate::Limits) that a connection missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deadline {
    /// [`Limits::connect`](crate::Limits::connect)
    Connect,
    /// [`Limits::handshake`](crate::Limits::handshake)
    Handshake,
    /// [`Limits::idle`](crate::Limits::idle)
    Idle,
    /// [`Limits::first_frame`](crate::Limits::first_frame)
    FirstFrame,
    /// [`Limits::frame`](crate::Limits::frame)
    Frame,
    /// [`Limits::write_stall`](crate::Limits::write_stall)
    WriteStall,
    /// [`Io::set_deadline`](crate::Io::set_deadline)
    Handler,
}

/// The reason for which a connection ended.
///
/// Unless a variant says otherwise, the reactor still wrote what was queued
/// when the connection ended, followed by FIN. Where the reactor drops what was
/// queued, a TCP peer sees a reset; Unix sockets and pipes have no reset, and
/// their peer sees an ordinary end.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both sides ended their stream in order.
    Finished,
    /// [`Io::close`](crate::Io::close) was called.
    Closed,
    /// [`Io::abort`](crate::Io::abort) was called; what was queued is dropped.
    Aborted,
    /// The peer missed a deadline. After [`Deadline::WriteStall`] what was
    /// queued is dropped.
    TimedOut(Deadline),
    /// A message would have raised the waiting output above
    /// [`Limits::hard_mark`](crate::Limits::hard_mark), and
    /// [`Overflow::Close`](crate::Overflow::Close) is the policy; what was
    /// queued is dropped. Logged as a warning, at a [limited
    /// rate](crate::LogRate).
    Overflow {
        /// The length of the message in bytes.
        message: usize,
        /// The bytes that waited already.
        queued: usize,
        /// The limit.
        hard_mark: usize,
    },
    /// The handler left more input untaken than
    /// [`Limits::max_input`](crate::Limits::max_input). Logged as a warning, at
    /// a limited rate.
    InputTooLong {
        /// The bytes that were left.
        left: usize,
        /// The limit.
        max_input: usize,
    },
    /// A callback returned this error. Logged as a warning, at a limited rate.
    Failed(BoxError),
    /// A callback panicked with this message; what was queued is dropped.
    Panicked(String),
    /// The system reported an error: a reset, a broken pipe, a peer that
    /// vanished (keep-alive, user time-out). What was queued is dropped.
    Io(io::Error),
    /// A file of which a part was to be sent ([`Io::send_file`](crate::Io::send_file))
    /// has no more bytes, or cannot be read; what was queued is dropped. Logged as
    /// a warning, at a limited rate.
    File(io::Error),
    /// The reactor shut down. What was still queued at the deadline is dropped.
    Shutdown,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the connection was not established within Limits::connect",
            Self::Handshake => "the handshake was not complete within Limits::handshake",
            Self::Idle => "no byte was sent or received within Limits::idle",
            Self::FirstFrame => "the first frame was not complete within Limits::first_frame",
            Self::Frame => "a frame was not complete within Limits::frame",
            Self::WriteStall => "the peer took no output within Limits::write_stall",
            Self::Handler => "the deadline that the handler set (Io::set_deadline) is over",
        })
    }
}

impl CloseReason {
    /// True for the reasons that let the reactor write what is queued first.
    pub(crate) const fn is_in_order(&self) -> bool {
        match self {
            Self::Finished | Self::Closed | Self::InputTooLong { .. } | Self::Failed(_) | Self::Shutdown => {
                true
            }
            Self::TimedOut(deadline) => !matches!(deadline, Deadline::Connect | Deadline::WriteStall),
            Self::Aborted | Self::Overflow { .. } | Self::Panicked(_) | Self::Io(_) | Self::File(_) => false,
        }
    }
}

impl CloseReason {
    /// True for the reasons after which the handler has a last word: the
    /// connection ends in order, and neither side has asked for that.
    pub(crate) const fn leaves_a_word(&self) -> bool {
        self.is_in_order() && !matches!(self, Self::Finished | Self::Closed)
    }

    /// The error of a callback, or the reason itself as text.
    pub(crate) fn into_error(mut self) -> BoxError {
        match &mut self {
            Self::Failed(error) => std::mem::replace(error, Box::new(Gone)),
            _ => self.to_string().into(),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("both sides finished"),
            Self::Closed => f.write_str("closed by the handler"),
            Self::Aborted => f.write_str("aborted by the handler"),
            Self::TimedOut(deadline) => write!(f, "timed out: {deadline}"),
            Self::Overflow { message, queued: 0, hard_mark } => write!(
                f,
                "a message of {message} bytes is longer than Limits::hard_mark, which is {hard_mark}; \
                 write it in parts, each behind `drained`, or raise the mark"
            ),
            Self::Overflow { message, queued, hard_mark } => write!(
                f,
                "a message of {message} bytes behind {queued} that the peer has not taken would pass \
                 Limits::hard_mark, which is {hard_mark}; write no more until `drained`, or raise the mark"
            ),
            Self::InputTooLong { left, max_input } => {
                write!(f, "{left} bytes of input are left untaken, and Limits::max_input is {max_input}")
            }
            Self::Failed(error) => fmt_failed(f, error),
            Self::Panicked(message) => write!(f, "panicked: {}", Printable(message)),
            Self::Io(error) => write!(f, "broken: {}", Printable(error)),
            Self::File(error) => write!(f, "a file that was to be sent: {}", Printable(error)),
            Self::Shutdown => f.write_str("the reactor shut down"),
        }
    }
}

/// Prints the handler's own error with the handler's own code. If that code
/// panics, or fails (which would make `to_string` panic), a text says so
/// instead.
fn fmt_failed(f: &mut fmt::Formatter<'_>, error: &BoxError) -> fmt::Result {
    let mut text = String::new();
    match caught(|| write!(text, "{error}")) {
        Ok(Ok(())) => write!(f, "failed: {}", Printable(&text)),
        Ok(Err(fmt::Error)) => f.write_str("failed, with an error that cannot be printed"),
        Err(payload) => {
            write!(f, "failed, with an error whose printing panicked: {}", Printable(message(payload)))
        }
    }
}

impl Drop for CloseReason {
    /// Contains a panic of the handler's error as it drops: the panic is
    /// logged, and ends nothing.
    fn drop(&mut self) {
        if let Self::Failed(error) = self {
            discard("an error", std::mem::replace(error, Box::new(Gone)));
        }
    }
}

/// The placeholder of an error that was dropped; it has no size, so boxing it
/// allocates nothing.
#[derive(Debug)]
struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that is gone")
    }
}

impl std::error::Error for Gone {}

/// The outcome of a write or a send.
#[must_use = "a handler that writes on while the answer is Full has its connection ended at the hard mark"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Queued; it leaves with the next flush.
    Queued,
    /// Queued, and the queue now holds more than the high mark: stop producing
    /// until `drained`. ([`Io::reply`](crate::Io::reply) does so by itself.)
    Full,
    /// Not queued, for it would have passed the hard mark. Under
    /// [`Overflow::Close`](crate::Overflow::Close) the connection ends; under
    /// [`Overflow::DropNewest`](crate::Overflow::DropNewest) a `drained`
    /// callback follows when the queue has fallen to its low mark.
    Dropped,
    /// Not queued: the connection no longer exists, or its output has ended.
    Gone,
}

impl Sent {
    /// True when the message was queued, whether or not the queue is now full.
    #[must_use]
    pub const fn is_queued(self) -> bool {
        matches!(self, Self::Queued | Self::Full)
    }
}

/// The outcome of a broadcast, in numbers of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tally {
    /// Members for whom the message was queued.
    pub queued: usize,
    /// Members among `queued` whose queue is now above its high mark.
    pub full: usize,
    /// Members who lost the message at their hard mark.
    pub dropped: usize,
    /// Members whose output had ended already.
    pub gone: usize,
}

impl AddAssign for Tally {
    /// Adds the results of another broadcast.
    fn add_assign(&mut self, other: Self) {
        self.queued += other.queued;
        self.full += other.full;
        self.dropped += other.dropped;
        self.gone += other.gone;
    }
}

impl Tally {
    pub(crate) const fn count(&mut self, sent: Sent) {
        match sent {
            Sent::Queued => self.queued += 1,
            Sent::Full => {
                self.queued += 1;
                self.full += 1;
            }
            Sent::Dropped => self.dropped += 1,
            Sent::Gone => self.gone += 1,
        }
    }
}
