//! `Source`: where the rest of an answer comes from.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::{ConnId, Io, Sent};

/// The most bytes that are cut off shared bytes at a time.
const PIECE: usize = 64 << 10;

/// Where the rest of an answer comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// There is no answer yet.
    Waiting,
    /// The handler writes it, piece by piece.
    Handler(Delimiter),
    /// It is all there.
    Bytes(Bytes),
    /// A part of a file.
    File { file: Arc<File>, range: Range<u64> },
    /// There is no rest.
    Done,
}

/// How the end of a streamed body is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// By its length, of which so much is left.
    Length(u64),
    Chunked,
    /// By the end of the connection.
    Close,
    /// There is none: a shutdown ends the connection.
    Shutdown,
}

/// What became of an attempt to send a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// All of it is queued.
    All,
    /// The queue is full: `drained` follows.
    Full,
    /// It is not for the service to send.
    NotOurs,
    /// The connection is gone, or closing already.
    Over,
    /// The connection has to go: the rest cannot be sent.
    Broken,
}

impl Source {
    /// Whether nothing but a shutdown ends it.
    pub(super) const fn is_endless(&self) -> bool {
        matches!(self, Self::Handler(Delimiter::Shutdown))
    }

    /// Queues as much as a connection should have waiting.
    pub(super) fn pump(&mut self, io: &mut Io<'_>, to: ConnId) -> Pumped {
        loop {
            let piece = match self {
                Self::Done => return Pumped::All,
                Self::Waiting | Self::Handler(_) => return Pumped::NotOurs,
                Self::File { file, range } => {
                    let sent = send_file(io, to, file, range);
                    *self = Self::Done;
                    return sent;
                }
                Self::Bytes(bytes) => bytes.split_to(PIECE.min(bytes.len())),
            };
            if matches!(self, Self::Bytes(bytes) if bytes.is_empty()) {
                *self = Self::Done;
            }
            match io.send(to, piece) {
                Sent::Queued => {}
                // What was sent last is queued all the same.
                Sent::Full if matches!(self, Self::Done) => return Pumped::All,
                Sent::Full => return Pumped::Full,
                Sent::Gone => return Pumped::Over,
                Sent::Dropped => return Pumped::Broken,
            }
        }
    }
}

/// Queues a part of a file. While much of it waits, the next answer does too.
fn send_file(io: &mut Io<'_>, to: ConnId, file: &Arc<File>, range: &Range<u64>) -> Pumped {
    match io.send_file(to, Arc::clone(file), range.clone()) {
        Ok(Sent::Queued) => Pumped::All,
        Ok(Sent::Full) => Pumped::Full,
        Ok(Sent::Gone) => Pumped::Over,
        Ok(Sent::Dropped) => Pumped::Broken,
        Err(error) => {
            log::error!("a file is not sent to connection {to}: {error}");
            Pumped::Broken
        }
    }
}
