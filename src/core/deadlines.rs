//! Per-connection deadlines: finds the earliest and ends connections that miss
//! it.

use std::time::Duration;

use super::Core;
use crate::close::{CloseReason, Deadline};
use crate::conn::{Conn, OwnDeadline, UNSCHEDULED};
use crate::id::ConnId;
use crate::life::{Flags, Phase};
use crate::moment::Moment;

impl Core {
    /// The first deadline of a connection, and its kind; the kind is `None` for
    /// the end of lingering.
    pub(crate) fn first_deadline(&self, id: ConnId, conn: &Conn) -> (Moment, Option<Deadline>) {
        let limits = self.limits(id, conn);
        if conn.phase() == Phase::Lingering {
            return (conn.stalled_since.plus(limits.linger), None);
        }
        if conn.has(Flags::PIPE) || conn.life.is_dead() {
            return (Moment::NEVER, None);
        }
        if conn.life.is_connecting() {
            let (limit, which) = if conn.life.is_unanswered() {
                (limits.connect, Deadline::Connect)
            } else {
                (limits.handshake, Deadline::Handshake)
            };
            let at = limit.map_or(Moment::NEVER, |limit| conn.awaits_since.plus(limit));
            return (at, Some(which));
        }
        let mut first = (Moment::NEVER, None);
        let mut consider = |at: Moment, which| {
            if at < first.0 {
                first = (at, Some(which));
            }
        };
        // A busy connection is not idle: the handler's work will move a byte in
        // the end.
        let is_busy = conn.has(Flags::BUSY.union(Flags::HAS_JOBS)) && conn.is_live();
        match conn.extras.as_ref().and_then(|extras| extras.idle) {
            _ if is_busy => {}
            Some(own) => consider(Moment(conn.last_activity.0.saturating_add(own.0)), Deadline::Idle),
            None => {
                if let Some(idle) = limits.idle {
                    consider(conn.last_activity.plus(idle), Deadline::Idle);
                }
            }
        }
        if conn.has(Flags::HANDSHAKING) {
            if let Some(handshake) = limits.handshake {
                consider(conn.awaits_since.plus(handshake), Deadline::Handshake);
            }
        } else if conn.is_live() && !conn.has(Flags::PAUSED) {
            if conn.has(Flags::AWAITS_FIRST_FRAME)
                && let Some(first_frame) = limits.first_frame
            {
                consider(conn.awaits_since.plus(first_frame), Deadline::FirstFrame);
            }
            if conn.has(Flags::IN_FRAME)
                && let Some(frame) = limits.frame
            {
                consider(conn.frame_since.plus(frame), Deadline::Frame);
            }
        }
        if conn.is_live()
            && let Some(own) = conn.extras.as_ref().and_then(|extras| extras.deadline)
        {
            consider(own.at(), Deadline::Handler);
        }
        if conn.awaits_room()
            && let Some(stall) = limits.write_stall
        {
            consider(conn.stalled_since.plus(stall), Deadline::WriteStall);
        }
        first
    }

    /// Sees to it that a connection's deadlines are checked when the first of
    /// them is over. It puts off no check that is set: a check that comes too
    /// early sets the next one. So a frame or a queue that begins and ends again
    /// and again moves its check once in each period, and a connection without a
    /// deadline is not checked at all.
    ///
    /// To be called whenever a deadline begins to run, or comes nearer.
    pub(crate) fn watch_deadlines(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id.0) else { return };
        let at = self.first_deadline(id, conn).0;
        let is_set = conn.check_place != UNSCHEDULED && self.deadline_checks.at(conn.check_place) <= at;
        if at != Moment::NEVER && !is_set {
            self.schedule_check(id, Some(at));
        }
    }

    /// Checks a connection's deadlines. Returns the reason to end a live
    /// connection that has missed one; a connection that is closing already, or
    /// is not established yet, ends here, and at once.
    pub(crate) fn check_deadlines(&mut self, id: ConnId) -> Option<CloseReason> {
        let conn = self.conns.get(id.0).filter(|conn| !conn.life.is_dead())?;
        let (at, which) = self.first_deadline(id, conn);
        if at > self.observed_until {
            self.watch_deadlines(id);
            return None;
        }
        if self.awaits_input(id, conn, which) {
            // The next turn handles the input or the room first.
            self.schedule_check(id, Some(self.moment.plus(Duration::from_nanos(1))));
            return None;
        }
        match which.map(CloseReason::TimedOut) {
            Some(why) if conn.is_live() => return Some(why),
            Some(why) => self.fail(id, why),
            None => self.mark_dead(id),
        }
        None
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
        let Some(stall) = self.limits(id, conn).write_stall else { return false };
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
            let own = conn.extras.as_mut().and_then(|extras| extras.deadline.as_mut());
            let stamps = [
                &mut conn.last_activity,
                &mut conn.awaits_since,
                &mut conn.frame_since,
                &mut conn.stalled_since,
            ];
            for stamp in stamps.into_iter().chain(own.map(|own| &mut own.since)) {
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
            self.watch_deadlines(id);
        }
    }

    /// Sets the idle deadline of a connection, or takes it away.
    pub(crate) fn set_idle(&mut self, id: ConnId, idle: Option<Duration>) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        // Zero means the next turn: this turn still writes what an end in order
        // queues.
        let idle = idle.map(|idle| Moment::ZERO.plus(idle.max(Duration::from_nanos(1))));
        conn.extras().idle = Some(idle.unwrap_or(Moment::NEVER));
        self.watch_deadlines(id);
    }

    /// Sets or takes away the handler's own deadline of a connection.
    pub(crate) fn set_deadline(&mut self, id: ConnId, after: Option<Duration>) {
        let since = self.moment;
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if after.is_none() && conn.extras.is_none() {
            return;
        }
        // Zero means the next turn, as for an idle deadline.
        let own = |after: Duration| OwnDeadline { since, after: after.max(Duration::from_nanos(1)) };
        conn.extras().deadline = after.map(own);
        self.watch_deadlines(id);
    }
}
