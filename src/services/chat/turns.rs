//! Turns of a chat: sends lines while the floor has room, and queues the rest.

use super::floor::{Floor, Said, Waiting};
use super::{Chat, ChatSession, Reach};
use crate::Io;

impl<R: Reach> Chat<R> {
    /// Whether a member may send now.
    pub(super) fn has_floor(&self, io: &Io<'_>, session: &ChatSession) -> bool {
        let has_part = || session.turn == Some(io.now()) && self.hall.floor.leaves_part(session.said);
        self.hall.is_free(io) && (session.place.is_some() || self.hall.floor.nobody_waits() || has_part())
    }

    /// Carries out a line of a member that has the floor.
    pub(super) fn speak(&mut self, io: &mut Io<'_>, session: &mut ChatSession, number: u64, line: &[u8]) {
        let now = io.now();
        if let Some(place) = session.place.take() {
            self.hall.floor.take(place);
            (session.turn, session.said) = (Some(now), Said::default());
        }
        let before = self.hall.floor.said(now);
        session.full |= self.line(io, number, line);
        session.said.add(self.hall.floor.said(now).since(before));
        if self.reach.connection(number).is_none() {
            session.number = None;
        }
    }

    /// Gives the floor to the members that wait for it.
    pub(super) fn go_on(&mut self, io: &mut Io<'_>) {
        if let Some(wait) = self.hall.laggards.next_look(io.now()) {
            return self.hall.floor.look_again(io, wait);
        }
        let (mut woken, mut last) = (0, 0);
        while let Some(place) = self.hall.floor.behind(last) {
            last = place;
            match self.hall.floor.at(place) {
                Some(Waiting::Speaker(_)) if Floor::are_enough(woken) => break,
                // The member is being closed, and sends nothing more.
                Some(Waiting::Speaker(id)) if !io.is_open(*id) => drop(self.hall.floor.take(place)),
                Some(Waiting::Speaker(id)) => {
                    io.resume(*id);
                    woken += 1;
                }
                _ if !self.hall.is_free(io) => break,
                _ => self.tell(io, place),
            }
        }
        self.hall.floor.share_among(woken);
        let wait = self.hall.laggards.next_look(io.now()).unwrap_or_default();
        self.hall.floor.look_again(io, wait);
    }

    /// Sends the queued last line or leaving in a place.
    pub(super) fn tell(&mut self, io: &mut Io<'_>, place: u64) {
        match self.hall.floor.take(place) {
            Some(Waiting::LastLine { number, id, line }) => {
                self.line(io, number, &line);
                self.leave(io, number, None);
                io.set_busy(id, false);
                self.hall.audience.close(io, id);
            }
            Some(Waiting::Leaving(number)) => self.leave(io, number, None),
            #[cfg(feature = "bus")]
            Some(Waiting::Lines) => self.hall.hear_more(io, place),
            Some(Waiting::Speaker(_)) | None => {}
        }
    }

    /// Clears the queue of a room without members.
    pub(super) fn clear_out(&mut self, io: &mut Io<'_>) {
        let is_empty = self.hall.audience.is_empty(io);
        let mut last = 0;
        while let Some(place) = self.hall.floor.behind(last).filter(|_| is_empty) {
            last = place;
            self.tell(io, place);
        }
    }
}
