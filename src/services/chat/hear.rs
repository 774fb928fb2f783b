//! Lines of a bus: sent while the room has the floor, as those of members are.

use super::floor::Waiting;
use super::hall::Hall;
use super::lines::{Hearers, Item, Line, Newcomer};
use crate::Io;

impl Hall {
    /// Sends a line when it is its turn.
    pub(super) fn hear(&mut self, io: &mut Io<'_>, line: Line) {
        self.take_turn(io, Item::Line(line));
    }

    /// Lets a newcomer hear the room, behind the lines that wait.
    pub(super) fn admit(&mut self, io: &mut Io<'_>, newcomer: Newcomer) {
        self.take_turn(io, Item::Newcomer(newcomer));
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
        let Line { text, to, at } = line;
        match to {
            Hearers::All => _ = self.say_at(io, at, text, None),
            Hearers::AllBut(id) => _ = self.say_at(io, at, text, Some(id)),
            Hearers::One(id) => _ = self.whisper(io, at, id, text),
        }
    }

    fn let_in(&mut self, io: &mut Io<'_>, newcomer: &Newcomer) {
        if let Err(error) = self.audience.join(io, newcomer.id, newcomer.wire) {
            log::warn!("chat: a member hears nothing, and is out: {error}");
            io.abort(newcomer.id);
        }
    }
}
