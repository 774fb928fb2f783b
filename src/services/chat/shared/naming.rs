//! Names that are unique over all nodes: asked for, and given when Redis has answered.

use super::ask::{Ask, Choice};
use super::person::Person;
use super::word::Word;
use super::{ELSEWHERE, Member, OFFLINE, ROOM, Shared};
use crate::bus::EnterError;
use crate::services::chat::event::ChatEvent;
use crate::services::chat::hall::Hall;
use crate::services::chat::names::{Names, key};
use crate::services::chat::reach::Reach;
use crate::{Error, Io};

/// The notice to somebody for whom there is no place.
const FULL: &str = "! the room is full\n";

impl Shared {
    /// Asks for the smallest guest name that is free.
    pub(super) fn ask_for_guest(&mut self, io: &mut Io<'_>, number: u64) -> Result<(), Error> {
        let name = self.names.guest();
        self.ask(io, number, Ask::new(name, Choice::Room))
    }

    fn ask(&mut self, io: &mut Io<'_>, number: u64, ask: Ask) -> Result<(), Error> {
        // Who arrives is behind all that this node knows of by now.
        let behind = self.last_rank.saturating_add(1);
        let known = self.members.get(&number);
        let (rank, renames) =
            known.map_or((behind, 0), |member| (member.rank, member.renames.saturating_add(1)));
        let member = key(&ask.name);
        let person = Person { rank, number, renames, name: &ask.name };
        self.bus.enter(io, ROOM, &member, person.write())?;
        self.last_rank = self.last_rank.max(rank);
        let ask = Ask { rank, ..ask };
        self.names.take(&member, number);
        self.asking.insert(member, number);
        let asks = match self.members.get_mut(&number) {
            Some(member) => Some(&mut member.asks),
            None => self.arrivals.get_mut(&number).map(|arrival| &mut arrival.asks),
        };
        if let Some(asks) = asks {
            *asks = Some(ask);
        }
        Ok(())
    }

    /// Gives a name of a member back.
    pub(super) fn release(&mut self, io: &mut Io<'_>, number: u64, name: &str) {
        let member = key(name);
        self.bus.exit(io, ROOM, &member);
        self.asking.remove(&member);
        self.forget(number, &member);
    }

    /// Forgets that a member has, or asks for, a name.
    fn forget(&mut self, number: u64, member: &str) {
        if self.names.holder(member) == Some(number) {
            self.names.release(member);
        }
    }

    /// Forgets a name that Redis has refused: another node has it, or had it.
    fn lose(&mut self, number: u64, member: &str) {
        self.forget(number, member);
        if self.bus.member(ROOM, member).is_some_and(|listed| listed.node != self.bus.node()) {
            self.names.take(member, ELSEWHERE);
        }
    }

    /// `/nick`. As [`Hall::answer`].
    pub(super) fn change_name(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, name: &str) -> bool {
        let Some(member) = self.members.get(&number) else { return false };
        let id = member.id;
        if !Names::is_good(name) {
            return hall.answer(io, id, "! bad name\n");
        } else if member.name == name {
            return false;
        } else if self.names.holder(name).is_some_and(|holder| holder != number) {
            return hall.answer(io, id, "! name taken\n");
        } else if !self.bus.is_up() {
            return hall.answer(io, id, OFFLINE);
        }
        match self.ask(io, number, Ask::new(name.to_owned(), Choice::Member)) {
            Ok(()) => false,
            Err(Error::Full { .. }) => hall.answer(io, id, FULL),
            // Its key is too long.
            Err(_) => hall.answer(io, id, "! bad name\n"),
        }
    }

    /// Takes the answer for a name.
    pub(super) fn named(
        &mut self,
        hall: &mut Hall,
        io: &mut Io<'_>,
        member: &str,
        outcome: Result<(), EnterError>,
    ) {
        let Some(number) = self.asking.remove(member) else {
            if outcome.is_err() {
                self.name_lost(hall, io, member);
            }
            return;
        };
        let has_name = self.members.get(&number).is_some_and(|known| key(&known.name) == member);
        if outcome.is_err() && !has_name {
            self.lose(number, member);
        }
        if self.arrivals.contains_key(&number) {
            match outcome {
                Ok(()) => self.arrive(hall, io, number),
                Err(EnterError::Taken) => self.ask_again(hall, io, number, member),
                Err(_) => self.turn_away(hall, io, number),
            }
        } else if let Some(ask) = self.take_ask(number, member) {
            match (outcome, ask.choice) {
                (Ok(()), _) => self.renamed(hall, io, number, ask.name),
                (Err(_), _) if has_name => return self.name_lost(hall, io, member),
                (Err(EnterError::Taken), Choice::Room) => return self.ask_again(hall, io, number, member),
                (Err(_), Choice::Room) => return self.turn_away(hall, io, number),
                (Err(error), Choice::Member) => {
                    let answer = if error == EnterError::Taken { "! name taken\n" } else { FULL };
                    self.refuse(hall, io, number, answer);
                }
            }
            self.go_on(hall, io, number);
        } else if outcome.is_ok() {
            // It has asked for another one since.
            self.release(io, number, member);
        }
    }

