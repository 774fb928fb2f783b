//! Phase 3: reading what is ready, and handing it over.

use std::io::{self, IoSlice};

use bytes::BytesMut;

use super::Reactor;
use super::dispatch::took;
use crate::close::CloseReason;
use crate::conn::{Conn, Flags, Phase};
use crate::driver::Driver;
use crate::handler::AfterEof;
use crate::id::ConnId;

/// Input that is on its way to a handler.
struct Delivery {
    service: u16,
    session: u32,
    /// What the handler had left.
    kept: Option<Box<BytesMut>>,
    /// How many bytes before those it took of a frame that is not complete.
    taken_ahead: u32,
    /// How many bytes the read buffer holds behind that.
    count: usize,
    /// The handler has not taken any input yet.
    is_first_frame: bool,
}

impl Delivery {
    /// Takes from the connection what goes into the delivery, as if all of it
    /// will be taken; what is left goes back by [`Core::keep`](crate::core::Core::keep).
    #[inline]
    fn prepare(conn: &mut Conn, count: usize) -> Self {
        let is_first_frame = conn.has(Flags::AWAITS_FIRST_FRAME);
        conn.unset(Flags::AWAITS_FIRST_FRAME);
        Self {
            service: conn.service,
            session: conn.session,
            kept: conn.kept.take(),
            taken_ahead: std::mem::take(&mut conn.taken_ahead),
            count,
            is_first_frame,
        }
    }
}

impl<D: Driver> Reactor<D> {
    /// Phase 3. What comes onto the list meanwhile is for the next turn.
    #[inline]
    pub(super) fn read_ready(&mut self) {
        let core = &self.stage.core;
        if core.to_establish.len() | core.to_check.len() | core.sockets.to_receive.len() > 0 {
            self.before_reading();
        }
        let listed = self.stage.core.to_read.len();
        for place in 0..listed {
            self.read(self.stage.core.to_read[place]);
        }
        let list = &mut self.stage.core.to_read;
        if list.len() == listed {
            list.clear();
        } else {
            list.drain(..listed);
        }
    }

    /// What comes first in phase 3, and in few turns.
    #[inline(never)]
    fn before_reading(&mut self) {
        if !self.stage.core.to_establish.is_empty() {
            self.establish();
        }
        if !self.stage.core.to_check.is_empty() {
            self.check_hangups();
        }
        if !self.stage.core.sockets.to_receive.is_empty() {
            self.receive_ready();
        }
    }

    /// Reads a connection, hands over what came, and sends what its handler
    /// wrote. Here it is done for one that is calm, which most are, with one look
    /// at it, one at its socket, and no other step between; the first thing that
    /// is out of the ordinary leads elsewhere.
    #[inline(always)]
    fn read(&mut self, id: ConnId) {
        let Self { driver, stage, sockets, input, .. } = self;
        let core = &mut stage.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        // Once, and not before each read: what puts it on the list meanwhile
        // would be forgotten, and put it there a second time.
        conn.unset(Flags::IN_READ_LIST);
        if !conn.is_calm() {
            return self.read_on(id, 0);
        }
        let (service, session) = (conn.service, conn.session);
        let limits = &core.services[service as usize].limits;
        let Some(Some(socket)) = sockets.get_mut(id.0.slot as usize) else { return };
        let room = input.room(limits.read_budget);
        let asked = room.len();
        let count = match driver.read(socket, room) {
            Ok(count @ 1..) => count,
            outcome => return self.nothing_read(id, outcome),
        };
        let is_short = D::SHORT_MEANS_BLOCKED && count < asked;
        if is_short {
            conn.unset(Flags::READABLE);
        }
        conn.last_activity = core.moment;
        core.stats.bytes_in += count as u64;
        if !core.crossed {
            core.hand.open(limits.high_mark);
        }
        core.taken_ahead = 0;
        input.land(count);
        if let Err(why) = stage.run(service, id, |serve, io| serve.data(io, session, input)) {
            return self.failed(service, id, count, why);
        }
        let took = took(driver, &mut self.clock, self.slow_after);
        let core = &mut stage.core;
        let is_plain = input.is_taken() && core.taken_ahead == 0 && core.hand.is_open();
        let more = if took > 0 || !is_plain {
            self.warn_if_slow(service, id, "data", took);
            self.handed_over(id, count, 0, false)
        } else {
            core.hand.close();
            if core.hand.is_empty() {
                !is_short
            } else {
                match driver.write(socket, &[IoSlice::new(core.hand.bytes())]) {
                    Ok(written) if written == core.hand.len() => {
                        core.hand.empty();
                        core.stats.bytes_out += written as u64;
                        !is_short
                    }
                    outcome => {
                        self.queue_rest(id, outcome);
                        self.settle(id)
                    }
                }
            }
        };
        if more {
            self.read_on(id, count);
        }
    }

