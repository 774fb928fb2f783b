//! Phases 4 and 5: timers that are due, and calls from handles.

use super::Reactor;
use crate::core::Purpose;
use crate::driver::Driver;
use crate::id::{ConnId, TimerId};
use crate::moment::Moment;

impl<D: Driver> Reactor<D> {
    /// Phase 4. All that is due fires from one `now`; a timer that a callback
    /// sets is later than that, and so for another turn.
    #[inline]
    pub(super) fn fire_timers(&mut self) {
        let core = &self.stage.core;
        if core.next_due() <= core.moment {
            self.fire_due();
        }
    }

    #[inline(never)]
    fn fire_due(&mut self) {
        let now = self.stage.core.moment;
        loop {
            let core = &mut self.stage.core;
            if let Some(id) = core.take_look(now) {
                // Even if the connection has ended and only waits to be freed.
                core.check_deadlines(id);
                continue;
            }
            let Some((timer, at)) = core.timers.due(now) else { return };
            let Some(alarm) = core.timers.get(timer).copied() else { return };
            match alarm.purpose {
                Purpose::Accept => {
                    self.resume_accepting();
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
                Purpose::Session(_) | Purpose::Service(_) => {}
            }
            core.stats.timers_fired += 1;
            match alarm.every {
                Some(period) => core.timers.reschedule(timer, period.next(at, now)),
                None => {
                    core.cancel_timer(TimerId(timer));
                }
            }
            match alarm.purpose {
                Purpose::Session(id) => self.fire_session_timer(id, TimerId(timer)),
                Purpose::Service(service) => {
                    self.with_service(service, "tick", |serve, io| serve.tick(io, TimerId(timer)));
                }
                Purpose::Accept | Purpose::Stalled(_) | Purpose::Child(_) => {}
            }
        }
    }

    fn fire_session_timer(&mut self, id: ConnId, timer: TimerId) {
        if self.is_live(id) {
            self.with_session(id, "timer", |serve, io, session| serve.timer(io, session, timer));
        }
    }

    /// Phase 5. A call that a call leaves is for the next turn.
    #[inline]
    pub(super) fn run_calls(&mut self) {
        if self.inbox.is_waiting() {
            self.run_waiting_calls();
        }
    }

    #[inline(never)]
    fn run_waiting_calls(&mut self) {
        self.stage.core.stats.system = self.driver.calls();
        let mut calls = std::mem::take(&mut self.calls);
        if let Some(deadline) = self.inbox.take(&mut calls) {
            self.drain(deadline);
        }
        for (service, call) in calls.drain(..) {
            self.stage.core.stats.calls += 1;
            self.with_service(service, "a call from a handle", |serve, io| call.run(serve.handler(), io));
        }
        self.calls = calls;
    }
}
