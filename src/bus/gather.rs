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
    /// Begins, if the first of these events is a message to a room to which messages of
    /// this node are under way.
    fn begin(
        io: &mut Io<'_>,
        events: &VecDeque<BusEvent>,
        outbox: &Outbox,
        longest: Duration,
    ) -> Option<Self> {
        let Some(BusEvent::Message(message)) = events.front().filter(|_| !longest.is_zero()) else {
            return None;
        };
        let number = outbox.last_under_way(&message.room)?;
        // Without a timer nothing would bound the wait.
        let timer = io.tick_after(longest).ok()?;
        Some(Self { room: Arc::clone(&message.room), number, timer })
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
        if events.is_empty() {
            *self = Self::default();
            return None;
        }
        if matches!(self.state, State::Idle) {
            let wait = Wait::begin(io, events, outbox, longest);
            self.state = wait.map_or(State::Telling, State::Waits);
        }
        if let State::Waits(wait) = &self.state {
            if self.bytes < ENOUGH && !wait.is_answered(outbox) {
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
