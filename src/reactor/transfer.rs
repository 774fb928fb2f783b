//! The crossing for bytes: the one file that moves them between the socket of a
//! connection and its buffers.
//!
//! [`pull`] reads, [`push_direct`] writes what a callback has just written, [`push`]
//! writes what waits. Each does the whole account of its bytes: the counters, the
//! readiness of the socket, and when the connection was last active. Their callers
//! decide what follows. The fast path of [`Reactor::read`](super::Reactor) has
//! `pull` and `push_direct` inlined.
//!
//! A [`Layer`](crate::Layer) stands here and nowhere else. [`pull_for_handler`] and
//! [`push_for_handler`], and [`push`], lead the bytes of a layered connection through
//! it, [`shake_hands`] takes the steps of its handshake, and [`finish`] puts its end
//! before our FIN.

use std::fmt;
use std::io::{self, IoSlice};

use crate::buffer::{FilePart, OutQueue, PIECES};
use crate::conn::Conn;
use crate::direct::DirectOutput;
use crate::driver::{Driver, FileError, FileSent, read_file};
use crate::id::Key;
use crate::layers::{Layered, Layers, Scratch};
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
    fn write(&mut self, pieces: &[IoSlice<'_>], offered: usize) -> io::Result<(usize, Readiness)> {
        let written = self.driver.write(self.socket, pieces)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.stats.bytes_out += written as u64;
        let is_blocked = D::SHORT_MEANS_BLOCKED && written < offered;
        Ok((written, if is_blocked { Readiness::Blocked } else { Readiness::Ready }))
    }
}

/// Reads once from a connection into `spare`, through its layer if it has one: how
/// many bytes are there for the handler, 0 for the peer's end, and whether there may
/// be more. What a closing connection is sent goes past the layer, and nowhere.
#[inline]
pub(super) fn pull_for_handler<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layers: &mut Layers,
    key: Key,
    spare: &mut [u8],
) -> io::Result<(usize, Readiness)> {
    if conn.has(Flags::LAYERED)
        && conn.is_live()
        && let Some((layered, scratch)) = layers.parts(key)
    {
        return pull_layered(wire, conn, layered, scratch, spare);
    }
    pull::<D, false>(wire.driver, wire.socket, conn, spare, wire.now, wire.stats)
}

/// Writes direct output once, as [`push_direct`] does, through the connection's layer
/// if it has one. The connection [writes directly](Conn::writes_directly).
///
/// # Errors
///
/// As [`push_direct`], and those of the layer.
#[inline]
pub(super) fn push_for_handler<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layers: &mut Layers,
    key: Key,
    direct: &mut DirectOutput,
) -> io::Result<(usize, Readiness)> {
    if conn.has(Flags::LAYERED)
        && let Some((layered, scratch)) = layers.parts(key)
    {
        let plain = &direct.bytes()[..direct.len().min(scratch.share())];
        let sealed = layered.layer.write(plain)?;
        let (left, readiness) = send_sealed(wire, conn, layered, scratch, sealed)?;
        if left == direct.len() {
            direct.clear();
        }
        return Ok((left, readiness));
    }
    push_direct(wire.driver, wire.socket, direct, wire.stats)
}

/// Writes once what waits for a connection, or as much of it as one call takes.
///
/// # Errors
///
/// Those of the system, and `WriteZero` where it took nothing and said nothing.
#[inline]
pub(super) fn push<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layers: &mut Layers,
    key: Key,
    shared: &SharedOutput,
    file_budget: usize,
) -> io::Result<Readiness> {
    if conn.has(Flags::LAYERED)
        && let Some((layered, scratch)) = layers.parts(key)
    {
        return push_layered(wire, conn, layered, scratch, shared);
    }
    let Some(queue) = &mut conn.out else { return Ok(Readiness::Ready) };
    push_queue(wire, queue, shared, usize::MAX, file_budget)
}

