//! Lines of a bus: sent while the room has the floor, as those of members are.

use super::floor::Waiting;
use super::hall::Hall;
use super::lines::{Hearers, Line};
use crate::Io;

impl Hall {
    /// Sends a line when it is its turn.
    pub(super) fn hear(&mut self, io: &mut Io<'_>, line: Line) {
        if self.is_free(io) && self.floor.nobody_waits() {
            return self.pass_on(io, line);
        }
        let has_place = !self.lines.is_empty();
        self.lines.push(line);
        if !has_place && self.floor.queue(io, Waiting::Lines).is_err() {
            return self.hear_all(io);
        }
        while self.lines.are_too_many()
            && let Some(line) = self.lines.pop()
        {
            self.pass_on(io, line);
        }
    }

    /// Sends the lines that wait in this place, as far as the room may.
    pub(super) fn hear_more(&mut self, io: &mut Io<'_>, place: u64) {
        while self.is_free(io)
            && let Some(line) = self.lines.pop()
        {
            self.pass_on(io, line);
        }
        if !self.lines.is_empty() {
            self.floor.replace(place, Waiting::Lines);
        }
    }

    /// Sends all lines that wait, now.
    pub(super) fn hear_all(&mut self, io: &mut Io<'_>) {
        while let Some(line) = self.lines.pop() {
            self.pass_on(io, line);
        }
    }

    fn pass_on(&mut self, io: &mut Io<'_>, line: Line) {
        match line.to {
            Hearers::All => _ = self.say_to_all(io, line.text, None),
            Hearers::AllBut(id) => _ = self.say_to_all(io, line.text, Some(id)),
            Hearers::One(id) => _ = self.whisper(io, id, line.text),
        }
    }
}
