//! Phase 4: fires due timers and deadlines.

use super::Reactor;
use crate::core::Purpose;
use crate::driver::Driver;
use crate::id::{ConnId, Key, TimerId};
use crate::moment::Moment;

impl<D: Driver> Reactor<D> {
    /// Runs phase 4. Everything due fires by one moment, `observed_until`:
    /// phase 1 noted every event up to it, and the phases since have handled
    /// them. A timer that a callback sets now is later than that moment, and so
    /// waits for another turn.
    #[inline]
    pub(super) fn fire_timers(&mut self) {
        if self.is_due {
            self.is_due = false;
            self.fire_due();
        }
    }

    #[inline(never)]
    fn fire_due(&mut self) {
        // Timers of connections whose input is older than the timer: the next
        // turn reads them first.
        let mut put_off = Vec::new();
        self.fire_until(self.core.observed_until, &mut put_off);
        for (timer, at) in put_off {
            self.core.timers.reschedule(timer, at);
        }
    }

    fn fire_until(&mut self, now: Moment, put_off: &mut Vec<(Key, Moment)>) {
        loop {
            let core = &mut self.core;
            if let Some(id) = core.take_due_check(now) {
                // The connection may have ended already and wait to be freed.
                self.check_deadlines(id);
                continue;
            }
            let Some((timer, at)) = core.timers.due(now) else { return };
            let Some(alarm) = core.timers.get(timer).copied() else { return };
            match alarm.purpose {
                Purpose::Accept => {
                    self.listeners.resume(&mut core.timers);
                    continue;
                }
                Purpose::Listen => {
                    self.listen_again();
                    continue;
                }
                Purpose::Connect => {
                    self.connect_again();
                    continue;
                }
                #[cfg(feature = "workers")]
                Purpose::NextAddress(id) => {
                    // Removes the timer.
                    self.try_next_address(id);
                    continue;
                }
                Purpose::Stalled(id) => {
                    core.timers.remove(timer);
                    self.give_up_sending(id);
                    continue;
                }
                Purpose::Child(id) => {
                    core.timers.reschedule(timer, Moment::NEVER);
                    self.child_is_due(id);
                    continue;
                }
                Purpose::Session(id) if core.has_late_input(id) => {
                    core.timers.reschedule(timer, Moment::NEVER);
                    put_off.push((timer, at));
                    continue;
                }
                Purpose::Session(_) | Purpose::Service(_) => {}
            }
            core.stats.timers_fired += 1;
            match alarm.every {
                Some(period) => core.timers.reschedule(timer, period.next(at, core.moment)),
                None => {
                    core.cancel_timer(TimerId(timer));
                }
            }
            match alarm.purpose {
                Purpose::Session(id) => self.fire_session_timer(id, TimerId(timer)),
                Purpose::Service(service) => {
                    self.with_service(service, "tick", |handler, io| handler.tick(io, TimerId(timer)));
                }
                // The loop's own purposes are served above.
                _ => {}
            }
        }
    }

    /// Checks a connection's deadlines. Output that has waited too long is
    /// offered once more first: the system reports room only when a good part
    /// of its buffer is free (tcp(7), unix(7)), and a peer that takes little at
    /// a time may not have freed as much.
    fn check_deadlines(&mut self, id: ConnId) {
        if self.core.is_stalled(id) {
            self.offer_again(id);
        } else if self.has_left_output {
            // A connection whose idle deadline is zero may have been left with the last
            // words of its end.
            self.flush(id);
        }
        if let Some(why) = self.core.check_deadlines(id) {
            self.end(id, why);
            self.flush_or_defer(id);
            self.core.watch_deadlines(id);
        }
    }

    fn fire_session_timer(&mut self, id: ConnId, timer: TimerId) {
        if self.core.is_live(id) {
            self.with_session(id, "timer", |handler, io, session| handler.timer(io, session, timer));
        }
    }
}
