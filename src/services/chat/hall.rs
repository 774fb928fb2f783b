//! `Hall`: what the members of a room on this reactor hear, and how much of it at once.

use std::fmt;

use bytes::Bytes;

use super::audience::{Audience, Standing};
use super::event::ChatEvent;
use super::floor::Floor;
use super::laggards::Laggards;
#[cfg(feature = "bus")]
use super::lines::Lines;
use crate::{ConnId, Io, Sent, Tally};

pub(super) type Observer = Box<dyn FnMut(&ChatEvent<'_>) + Send>;

/// The members' connections, the bounds of what they are sent, and the observer.
pub struct Hall {
    pub(super) audience: Audience,
    pub(super) floor: Floor,
    pub(super) laggards: Laggards,
    pub(super) observer: Option<Observer>,
    /// Lines of a bus that wait for the floor.
    #[cfg(feature = "bus")]
    pub(super) lines: Lines,
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hall").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Hall {
    pub(super) fn new(bytes_per_turn: usize) -> Self {
        Self {
            audience: Audience::default(),
            floor: Floor::new(bytes_per_turn),
            laggards: Laggards::default(),
            observer: None,
            #[cfg(feature = "bus")]
            lines: Lines::default(),
        }
    }

    /// Whether the room may send in this turn.
    pub(super) fn is_free(&self, io: &Io<'_>) -> bool {
        self.floor.has_room(io.now()) && !self.laggards.are_awaited()
    }

    /// Sends a line, given with its end, to all members but `except`.
    pub(super) fn say_to_all(&mut self, io: &mut Io<'_>, line: String, except: Option<ConnId>) -> Tally {
        self.say_at(io, Standing::default(), line, except)
    }

    /// Sends a line that stands here to all members but `except`.
    pub(super) fn say_at(
        &mut self,
        io: &mut Io<'_>,
        at: Standing,
        line: String,
        except: Option<ConnId>,
    ) -> Tally {
        let length = line.len();
        let tally = self.audience.say(io, line, at, except);
        self.floor.count(io.now(), length, tally.queued);
        if self.laggards.are_fewer_than(tally.full, except) {
            self.laggards.find(io, self.audience.connections(io));
        }
        tally
    }

    /// Sends a member what it has asked for. True if it should be paused until it has
    /// read.
    pub(super) fn answer(&mut self, io: &mut Io<'_>, id: ConnId, line: impl Into<Bytes>) -> bool {
        self.answer_at(io, Standing::default(), id, line)
    }

    /// Sends a member a line that stands here. As [`answer`](Self::answer).
    pub(super) fn answer_at(
        &mut self,
        io: &mut Io<'_>,
        at: Standing,
        id: ConnId,
        line: impl Into<Bytes>,
    ) -> bool {
        let line = line.into();
        self.floor.count(io.now(), line.len(), 1);
        matches!(self.audience.tell(io, id, line, at), Sent::Full | Sent::Dropped)
    }

    /// Sends a member what another one says to it alone.
    pub(super) fn whisper(&mut self, io: &mut Io<'_>, at: Standing, to: ConnId, line: String) -> Sent {
        self.floor.count(io.now(), line.len(), 1);
        let sent = self.audience.tell(io, to, line.into(), at);
        if sent == Sent::Full {
            self.laggards.find(io, std::iter::once(to));
        }
        sent
    }

    pub(super) fn observe(&mut self, event: &ChatEvent<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(event);
        }
    }
}