/// Writes once from the front of a queue, at most `most` bytes, and of a file at most
/// `file_budget`, and takes what was written off.
#[inline]
fn push_queue<D: Driver>(
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
struct OfFile(io::Error);

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
fn cut_short(part: &FilePart) -> io::Error {
    let what = format!("it ends {} bytes before the end of what was to be sent", part.len());
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

/// Reads through a layer: first the plaintext that it holds, then what it makes of
/// one read from the socket. `READABLE` says afterwards whether there is more to
/// read, be it with the layer or in the socket: of the former no event would tell.
fn pull_layered<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layered: &mut Layered,
    scratch: &mut Scratch,
    spare: &mut [u8],
) -> io::Result<(usize, Readiness)> {
    let mut filled = 0;
    let mut is_stuck = false;
    loop {
        let before = filled;
        while filled < spare.len() && !layered.is_drained && layered.failed.is_none() {
            match layered.layer.read(&mut spare[filled..]) {
                Ok(0) => layered.is_drained = true,
                Ok(count) => filled += count,
                Err(error) => layered.failed = Some(error),
            }
        }
        if is_stuck && filled == before {
            layered.failed.get_or_insert_with(stuck);
        }
        if filled == spare.len() {
            break;
        }
        if !layered.unread.is_empty() && layered.failed.is_none() {
            is_stuck = receive(wire, conn, layered, scratch, Source::Unread) == 0;
            continue;
        }
        if filled > 0 {
            break;
        }
        if let Some(error) = layered.failed.take() {
            return Err(error);
        }
        if layered.has_ended {
            return Ok((0, Readiness::Ready));
        }
        if !conn.has(Flags::READABLE) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = read_wire(wire, conn, layered, scratch)?;
        receive(wire, conn, layered, scratch, Source::Read(count));
    }
    if filled == spare.len() || layered.failed.is_some() || layered.has_ended {
        conn.set(Flags::READABLE);
    }
    // What the layer has held back counts as it is delivered, as what the kernel holds
    // back counts as it is read.
    conn.last_activity = wire.now;
    let is_ready = conn.has(Flags::READABLE);
    Ok((filled, if is_ready { Readiness::Ready } else { Readiness::Blocked }))
}

/// Reads once from the socket of a layered connection into the buffer for that. A
/// FIN is an error: the peer has not ended in the layer's way.
fn read_wire<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layered: &mut Layered,
    scratch: &mut Scratch,
) -> io::Result<usize> {
    let into = &mut scratch.inward;
    match pull::<D, false>(wire.driver, wire.socket, conn, into, wire.now, wire.stats)? {
        (0, _) => Err(cut_off(layered.layer.name(), conn.has(Flags::HANDSHAKING))),
        (count, _) => Ok(count),
    }
}

/// Where bytes for a layer are.
#[derive(Clone, Copy)]
enum Source {
    /// In the buffer of reads, so many.
    Read(usize),
    /// With those that it has not taken before.
    Unread,
}

/// Gives bytes from the socket to a layer, and sends what it answers. Returns how
/// many it took; the rest waits. Its error waits behind the plaintext before it.
fn receive<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layered: &mut Layered,
    scratch: &mut Scratch,
    source: Source,
) -> usize {
    let Layered { layer, unread, .. } = layered;
    let outcome = match source {
        Source::Read(count) => layer.receive(&scratch.inward[..count]).inspect(|taken| {
            unread.push(&scratch.inward[*taken..count]);
        }),
        Source::Unread => layer.receive(unread.bytes()).inspect(|taken| unread.advance(*taken)),
    };
    layered.is_drained = false;
    layered.has_ended = layered.layer.has_ended();
    // After an error this is its alert, and the error counts.
    let sent = emit(wire, conn, layered, scratch);
    match outcome.and_then(|taken| sent.map(|()| taken)) {
        Ok(taken) => taken,
        Err(error) => {
            layered.failed = Some(error);
            0
        }
    }
}

/// Where a layer's bytes go: to the socket as long as it takes all of them, then
/// behind one another.
struct Outlet<'o, 'w, D: Driver> {
    wire: &'o mut Wire<'w, D>,
    /// What was not offered to the socket, or not taken by it.
    rest: &'o mut Vec<u8>,
    /// How many bytes left.
    written: usize,
    /// The outcome of the last write.
    last: io::Result<Readiness>,
}

impl<'o, 'w, D: Driver> Outlet<'o, 'w, D> {
    /// An outlet to a socket that may be written to, or is `Blocked`.
    fn new(wire: &'o mut Wire<'w, D>, rest: &'o mut Vec<u8>, socket: Readiness) -> Self {
        rest.clear();
        Self { wire, rest, written: 0, last: Ok(socket) }
    }
}

