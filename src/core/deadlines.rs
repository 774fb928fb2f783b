//! Per-connection deadlines: finds the earliest and ends connections that miss
//! it.

use std::time::Duration;

use super::Core;
use crate::close::{CloseReason, Deadline};
use crate::conn::{Conn, UNSCHEDULED};
use crate::id::ConnId;
use crate::life::{Flags, Phase};
use crate::moment::Moment;

impl Core {
    /// The first deadline of a connection, and its kind; the kind is `None` for
    /// the end of lingering.
    pub(crate) fn first_deadline(&self, conn: &Conn) -> (Moment, Option<Deadline>) {
        let limits = self.limits(conn);
        if conn.phase() == Phase::Lingering {
            return (conn.stalled_since.plus(limits.linger), None);
        }
        if conn.has(Flags::PIPE) {
            return (Moment::NEVER, None);
        }
        if conn.phase() == Phase::Connecting {
            let (limit, which) = if conn.life.is_unanswered() {
                (limits.connect, Deadline::Connect)
            } else {
                (limits.handshake, Deadline::Handshake)
            };
            let at = limit.map_or(Moment::NEVER, |limit| conn.frame_since.plus(limit));
            return (at, Some(which));
        }
        let mut first = (Moment::NEVER, None);
        let mut consider = |at: Moment, which| {
            if at < first.0 {
                first = (at, Some(which));
            }
        };
        match conn.extras.as_ref().and_then(|extras| extras.idle) {
            // A busy connection is not idle: the handler's work will move a
            // byte in the end.
            _ if conn.has(Flags::BUSY.union(Flags::HAS_JOBS)) && conn.is_live() => {}
            Some(idle) => consider(Moment(conn.last_activity.0.saturating_add(idle.0)), Deadline::Idle),
            None => {
                if let Some(idle) = limits.idle {
                    consider(conn.last_activity.plus(idle), Deadline::Idle);
                }
            }
        }
        if conn.has(Flags::HANDSHAKING) {
            if let Some(handshake) = limits.handshake {
                consider(conn.frame_since.plus(handshake), Deadline::Handshake);
            }
        } else if conn.is_live() && !conn.has(Flags::PAUSED) {
            if conn.has(Flags::AWAITS_FIRST_FRAME) {
                if let Some(first_frame) = limits.first_frame {
                    consider(conn.frame_since.plus(first_frame), Deadline::FirstFrame);
                }
            } else if conn.is_in_frame()
                && let Some(frame) = limits.frame
            {
                consider(conn.frame_since.plus(frame), Deadline::Frame);
            }
        }
        if conn.awaits_room()
            && let Some(stall) = limits.write_stall
        {
            consider(conn.stalled_since.plus(stall), Deadline::WriteStall);
        }
        first
    }

