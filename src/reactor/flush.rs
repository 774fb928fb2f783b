//! Phase 6: writes the queued output, and ends our side of a connection behind it.

use std::io;

use super::Reactor;
use super::layered::{finish, push, push_for_handler};
use super::transfer::{Readiness, Wire, of_file};
use crate::close::CloseReason;
use crate::core::{List, RunState, limits_of};
use crate::driver::Driver;
use crate::id::ConnId;
use crate::life::{AfterOutput, Flags, Output};

/// So many bytes received while output is left end the leaving: as many as fill the read
/// buffer once, by default.
const LEFT_INPUT: u64 = 64 << 10;

impl<D: Driver> Reactor<D> {
    /// Phase 6. Each connection has one write; the rest of its queue is for the next
    /// turn. So are the connections behind the first `Config::flushes_per_turn` that have
    /// taken something: that turn reads what has come meanwhile, and what it brings them
    /// leaves in the same writes. Connections that have nothing but an answer of their own
    /// callback come first, and do not count.
    pub(super) fn flush_queued(&mut self) {
        if self.leaves_output() {
            return self.leave_output();
        }
        let mut left = self.max_flushes();
        self.core.cross_writes = false;
        if self.core.to_flush.is_empty() {
            self.has_left_output = false;
            return;
        }
        let answers = self.core.to_flush.take_urgent();
        // What is listed from here on has had its write.
        let waiting = self.core.to_flush.len();
        for id in &answers {
            self.flush_listed(*id);
        }
        self.core.to_flush.give_back(answers);
        for _ in 0..waiting {
            if left == 0 {
                return self.leave_output();
            }
            let Some(id) = self.core.to_flush.take() else { break };
            let before = self.core.stats.bytes_out;
            self.flush_listed(id);
            left -= usize::from(self.core.stats.bytes_out != before);
        }
        self.has_left_output = false;
        self.core.shared.clear();
    }

    #[inline]
    fn flush_listed(&mut self, id: ConnId) {
        if let Some(conn) = self.core.conns.get_mut(id.0) {
            conn.unset(Flags::IN_FLUSH_LIST);
            self.flush(id);
        }
    }

    /// Leaves what is still listed to the next turn.
    fn leave_output(&mut self) {
        if !self.has_left_output {
            self.has_left_output = true;
            self.received_before_left = self.core.stats.bytes_in;
        }
    }

    /// How many connections this turn writes to. Any number, if so much was received since
    /// output was left that the queues of those who wait could outgrow their marks: each
    /// turn may read, and they have one write in all of these turns.
    fn max_flushes(&self) -> usize {
        let received = self.core.stats.bytes_in - self.received_before_left;
        let is_much = self.has_left_output && received >= LEFT_INPUT;
        if !is_much && self.core.shared.may_wait() && self.keeps_running() {
            self.core.config.flushes_per_turn.max(1)
        } else {
            usize::MAX
        }
    }

    /// Whether a broadcast to many is left to the next turn, once. That turn does not
    /// wait, and reads what has come meanwhile. What it brings the same connections
    /// leaves in the same writes, of which each costs more than the turn.
    fn leaves_output(&self) -> bool {
        self.had_events
            && !self.has_left_output
            && self.core.to_flush.len() >= self.core.config.gather_from
            && self.core.shared.is_short()
            && self.keeps_running()
    }

    /// Whether there will be a next turn with the same connections.
    fn keeps_running(&self) -> bool {
        self.state == RunState::Running && self.core.requested == RunState::Running
    }