    /// A handler that was shown the read buffer, and failed.
    #[cold]
    fn failed(&mut self, service: u16, id: ConnId, count: usize, why: CloseReason) {
        self.after_callback(service, id, "data");
        self.stage.core.end(id, why);
        if self.handed_over(id, count, 0, false) {
            self.read_on(id, count);
        }
    }

    /// Reads one that is not calm, or that has been read, when `taken` bytes of
    /// its share of this turn are used up.
    #[inline(never)]
    fn read_on(&mut self, id: ConnId, mut taken: usize) {
        while self.read_once(id, &mut taken) {}
    }

    /// Reads once, if the connection wants it, and hands over what came. True
    /// if it may be read again: there may be more.
    fn read_once(&mut self, id: ConnId, taken: &mut usize) -> bool {
        let core = &mut self.stage.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return false };
        if !conn.wants_input() {
            return self.hand_back(id);
        }
        let limits = &core.services[conn.service as usize].limits;
        let budget = limits.read_budget - *taken;
        if budget == 0 {
            core.read_later(id);
            return false;
        }
        let Some(Some(socket)) = self.sockets.get_mut(id.0.slot as usize) else { return false };
        let room = self.input.room(budget);
        let asked = room.len();
        let count = match self.driver.read(socket, room) {
            Ok(count @ 1..) => count,
            outcome => {
                self.nothing_read(id, outcome);
                return false;
            }
        };
        // With a hang-up announced, the end may lie right behind; and of a
        // terminal, and a pipe of packets, one read takes one line, or one.
        let is_short = D::SHORT_MEANS_BLOCKED && count < asked;
        if is_short && !conn.has(Flags::HANGUP.union(Flags::PIPE)) {
            conn.unset(Flags::READABLE);
        }
        *taken += count;
        core.stats.bytes_in += count as u64;
        if conn.has(Flags::PIPE)
            && let Some(child) = conn.pay(count)
        {
            core.children.to_tell.push(child);
            core.listed = true;
        }
        if conn.phase != Phase::Live {
            return true; // nobody wants it any more
        }
        conn.last_activity = core.moment;
        let delivery = Delivery::prepare(conn, count);
        self.hand_over(id, delivery)
    }

    /// Of a connection that is not to be read now: hands over what the
    /// handler had left when it paused, if it has resumed since. True if it
    /// may be read then.
    #[cold]
    fn hand_back(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.stage.core.conns.get_mut(id.0) else { return false };
        if !conn.has(Flags::RESUMED) || conn.has(Flags::PAUSED) {
            return false;
        }
        conn.unset(Flags::RESUMED);
        if conn.phase != Phase::Live || !conn.is_in_frame() {
            return true;
        }
        let delivery = Delivery::prepare(conn, 0);
        self.hand_over(id, delivery);
        true
    }

    /// Hands over input, keeps what the handler leaves, and flushes what it
    /// wrote. True if there may be more to read.
    #[inline(never)]
    fn hand_over(&mut self, id: ConnId, delivery: Delivery) -> bool {
        if delivery.kept.is_some() {
            return self.hand_over_behind(id, delivery);
        }
        let Delivery { service, session, taken_ahead, count, is_first_frame, .. } = delivery;
        self.input.land(count);
        self.stage.core.taken_ahead = 0;
        let input = &mut self.input;
        let outcome = self.stage.run(service, id, |serve, io| serve.data(io, session, input));
        self.after_callback(service, id, "data");
        if let Err(why) = outcome {
            self.stage.core.end(id, why);
        }
        self.handed_over(id, count, taken_ahead, is_first_frame)
    }

    /// What follows when the handler was shown the read buffer.
    #[inline(never)]
    fn handed_over(&mut self, id: ConnId, count: usize, taken_ahead: u32, is_first_frame: bool) -> bool {
        if !self.input.is_taken() || self.stage.core.taken_ahead > 0 {
            let (left, before) = (self.input.leftover(), count + taken_ahead as usize);
            self.stage.core.keep(id, left, before, taken_ahead > 0, is_first_frame);
        }
        self.settle(id)
    }

    /// The same, behind what the handler had left.
    #[inline(never)]
    fn hand_over_behind(&mut self, id: ConnId, delivery: Delivery) -> bool {
        let Delivery { service, session, kept, taken_ahead, count, is_first_frame } = delivery;
        let mut kept = kept.unwrap_or_default();
        let input = &mut self.input;
        input.land(count);
        let before = input.lend(&mut kept) + taken_ahead as usize;
        self.stage.core.taken_ahead = 0;
        let outcome = self.stage.run(service, id, |serve, io| serve.data(io, session, input));
        input.take_back(&mut kept);
        self.after_callback(service, id, "data");
        if let Err(why) = outcome {
            self.stage.core.end(id, why);
        }
        let left = Some(kept).filter(|kept| !kept.is_empty());
        if left.is_some() || self.stage.core.taken_ahead > 0 {
            self.stage.core.keep(id, left, before, true, is_first_frame);
        }
        self.settle(id)
    }

    /// A read that gave nothing: the end, or an error.
    #[inline(never)]
    fn nothing_read(&mut self, id: ConnId, outcome: io::Result<usize>) {
        let Err(error) = outcome else { return self.end_of_input(id) };
        let core = &mut self.stage.core;
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                if let Some(conn) = core.conns.get_mut(id.0) {
                    conn.unset(Flags::READABLE.union(Flags::HANGUP));
                }
            }
            io::ErrorKind::Interrupted => core.read_later(id),
            _ => self.broken(id, error),
        }
    }

    /// The peer's FIN: the last call with input, if it is still wanted.
    #[inline(never)]
    pub(super) fn end_of_input(&mut self, id: ConnId) {
        let core = &mut self.stage.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        conn.unset(Flags::READABLE);
        conn.set(Flags::PEER_DONE);
        match conn.phase {
            Phase::Live => {}
            Phase::Lingering => return core.bury(id),
            // Once all is written it is over.
            Phase::Connecting | Phase::Closing | Phase::Dead => return,
        }
        conn.unset(Flags::AWAITS_FIRST_FRAME);
        conn.taken_ahead = 0;
        let mut rest = conn.kept.take().unwrap_or_default();
        let outcome = self.with_session(id, "eof", |serve, io, session| serve.eof(io, session, &mut rest));
        let core = &mut self.stage.core;
        let finished_first = core.conns.get(id.0).is_some_and(|conn| conn.has(Flags::FIN_SENT));
        if outcome == Some(AfterEof::Finish) || finished_first {
            core.end(id, CloseReason::Finished);
        } else {
            core.check_hangup_later(id);
        }
    }

    /// Phase 3, first: ends the connections that are not read, and whose peer
    /// is gone. One that is read finds out by that, after all that came before.
    /// One that is paused may have more to say: what its handler has left, and
    /// unless a reset has destroyed it, what is unread; unless nobody wants it.
    #[cold]
    pub(super) fn check_hangups(&mut self) {
        for id in std::mem::take(&mut self.stage.core.to_check) {
            let Some(conn) = self.stage.core.conns.get(id.0) else { continue };
            let is_read = !conn.has(Flags::PEER_DONE.union(Flags::PAUSED));
            if is_read || !conn.is_live() || conn.has(Flags::FIN_SENT) {
                continue;
            }
            let writes_only = conn.has(Flags::PEER_DONE.union(Flags::HANGUP_ENDS));
            if !writes_only && conn.is_in_frame() {
                continue;
            }
            let lacks_nothing = conn.child().is_some() && conn.out.is_none();
            let Some(Some(socket)) = self.sockets.get_mut(id.0.slot as usize) else { continue };
            match self.driver.is_hung_up(socket) {
                Ok(true) if writes_only => self.broken(id, io::ErrorKind::BrokenPipe.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.stage.core.check_hangup_later(id);
                }
                // A child that takes no more input has lost none, if none waits.
                Err(_) if lacks_nothing => self.stage.core.bury(id),
                Err(error) => self.broken(id, error),
            }
        }
    }

    pub(super) fn broken(&mut self, id: ConnId, error: io::Error) {
        let core = &mut self.stage.core;
        match core.conns.get(id.0).map(|conn| conn.phase) {
            // Everything was written and told; how the peer leaves is its own affair.
            Some(Phase::Lingering) => core.bury(id),
            Some(_) => core.kill(id, CloseReason::Io(error)),
            None => {}
        }
    }
}
