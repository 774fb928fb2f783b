//! When connections have to have done what.

use std::time::Duration;

use super::Core;
use crate::close::{Close, Deadline};
use crate::conn::{Conn, Flags, NO_LOOK, Phase};
use crate::id::ConnId;
use crate::moment::Moment;

impl Core {
    /// The first deadline of a connection, and which one it is; `None` for
    /// the end of lingering.
    pub(crate) fn first_deadline(&self, conn: &Conn) -> (Moment, Option<Deadline>) {
        let limits = self.limits(conn);
        if conn.phase == Phase::Lingering {
            return (conn.stalled_since.plus(limits.linger), None);
        }
        if conn.has(Flags::PIPE) {
            return (Moment::NEVER, None);
        }
        if conn.phase == Phase::Connecting {
            let at = limits.connect.map_or(Moment::NEVER, |connect| conn.frame_since.plus(connect));
            return (at, Some(Deadline::Connect));
        }
        let mut first = (Moment::NEVER, None);
        let mut consider = |at: Moment, which| {
            if at < first.0 {
                first = (at, Some(which));
            }
        };
        match conn.extras.as_ref().and_then(|extras| extras.idle) {
            // What is under way will move a byte in the end.
            _ if conn.has(Flags::BUSY) && conn.phase == Phase::Live => {}
            Some(idle) => consider(Moment(conn.last_activity.0.saturating_add(idle.0)), Deadline::Idle),
            None => {
                if let Some(idle) = limits.idle {
                    consider(conn.last_activity.plus(idle), Deadline::Idle);
                }
            }
        }
        if conn.phase == Phase::Live && !conn.has(Flags::PAUSED) {
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
        if conn.out.is_some()
            && let Some(stall) = limits.write_stall
        {
            consider(conn.stalled_since.plus(stall), Deadline::WriteStall);
        }
        first
    }

    /// Sets when a connection's deadlines are looked at: at the first of them,
    /// and no later than any could end that begins to run meanwhile. So neither
    /// a message nor the start of a frame moves anything.
    pub(crate) fn watch_deadlines(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id.0).filter(|conn| !conn.has(Flags::PIPE)) else { return };
        let (mut at, which) = self.first_deadline(conn);
        if let (Some(period), true) =
            (self.services[conn.service as usize].check_period, conn.phase != Phase::Lingering)
        {
            at = at.min(self.moment.plus(period));
        }
        debug_assert!(
            which.is_some() || conn.phase == Phase::Lingering || at > self.moment,
            "a check is ahead"
        );
        self.set_look(id, Some(at).filter(|at| *at != Moment::NEVER));
    }

    /// When the deadlines of a connection are looked at, if ever.
    pub(super) fn set_look(&mut self, id: ConnId, at: Option<Moment>) {
        let Self { looks, conns, .. } = self;
        let Some(conn) = conns.get_mut(id.0) else { return };
        let position = conn.look;
        let mut moved = |slot, position| conns.in_slot(slot).look = position;
        match at {
            Some(at) if position == NO_LOOK => looks.push(at, id.0.slot, moved),
            Some(at) => looks.reset(position, at, moved),
            None if position == NO_LOOK => {}
            None => {
                moved(id.0.slot, NO_LOOK);
                looks.remove(position, moved);
            }
        }
    }

    /// The next connection whose deadlines are to be looked at by `now`, unless
    /// a timer is due before that; no look is set for it any more.
    pub(crate) fn take_look(&mut self, now: Moment) -> Option<ConnId> {
        let timer = self.timers.next();
        let (slot, _) = self.looks.first().filter(|(_, at)| *at <= now && *at < timer)?;
        let id = ConnId(self.conns.current(slot));
        self.set_look(id, None);
        Some(id)
    }

    /// When the first of all timers and looks at deadlines is due.
    #[inline]
    pub(crate) fn next_due(&self) -> Moment {
        self.looks.next().min(self.timers.next())
    }

    /// Looks at a connection's deadlines, and ends it if it missed one.
    pub(crate) fn check_deadlines(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id.0) else { return };
        if conn.phase == Phase::Dead {
            return;
        }
        let (at, which) = self.first_deadline(conn);
        if at > self.moment {
            self.watch_deadlines(id);
            return;
        }
        match which {
            None => self.bury(id),
            Some(which) => {
                // What is closing already has no patience left to be told.
                if conn.phase == Phase::Live {
                    self.end(id, Close::TimedOut(which));
                } else {
                    self.kill(id, Close::TimedOut(which));
                }
                self.watch_deadlines(id);
            }
        }
    }

    /// A connection is busy with what the loop cannot see, or not any more.
    pub(crate) fn set_busy(&mut self, id: ConnId, busy: bool) {
        let now = self.moment;
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if busy {
            conn.set(Flags::BUSY);
        } else if conn.has(Flags::BUSY) {
            conn.unset(Flags::BUSY);
            // It was not idle.
            conn.last_activity = now;
            self.watch_deadlines(id);
        }
    }

    pub(crate) fn set_idle(&mut self, id: ConnId, idle: Option<Duration>) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        // Zero is the next turn: this one is for what the end in order queues.
        let idle = idle.map(|idle| Moment::ZERO.plus(idle.max(Duration::from_nanos(1))));
        conn.extras().idle = Some(idle.unwrap_or(Moment::NEVER));
        self.watch_deadlines(id);
    }
}
