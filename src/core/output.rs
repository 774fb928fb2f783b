//! Messages on their way from callbacks into queues.

use bytes::{Bytes, BytesMut};

use super::{Core, List};
use crate::buffer::{OutQueue, Pool};
use crate::close::{CloseReason, Sent};
use crate::conn::Conn;
use crate::id::ConnId;
use crate::life::Flags;
use crate::limits::Overflow;
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
        let limits = &self.services[conn.service as usize].limits;
        let queued = conn.queued() + self.direct.len() + data.len();
        match conn.room_for(queued, limits) {
            sent @ (Sent::Queued | Sent::Full) => {
                if conn.out.is_none() {
                    self.direct.push(data);
                } else {
                    detached(conn, &mut self.pool, &self.shared).push_copy(data);
                    conn.set(Flags::DIRTY);
                }
                sent
            }
            sent => self.refuse(self.current, sent),
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
        let limits = &self.services[conn.service as usize].limits;
        let direct = if to == self.current { self.direct.len() } else { 0 };
        let queued = conn.queued() + direct + data.len();
        match conn.room_for(queued, limits) {
            sent @ (Sent::Queued | Sent::Full) => {
                if !data.is_empty() {
                    if direct > 0 {
                        self.queue_direct(to, 0);
                    }
                    self.enqueue(to, data, piece, refer_from);
                }
                sent
            }
            sent => self.refuse(to, sent),
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
        let high_mark = self.services[conn.service as usize].limits.high_mark;
        let Some(queue) = &mut conn.out else { return false };
        let adds = queue.len() + piece.len() <= high_mark && queue.refer(piece);
        if adds {
            self.shared.need();
        }
        adds
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

    #[cold]
    fn refuse(&mut self, to: ConnId, sent: Sent) -> Sent {
        if sent == Sent::Dropped {
            self.stats.dropped += 1;
            let policy = self.conns.get(to.0).map(|conn| self.limits(conn).overflow);
            match policy {
                Some(Overflow::Close) => self.end(to, CloseReason::Overflow),
                Some(Overflow::DropNewest) => self.check_empty_queue(to),
                None => {}
            }
        }
        sent
    }

    /// After a write: whether the handler may be told to go on.
    pub(crate) fn check_low_mark(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if conn.queued() <= self.services[conn.service as usize].limits.low_mark {
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

    pub(crate) fn queued(&self, id: ConnId) -> Option<usize> {
        let direct = if id == self.current { self.direct.len() } else { 0 };
        self.conns.get(id.0).filter(|conn| conn.is_live()).map(|conn| conn.queued() + direct)
    }
}

/// The queue of a connection, to put something behind what is there.
#[inline]
fn detached<'a>(conn: &'a mut Conn, pool: &mut Pool, shared: &SharedOutput) -> &'a mut OutQueue {
    let queue = conn.queue(pool);
    queue.detach(shared);
    queue
}
