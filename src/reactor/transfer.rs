//! The crossing for bytes: the one file that moves them between the socket of a
//! connection and its buffers.
//!
//! [`pull`] reads, [`push_direct`] writes what a callback has just written, [`push_queue`]
//! writes what waits. Each does the whole account of its bytes: the counters, the
//! readiness of the socket, and when the connection was last active. Their callers
//! decide what follows. The fast path of [`Reactor::read`](super::Reactor) has
//! `pull` and `push_direct` inlined; all else comes through [`layered`](super::layered),
//! which knows whether a connection has a layer.

use std::fmt;
use std::io::{self, IoSlice};

use crate::buffer::{FilePart, OutQueue, PIECES};
use crate::conn::Conn;
use crate::direct::DirectOutput;
use crate::driver::{Driver, FileError, FileSent};
use crate::life::Flags;
use crate::moment::Moment;
use crate::shared_output::SharedOutput;
use crate::stats::Stats;

/// Whether a socket may have more to give, or room for more, than one call took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The next call may succeed.
    Ready,
    /// The next call would block: an event tells when it would not.
    Blocked,
}

/// Reads once from a socket into `spare`: how many bytes came, 0 for the peer's
/// FIN, and whether there may be more. `CALM`: the caller has seen that the
/// connection is live, no pipe, and that no hang-up is announced
/// ([`Conn::can_fast_path`]).
///
/// A short read says that the socket has nothing more
/// ([`Driver::SHORT_MEANS_BLOCKED`]), with two exceptions. Behind a hang-up the
/// end may follow at once; and of a terminal, or a pipe of packets, one read takes
/// one line, or one packet.
#[inline(always)]
pub(super) fn pull<D: Driver, const CALM: bool>(
    driver: &mut D,
    socket: &mut D::Stream,
    conn: &mut Conn,
    spare: &mut [u8],
    now: Moment,
    stats: &mut Stats,
) -> io::Result<(usize, Readiness)> {
    let asked = spare.len();
    let count = driver.read(socket, spare)?;
    if count == 0 {
        return Ok((0, Readiness::Ready));
    }
    stats.bytes_in += count as u64;
    if CALM || conn.is_live() {
        conn.last_activity = now;
    }
    let tells_all = CALM || !conn.has(Flags::HANGUP.union(Flags::PIPE));
    if D::SHORT_MEANS_BLOCKED && count < asked && tells_all {
        conn.unset(Flags::READABLE);
        return Ok((count, Readiness::Blocked));
    }
    Ok((count, Readiness::Ready))
}

/// Writes direct output once: how many bytes the system took, and whether the socket
/// is full. If it took all, `direct` is empty. The caller notes the activity: the
/// connection that the fast path has just read from was active in this turn.
///
/// # Errors
///
/// Those of the system, and `WriteZero` where it took nothing and said nothing.
#[inline(always)]
pub(super) fn push_direct<D: Driver>(
    driver: &mut D,
    socket: &mut D::Stream,
    direct: &mut DirectOutput,
    stats: &mut Stats,
) -> io::Result<(usize, Readiness)> {
    let written = driver.write(socket, &[IoSlice::new(direct.bytes())])?;
    stats.bytes_out += written as u64;
    if written == direct.len() {
        direct.clear();
        return Ok((written, Readiness::Ready));
    }
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok((written, if D::SHORT_MEANS_BLOCKED { Readiness::Blocked } else { Readiness::Ready }))
}

/// The socket of a connection, and the account of what crosses it.
pub(super) struct Wire<'a, D: Driver> {
    pub(super) driver: &'a mut D,
    pub(super) socket: &'a mut D::Stream,
    pub(super) stats: &'a mut Stats,
    pub(super) now: Moment,
}

impl<D: Driver> Wire<'_, D> {
    /// Writes once: how many bytes left, and whether the socket is full.
    ///
    /// # Errors
    ///
    /// Those of the system, and `WriteZero` where it took nothing and said nothing.
    #[inline]
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>], offered: usize) -> io::Result<(usize, Readiness)> {
        let written = self.driver.write(self.socket, pieces)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.stats.bytes_out += written as u64;
        let is_blocked = D::SHORT_MEANS_BLOCKED && written < offered;
        Ok((written, if is_blocked { Readiness::Blocked } else { Readiness::Ready }))
    }
}

/// Writes once from the front of a queue, at most `most` bytes, and of a file at most
/// `file_budget`, and takes what was written off.
#[inline]
pub(super) fn push_queue<D: Driver>(
    wire: &mut Wire<'_, D>,
    queue: &mut OutQueue,
    shared: &SharedOutput,
    most: usize,
    file_budget: usize,
) -> io::Result<Readiness> {
    if let Some(part) = queue.next_file() {
        let (written, readiness) = push_file(wire, part, most.min(file_budget))?;
        queue.advance(written);
        return Ok(readiness);
    }
    let (written, readiness) = if let Some(piece) = queue.only_piece(shared) {
        let piece = &piece[..piece.len().min(most)];
        wire.write(&[IoSlice::new(piece)], piece.len())?
    } else {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = queue.pieces(shared, &mut pieces, most);
        let offered = pieces[..count].iter().map(|piece| piece.len()).sum();
        wire.write(&pieces[..count], offered)?
    };
    queue.advance(written);
    Ok(readiness)
}

/// Sends a part of a file once, by the driver's shortest way.
#[cold]
fn push_file<D: Driver>(
    wire: &mut Wire<'_, D>,
    part: &FilePart,
    most: usize,
) -> io::Result<(usize, Readiness)> {
    match wire.driver.send_file(wire.socket, part.file(), part.offset(), part.len().min(most)) {
        Ok(FileSent { written: 0, .. }) => Err(io::Error::other(OfFile(cut_short(part)))),
        Ok(FileSent { written, offered }) => {
            wire.stats.bytes_out += written as u64;
            let is_blocked = D::SHORT_MEANS_BLOCKED && written < offered;
            Ok((written, if is_blocked { Readiness::Blocked } else { Readiness::Ready }))
        }
        Err(FileError::Stream(error)) => Err(error),
        Err(FileError::File(error)) => Err(io::Error::other(OfFile(error))),
    }
}

/// An error of a file that was to be sent, and not of the socket.
#[derive(Debug)]
pub(super) struct OfFile(pub(super) io::Error);

impl fmt::Display for OfFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OfFile {}

/// The error of a file that was to be sent, if this is one.
///
/// # Errors
///
/// The error itself, if it is the socket's.
pub(super) fn of_file(error: io::Error) -> Result<io::Error, io::Error> {
    error.downcast::<OfFile>().map(|of_file| of_file.0)
}

#[cold]
pub(super) fn cut_short(part: &FilePart) -> io::Error {
    let what = format!("it ends {} bytes before the end of what was to be sent", part.len());
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}
