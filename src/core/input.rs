//! Input in the core: pauses and resumes its delivery, keeps what a handler leaves,
//! and knows since when a frame is open.

use bytes::BytesMut;

use super::{Core, List, limits_of};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::life::Flags;

/// Room beyond this many bytes, and beyond what growing by doubling leaves, is
/// not kept with input.
const SPARE_ROOM: usize = 16 << 10;

impl Core {
    pub(crate) fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id.0)
            && conn.life.is_before_end()
        {
            conn.set(Flags::PAUSED);
            // A resume of the same callback is taken back, and a hold is taken over.
            conn.unset(Flags::RESUMED.union(Flags::HELD));
            self.check_hangup(id);
        }
    }

    /// Starts reading again, by itself: no new edge would come for what has
    /// arrived meanwhile.
    pub(crate) fn resume(&mut self, id: ConnId) {
        let now = self.moment;
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if !conn.has(Flags::PAUSED) {
            return;
        }
        conn.unset(Flags::PAUSED.union(Flags::HELD));
        if !conn.has(Flags::HANDSHAKING) {
            conn.awaits_since = now;
        }
        conn.frame_since = now;
        if conn.has(Flags::IN_FRAME) {
            conn.set(Flags::RESUMED);
        }
        let child = conn.child();
        if conn.has(Flags::IN_FRAME.union(Flags::READABLE)) {
            self.list(id, List::Read);
        }
        // The deadlines of frames run only now.
        self.watch_deadlines(id);
        if let Some(child) = child {
            // It may have been all that the child's end waited for.
            self.children.to_tell.push(child, &mut self.pending);
        }
    }

    /// Opens a frame, unless one is open: then that one goes on.
    pub(crate) fn begin_frame(&mut self, id: ConnId) {
        let now = self.moment;
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else { return };
        if !conn.has(Flags::IN_FRAME) {
            conn.frame_since = now;
        }
        conn.set(Flags::IN_FRAME.union(Flags::FRAME_DECLARED));
        // The fast path has to look at the connection after this callback.
        self.direct.revoke();
        self.watch_deadlines(id);
    }

    /// Closes the open frame. What is left of the input, or comes next, begins
    /// another one.
    pub(crate) fn end_frame(&mut self, id: ConnId) {
        let now = self.moment;
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else { return };
        conn.unset(Flags::FRAME_DECLARED.union(Flags::AWAITS_FIRST_FRAME));
        if conn.leftover.is_none() {
            conn.unset(Flags::IN_FRAME);
        } else {
            // Outside of `data`: what the handler had left begins the next frame.
            conn.frame_since = now;
        }
    }

    /// Keeps what a handler left of the `shown` bytes of its input, and the
    /// time of the frame that this begins. Returns the reason to end the
    /// connection if that is too much.
    pub(crate) fn keep(
        &mut self,
        id: ConnId,
        left: Option<Box<BytesMut>>,
        shown: usize,
    ) -> Option<CloseReason> {
        let now = self.moment;
        let conn = self.conns.get_mut(id.0).filter(|conn| conn.is_live())?;
        let rest = left.as_ref().map_or(0, |left| left.len());
        if conn.has(Flags::HANDSHAKING) && (rest > 0 || conn.has(Flags::FRAME_DECLARED)) {
            self.refuse_cleartext(id, rest.max(1));
            return None;
        }
        conn.leftover = left.map(without_spare_room);
        if !conn.has(Flags::FRAME_DECLARED) {
            let has_taken = rest < shown;
            if has_taken {
                conn.unset(Flags::AWAITS_FIRST_FRAME);
            }
            if rest == 0 {
                conn.unset(Flags::IN_FRAME);
            } else if has_taken || !conn.has(Flags::IN_FRAME) {
                conn.set(Flags::IN_FRAME);
                conn.frame_since = now;
            }
        }
        let max_input = limits_of(&self.services, &self.own_limits, id, conn).max_input;
        if rest > max_input {
            return Some(CloseReason::InputTooLong { left: rest, max_input });
        }
        if rest > 0 {
            self.watch_deadlines(id);
        }
        None
    }
}

/// What is kept takes the room of what has come, and not of what a handler
/// made room for because a peer had announced it.
fn without_spare_room(left: Box<BytesMut>) -> Box<BytesMut> {
    if left.capacity() <= SPARE_ROOM.max(4 * left.len()) {
        return left;
    }
    Box::new(BytesMut::from(&left[..]))
}
