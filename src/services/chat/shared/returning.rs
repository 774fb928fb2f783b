//! Members that come back from a position: they get what they have missed, and then hear
//! the room.

use super::missed::{MISSED, Missed, of_gap};
use super::word::Word;
use super::{ROOM, Shared};
use crate::Io;
use crate::bus::{BusToken, Message, Position, Resume};
use crate::services::chat::audience::{Standing, Wire};
use crate::services::chat::hall::Hall;
use crate::services::chat::lines::Newcomer;

impl Shared {
    /// Has a member hear the room; one that comes back from a position is given what it
    /// has missed first.
    pub(super) fn let_hear(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, wire: Wire) {
        match wire.position() {
            Some(at) => self.ask_for_missed(hall, io, number, Missed { wire, at, asked: None }),
            None => self.admit(hall, io, number, wire),
        }
    }

    fn ask_for_missed(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, missed: Missed) {
        let Some(member) = self.members.get_mut(&number) else { return };
        match self.bus.resume(io, ROOM, missed.at) {
            Ok(token) => {
                self.returning.insert(token, number);
                member.missed = Some(Missed { asked: Some(token), ..missed });
            }
            Err(error) => {
                log::debug!("chat: {} is not given what it has missed: {error}", member.name);
                hall.answer(io, member.id, MISSED);
                self.admit(hall, io, number, missed.wire);
            }
        }
    }

    /// Has a member hear the room that has nothing to catch up with.
    fn admit(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, wire: Wire) {
        let Some(member) = self.members.get_mut(&number) else { return };
        member.missed = None;
        hall.admit(io, Newcomer { id: member.id, wire });
        self.go_on(hall, io, number);
    }

    /// Takes a step of a member that comes back.
    pub(super) fn catch_up(&mut self, hall: &mut Hall, io: &mut Io<'_>, token: BusToken, step: Resume) {
        let Some(number) = self.returning.get(&token).copied() else { return };
        match step {
            Resume::Message(message) => {
                let line = self.missed_line(number, &message);
                self.give(hall, io, number, line, message.position);
            }
            Resume::Gap(gap) => self.give(hall, io, number, of_gap(&gap), Some(gap.to)),
            Resume::Done(position) => {
                self.give(hall, io, number, None, Some(position));
                self.caught_up(hall, io, token);
            }
            Resume::Failed => self.caught_up(hall, io, token),
        }
    }

    /// Gives a member something that it has missed. The rest waits until it has read that.
    fn give(
        &mut self,
        hall: &mut Hall,
        io: &mut Io<'_>,
        number: u64,
        line: Option<String>,
        position: Option<Position>,
    ) {
        let Some(member) = self.members.get_mut(&number) else { return };
        let Some(missed) = &mut member.missed else { return };
        missed.at = position.unwrap_or(missed.at);
        if hall.answer_at(io, Standing { position }, member.id, line.unwrap_or_default())
            && let Some(token) = missed.asked.take()
        {
            self.returning.remove(&token);
            self.bus.cancel_resume(token);
        }
    }

    /// Goes on with a member that has read.
    pub(super) fn go_on_returning(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64) {
        let Some(member) = self.members.get_mut(&number) else { return };
        if let Some(missed) = member.missed.take_if(|missed| missed.asked.is_none()) {
            self.ask_for_missed(hall, io, number, missed);
        }
    }

    fn caught_up(&mut self, hall: &mut Hall, io: &mut Io<'_>, token: BusToken) {
        let Some(number) = self.returning.remove(&token) else { return };
        let missed = self.members.get_mut(&number).and_then(|member| member.missed.take());
        if let Some(Missed { wire, .. }) = missed {
            self.admit(hall, io, number, wire);
        }
    }

    /// Has all hear the room as it is.
    pub(super) fn give_returning_up(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        for token in self.returning.keys().copied().collect::<Vec<_>>() {
            self.bus.cancel_resume(token);
            self.caught_up(hall, io, token);
        }
    }

    /// A message as a line for a member that has missed it; `None` if it is not for it.
    fn missed_line(&self, number: u64, message: &Message) -> Option<String> {
        let (speaker, word) = Word::read(&message.payload)?;
        let is_own = speaker == number && message.node == self.bus.node();
        // A private one is for the member that was there.
        let is_for_all = !matches!(word, Word::Whispered { .. });
        (is_for_all && !is_own).then(|| word.line())
    }
}
