//! `Gathering`: messages that have come, and wait for those of this node that are under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::event::BusEvent;
use super::outbox::Outbox;
use crate::{Io, TimerId};

/// So many bytes of Redis end a wait.
const ENOUGH: usize = 64 << 10;

/// Whether what has come to this node is told at once, or waits: what is told together
/// leaves in one write to each member.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    state: State,
    /// What has come from Redis since all was told.
    bytes: usize,
}

#[derive(Debug, Default)]
enum State {
    /// All is told.
    #[default]
    Idle,
    Waits(Wait),
    /// All that has come is being told.
    Telling,
}

/// The wait of a message, and of all events behind it.
#[derive(Debug)]
struct Wait {
    room: Arc<str>,
    /// The last message of this node that was under way to the room when the wait began.
    number: u64,
    /// Ends it at the latest.
    timer: TimerId,
}

impl Wait {
    /// Begins, if messages of this node are under way to the room, and may be back in time.
    fn begin(io: &mut Io<'_>, room: &Arc<str>, outbox: &Outbox, longest: Duration) -> Option<Self> {
        if longest.is_zero() {
            return None;
        }
        let number = outbox.last_expected(room, io.now() + longest)?;
        // Without a timer nothing would bound the wait.
        let timer = io.tick_after(longest).ok()?;
        Some(Self { room: Arc::clone(room), number, timer })
    }

    fn is_answered(&self, outbox: &Outbox) -> bool {
        outbox.first_under_way(&self.room).is_none_or(|first| first > self.number)
    }
}

impl Gathering {
    /// Takes the first event, unless it waits. A message waits no longer than `longest`.
    pub(super) fn next(
        &mut self,
        io: &mut Io<'_>,
        events: &mut VecDeque<BusEvent>,
        outbox: &Outbox,
        longest: Duration,
    ) -> Option<BusEvent> {
        let Some(first) = events.front() else {
            *self = Self::default();
            return None;
        };
        if let (State::Idle, BusEvent::Message(message)) = (&self.state, first) {
            let wait = Wait::begin(io, &message.room, outbox, longest);
            self.state = wait.map_or(State::Telling, State::Waits);
        }
        if let State::Waits(wait) = &self.state {
            if !longest.is_zero() && self.bytes < ENOUGH && !wait.is_answered(outbox) {
                return None;
            }
            io.cancel(wait.timer);
            self.state = State::Telling;
        }
        events.pop_front()
    }

    /// Counts what has come from Redis.
    pub(super) const fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Ends the wait; `false` if this is not its timer.
    pub(super) fn tick(&mut self, timer: TimerId) -> bool {
        let is_it = matches!(&self.state, State::Waits(wait) if wait.timer == timer);
        if is_it {
            self.state = State::Telling;
        }
        is_it
    }
}
