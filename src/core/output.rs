//! Messages on their way from callbacks into queues.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Core, List, limits_of};
use crate::buffer::{FilePart, OutQueue, Pool};
use crate::close::{CloseReason, Sent};
use crate::conn::Conn;
use crate::error::{Error, Result};
use crate::id::ConnId;
use crate::life::{Flags, Phase};
use crate::limits::{Limits, Overflow};
use crate::shared_output::{SharedOutput, Span};

impl Core {
    /// Writes to the current connection.
    #[inline(always)]
    pub(crate) fn write(&mut self, data: &[u8]) -> Sent {
        if self.direct.take(data) { Sent::Queued } else { self.write_seeing(data) }
    }

    /// Writes all of `data` to the current connection, and empties it unless it
    /// is refused.
    #[inline(always)]
    pub(crate) fn write_all(&mut self, data: &mut BytesMut) -> Sent {
        if self.direct.take_all(data) { Sent::Queued } else { self.write_all_seeing(data) }
    }

    #[inline(never)]
    fn write_all_seeing(&mut self, data: &mut BytesMut) -> Sent {
        let sent = self.write_seeing(data);
        if sent.is_queued() {
            data.clear();
        }
        sent
    }

    /// [`write`](Self::write), with a look at the connection.
    #[inline(never)]
    fn write_seeing(&mut self, data: &[u8]) -> Sent {
        self.direct.revoke();
        let Some(conn) = self.conns.get_mut(self.current.0) else { return Sent::Gone };
        let limits = limits_of(&self.services, &self.own_limits, self.current, conn);
        let queued = conn.queued() + self.direct.len();
        match room_for(conn, queued + data.len(), limits, self.last_word_up_to) {
            sent @ (Sent::Queued | Sent::Full) => {
                if conn.out.is_none() {
                    self.direct.push(data);
                } else {
                    detached(conn, &mut self.pool, &self.shared).push_copy(data);
                    conn.set(Flags::DIRTY);
                }
                sent
            }
            sent => self.refuse(self.current, sent, data.len(), queued),
        }
    }

    /// Writes to the current connection, and holds it if that passes its high mark.
    #[inline(always)]
    pub(crate) fn reply(&mut self, data: &[u8]) {
        if !self.direct.take(data) {
            self.reply_seeing(data);
        }
    }

    #[inline(never)]
    fn reply_seeing(&mut self, data: &[u8]) {
        let sent = self.write_seeing(data);
        self.hold_if_full(sent);
    }

    /// The same of all of `data`, which is empty afterwards.
    #[inline(always)]
    pub(crate) fn reply_all(&mut self, data: &mut BytesMut) {
        if !self.direct.take_all(data) {
            self.reply_seeing(data);
            data.clear();
        }
    }

    /// The same of shared bytes.
    #[inline]
    pub(crate) fn reply_bytes(&mut self, data: &Bytes) {
        if data.len() < self.refer_from {
            self.reply(data);
        } else {
            let sent = self.send(self.current, data);
            self.hold_if_full(sent);
        }
    }

    /// Stops reading the current connection after an answer that passed its high
    /// mark; [`release`](Self::release) reads it again.
    fn hold_if_full(&mut self, sent: Sent) {
        if !matches!(sent, Sent::Full | Sent::Dropped) {
            return;
        }
        let id = self.current;
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        // A dropped answer may have ended the connection. With nothing queued it
        // clears ABOVE_HIGH, and no write follows that could release the hold.
        // PAUSED without HELD is the handler's own pause, and stays that.
        if conn.is_live() && conn.has(Flags::ABOVE_HIGH) && !conn.has(Flags::PAUSED) {
            conn.set(Flags::PAUSED.union(Flags::HELD));
            conn.unset(Flags::RESUMED);
            self.check_hangup(id);
        }
    }

    /// Reads a held connection again, unless it is above its high mark once more:
    /// then the next crossing of the low mark does.
    pub(crate) fn release(&mut self, id: ConnId) {
        let is_due = |conn: &Conn| conn.has(Flags::HELD) && !conn.has(Flags::ABOVE_HIGH);
        if self.conns.get(id.0).is_some_and(is_due) {
            self.resume(id);
        }
    }

    /// Writes shared bytes to the current connection.
    #[inline]
    pub(crate) fn write_bytes(&mut self, data: &Bytes) -> Sent {
        if data.len() < self.refer_from { self.write(data) } else { self.send(self.current, data) }
    }

