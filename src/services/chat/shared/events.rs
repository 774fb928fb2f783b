//! Events of the bus, as a shared chat takes them.

use super::missed::of_gap;
use super::person::Person;
use super::word::Word;
use super::{Contact, IS_OFFLINE, Member, ROOM, Shared, undelivered};
use crate::Io;
use crate::bus::{
    Bus, BusError, BusHandler, BusToken, EnterError, Gap, Message, Position, Presence, PresenceChange,
    PublishError, Resume,
};
use crate::services::chat::Chat;
use crate::services::chat::audience::Standing;
use crate::services::chat::hall::Hall;
use crate::services::chat::lines::{Hearers, Line};
use crate::services::chat::local::{joined, left};
use crate::services::chat::names::key;
use crate::services::chat::reach::Reach;

/// The notice that Redis is there again.
const IS_BACK: &str = "* the room is back\n";

impl BusHandler for Chat<Shared> {
    fn bus(&mut self) -> &mut Bus {
        &mut self.reach.bus
    }

    fn message(&mut self, io: &mut Io<'_>, message: Message) {
        self.reach.take(&mut self.hall, io, &message);
    }

    fn gap(&mut self, io: &mut Io<'_>, gap: Gap) {
        if let Some(text) = of_gap(&gap) {
            self.hall.hear(io, Line { at: Standing { position: Some(gap.to) }, ..Line::aside(text) });
        }
    }

    fn published(&mut self, io: &mut Io<'_>, token: BusToken, outcome: Result<Position, PublishError>) {
        self.reach.answered(&mut self.hall, io, token, outcome);
    }

    fn resumed(&mut self, io: &mut Io<'_>, _: &str, token: BusToken, step: Resume) {
        self.reach.catch_up(&mut self.hall, io, token, step);
    }

    fn entered(&mut self, io: &mut Io<'_>, _: &str, member: &str, outcome: Result<(), EnterError>) {
        self.reach.named(&mut self.hall, io, member, outcome);
    }

    fn presence(&mut self, io: &mut Io<'_>, presence: Presence) {
        self.reach.listed(&mut self.hall, io, &presence);
    }

    fn bus_up(&mut self, io: &mut Io<'_>) {
        if self.reach.contact == Contact::Offline {
            self.reach.contact = Contact::Online;
            self.reach.tell_everybody(&mut self.hall, io, IS_BACK);
        }
        self.reach.let_go(&mut self.hall, io);
    }

    fn bus_down(&mut self, io: &mut Io<'_>, _: BusError) {
        self.reach.contact = Contact::Offline;
        self.reach.tell_everybody(&mut self.hall, io, IS_OFFLINE);
        self.reach.give_names_up(&mut self.hall, io);
        self.reach.let_go(&mut self.hall, io);
        self.reach.drop_the_gone(&mut self.hall, io);
    }
}

impl Shared {
    /// Takes a message of the room.
    fn take(&mut self, hall: &mut Hall, io: &mut Io<'_>, message: &Message) {
        let Some((number, word)) = Word::read(&message.payload) else {
            if let Some(more) = self.unread.allows(io.now()) {
                let node = message.node;
                log::warn!("chat: what node {node} says cannot be read; is it of another version?{more}");
            }
            return;
        };
        // One that is still given what it has missed does not hear the room.
        let hears = |member: &&Member| message.node == self.bus.node() && member.missed.is_none();
        let speaker = || match self.members.get(&number).filter(hears) {
            Some(member) => Hearers::AllBut(member.id),
            None => Hearers::All,
        };
        let to = match word {
            Word::Said { .. } => speaker(),
            Word::Whispered { to, .. } => match self.addressee(to) {
                Some(to) => to,
                None => return,
            },
            Word::Joined { name } => {
                let speaker = speaker();
                self.crowd.came((message.node, number), name);
                speaker
            }
            Word::Renamed { to, .. } => {
                self.crowd.came((message.node, number), to);
                Hearers::All
            }
            Word::Left { .. } if !self.crowd.left((message.node, number)) => return,
            Word::Left { .. } | Word::Announced { .. } => Hearers::All,
        };
        let text = word.line();
        hall.hear(io, Line { text, to, at: Standing { position: message.position } });
    }

    /// The member of this node with a name.
    fn addressee(&self, name: &str) -> Option<Hearers> {
        let number = self.names.holder(name)?;
        let member = self.members.get(&number).filter(|member| key(&member.name) == key(name))?;
        Some(Hearers::One(member.id))
    }

    /// Takes the answer for what was published.
    fn answered(
        &mut self,
        hall: &mut Hall,
        io: &mut Io<'_>,
        token: BusToken,
        outcome: Result<Position, PublishError>,
    ) {
        if let Some(number) = self.said.remove(&token) {
            let notice =
                self.members.get_mut(&number).and_then(|member| member.notice.take_if(|own| *own == token));
            match (outcome, self.connection(number)) {
                _ if notice.is_some() => self.go_on(hall, io, number),
                (Err(PublishError::OnlyHere), _) => {}
                (Err(error), Some(id)) => _ = hall.answer(io, id, undelivered(&error)),
                _ => {}
            }
        }
        if self.bus.waiting() <= self.most_unanswered / 2 {
            self.let_go(hall, io);
        }
    }

    /// Has those go on that were held.
    fn let_go(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        self.pay(io);
        if !self.owed.is_empty() && self.bus.is_up() {
            return;
        }
        for number in std::mem::take(&mut self.held) {
            self.go_on(hall, io, number);
        }
    }

    /// Takes a change of the members that are listed.
    fn listed(&mut self, hall: &mut Hall, io: &mut Io<'_>, presence: &Presence) {
        let member = &*presence.member;
        let is_here = presence.change == PresenceChange::Joined;
        if presence.node != self.bus.node() {
            if is_here {
                self.held_elsewhere(member);
            } else {
                self.free_elsewhere(member);
            }
        }
        let Some(person) = Person::read(member, &presence.value) else { return };
        let who = (presence.node, person.number);
        if !is_here {
            return self.crowd.is_missed(io, who, presence.change);
        }
        self.last_rank = self.last_rank.max(person.rank);
        if self.crowd.is_listed(who, person.name) {
            hall.hear(io, Line::aside(joined(person.name)));
        }
    }

    /// Announces those that are missing for good.
    pub(super) fn miss(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        if !self.bus.is_up() {
            return self.crowd.wait(io);
        }
        let listed = self.bus.members(ROOM).filter_map(|(key, member)| {
            Person::read(key, &member.value).map(|person| (member.node, person.number))
        });
        let here = listed.collect();
        for name in self.crowd.take_lost(io, &here) {
            hall.hear(io, Line::aside(left(&name, None)));
        }
    }

    /// Sends a notice to all on this node, those without a name too.
    fn tell_everybody(&self, hall: &mut Hall, io: &mut Io<'_>, notice: &'static str) {
        hall.hear(io, Line::aside(notice.into()));
        let returning = self.members.values().filter(|member| member.missed.is_some());
        let arriving = self.arrivals.values().map(|arrival| arrival.id);
        for id in arriving.chain(returning.map(|member| member.id)) {
            hall.answer(io, id, notice);
        }
    }

    /// Removes those that are gone and still have something to say.
    fn drop_the_gone(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        let is_gone = |number: &&u64| self.connection(**number).is_some_and(|id| !io.is_open(id));
        let gone: Vec<_> = self.last_lines.keys().filter(is_gone).copied().collect();
        for number in gone {
            self.leave(hall, io, number, None);
        }
    }
}
