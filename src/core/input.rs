//! Input in the core: pauses and resumes its delivery, and keeps what a handler
//! leaves.

use bytes::BytesMut;

use super::{Core, List};
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
        conn.frame_since = now;
        if conn.is_in_frame() {
            conn.set(Flags::RESUMED);
        }
        let awaits_first_frame = conn.has(Flags::AWAITS_FIRST_FRAME);
        let child = conn.child();
        if conn.is_in_frame() || conn.has(Flags::READABLE) {
            self.list(id, List::Read);
        }
        if awaits_first_frame {
            // It runs only now, and no later look is certain to be in time.
            self.watch_deadlines(id);
        }
        if let Some(child) = child {
            // It may have been all that the child's end waited for.
            self.children.to_tell.push(child, &mut self.pending);
        }
    }

    /// Keeps what a handler left, and the time of the frame that it begins.
    /// `before` bytes were not used up before the call: left, taken ahead, or
    /// new. `was_in_frame`: some of them are not new.
    pub(crate) fn keep(
        &mut self,
        id: ConnId,
        left: Option<Box<BytesMut>>,
        before: usize,
        was_in_frame: bool,
        is_first_frame: bool,
    ) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if !conn.is_live() {
            return;
        }
        let after = left.as_ref().map_or(0, |left| left.len()) + self.partial as usize;
        if conn.has(Flags::HANDSHAKING) {
            return self.refuse_cleartext(id, after);
        }
        if after < before {
            conn.frame_since = self.moment;
        } else if is_first_frame {
            conn.set(Flags::AWAITS_FIRST_FRAME);
        } else if !was_in_frame {
            conn.frame_since = self.moment;
        }
        conn.partial = self.partial;
        conn.leftover = left.map(without_spare_room);
        if after > self.services[conn.service as usize].limits.max_input {
            self.end(id, CloseReason::InputTooLong);
        }
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
