//! `SharedWeb`: a `Web` whose chat is on a bus.

use super::super::chat::Shared;
use super::Web;
use crate::Io;
use crate::bus::{
    Bus, BusError, BusHandler, BusToken, EnterError, Gap, Message, Position, Presence, PublishError, Resume,
};

/// A [`Web`] whose chat is [on a bus](super::super::Chat::on_bus): one room with those of
/// all nodes. Add it to its reactor in an [`OnBus`](crate::bus::OnBus).
pub type SharedWeb = Web<Shared>;

impl BusHandler for SharedWeb {
    fn bus(&mut self) -> &mut Bus {
        self.room().bus()
    }

    fn message(&mut self, io: &mut Io<'_>, message: Message) {
        self.room().message(io, message);
    }

    fn gap(&mut self, io: &mut Io<'_>, gap: Gap) {
        self.room().gap(io, gap);
    }

    fn published(&mut self, io: &mut Io<'_>, token: BusToken, outcome: Result<Position, PublishError>) {
        self.room().published(io, token, outcome);
    }

    fn resumed(&mut self, io: &mut Io<'_>, room: &str, token: BusToken, step: Resume) {
        self.room().resumed(io, room, token, step);
    }

    fn entered(&mut self, io: &mut Io<'_>, room: &str, member: &str, outcome: Result<(), EnterError>) {
        self.room().entered(io, room, member, outcome);
    }

    fn presence(&mut self, io: &mut Io<'_>, presence: Presence) {
        self.room().presence(io, presence);
    }

    fn bus_up(&mut self, io: &mut Io<'_>) {
        self.room().bus_up(io);
    }

    fn bus_down(&mut self, io: &mut Io<'_>, why: BusError) {
        self.room().bus_down(io, why);
    }
}
