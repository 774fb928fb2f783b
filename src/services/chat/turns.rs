//! Turns of a chat: sends lines while the floor has room, and queues the rest.

use super::floor::{Floor, Said, Waiting};
use super::{Chat, ChatSession};
use crate::Io;

impl Chat {
    /// Whether the room may send in this turn.
    pub(super) fn is_free(&self, io: &Io<'_>) -> bool {
        self.floor.has_room(io.now()) && !self.laggards.are_awaited()
    }

    /// Whether a member may send now.
    pub(super) fn has_floor(&self, io: &Io<'_>, session: &ChatSession) -> bool {
        let has_part = || session.turn == Some(io.now()) && self.floor.leaves_part(session.said);
        self.is_free(io) && (session.place.is_some() || self.floor.nobody_waits() || has_part())
    }

    /// Carries out a line of a member that has the floor.
    pub(super) fn speak(&mut self, io: &mut Io<'_>, session: &mut ChatSession, number: u64, line: &[u8]) {
        let now = io.now();
        if let Some(place) = session.place.take() {
            self.floor.take(place);
            (session.turn, session.said) = (Some(now), Said::default());
        }
        let before = self.floor.said(now);
        session.full |= self.line(io, number, line);
        session.said.add(self.floor.said(now).since(before));
        if self.room.member(number).is_none() {
            session.number = None;
        }
    }

    /// Gives the floor to the members that wait for it.
    pub(super) fn go_on(&mut self, io: &mut Io<'_>) {
        if let Some(wait) = self.laggards.next_look(io.now()) {
            return self.floor.look_again(io, wait);
        }
        let (mut woken, mut last) = (0, 0);
        while let Some(place) = self.floor.behind(last) {
            last = place;
            match self.floor.at(place) {
                Some(Waiting::Speaker(_)) if Floor::are_enough(woken) => break,
                // The member is being closed, and sends nothing more.
                Some(Waiting::Speaker(id)) if !io.is_open(*id) => drop(self.floor.take(place)),
                Some(Waiting::Speaker(id)) => {
                    io.resume(*id);
                    woken += 1;
                }
                _ if !self.is_free(io) => break,
                _ => self.tell(io, place),
            }
        }
        self.floor.share_among(woken);
        let wait = self.laggards.next_look(io.now()).unwrap_or_default();
        self.floor.look_again(io, wait);
    }

    /// Sends the queued last line or leaving in a place.
    pub(super) fn tell(&mut self, io: &mut Io<'_>, place: u64) {
        match self.floor.take(place) {
            Some(Waiting::LastLine { number, id, line }) => {
                self.line(io, number, &line);
                self.leave(io, number, None);
                io.set_busy(id, false);
                self.audience.close(io, id);
            }
            Some(Waiting::Leaving(number)) => self.leave(io, number, None),
            Some(Waiting::Speaker(_)) | None => {}
        }
    }

    /// Clears the queue of a room without members.
    pub(super) fn clear_out(&mut self, io: &mut Io<'_>) {
        let is_empty = self.audience.is_empty(io);
        let mut last = 0;
        while let Some(place) = self.floor.behind(last).filter(|_| is_empty) {
            last = place;
            self.tell(io, place);
        }
    }
}
