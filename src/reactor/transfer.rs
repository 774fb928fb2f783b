//! The crossing for bytes: the one file that moves them between the socket of a
//! connection and its buffers.
//!
//! [`pull`] reads, [`push_direct`] writes what a callback has just written,
//! [`push_queue`] writes what waits. All of them are inlined into the fast path of
//! [`Reactor::read`](super::Reactor) and the slow one alike, and each does the
//! whole account of its bytes: the counters, the readiness of the socket, and when
//! the connection was last active. Their callers decide what follows.

use std::io::{self, IoSlice};

use crate::buffer::{OutQueue, PIECES};
use crate::conn::Conn;
use crate::direct::DirectOutput;
use crate::driver::Driver;
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

/// Writes direct output once: how many bytes the system took. If it took all,
/// `direct` is empty. The caller notes the activity: the connection that the fast
/// path has just read from was active in this turn.
#[inline(always)]
pub(super) fn push_direct<D: Driver>(
    driver: &mut D,
    socket: &mut D::Stream,
    direct: &mut DirectOutput,
    stats: &mut Stats,
) -> io::Result<usize> {
    let written = driver.write(socket, &[IoSlice::new(direct.bytes())])?;
    stats.bytes_out += written as u64;
    if written == direct.len() {
        direct.clear();
    }
    Ok(written)
}

/// Writes once what the queue of a connection holds, or as much of it as one call
/// takes, and takes what was written off the queue.
///
/// # Errors
///
/// Those of the system, and `WriteZero` where it took nothing and said nothing.
#[inline]
pub(super) fn push_queue<D: Driver>(
    driver: &mut D,
    socket: &mut D::Stream,
    queue: &mut OutQueue,
    shared: &SharedOutput,
    stats: &mut Stats,
) -> io::Result<Readiness> {
    let (written, offered) = if let Some(piece) = queue.only_piece(shared) {
        (driver.write(socket, &[IoSlice::new(piece)])?, piece.len())
    } else {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = queue.pieces(shared, &mut pieces);
        (driver.write(socket, &pieces[..count])?, pieces[..count].iter().map(|piece| piece.len()).sum())
    };
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    stats.bytes_out += written as u64;
    queue.advance(written);
    let is_blocked = D::SHORT_MEANS_BLOCKED && written < offered;
    Ok(if is_blocked { Readiness::Blocked } else { Readiness::Ready })
}