    /// Sends to any connection, by reference if `data` is so large that what it
    /// may be a part of is not much larger.
    #[inline]
    pub(crate) fn send(&mut self, to: ConnId, data: &Bytes) -> Sent {
        self.send_piece(to, data, None, self.refer_from)
    }

    /// The same with `data` that may be a piece of the shared output, by reference
    /// from a size of one's own.
    pub(super) fn send_piece(
        &mut self,
        to: ConnId,
        data: &Bytes,
        piece: Option<Span>,
        refer_from: usize,
    ) -> Sent {
        self.direct.revoke();
        let Some(conn) = self.conns.get_mut(to.0) else { return Sent::Gone };
        let limits = limits_of(&self.services, &self.own_limits, to, conn);
        let direct = if to == self.current { self.direct.len() } else { 0 };
        let queued = conn.queued() + direct;
        let last_word_up_to = self.last_word_up_to.filter(|_| to == self.current);
        match room_for(conn, queued + data.len(), limits, last_word_up_to) {
            sent @ (Sent::Queued | Sent::Full) => {
                if !data.is_empty() {
                    if direct > 0 {
                        self.queue_direct(to, 0);
                    }
                    self.enqueue(to, data, piece, refer_from);
                }
                sent
            }
            sent => self.refuse(to, sent, data.len(), queued),
        }
    }

    /// Adds a piece of the shared output to a queue that is on the list to flush, where
    /// that is all there is to do: of shared output to many, most messages. False if
    /// there is more to it, and nothing is done.
    #[inline(always)]
    pub(super) fn adds_piece(&mut self, to: ConnId, piece: Span) -> bool {
        let Some(conn) = self.conns.get_mut(to.0) else { return false };
        if !self.cross_writes || !conn.is_gathering() {
            return false;
        }
        let high_mark = limits_of(&self.services, &self.own_limits, to, conn).high_mark;
        let Some(queue) = &mut conn.out else { return false };
        let adds = queue.len() + piece.len() <= high_mark && queue.refer(piece);
        if adds {
            self.shared.need();
        }
        adds
    }

    /// Sends a part of a file to any connection, behind what is queued.
    pub(crate) fn send_file(&mut self, to: ConnId, file: Arc<File>, range: Range<u64>) -> Result<Sent> {
        self.direct.revoke();
        let Some(conn) = self.conns.get_mut(to.0).filter(|conn| conn.life.takes_output()) else {
            return Ok(Sent::Gone);
        };
        let part = FilePart::new(file, range);
        if part.len() == 0 {
            return Ok(Sent::Queued);
        }
        let limits = limits_of(&self.services, &self.own_limits, to, conn);
        let limit = limits.max_files;
        let files = conn.files() + 1;
        if files > limit {
            let what = "parts of files on one connection";
            return Err(Error::Full { what, field: Some("Limits::max_files"), limit });
        }
        let direct = if to == self.current { self.direct.len() } else { 0 };
        let is_full = conn.queued() + direct + part.len() > limits.high_mark || files > limit / 2;
        if direct > 0 {
            self.queue_direct(to, 0);
        }
        let Some(conn) = self.conns.get_mut(to.0) else { return Ok(Sent::Gone) };
        if conn.out.is_none() {
            conn.stalled_since = self.moment;
        }
        detached(conn, &mut self.pool, &self.shared).push_file(part);
        if is_full {
            conn.set(Flags::ABOVE_HIGH);
        }
        self.is_queued(to);
        Ok(if is_full { Sent::Full } else { Sent::Queued })
    }

    fn enqueue(&mut self, to: ConnId, data: &Bytes, piece: Option<Span>, refer_from: usize) {
        let Some(conn) = self.conns.get_mut(to.0) else { return };
        if conn.out.is_none() {
            conn.stalled_since = self.moment;
        }
        match piece {
            // The current one may be flushed before the others, and so alone.
            Some(piece) if to != self.current => {
                if !conn.queue(&mut self.pool).refer(piece) {
                    let is_next = detached(conn, &mut self.pool, &self.shared).refer(piece);
                    debug_assert!(is_next, "a queue without a span takes any");
                }
                self.shared.need();
            }
            _ => detached(conn, &mut self.pool, &self.shared).push_shared(data, refer_from),
        }
        self.is_queued(to);
    }