    /// Takes what a member asks for, if it is this.
    fn take_ask(&mut self, number: u64, name: &str) -> Option<Ask> {
        self.members.get_mut(&number)?.asks.take_if(|ask| key(&ask.name) == name)
    }

    fn refuse(&self, hall: &mut Hall, io: &mut Io<'_>, number: u64, answer: &'static str) {
        if let Some(id) = self.connection(number) {
            hall.answer(io, id, answer);
        }
    }

    /// Asks for another guest name: this one is somebody else's.
    fn ask_again(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, refused: &str) {
        let name = Some(self.names.guest()).filter(|name| name != refused);
        // The list of members does not know who has it.
        let name = name.unwrap_or_else(|| self.names.guest_behind(refused));
        if self.ask(io, number, Ask::new(name, Choice::Room)).is_err() {
            self.turn_away(hall, io, number);
        }
    }

    fn turn_away(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64) {
        match self.connection(number) {
            Some(id) if io.is_open(id) => {
                hall.answer(io, id, FULL);
                hall.audience.close(io, id);
            }
            // No end of its connection follows.
            _ => self.leave(hall, io, number, None),
        }
    }

    /// A member has its first name: it is in the room.
    fn arrive(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64) {
        let Some(arrival) = self.arrivals.remove(&number) else { return };
        let Some(Ask { name, rank, .. }) = arrival.asks else { return };
        let id = arrival.id;
        let _ = hall.answer(io, id, format!("* you are {name}\n"));
        let member =
            Member { id, name: name.clone(), rank, renames: 0, asks: None, notice: None, missed: None };
        self.members.insert(number, member);
        self.let_hear(hall, io, number, arrival.wire);
        self.notify(io, number, &Word::Joined { name: &name });
        self.go_on(hall, io, number);
        hall.observe(&ChatEvent::Joined { id, name: &name, peer: &arrival.peer });
    }

    /// A member has another name.
    fn renamed(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, name: String) {
        let Some(member) = self.members.get_mut(&number) else { return };
        let id = member.id;
        let old = std::mem::replace(&mut member.name, name.clone());
        member.renames = member.renames.saturating_add(1);
        let notice = self.notify(io, number, &Word::Renamed { from: &old, to: &name });
        if let Some(token) = notice {
            self.said.insert(token, number);
        }
        if let Some(member) = self.members.get_mut(&number) {
            member.notice = notice;
        }
        if key(&old) != key(&name) {
            self.release(io, number, &old);
        }
        hall.observe(&ChatEvent::Renamed { id, from: &old, to: &name });
    }

    /// Redis has lost a name of this node, and another one has taken it.
    fn name_lost(&mut self, hall: &mut Hall, io: &mut Io<'_>, member: &str) {
        let holds = |known: &Member| key(&known.name) == member;
        let Some(number) = self.members.iter().find(|(_, known)| holds(known)).map(|(number, _)| *number)
        else {
            return;
        };
        self.lose(number, member);
        if self.ask_for_guest(io, number).is_err() {
            self.turn_away(hall, io, number);
        }
    }

    /// Redis is away: a member does not wait for a name that it has chosen.
    pub(super) fn give_names_up(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        let asks = self.members.iter_mut().filter_map(|(number, member)| {
            let ask = member.asks.take_if(|ask| ask.choice == Choice::Member)?;
            Some((*number, ask.name, member.name.clone()))
        });
        for (number, asked, name) in asks.collect::<Vec<_>>() {
            if key(&asked) == key(&name) {
                self.asking.remove(&key(&asked));
                self.enter_again(io, number);
            } else {
                self.release(io, number, &asked);
            }
            self.refuse(hall, io, number, OFFLINE);
            self.go_on(hall, io, number);
        }
    }

    /// Has the list of members show the name that a member has.
    fn enter_again(&mut self, io: &mut Io<'_>, number: u64) {
        let Some(Member { rank, renames, name, .. }) = self.members.get(&number) else { return };
        let person = Person { rank: *rank, number, renames: *renames, name };
        if let Err(error) = self.bus.enter(io, ROOM, &key(name), person.write()) {
            log::warn!("chat: {name} is not listed: {error}");
        }
    }

    /// Somebody of another node has a name. Of one that this node asks for, the answer
    /// tells who has it.
    pub(super) fn held_elsewhere(&mut self, member: &str) {
        if !self.asking.contains_key(member) {
            self.names.take(member, ELSEWHERE);
        }
    }

    /// Nobody of another node has it any more.
    pub(super) fn free_elsewhere(&mut self, member: &str) {
        self.forget(ELSEWHERE, member);
    }
}