    /// Schedules the check of a connection's deadlines: at the first of them,
    /// and within one `check_period`, before any deadline that starts meanwhile
    /// could pass. So neither a message nor the start of a frame has to
    /// reschedule the check.
    pub(crate) fn watch_deadlines(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id.0).filter(|conn| !conn.has(Flags::PIPE)) else { return };
        let (mut at, which) = self.first_deadline(conn);
        if conn.phase() != Phase::Lingering
            && let Some(period) = self.services[conn.service as usize].check_period
        {
            at = at.min(self.moment.plus(period));
        }
        debug_assert!(
            which.is_some() || conn.phase() == Phase::Lingering || at > self.moment,
            "a check is ahead"
        );
        self.schedule_check(id, Some(at).filter(|at| *at != Moment::NEVER));
    }

    /// The same from a callback, which puts off no check that is set. While the
    /// connection's own input is with its handler, nothing tells whether it is in
    /// a frame.
    pub(super) fn watch_deadlines_too(&mut self, id: ConnId) {
        let place = self.conns.get(id.0).map(|conn| conn.check_place);
        let set = place.filter(|place| *place != UNSCHEDULED).map(|place| self.deadline_checks.at(place));
        self.watch_deadlines(id);
        let Some((set, conn)) = set.zip(self.conns.get(id.0)) else { return };
        if conn.check_place == UNSCHEDULED || set < self.deadline_checks.at(conn.check_place) {
            self.schedule_check(id, Some(set));
        }
    }

    /// Checks a connection's deadlines, and ends it if it missed one.
    pub(crate) fn check_deadlines(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id.0) else { return };
        if conn.phase() == Phase::Dead {
            return;
        }
        let (at, which) = self.first_deadline(conn);
        if at > self.observed_until {
            self.watch_deadlines(id);
            return;
        }
        if self.awaits_input(id, conn, which) {
            // The next turn handles the input or the room first.
            self.schedule_check(id, Some(self.moment.plus(Duration::from_nanos(1))));
            return;
        }
        match which {
            None => self.mark_dead(id),
            Some(which) => {
                // A connection that is closing already has had its deadline: it
                // ends at once.
                if conn.is_live() {
                    self.end(id, CloseReason::TimedOut(which));
                } else {
                    self.fail(id, CloseReason::TimedOut(which));
                }
                self.watch_deadlines(id);
            }
        }
    }

    /// True while unhandled work may prove that the connection kept its
    /// deadline: input left unread because the share of the turn was spent, or
    /// room for output not used yet. Turn by turn the loop handles that work,
    /// and a frame that never ends reaches `max_input`, so the delay is
    /// bounded.
    fn awaits_input(&self, id: ConnId, conn: &Conn, which: Option<Deadline>) -> bool {
        match which {
            Some(Deadline::Connect) => self.to_establish.contains(&id),
            Some(Deadline::Handshake) => self.to_establish.contains(&id) || conn.has_pending_input(),
            Some(Deadline::WriteStall) => conn.has(Flags::WRITABLE),
            Some(_) => conn.has_pending_input(),
            None => false,
        }
    }

    /// True while a connection has input that arrived in time and that a signal
    /// kept this turn from delivering.
    pub(crate) fn has_late_input(&self, id: ConnId) -> bool {
        let unread = |conn: &Conn| conn.has_pending_input() && conn.last_activity < self.observed_until;
        self.conns.get(id.0).is_some_and(unread)
    }

    /// True when the peer has taken nothing for `write_stall`, as far as the
    /// system has reported.
    pub(crate) fn is_stalled(&self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get(id.0) else { return false };
        let Some(stall) = self.limits(conn).write_stall else { return false };
        matches!(conn.phase(), Phase::Live | Phase::Closing)
            && conn.awaits_room()
            && !conn.has(Flags::WRITABLE.union(Flags::PIPE))
            && conn.stalled_since.plus(stall) <= self.observed_until
    }

    /// Moves the stamps of a long turn, which lasted from `turn` until `end`
    /// because a callback blocked or the process was stopped, to its end. Peers
    /// could not see anything happen before `end`, so their deadlines run from
    /// there.
    #[cold]
    pub(crate) fn restamp(&mut self, turn: Moment, end: Moment) {
        for conn in self.conns.values_mut() {
            for stamp in [&mut conn.last_activity, &mut conn.frame_since, &mut conn.stalled_since] {
                if *stamp >= turn {
                    *stamp = end;
                }
            }
        }
    }

    /// Sets or clears the busy flag: the handler works on something that the
    /// loop cannot see.
    pub(crate) fn set_busy(&mut self, id: ConnId, busy: bool) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if busy {
            conn.set(Flags::BUSY);
        } else if conn.has(Flags::BUSY) {
            conn.unset(Flags::BUSY);
            self.is_busy_no_longer(id);
        }
    }

    /// Lets the idle deadline run from now: the busy time does not count as idle.
    pub(super) fn is_busy_no_longer(&mut self, id: ConnId) {
        let now = self.moment;
        if let Some(conn) = self.conns.get_mut(id.0) {
            conn.last_activity = now;
            self.watch_deadlines_too(id);
        }
    }

    pub(crate) fn set_idle(&mut self, id: ConnId, idle: Option<Duration>) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        // Zero means the next turn: this turn still writes what an end in order
        // queues.
        let idle = idle.map(|idle| Moment::ZERO.plus(idle.max(Duration::from_nanos(1))));
        conn.extras().idle = Some(idle.unwrap_or(Moment::NEVER));
        self.watch_deadlines_too(id);
    }
}
