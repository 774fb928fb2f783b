//! Lines of a bus: sent while the room has the floor, as those of members are.

use super::floor::Waiting;
use super::hall::Hall;
use super::lines::{Hearers, Item, Line, Newcomer};
use crate::bus::Position;
use crate::{ConnId, Io, Sent};

/// What a position counts for, in bytes.
const POSITION: usize = 24;

impl Hall {
    /// Sends a line when it is its turn.
    pub(super) fn hear(&mut self, io: &mut Io<'_>, line: Line) {
        self.take_turn(io, Item::Line(line));
    }

    /// Lets a newcomer hear the room, behind the lines that wait.
    pub(super) fn admit(&mut self, io: &mut Io<'_>, newcomer: Newcomer) {
        self.take_turn(io, Item::Newcomer(newcomer));
    }

    /// Sends a member that comes back something that it has missed. As
    /// [`answer`](Self::answer).
    pub(super) fn answer_missed(
        &mut self,
        io: &mut Io<'_>,
        id: ConnId,
        line: Option<String>,
        position: Option<Position>,
    ) -> bool {
        let is_full = line.is_some_and(|line| self.answer(io, id, line));
        position.is_some_and(|position| self.answer_position(io, id, position)) || is_full
    }

    fn answer_position(&mut self, io: &mut Io<'_>, id: ConnId, position: Position) -> bool {
        self.floor.count(io.now(), POSITION, 1);
        matches!(self.audience.tell_position(io, id, position), Sent::Full | Sent::Dropped)
    }

    fn take_turn(&mut self, io: &mut Io<'_>, item: Item) {
        if self.is_free(io) && self.floor.nobody_waits() {
            return self.pass_on(io, item);
        }
        let has_place = !self.lines.is_empty();
        self.lines.push(item);
        if !has_place && self.floor.queue(io, Waiting::Lines).is_err() {
            return self.hear_all(io);
        }
        while self.lines.are_too_many()
            && let Some(item) = self.lines.pop()
        {
            self.pass_on(io, item);
        }
    }

    /// Sends the lines that wait in this place, as far as the room may.
    pub(super) fn hear_more(&mut self, io: &mut Io<'_>, place: u64) {
        while self.is_free(io)
            && let Some(item) = self.lines.pop()
        {
            self.pass_on(io, item);
        }
        if !self.lines.is_empty() {
            self.floor.replace(place, Waiting::Lines);
        }
    }

    /// Sends all lines that wait, now.
    pub(super) fn hear_all(&mut self, io: &mut Io<'_>) {
        while let Some(item) = self.lines.pop() {
            self.pass_on(io, item);
        }
    }

    fn pass_on(&mut self, io: &mut Io<'_>, item: Item) {
        match item {
            Item::Line(line) => self.say(io, line),
            Item::Newcomer(newcomer) => self.let_in(io, &newcomer),
        }
    }

    fn say(&mut self, io: &mut Io<'_>, line: Line) {
        match line.to {
            Hearers::All => _ = self.say_to_all(io, line.text, None),
            Hearers::AllBut(id) => _ = self.say_to_all(io, line.text, Some(id)),
            Hearers::One(id) => _ = self.whisper(io, id, line.text),
        }
        if let Some(position) = line.position {
            let tally = self.audience.say_position(io, position);
            self.floor.count(io.now(), POSITION, tally.queued);
        }
    }

    fn let_in(&mut self, io: &mut Io<'_>, newcomer: &Newcomer) {
        let id = newcomer.id;
        if let Err(error) = self.audience.join(io, id, newcomer.wire) {
            log::warn!("chat: a member hears nothing, and is out: {error}");
            io.abort(id);
        } else if let Some(position) = newcomer.position {
            let _ = self.answer_position(io, id, position);
        }
    }
}
