//! Phase 3: reads the ready connections, and delivers their input to the handlers.

use std::io;
use std::time::Duration;

use bytes::BytesMut;

use super::Reactor;
use super::dispatch::slow;
use super::layered::pull_for_handler;
use super::transfer::{Readiness, Wire, pull, push_direct};
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::core::{List, limits_of};
use crate::driver::Driver;
use crate::handler::AfterEof;
use crate::id::ConnId;
use crate::life::{AfterInput, Flags, Input, Output};
use crate::limits::Limits;

/// Input that is on its way to a handler.
struct Delivery {
    service: u16,
    session: u32,
    /// Input that the handler left untaken in an earlier call.
    leftover: Option<Box<BytesMut>>,
    /// How many bytes the read buffer holds behind that.
    count: usize,
}

impl Delivery {
    /// Moves the leftover out of the connection.
    /// [`Core::keep`](crate::core::Core::keep) puts back what the handler leaves.
    #[inline]
    fn prepare(conn: &mut Conn, count: usize) -> Self {
        Self { service: conn.service, session: conn.session, leftover: conn.leftover.take(), count }
    }
}

impl<D: Driver> Reactor<D> {
    /// Phase 3. Connections that are listed meanwhile are read in the next turn.
    #[inline]
    pub(super) fn read_ready(&mut self) {
        let mut batch = self.core.to_read.batch();
        while let Some(id) = self.core.to_read.take(&mut batch) {
            self.read(id);
        }
    }

    /// Reads a connection, delivers what came, and sends what its handler wrote.
    ///
    /// This is the fast path, for a connection with nothing pending
    /// ([`Conn::can_fast_path`]): one check of its flags, one read, one callback, one
    /// write. The first deviation leaves for the slow path: `read_on` before a read,
    /// `nothing_read`, `failed`, `delivered_slowly`, `delivered` and `queue_rest` behind it.
    #[inline(always)]
    fn read(&mut self, id: ConnId) {
        let Self { driver, core, callbacks, streams, input, .. } = self;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        // Unset once, and not before each read: a callback that lists the connection
        // again would otherwise be forgotten, or list it twice.
        conn.unset(Flags::IN_READ_LIST);
        if !conn.can_fast_path() {
            return self.read_on(id, 0);
        }
        let (service, session) = (conn.service, conn.session);
        let Limits { read_budget, high_mark, .. } = core.services[service as usize].limits;
        let Some(socket) = streams.get_mut(id.0) else { return };
        let spare = input.spare(read_budget);
        let (count, readiness) =
            match pull::<D, true>(driver, socket, conn, spare, core.moment, &mut core.stats) {
                Ok(pulled @ (1.., _)) => pulled,
                outcome => return self.nothing_read(id, outcome.err()),
            };
        if !core.cross_writes {
            core.direct.grant(high_mark);
        }
        input.filled(count);
        if let Err(why) = callbacks.run(core, service, id, |handler, io| handler.data(io, session, input)) {
            return self.failed(service, id, count, why);
        }
        if let Some(took) = slow(driver, &mut self.clock, self.slow_after, &mut core.stats.callback_times) {
            return self.delivered_slowly(service, id, count, took);
        }
        let is_plain = input.is_taken() && core.direct.is_granted();
        let more = if is_plain {
            core.direct.revoke();
            if core.direct.is_empty() {
                readiness == Readiness::Ready
            } else {
                match push_direct(driver, socket, &mut core.direct, &mut core.stats) {
                    Ok(_) if core.direct.is_empty() => readiness == Readiness::Ready,
                    outcome => {
                        self.queue_rest(id, outcome);
                        self.flush_or_defer(id)
                    }
                }
            }
        } else {
            self.delivered(id, count)
        };
        if more {
            self.read_on(id, count);
        }
    }

    /// Goes on after a callback of the fast path that was slow.
    #[cold]
    fn delivered_slowly(&mut self, service: u16, id: ConnId, count: usize, took: Duration) {
        self.warn_of_slow(service, id, "data", took);
        if self.delivered(id, count) {
            self.read_on(id, count);
        }
    }

