//! Per-connection deadlines: finds the earliest and ends connections that miss
//! it.

use std::time::Duration;

use super::{Core, limits_of};
use crate::close::{CloseReason, Deadline};
use crate::conn::{Conn, OwnDeadline, UNSCHEDULED};
use crate::id::ConnId;
use crate::life::{Flags, Phase};
use crate::moment::Moment;

/// The bytes of a connection that may have arrived and not be read yet: the largest
/// receive buffer that Linux chooses by itself (`tcp_rmem`, tcp(7)).
const MOST_UNREAD: usize = 6 << 20;

/// The end that is due to a connection at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Moment,
    pub(crate) what: Expiry,
}

/// Why a connection ends when its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It has missed a deadline.
    Missed(Deadline),
    /// The peer's FIN has not come within [`Limits::linger`](crate::Limits::linger).
    Lingered,
}

impl Due {
    const fn at(at: Moment, what: Expiry) -> Self {
        Self { at, what }
    }

    /// The end by a deadline that has run `since` a moment, if it is set.
    fn missed(which: Deadline, since: Moment, limit: Option<Duration>) -> Option<Self> {
        limit.map(|limit| Self::at(since.plus(limit), Expiry::Missed(which)))
    }
}

impl Core {
    /// What ends a connection first, unless it is kept from it. `None`: no deadline
    /// runs.
    pub(crate) fn first_deadline(&self, id: ConnId, conn: &Conn) -> Option<Due> {
        let limits = self.limits(id, conn);
        let due = match conn.phase() {
            Phase::Lingering => Some(Due::at(conn.stalled_since.plus(limits.linger), Expiry::Lingered)),
            Phase::Dead => None,
            Phase::Connecting | Phase::Live | Phase::Closing if conn.has(Flags::PIPE) => None,
            Phase::Connecting if conn.life.is_unanswered() => {
                Due::missed(Deadline::Connect, conn.awaits_since, limits.connect)
            }
            Phase::Connecting => Due::missed(Deadline::Handshake, conn.awaits_since, limits.handshake),
            Phase::Live | Phase::Closing => {
                let is_live = conn.is_live();
                let extras = conn.extras.as_ref();
                // A busy connection is not idle: the handler's work will move a byte in
                // the end.
                let is_busy = is_live && conn.has(Flags::BUSY.union(Flags::HAS_JOBS));
                let idle = match extras.and_then(|extras| extras.idle) {
                    Some(own) => Some(Due::at(
                        Moment(conn.last_activity.0.saturating_add(own.0)),
                        Expiry::Missed(Deadline::Idle),
                    )),
                    None => Due::missed(Deadline::Idle, conn.last_activity, limits.idle),
                };
                let shakes_hands = conn.has(Flags::HANDSHAKING);
                let is_read = is_live && !shakes_hands && !conn.has(Flags::PAUSED);
                let handshake = limits.handshake.filter(|_| shakes_hands);
                let first_frame =
                    limits.first_frame.filter(|_| is_read && conn.has(Flags::AWAITS_FIRST_FRAME));
                let frame = limits.frame.filter(|_| is_read && conn.has(Flags::IN_FRAME));
                let own = extras.and_then(|extras| extras.deadline).filter(|_| is_live);
                let stall = limits.write_stall.filter(|_| conn.awaits_room());
                let running = [
                    idle.filter(|_| !is_busy),
                    Due::missed(Deadline::Handshake, conn.awaits_since, handshake),
                    Due::missed(Deadline::FirstFrame, conn.awaits_since, first_frame),
                    Due::missed(Deadline::Frame, conn.frame_since, frame),
                    own.map(|own| Due::at(own.at(), Expiry::Missed(Deadline::Handler))),
                    Due::missed(Deadline::WriteStall, conn.stalled_since, stall),
                ];
                running.into_iter().flatten().min_by_key(|due| due.at)
            }
        };
        due.filter(|due| due.at != Moment::NEVER)
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
        let Some(Due { at, .. }) = self.first_deadline(id, conn) else { return };
        let is_set = conn.check_place != UNSCHEDULED && self.deadline_checks.at(conn.check_place) <= at;
        if !is_set {
            self.schedule_check(id, Some(at));
        }
    }

    /// Checks a connection's deadlines. Returns the reason to end a live
    /// connection that has missed one; a connection that is closing already, or
    /// is not established yet, ends here, and at once.
    pub(crate) fn check_deadlines(&mut self, id: ConnId) -> Option<CloseReason> {
        let conn = self.conns.get(id.0)?;
        let Due { at, what } = self.first_deadline(id, conn)?;
        if at > self.observed_until {
            if let Some(extras) = self.conns.get_mut(id.0).and_then(|conn| conn.extras.as_mut()) {
                extras.put_off = 0;
            }
            self.watch_deadlines(id);
            return None;
        }
        let is_live = conn.is_live();
        if self.may_be_kept(id, conn, what) && self.puts_off(id, what) {
            // The next turn handles the input or the room first.
            self.schedule_check(id, Some(self.moment.plus(Duration::from_nanos(1))));
            return None;
        }
        match what {
            Expiry::Missed(which) if is_live => return Some(CloseReason::TimedOut(which)),
            Expiry::Missed(which) => self.fail(id, CloseReason::TimedOut(which)),
            Expiry::Lingered => self.mark_dead(id),
        }
        None
    }

    /// True while unhandled work may prove that the connection kept its
    /// deadline: input left unread because the share of the turn was spent, or
    /// room for output not used yet. Turn by turn the loop handles that work.
    fn may_be_kept(&self, id: ConnId, conn: &Conn, what: Expiry) -> bool {
        match what {
            Expiry::Missed(Deadline::Connect) => self.to_establish.contains(&id),
            Expiry::Missed(Deadline::Handshake) => {
                self.to_establish.contains(&id) || conn.has_pending_input()
            }
            Expiry::Missed(Deadline::WriteStall) => conn.has(Flags::WRITABLE),
            Expiry::Missed(_) => conn.has_pending_input(),
            Expiry::Lingered => false,
        }
    }

    /// Puts a deadline off for one more turn, which reads `read_budget` bytes. False
    /// once the turns since have read all that can have come in time: a peer that
    /// sends without end would put it off for ever.
    fn puts_off(&mut self, id: ConnId, what: Expiry) -> bool {
        let waits_for_input =
            !matches!(what, Expiry::Missed(Deadline::Connect | Deadline::Handshake | Deadline::WriteStall));
        let Some(conn) = self.conns.get_mut(id.0).filter(|_| waits_for_input) else { return true };
        let budget = limits_of(&self.services, &self.own_limits, id, conn).read_budget;
        let turns = MOST_UNREAD.div_ceil(budget.max(1));
        let put_off = &mut conn.extras().put_off;
        *put_off = put_off.saturating_add(1);
        *put_off as usize <= turns
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