impl<D: Driver> io::Write for Outlet<'_, '_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = pieces.iter().map(|piece| piece.len()).sum();
        let mut left = 0;
        if offered > 0 && self.rest.is_empty() && matches!(self.last, Ok(Readiness::Ready)) {
            match self.wire.write(pieces, offered) {
                Ok((written, readiness)) => {
                    left = written;
                    self.last = Ok(readiness);
                }
                Err(error) => self.last = Err(error),
            }
            self.written += left;
            if left == offered {
                return Ok(offered);
            }
        }
        for piece in pieces {
            let skipped = left.min(piece.len());
            self.rest.extend_from_slice(&piece[skipped..]);
            left -= skipped;
        }
        Ok(offered)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends what a layer has to say of its own. What the socket does not take waits.
fn emit<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layered: &mut Layered,
    scratch: &mut Scratch,
) -> io::Result<()> {
    let is_next = layered.wire.is_empty() && layered.clear == 0 && conn.has(Flags::WRITABLE);
    let socket = if is_next { Readiness::Ready } else { Readiness::Blocked };
    let mut outlet = Outlet::new(wire, &mut scratch.outward, socket);
    layered.layer.take_wire(&mut outlet)?;
    let last = outlet.last;
    if scratch.outward.is_empty() {
        return Ok(());
    }
    match last {
        Ok(Readiness::Ready) => {}
        Ok(Readiness::Blocked) if is_next => conn.unset(Flags::WRITABLE),
        Ok(Readiness::Blocked) => {}
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => conn.unset(Flags::WRITABLE),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        },
    }
    hold_back(wire.now, conn, layered, scratch)
}

/// Keeps the bytes of a layer that did not leave, of which there are some.
fn hold_back(now: Moment, conn: &mut Conn, layered: &mut Layered, scratch: &Scratch) -> io::Result<()> {
    if !conn.has_output() {
        conn.stalled_since = now;
    }
    layered.wire.push(&scratch.outward);
    conn.set(Flags::WIRE_PENDING);
    if layered.wire.len() > scratch.most_wire() {
        return Err(io::Error::other("the peer provokes more output than it takes"));
    }
    Ok(())
}

/// Writes through a layer, in the order of [`Layered`]: what was written before it,
/// what it has made already, then what it makes of one more share of the queue.
fn push_layered<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layered: &mut Layered,
    scratch: &mut Scratch,
    shared: &SharedOutput,
) -> io::Result<Readiness> {
    let mut has_moved = false;
    if layered.clear > 0
        && let Some(queue) = &mut conn.out
    {
        let before = queue.len();
        let readiness = push_queue(wire, queue, shared, layered.clear, scratch.share())?;
        layered.clear -= before - queue.len();
        if layered.clear > 0 {
            return Ok(readiness);
        }
        has_moved = true;
    }
    if !layered.wire.is_empty() {
        let bytes = layered.wire.bytes();
        let (written, readiness) = match wire.write(&[IoSlice::new(bytes)], bytes.len()) {
            Err(error) if has_moved => return moved_before(error),
            outcome => outcome?,
        };
        layered.wire.advance(written);
        if !layered.wire.is_empty() {
            return Ok(readiness);
        }
        has_moved = true;
        let sealed = std::mem::take(&mut layered.sealed);
        if let Some(queue) = &mut conn.out {
            queue.advance(sealed);
        }
    }
    conn.unset(Flags::WIRE_PENDING);
    if conn.queued() == 0 || conn.has(Flags::HANDSHAKING) {
        return Ok(Readiness::Ready);
    }
    let sealed = seal(conn, layered, shared, scratch.share())?;
    let (left, readiness) = match send_sealed(wire, conn, layered, scratch, sealed) {
        Err(error) if has_moved => return moved_before(error),
        outcome => outcome?,
    };
    if let Some(queue) = &mut conn.out {
        queue.advance(left);
    }
    Ok(readiness)
}

/// The outcome of several writes of which only the last found no room, or met a
/// signal: the caller has to know of those before.
fn moved_before(error: io::Error) -> io::Result<Readiness> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(Readiness::Blocked),
        io::ErrorKind::Interrupted => Ok(Readiness::Ready),
        _ => Err(error),
    }
}

