//! `Source`: where the rest of an answer comes from.

use std::fs::File;
use std::io::Read;

use bytes::{Bytes, BytesMut};

use crate::{ConnId, Io, Sent};

/// The most bytes that are read of a file, or cut off shared bytes, at a time.
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
    /// So many bytes of a file.
    File { file: File, left: u64 },
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
    /// The connection is gone, or has to go: the file is shorter than it was.
    Broken,
}

impl Source {
    /// Queues as much as a connection should have waiting.
    pub(super) fn pump(&mut self, io: &mut Io<'_>, to: ConnId) -> Pumped {
        loop {
            let piece = match self {
                Self::Done => return Pumped::All,
                Self::Waiting | Self::Handler(_) => return Pumped::NotOurs,
                Self::Bytes(bytes) => bytes.split_to(PIECE.min(bytes.len())),
                Self::File { file, left } => match read(file, left) {
                    Some(piece) => piece,
                    None => return Pumped::Broken,
                },
            };
            if self.is_spent() {
                *self = Self::Done;
            }
            match io.send(to, piece) {
                Sent::Queued => {}
                // What was sent last is queued all the same.
                Sent::Full if matches!(self, Self::Done) => return Pumped::All,
                Sent::Full => return Pumped::Full,
                Sent::Dropped | Sent::Gone => return Pumped::Broken,
            }
        }
    }

    fn is_spent(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File { left, .. } => *left == 0,
            Self::Waiting | Self::Handler(_) | Self::Done => false,
        }
    }
}

/// Reads the next piece of a file; `None` if it is shorter than it was, or cannot
/// be read.
fn read(file: &mut File, left: &mut u64) -> Option<Bytes> {
    let wanted = usize::try_from(*left).unwrap_or(PIECE).min(PIECE);
    let mut piece = BytesMut::zeroed(wanted);
    match file.read_exact(&mut piece) {
        Ok(()) => {
            *left -= wanted as u64;
            Some(piece.freeze())
        }
        Err(error) => {
            log::warn!(
                "a file that is being sent cannot be read to its end, {left} bytes before it: {error}"
            );
            None
        }
    }
}