    /// Ends a connection whose handler returned an error or panicked in the fast path.
    #[cold]
    fn failed(&mut self, service: u16, id: ConnId, count: usize, why: CloseReason) {
        self.after_callback(service, id, "data");
        self.end(id, why);
        if self.delivered(id, count) {
            self.read_on(id, count);
        }
    }

    /// Reads a connection in the slow path, when `taken` bytes of its read budget for
    /// this turn are used up.
    #[inline(never)]
    fn read_on(&mut self, id: ConnId, mut taken: usize) {
        while self.read_once(id, &mut taken) {}
    }

    /// Reads once, if the connection wants input, and delivers what came. True if
    /// there may be more to read.
    fn read_once(&mut self, id: ConnId, taken: &mut usize) -> bool {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return false };
        if !conn.life.wants_input() {
            return self.redeliver(id);
        }
        if conn.is_shaking_hands() {
            self.handshake(id);
            return false;
        }
        let limits = limits_of(&core.services, &core.own_limits, id, conn);
        let budget = limits.read_budget.saturating_sub(*taken);
        if budget == 0 {
            core.list(id, List::Read);
            return false;
        }
        let Some(socket) = self.streams.get_mut(id.0) else { return false };
        let spare = self.input.spare(budget);
        let mut wire = Wire { driver: &mut self.driver, socket, stats: &mut core.stats, now: core.moment };
        let outcome = pull_for_handler(&mut wire, conn, &mut core.layers, id.0, spare);
        if conn.has(Flags::WIRE_PENDING) {
            core.list(id, List::Flush);
        }
        let Some(conn) = core.conns.get_mut(id.0) else { return false };
        let count = match outcome {
            Ok((count @ 1.., _)) => count,
            outcome => {
                self.nothing_read(id, outcome.err());
                return false;
            }
        };
        *taken += count;
        if conn.has(Flags::PIPE)
            && let Some(child) = conn.take_backlog(count)
        {
            core.children.to_tell.push(child, &mut core.pending);
        }
        if !conn.is_live() {
            return true; // a closing connection discards its input
        }
        let delivery = Delivery::prepare(conn, count);
        self.deliver(id, delivery)
    }

    /// Delivers the leftover of a connection again if its handler has resumed it.
    /// True if the connection may be read behind that.
    #[cold]
    fn redeliver(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.core.conns.get_mut(id.0) else { return false };
        if !conn.has(Flags::RESUMED) || conn.has(Flags::PAUSED) {
            return false;
        }
        conn.unset(Flags::RESUMED);
        if !conn.is_live() || !conn.has(Flags::IN_FRAME) {
            return true;
        }
        let delivery = Delivery::prepare(conn, 0);
        self.deliver(id, delivery);
        true
    }

    /// Delivers input, keeps what the handler leaves, and flushes what it wrote. True
    /// if there may be more to read.
    #[inline(never)]
    fn deliver(&mut self, id: ConnId, delivery: Delivery) -> bool {
        if delivery.leftover.is_some() {
            return self.deliver_appended(id, delivery);
        }
        let Delivery { service, session, count, .. } = delivery;
        let core = &mut self.core;
        if !core.cross_writes && core.conns.get(id.0).is_some_and(Conn::takes_a_grant) {
            core.direct.grant(core.services[service as usize].limits.high_mark);
        }
        self.input.filled(count);
        let input = &mut self.input;
        let outcome =
            self.callbacks.run(&mut self.core, service, id, |handler, io| handler.data(io, session, input));
        self.after_callback(service, id, "data");
        if let Err(why) = outcome {
            self.end(id, why);
        }
        self.delivered(id, count)
    }

    /// Keeps what the handler left in the read buffer, and flushes what it wrote.
    #[inline(never)]
    fn delivered(&mut self, id: ConnId, count: usize) -> bool {
        let left = self.input.leftover();
        self.keep(id, left, count);
        self.flush_or_defer(id)
    }

    /// Delivers input behind the leftover of an earlier call.
    #[inline(never)]
    fn deliver_appended(&mut self, id: ConnId, delivery: Delivery) -> bool {
        let Delivery { service, session, leftover, count } = delivery;
        let mut leftover = leftover.unwrap_or_default();
        let input = &mut self.input;
        input.filled(count);
        let shown = input.lend(&mut leftover);
        let outcome =
            self.callbacks.run(&mut self.core, service, id, |handler, io| handler.data(io, session, input));
        input.take_back(&mut leftover);
        self.after_callback(service, id, "data");
        if let Err(why) = outcome {
            self.end(id, why);
        }
        let left = Some(leftover).filter(|leftover| !leftover.is_empty());
        self.keep(id, left, shown);
        self.flush_or_defer(id)
    }

    /// Keeps what the handler left of the `shown` bytes, unless that is too much.
    fn keep(&mut self, id: ConnId, left: Option<Box<BytesMut>>, shown: usize) {
        if let Some(why) = self.core.keep(id, left, shown) {
            self.end(id, why);
        }
    }

    /// Deals with a read that gave no bytes: the peer's FIN, or an error.
    #[inline(never)]
    fn nothing_read(&mut self, id: ConnId, error: Option<io::Error>) {
        let Some(error) = error else { return self.end_of_input(id) };
        let core = &mut self.core;
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                if let Some(conn) = core.conns.get_mut(id.0) {
                    conn.unset(Flags::READABLE.union(Flags::HANGUP));
                }
            }
            io::ErrorKind::Interrupted => core.list(id, List::Read),
            _ => core.broken(id, error),
        }
    }

    /// Deals with the peer's FIN: the handler's `eof`, if the connection is live.
    #[inline(never)]
    pub(super) fn end_of_input(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        conn.unset(Flags::READABLE);
        match conn.life.end_input() {
            AfterInput::Deliver => {}
            AfterInput::Die => return core.mark_dead(id),
            AfterInput::Nothing => return,
        }
        conn.unset(Flags::AWAITS_FIRST_FRAME.union(Flags::IN_FRAME).union(Flags::FRAME_DECLARED));
        let mut rest = conn.leftover.take().unwrap_or_default();
        let outcome =
            self.with_session(id, "eof", |handler, io, session| handler.eof(io, session, &mut rest));
        let core = &mut self.core;
        let finished_first = core.conns.get(id.0).is_some_and(|conn| conn.life.output() == Output::FinSent);
        if outcome == Some(AfterEof::Finish) || finished_first {
            core.end(id, CloseReason::Finished);
        } else {
            core.check_hangup(id);
        }
    }

    /// Beginning of phase 3: ends connections that are not read and whose peer is
    /// gone. A connection that is read finds out by its read, behind all input that
    /// came before. A paused one keeps its leftover and, unless a reset has destroyed
    /// it, its unread input, except where [`Io::end_on_hangup`](crate::Io::end_on_hangup)
    /// gives both up.
    #[cold]
    pub(super) fn check_hangups(&mut self) {
        let mut batch = self.core.to_check.batch();
        while let Some(id) = self.core.to_check.take(&mut batch) {
            let Some(conn) = self.core.conns.get(id.0) else { continue };
            if conn.life.is_read() || !conn.is_live() || conn.life.output() == Output::FinSent {
                continue;
            }
            let writes_only = conn.life.input() == Input::Done || conn.has(Flags::HANGUP_ENDS);
            if !writes_only && conn.has(Flags::IN_FRAME) {
                continue;
            }
            let lacks_nothing = conn.child().is_some() && conn.out.is_none();
            let Some(socket) = self.streams.get_mut(id.0) else { continue };
            match self.driver.is_hung_up(socket) {
                Ok(true) if writes_only => self.core.broken(id, io::ErrorKind::BrokenPipe.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.core.check_hangup(id);
                }
                // A child that takes no more input has lost none, if none waits.
                Err(_) if lacks_nothing => self.core.mark_dead(id),
                Err(error) => self.core.broken(id, error),
            }
        }
    }
}