    /// Writes the direct output of a callback, whose connection has nothing queued.
    /// The part that the system does not take is queued. `Some` if nothing else
    /// follows: whether there may be more to read.
    #[inline]
    pub(super) fn write_direct(&mut self, id: ConnId) -> Option<bool> {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0).filter(|conn| !conn.life.is_dead()) else {
            core.direct.clear();
            return None;
        };
        if core.cross_writes || !conn.writes_directly() {
            core.queue_direct(id, 0);
            return None;
        }
        let socket = self.streams.get_mut(id.0)?;
        let mut wire = Wire { driver: &mut self.driver, socket, stats: &mut core.stats, now: core.moment };
        match push_for_handler(&mut wire, conn, &mut core.layers, id.0, &mut core.direct) {
            Ok(_) if core.direct.is_empty() => {
                conn.last_activity = core.moment;
                let done = conn.life.is_plain().then_some(conn.has(Flags::READABLE));
                if done.is_none() {
                    self.after_write(id, Readiness::Ready);
                }
                done
            }
            outcome => {
                self.queue_rest(id, outcome);
                None
            }
        }
    }

    /// Queues the part of the direct output that a write did not take, or whose
    /// ciphertext waits.
    #[cold]
    #[inline(never)]
    pub(super) fn queue_rest(&mut self, id: ConnId, outcome: io::Result<(usize, Readiness)>) {
        let core = &mut self.core;
        core.queue_direct(id, outcome.as_ref().map_or(0, |(written, _)| *written));
        // The next writable event, or the next turn, flushes the rest.
        if let Some(conn) = core.conns.get_mut(id.0) {
            conn.unset(Flags::DIRTY);
        }
        match outcome {
            Ok((_, readiness)) => {
                if let Some(conn) = core.conns.get_mut(id.0) {
                    conn.last_activity = core.moment;
                }
                self.after_write(id, readiness);
            }
            Err(error) => self.not_written(id, error),
        }
    }

    /// Offers output once more at the write-stall deadline, though no event has
    /// reported room for it.
    #[cold]
    pub(super) fn offer_again(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        conn.set(Flags::WRITABLE);
        core.stats.stalls_checked += 1;
        self.flush(id);
    }

    /// Writes the queue of a connection once, as much as the system takes, and ends
    /// our side if that was the last of it.
    pub(super) fn flush(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        conn.unset(Flags::DIRTY);
        if !conn.has_output() {
            return self.end_output(id);
        }
        let socket = self.streams.get_mut(id.0);
        // Without room, the next writable event flushes it; before the end of a
        // handshake, that does.
        let is_written = conn.has(Flags::WRITABLE) && conn.awaits_room() && !conn.life.is_dead();
        let Some(socket) = socket.filter(|_| is_written) else {
            conn.detach(&core.shared);
            return core.watch_deadlines(id);
        };
        let budget = limits_of(&core.services, &core.own_limits, id, conn).file_budget;
        let mut wire = Wire { driver: &mut self.driver, socket, stats: &mut core.stats, now: core.moment };
        let outcome = push(&mut wire, conn, &mut core.layers, id.0, &core.shared, budget);
        conn.detach(&core.shared);
        match outcome {
            Ok(readiness) => {
                let is_all = conn.queued() == 0 && !conn.has(Flags::WIRE_PENDING);
                conn.last_activity = core.moment;
                conn.stalled_since = core.moment;
                if is_all && conn.life.is_plain() {
                    conn.release_queue(&mut core.pool);
                    return;
                }
                self.after_write(id, readiness);
            }
            Err(error) => self.not_written(id, error),
        }
    }

    /// Draws the conclusions from a write: the low mark, the end of our side, or
    /// another flush.
    fn after_write(&mut self, id: ConnId, readiness: Readiness) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        if readiness == Readiness::Blocked {
            conn.unset(Flags::WRITABLE);
        }
        if conn.queued() == 0 {
            conn.release_queue(&mut core.pool);
        }
        let is_all = !conn.has_output();
        if conn.has(Flags::ABOVE_HIGH) {
            core.check_low_mark(id);
        }
        if is_all {
            self.end_output(id);
        } else {
            if readiness == Readiness::Ready {
                core.list(id, List::Flush);
            }
            core.watch_deadlines(id);
        }
    }

    #[cold]
    fn not_written(&mut self, id: ConnId, error: io::Error) {
        let core = &mut self.core;
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                if let Some(conn) = core.conns.get_mut(id.0) {
                    conn.unset(Flags::WRITABLE);
                }
                core.watch_deadlines(id);
            }
            io::ErrorKind::Interrupted => {
                core.list(id, List::Flush);
                // It may be for the first time that its output waits.
                core.watch_deadlines(id);
            }
            _ => match of_file(error) {
                Ok(of_file) => core.fail(id, CloseReason::File(of_file)),
                Err(error) => core.broken(id, error),
            },
        }
    }

    /// Ends our side of a connection whose output is all written, if the handler or
    /// a close asked for that.
    fn end_output(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get(id.0) else { return };
        let after = conn.life.after_output();
        if conn.has(Flags::LAYERED) && after != AfterOutput::Nothing && !self.finish_layer(id) {
            return;
        }
        let core = &mut self.core;
        match after {
            AfterOutput::Nothing => {}
            AfterOutput::SendFin => {
                self.send_fin(id);
            }
            AfterOutput::Finish => {
                core.end(id, CloseReason::Finished);
                core.mark_dead(id);
            }
            AfterOutput::Die => core.mark_dead(id),
            AfterOutput::Linger => self.linger(id),
        }
    }

    /// Puts the end of a layer before our FIN. False while it has not left: the flush
    /// behind it comes here again.
    pub(super) fn finish_layer(&mut self, id: ConnId) -> bool {
        let Self { driver, core, streams, .. } = self;
        let Some(conn) = core.conns.get_mut(id.0) else { return true };
        let Some(socket) = streams.get_mut(id.0) else { return true };
        let mut wire = Wire { driver, socket, stats: &mut core.stats, now: core.moment };
        let outcome = finish(&mut wire, conn, &mut core.layers, id.0);
        let has_left = !conn.has(Flags::WIRE_PENDING);
        match outcome {
            Ok(()) if has_left => true,
            Ok(()) => {
                core.list(id, List::Flush);
                false
            }
            Err(error) => {
                core.broken(id, error);
                false
            }
        }
    }

    /// Sends our FIN, unless it is out, and awaits the peer's.
    fn linger(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get(id.0) else { return };
        if limits_of(&core.services, &core.own_limits, id, conn).linger.is_zero() {
            return core.mark_dead(id);
        }
        if conn.life.output() != Output::FinSent && !self.send_fin(id) {
            return;
        }
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        conn.life.linger();
        conn.stalled_since = core.moment;
        core.watch_deadlines(id);
        // Listed to call `close`; the id is freed when the peer leaves.
        core.list(id, List::Reap);
    }

    /// Sends our FIN. False if a signal came first: the next turn tries again.
    fn send_fin(&mut self, id: ConnId) -> bool {
        let Some(socket) = self.streams.get_mut(id.0) else { return true };
        let outcome = self.driver.shutdown(socket);
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return true };
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            core.list(id, List::Flush);
            return false;
        }
        conn.life.send_fin();
        if outcome.is_err() {
            // ENOTCONN says that the peer has reset the connection: the next
            // read will say so too, and why.
            conn.set(Flags::READABLE);
            core.list(id, List::Read);
        }
        true
    }
}