/// Sends what a layer has made of the next `sealed` bytes of plaintext. Returns how
/// many of them have left: none, where a part of what it has made waits.
fn send_sealed<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layered: &mut Layered,
    scratch: &mut Scratch,
    sealed: usize,
) -> io::Result<(usize, Readiness)> {
    let mut outlet = Outlet::new(wire, &mut scratch.outward, Readiness::Ready);
    layered.layer.take_wire(&mut outlet)?;
    let Outlet { written, last, .. } = outlet;
    if scratch.outward.is_empty() {
        return if written == 0 { Err(stuck()) } else { Ok((sealed, last?)) };
    }
    layered.sealed = sealed;
    hold_back(wire.now, conn, layered, scratch)?;
    let readiness = match last {
        Err(error) if written > 0 => moved_before(error)?,
        last => last?,
    };
    Ok((0, readiness))
}

/// Gives a layer one share of the queue. Returns how many bytes of the queue that are.
fn seal(conn: &Conn, layered: &mut Layered, shared: &SharedOutput, share: usize) -> io::Result<usize> {
    let Some(queue) = &conn.out else { return Ok(0) };
    if let Some(part) = queue.next_file() {
        return seal_file(part, layered, share);
    }
    match queue.only_piece(shared) {
        Some(piece) => layered.layer.write(&piece[..piece.len().min(share)]),
        None => seal_pieces(queue, layered, shared, share),
    }
}

fn seal_pieces(
    queue: &OutQueue,
    layered: &mut Layered,
    shared: &SharedOutput,
    share: usize,
) -> io::Result<usize> {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let count = queue.pieces(shared, &mut pieces, share);
    let mut sealed = 0;
    for piece in &pieces[..count] {
        let taken = layered.layer.write(piece)?;
        sealed += taken;
        if taken < piece.len() {
            break;
        }
    }
    Ok(sealed)
}

/// The same of a part of a file, which has to be read for that.
#[cold]
fn seal_file(part: &FilePart, layered: &mut Layered, share: usize) -> io::Result<usize> {
    let of_file = |error| io::Error::other(OfFile(error));
    let mut piece = vec![0; share.min(part.len())];
    let count = read_file(part.file(), part.offset(), &mut piece).map_err(of_file)?;
    if count == 0 {
        return Err(of_file(cut_short(part)));
    }
    layered.layer.write(&piece[..count])
}

/// How far a handshake is after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shaken {
    /// It is complete.
    Ready,
    /// There may be more to read.
    Again,
    /// It waits for the peer.
    Blocked,
}

/// Takes a step of a handshake: sends what the layer has to say, reads once from the
/// socket, and sends what the layer answers.
pub(super) fn shake_hands<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layers: &mut Layers,
    key: Key,
) -> io::Result<Shaken> {
    let Some((layered, scratch)) = layers.parts(key) else { return Ok(Shaken::Ready) };
    emit(wire, conn, layered, scratch)?;
    if layered.layer.is_ready() {
        return Ok(Shaken::Ready);
    }
    if !conn.has(Flags::READABLE) {
        return Ok(Shaken::Blocked);
    }
    let count = match read_wire(wire, conn, layered, scratch) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            conn.unset(Flags::READABLE.union(Flags::HANGUP));
            return Ok(Shaken::Blocked);
        }
        outcome => outcome?,
    };
    conn.last_activity = wire.now;
    let taken = receive(wire, conn, layered, scratch, Source::Read(count));
    if let Some(error) = layered.failed.take() {
        return Err(error);
    }
    let is_ready = layered.layer.is_ready();
    if taken < count && !is_ready {
        return Err(stuck());
    }
    layers.count_step(wire.stats.turns);
    Ok(match conn.has(Flags::READABLE) {
        _ if is_ready => Shaken::Ready,
        true => Shaken::Again,
        false => Shaken::Blocked,
    })
}

/// Ends our direction in the layer's way, once: what it has to say for that leaves,
/// or waits (`WIRE_PENDING`).
pub(super) fn finish<D: Driver>(
    wire: &mut Wire<'_, D>,
    conn: &mut Conn,
    layers: &mut Layers,
    key: Key,
) -> io::Result<()> {
    let Some((layered, scratch)) = layers.parts(key) else { return Ok(()) };
    if layered.finish() { emit(wire, conn, layered, scratch) } else { Ok(()) }
}

#[cold]
fn cut_off(layer: &str, handshaking: bool) -> io::Error {
    let when = if handshaking { "during the handshake" } else { "without the end that the protocol has" };
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the peer has cut the connection: its FIN came {when} ({layer})"),
    )
}

#[cold]
fn stuck() -> io::Error {
    io::Error::other("the layer breaks its contract: it makes no progress with what it was given")
}
