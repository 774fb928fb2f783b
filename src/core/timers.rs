//! Timers of handlers: sets, counts and cancels them.

use std::time::Duration;

use super::{Alarm, Core, Period, Purpose};
use crate::error::{Error, Result};
use crate::id::TimerId;

/// How often a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    Once,
    Every,
}

impl Core {
    pub(crate) fn set_timer(&mut self, purpose: Purpose, after: Duration, repeat: Repeat) -> Result<TimerId> {
        let limit = self.config.max_timers;
        if self.handler_timers >= limit {
            return Err(Error::Full { what: "timers", field: Some("Config::max_timers"), limit });
        }
        let every = (repeat == Repeat::Every).then(|| Period::new(after));
        // Always later than now: a timer of zero waits for the next turn, so
        // that a callback that sets one each time it fires does not hold up
        // this turn.
        let at = match every {
            Some(period) => period.next(self.moment, self.moment),
            None => self.moment.plus(after.max(Duration::from_nanos(1))),
        };
        let owner = if let Purpose::Session(id) = purpose { self.conns.get_mut(id.0) } else { None };
        let held = owner.map(|conn| &mut conn.extras().timers);
        let place = held.as_ref().map_or(0, |held| held.len());
        #[allow(clippy::cast_possible_truncation, reason = "a timer queue has no more than 2^32 slots")]
        let timer = self.timers.insert(at, Alarm { purpose, every, place: place as u32 });
        if let Some(held) = held {
            held.push(timer);
        }
        self.handler_timers += 1;
        Ok(TimerId(timer))
    }

    pub(crate) fn cancel_timer(&mut self, id: TimerId) -> bool {
        // An id from another reactor may equal that of a timer of the loop's
        // own.
        let handlers = |alarm: &Alarm| matches!(alarm.purpose, Purpose::Session(_) | Purpose::Service(_));
        if !self.timers.get(id.0).is_some_and(handlers) {
            return false;
        }
        let Some(alarm) = self.timers.remove(id.0) else { return false };
        self.handler_timers -= 1;
        if let Purpose::Session(owner) = alarm.purpose
            && let Some(conn) = self.conns.get_mut(owner.0)
            && let held = &mut conn.extras().timers
            && held.get(alarm.place as usize) == Some(&id.0)
        {
            // The last timer takes the freed place: a search would cost a
            // session with many timers the square of their number.
            held.swap_remove(alarm.place as usize);
            let moved = held.get(alarm.place as usize).copied();
            if let Some(moved) = moved.and_then(|moved| self.timers.get_mut(moved)) {
                moved.place = alarm.place;
            }
        }
        true
    }
}
