//! The crossing for bytes through a layer: what stands between the plaintext of a
//! connection and what its socket carries.
//!
//! A [`Layer`](crate::Layer) stands here and nowhere else. [`pull_for_handler`],
//! [`push_for_handler`] and [`push`] lead the bytes of a layered connection through it,
//! and those of a plain one past it ([`transfer`](super::transfer)). [`shake_hands`] takes
//! the steps of its handshake, and [`finish`] puts its end before our FIN.

use std::io::{self, IoSlice};

use super::transfer::{OfFile, Readiness, Wire, cut_short, pull, push_direct, push_queue};
use crate::buffer::{FilePart, OutQueue, PIECES};
use crate::conn::Conn;
use crate::direct::DirectOutput;
use crate::driver::{Driver, read_file};
use crate::id::Key;
use crate::layers::{Layered, Layers, Scratch};
use crate::life::Flags;
use crate::moment::Moment;
use crate::shared_output::SharedOutput;

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
