//! `Entry`: a call of the loop to its driver, and the outcome of that call.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use super::digest::{Digest, Payloads};
use crate::driver::{Closing, Event, Moment, Notice, Token};
use crate::process::{Fate, Signal};
use crate::{Endpoint, Peer, Side};

/// The number of a socket or a child in a recording: in the order in which they were
/// made, from 1 on, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub(super) u64);

impl Number {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One call of the loop, with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The call.
    pub call: Call<'a>,
    /// The outcome.
    pub outcome: Outcome<'a>,
}

/// A call of the loop to its [`Driver`](crate::driver::Driver), with what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the arguments that `Driver` documents")]
pub enum Call<'a> {
    /// The recording begins, with a new driver.
    Began {
        short_means_blocked: bool,
        payloads: Payloads,
        max_streams: Option<u64>,
    },
    /// [`Driver::now`](crate::driver::Driver::now).
    Now,
    Wait {
        timeout: Option<Duration>,
    },
    Read {
        stream: Number,
        space: u64,
    },
    Write {
        stream: Number,
        offered: u64,
    },
    Accept {
        listener: Number,
    },
    Register {
        stream: Number,
        token: Token,
    },
    Close {
        stream: Number,
        how: Closing,
    },
    Shutdown {
        stream: Number,
    },
    IsHungUp {
        stream: Number,
    },
    Waker,
    Listen {
        at: Cow<'a, Endpoint>,
        token: Token,
    },
    CloseListener {
        listener: Number,
    },
    Connect {
        to: Cow<'a, Endpoint>,
    },
    Connected {
        stream: Number,
    },
    SendFile {
        stream: Number,
        offset: u64,
        count: u64,
    },
    Bind {
        at: Cow<'a, Endpoint>,
        token: Token,
    },
    Receive {
        socket: Number,
        space: u64,
    },
    SendTo {
        socket: Number,
        to: Cow<'a, Peer>,
        data: Digest,
    },
    IsOwn {
        peer: Cow<'a, Peer>,
    },
    CloseSocket {
        socket: Number,
    },
    /// The hash is of the program and its arguments.
    Spawn {
        command: Digest,
        token: Token,
    },
    Fate {
        child: Number,
    },
    Unread {
        pipe: Number,
    },
    Signal {
        child: Number,
        signal: Signal,
    },
    Reap {
        child: Number,
        within: Duration,
    },
    Adopt,
    AdoptOneWay {
        side: Side,
    },
    AdoptListener {
        token: Token,
    },
    /// [`Driver::notice`](crate::driver::Driver::notice).
    Notice(Notice),
}

/// The outcome of a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// It is done, and returns nothing.
    Done,
    /// It has failed.
    Failed(Failure),
    /// The time.
    Time(Moment),
    /// A wait has reported events.
    Waited {
        /// The events.
        events: Cow<'a, [Event]>,
        /// [`Driver::reported_all`](crate::driver::Driver::reported_all) after it.
        reported_all: bool,
    },
    /// A read has returned bytes; none is the peer's FIN.
    Input(Payload<'a>),
    /// A write has taken so much of what it was offered.
    Written(Digest),
    /// A socket was made.
    Made(Number),
    /// A listener or a datagram socket was made, at this endpoint.
    MadeAt(Number, Endpoint),
    /// A connection was made, with this peer.
    MadeWith(Number, Peer),
    /// The peer of a stream that is being connected, once it is.
    Peer(Option<Peer>),
    /// Yes or no.
    Answer(bool),
    /// A file was sent.
    FileSent {
        /// The bytes that the system took.
        written: u64,
        /// The bytes that it was offered.
        offered: u64,
    },
    /// A file could not be read.
    FileFailed(Failure),
    /// A datagram has come.
    Datagram {
        /// What was stored of it.
        data: Payload<'a>,
        /// Its length.
        len: u64,
        /// Its sender.
        from: Peer,
    },
    /// A child was started.
    Spawned {
        /// The child.
        child: Number,
        /// Its process id.
        pid: u32,
        /// The pipes of its standard streams.
        pipes: [Option<Number>; 3],
        /// Whether an event will report its exit.
        has_events: bool,
    },
    /// The state of a child.
    Fate(Fate),
    /// A number of bytes.
    Count(u64),
    /// The status of a child that was reaped.
    Status(Option<ExitStatus>),
}

/// Bytes that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Their length and hash.
    Hashed(Digest),
    /// The bytes.
    Kept(Cow<'a, [u8]>),
}

impl Payload<'_> {
    /// The number of bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty one is the end of a stream, and no container")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Hashed(digest) => digest.len,
            Self::Kept(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes, if they were kept.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Hashed(_) => None,
            Self::Kept(bytes) => Some(bytes),
        }
    }
}

/// An error of the system, as a recording keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The system's number of it (errno(3)), if it has one.
    pub code: Option<i32>,
    /// Its kind.
    pub kind: io::ErrorKind,
    /// Its text, if it has no number: the first 256 bytes.
    pub message: String,
}

/// The longest text of an error that is kept.
const MESSAGE: usize = 256;

impl Failure {
    /// The failure of an error.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let mut message = match error.get_ref() {
            Some(source) if error.raw_os_error().is_none() => source.to_string(),
            _ => String::new(),
        };
        message.truncate((0..=MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0));
        Self { code: error.raw_os_error(), kind: error.kind(), message }
    }

    /// The error again.
    #[must_use]
    pub fn to_error(&self) -> io::Error {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None if self.message.is_empty() => self.kind.into(),
            None => io::Error::new(self.kind, self.message.clone()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_error().fmt(f)
    }
}