    /// Sees to it that what was queued for a connection is flushed.
    #[inline]
    fn is_queued(&mut self, to: ConnId) {
        let Some(conn) = self.conns.get_mut(to.0) else { return };
        conn.set(Flags::DIRTY);
        if to != self.current {
            self.cross_writes = true;
            self.list(to, List::Flush);
        }
    }

    /// Puts direct output, but for the first `written` bytes, into the queue
    /// of its connection.
    pub(crate) fn queue_direct(&mut self, id: ConnId, written: usize) {
        if let Some(conn) = self.conns.get_mut(id.0) {
            if conn.out.is_none() {
                conn.stalled_since = self.moment;
            }
            detached(conn, &mut self.pool, &self.shared).push_copy(&self.direct.bytes()[written..]);
            conn.set(Flags::DIRTY);
        }
        self.direct.clear();
    }

    /// Draws the consequence of a message that was not queued, behind `queued` bytes
    /// that are.
    #[cold]
    fn refuse(&mut self, to: ConnId, sent: Sent, message: usize, queued: usize) -> Sent {
        let is_last_word = to == self.current && self.last_word_up_to.is_some();
        if sent == Sent::Dropped && !is_last_word {
            self.stats.dropped += 1;
            let Some(limits) = self.conns.get(to.0).map(|conn| self.limits(to, conn)) else { return sent };
            let hard_mark = limits.hard_mark;
            match limits.overflow {
                Overflow::Close => self.end(to, CloseReason::Overflow { message, queued, hard_mark }),
                Overflow::DropNewest => self.check_empty_queue(to),
            }
        }
        sent
    }

    /// After a write: whether the handler may be told to go on.
    pub(crate) fn check_low_mark(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if conn.is_low(limits_of(&self.services, &self.own_limits, id, conn)) {
            conn.unset(Flags::ABOVE_HIGH);
            self.list(id, List::Drained);
        }
    }

    /// With nothing queued, no write will follow that could let a handler go
    /// on which was told to stop.
    pub(crate) fn check_empty_queue(&mut self, id: ConnId) {
        let told = self.conns.get(id.0).is_some_and(|conn| conn.is_live() && conn.has(Flags::ABOVE_HIGH));
        if told && self.queued(id) == Some(0) {
            self.check_low_mark(id);
        }
    }

    /// Gives a connection limits of its own.
    pub(crate) fn set_limits(&mut self, id: ConnId, limits: Limits) -> Result<()> {
        limits.check()?;
        let queued = self.queued(id);
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| !conn.life.is_dead()) else {
            return Ok(());
        };
        conn.set(Flags::OWN_LIMITS);
        if let Some(extras) = &mut conn.extras {
            extras.idle = None;
        }
        // Its output is within the old high mark.
        self.direct.revoke();
        if queued.is_some_and(|queued| queued > limits.high_mark) {
            conn.set(Flags::ABOVE_HIGH);
        }
        let is_above = conn.has(Flags::ABOVE_HIGH) && conn.is_live();
        self.own_limits.set(id, Some(Box::new(limits)));
        if is_above {
            self.check_low_mark(id);
        }
        self.watch_deadlines(id);
        Ok(())
    }

    pub(crate) fn queued(&self, id: ConnId) -> Option<usize> {
        let direct = if id == self.current { self.direct.len() } else { 0 };
        self.conns.get(id.0).filter(|conn| conn.life.is_before_end()).map(|conn| conn.queued() + direct)
    }
}

/// The outcome of a message that would raise the queue of a connection to `queued`
/// bytes, whether it is the last word or an ordinary one.
#[inline]
fn room_for(conn: &mut Conn, queued: usize, limits: &Limits, last_word_up_to: Option<usize>) -> Sent {
    match last_word_up_to {
        None => conn.room_for(queued, limits),
        Some(most) if conn.phase() == Phase::Closing && queued <= most => Sent::Queued,
        Some(_) if conn.phase() == Phase::Closing => Sent::Dropped,
        // The handler has aborted it.
        Some(_) => Sent::Gone,
    }
}

/// The queue of a connection, to put something behind what is there.
#[inline]
fn detached<'a>(conn: &'a mut Conn, pool: &mut Pool, shared: &SharedOutput) -> &'a mut OutQueue {
    let queue = conn.queue(pool);
    queue.detach(shared);
    queue
}
