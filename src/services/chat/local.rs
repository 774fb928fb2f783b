//! `Local`: a room in one reactor.

use super::audience::{Standing, Wire};
use super::event::ChatEvent;
use super::hall::Hall;
use super::reach::{Entry, Reach};
use super::room::{NoName, Room};
use crate::{BoxError, ConnId, Io, Peer, Sent};

/// The reach of a [`Chat`](super::Chat) whose members are all in one reactor.
#[derive(Debug)]
pub struct Local {
    room: Room,
}

impl Local {
    pub(super) fn new() -> Self {
        Self { room: Room::new() }
    }
}

impl Reach for Local {
    fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)> {
        self.room.members().map(|member| (member.id, member.name.as_str()))
    }

    fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.room.members().map(|member| member.id)
    }

    fn connection(&self, number: u64) -> Option<ConnId> {
        self.room.member(number).map(|member| member.id)
    }

    fn name(&self, number: u64) -> Option<&str> {
        self.room.member(number).map(|member| member.name.as_str())
    }

    fn enter(
        &mut self,
        hall: &mut Hall,
        io: &mut Io<'_>,
        peer: &Peer,
        wire: Wire,
    ) -> Result<Entry, BoxError> {
        let id = io.id();
        hall.audience.join(io, id, wire)?;
        let name = self.room.guest();
        // The observer runs before the member exists: after a panic here no
        // `close` would remove the member.
        hall.observe(&ChatEvent::Joined { id, name: &name, peer });
        hall.audience.remember(id, wire);
        let joined = joined(&name);
        let is_full = hall.answer(io, id, format!("* you are {name}\n"));
        let number = self.room.enter(id, name);
        hall.say_to_all(io, joined, Some(id));
        Ok(Entry { number, is_full })
    }

    fn say(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, text: &str) -> bool {
        let Some(member) = self.room.member(number) else { return false };
        let (id, message) = (member.id, format!("<{}> {text}\n", member.name));
        hall.say_to_all(io, message, Some(id));
        hall.observe(&ChatEvent::Said { id, name: &member.name, text });
        false
    }

    fn whisper(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, to: &str, text: &str) -> bool {
        let Some(member) = self.room.member(number) else { return false };
        let (id, message) = (member.id, format!("[{}] {text}\n", member.name));
        match self.room.find(to).map(|to| to.id) {
            Some(to) if to == id => hall.answer(io, id, message),
            // A member that is about to leave gets nothing.
            Some(to) if hall.whisper(io, Standing::default(), to, message) != Sent::Gone => false,
            _ => hall.answer(io, id, format!("! no such name {to}\n")),
        }
    }

    fn rename(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, name: &str) -> bool {
        let Some(id) = self.connection(number) else { return false };
        let old = match self.room.rename(number, name) {
            Ok(None) => return false,
            Ok(Some(old)) => old,
            Err(NoName::Bad) => return hall.answer(io, id, "! bad name\n"),
            Err(NoName::Taken) => return hall.answer(io, id, "! name taken\n"),
        };
        hall.say_to_all(io, format!("* {old} is now {name}\n"), None);
        hall.observe(&ChatEvent::Renamed { id, from: &old, to: name });
        false
    }

    fn who(&self) -> String {
        self.room.who()
    }

    fn leave(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, text: Option<&str>) {
        let Some(member) = self.room.exit(number) else { return };
        let name = &member.name;
        hall.audience.leave(io, member.id);
        hall.say_to_all(io, left(name, text), None);
        hall.observe(&ChatEvent::Left { id: member.id, name, text });
    }
}

/// The notice that a member has joined.
pub(super) fn joined(name: &str) -> String {
    format!("* {name} joined\n")
}

/// The notice that a member has left, with its last words.
pub(super) fn left(name: &str, text: Option<&str>) -> String {
    match text {
        Some(text) => format!("* {name} left: {text}\n"),
        None => format!("* {name} left\n"),
    }
}
