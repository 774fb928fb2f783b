//! The schedule of deadline checks: one moment at most for each connection, in a heap
//! apart from the timers.

use super::Core;
use crate::conn::UNSCHEDULED;
use crate::id::ConnId;
use crate::moment::Moment;

impl Core {
    /// Sets, moves or removes the check of a connection's deadlines.
    pub(super) fn schedule_check(&mut self, id: ConnId, at: Option<Moment>) {
        let Self { deadline_checks, conns, .. } = self;
        let Some(conn) = conns.get_mut(id.0) else { return };
        let position = conn.check_place;
        let mut moved = |slot, position| conns.in_slot(slot).check_place = position;
        match at {
            Some(at) if position == UNSCHEDULED => deadline_checks.push(at, id.0.slot, moved),
            Some(at) => deadline_checks.reset(position, at, moved),
            None if position == UNSCHEDULED => {}
            None => {
                moved(id.0.slot, UNSCHEDULED);
                deadline_checks.remove(position, moved);
            }
        }
    }

    /// Takes the next connection whose check is due at `now`, unless a timer is
    /// due before it. The check is no longer scheduled.
    pub(crate) fn take_due_check(&mut self, now: Moment) -> Option<ConnId> {
        let timer = self.timers.next();
        let (slot, _) = self.deadline_checks.first().filter(|(_, at)| *at <= now && *at < timer)?;
        let id = ConnId(self.conns.current(slot));
        self.schedule_check(id, None);
        Some(id)
    }

    /// The moment of the first timer or deadline check.
    #[inline]
    pub(crate) fn next_due(&self) -> Moment {
        self.deadline_checks.next().min(self.timers.next())
    }
}
