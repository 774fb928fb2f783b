//! `Shared`: a room over many nodes, by a bus.

mod ask;
mod crowd;
mod events;
mod missed;
mod naming;
mod person;
mod returning;
mod word;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};

use self::ask::Ask;
use self::crowd::Crowd;
use self::missed::Missed;
use self::person::Person;
use self::word::Word;
use super::Chat;
use super::audience::Wire;
use super::event::ChatEvent;
use super::floor::Waiting;
use super::hall::Hall;
use super::names::{Names, key};
use super::reach::{Entry, Reach};
use super::room::who;
use crate::bus::{Bus, BusLimits, BusOptions, BusToken, PublishError};
use crate::services::framing::Framing;
use crate::{BoxError, ConnId, Io, LogRate, Peer, TimerId};

/// The room of a chat, among those of its bus.
const ROOM: &str = "chat";

/// The most bytes of what a word has beside its text, two names among it.
const WORD: usize = 512;

/// The most notices that wait. Of further ones the other nodes learn from the list of
/// members.
const MOST_OWED: usize = 1024;

/// The holder of a name that a member of another node has.
const ELSEWHERE: u64 = u64::MAX;

/// The notice that Redis is away.
const IS_OFFLINE: &str = "* the room is offline\n";

/// The answer to who says or asks something that does not reach the other nodes.
const OFFLINE: &str = "! not delivered: the room is offline\n";

/// The reach of a [`Chat`](super::Chat) that is
/// [`on_bus`](super::Chat::on_bus): all nodes of the bus.
pub struct Shared {
    bus: Bus,
    /// The members of this node, by number.
    members: BTreeMap<u64, Member>,
    /// Those that have no name yet.
    arrivals: BTreeMap<u64, Arrival>,
    last_number: u64,
    /// All names of the room, as far as this node knows, and those that it asks for.
    names: Names,
    /// The numbers of those that ask for names, by the names' keys.
    asking: BTreeMap<String, u64>,
    last_rank: u64,
    crowd: Crowd,
    /// Who said what is not answered yet.
    said: BTreeMap<BusToken, u64>,
    /// The numbers of those that are given what they have missed.
    returning: BTreeMap<BusToken, u64>,
    /// Those whose next line waits until Redis has answered enough of what was said.
    held: BTreeSet<u64>,
    /// Notices that wait until there is room for them.
    owed: VecDeque<Bytes>,
    /// So much may be unanswered before members are held.
    most_unanswered: usize,
    /// Lines of members that have ended and may not say them yet; `None` once they may.
    last_lines: BTreeMap<u64, Option<BytesMut>>,
    contact: Contact,
    unread: LogRate,
}

/// A [`Chat`] that is [on a bus](Chat::on_bus): one room with those of all nodes.
pub type SharedChat = Chat<Shared>;

impl Chat {
    /// Makes the room one with those of all processes whose [`Bus`] has the same Redis and
    /// prefix. Add it to its reactor in an [`OnBus`](crate::bus::OnBus).
    ///
    /// Every line goes through Redis and comes to its own node that way too, so that all
    /// members see one order. Names are unique over all nodes: a member gets `* you are
    /// NAME`, and its first line is taken, once Redis has confirmed its name; `/nick` is
    /// answered then too. `/who`, `/msg` and the notices hold for all nodes.
    ///
    /// While Redis is away, the members get `* the room is offline` and `* the room is
    /// back`. What is said meanwhile waits, within
    /// [`max_waiting`](crate::bus::BusLimits::max_waiting), `max_waiting_bytes` and
    /// `publish_timeout`; whoever says more, or waits for longer, gets `! not delivered:
    /// the room is offline`. New members wait for their names. What a node has missed and
    /// cannot get is said as `* N lines were missed`, private lines and notices among
    /// them; `* lines may have been missed` says that Redis was restarted, and nobody
    /// knows. The members of a node that died have left within
    /// [`presence_ttl`](crate::bus::BusLimits::presence_ttl), each with its notice.
    ///
    /// A line that another node has said is not trusted: a name that no member may have, or
    /// another form, is skipped with a warning, and texts are cleaned as those of members
    /// are. But whoever may write to that Redis can speak as anybody. A private line goes
    /// through the log of the room in Redis, and to all nodes, of which one shows it.
    ///
    /// The bounds of a turn hold for lines of the bus too. 4 MiB of them wait while the
    /// room pauses for members that read slowly; further ones are sent at once. The
    /// observer hears of the members of this node.
    ///
    /// ```
    /// use serve_forever::bus::{Bus, OnBus};
    /// use serve_forever::services::{Chat, SharedChat};
    /// use serve_forever::{Config, Reactor};
    ///
    /// let bus = Bus::new("redis://127.0.0.1/lobby".parse()?, SharedChat::bus_options())?;
    /// let mut reactor = Reactor::new(Config::default())?;
    /// let chat = reactor.add(OnBus::new(Chat::new().on_bus(bus)), Chat::limits())?;
    /// reactor.listen(&chat, &"127.0.0.1:0".parse()?)?;
    /// # reactor.handle(&chat).shutdown(std::time::Duration::ZERO);
    /// reactor.serve_forever()?;
    /// # Ok::<(), serve_forever::Error>(())
    /// ```
    #[must_use]
    pub fn on_bus(self, bus: Bus) -> SharedChat {
        self.reaching(Shared::new(bus))
    }
}

impl SharedChat {
    /// The proposed options of its bus: the default ones, with room for the longest line.
    #[must_use]
    pub fn bus_options() -> BusOptions {
        let limits = BusLimits { max_payload: Framing::MAX_LINE + WORD, ..BusLimits::default() };
        BusOptions { limits, ..BusOptions::default() }
    }

    /// The names of all members, on all nodes, in order of joining, as far as this node
    /// knows.
    #[must_use]
    pub fn everybody(&self) -> Vec<&str> {
        self.reach.everybody()
    }

    /// Sends `* TEXT` to all members, on all nodes, cleaned as their own lines are. In a
    /// call from a [`Handle`](crate::Handle), call it in
    /// [`OnBus::run`](crate::bus::OnBus::run).
    ///
    /// # Errors
    ///
    /// As [`Bus::publish`].
    pub fn announce(&mut self, io: &mut Io<'_>, text: &str) -> Result<(), PublishError> {
        self.reach.publish(io, 0, &Word::Announced { text: text.into() }).map(drop)
    }
}

/// What the members know of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    Offline,
    /// Or not known yet.
    Online,
}

/// A member of this node.
#[derive(Debug)]
struct Member {
    id: ConnId,
    name: String,
    rank: u64,
    renames: u32,
    /// The name that it has asked for.
    asks: Option<Ask>,
    /// The notice of its new name, until Redis has it: what it asks next is answered
    /// behind that.
    notice: Option<BusToken>,
    /// What it has missed, until it has been given that: it hears the room, and its next
    /// line is taken, behind it.
    missed: Option<Missed>,
}

/// A connection that gets its name.
#[derive(Debug)]
struct Arrival {
    id: ConnId,
    wire: Wire,
    peer: Peer,
    asks: Option<Ask>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("bus", &self.bus)
            .field("members", &self.members)
            .field("arrivals", &self.arrivals)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn new(bus: Bus) -> Self {
        let limits = bus.limits();
        let longest = limits.max_waiting_bytes / limits.max_payload;
        let most_unanswered = (longest.min(limits.max_waiting).min(limits.max_in_flight) / 2).max(1);
        let crowd = Crowd::new(limits.presence_ttl / 6, limits.max_members);
        Self {
            bus,
            members: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            last_number: 0,
            names: Names::new(),
            asking: BTreeMap::new(),
            last_rank: 0,
            crowd,
            said: BTreeMap::new(),
            returning: BTreeMap::new(),
            held: BTreeSet::new(),
            owed: VecDeque::new(),
            most_unanswered,
            last_lines: BTreeMap::new(),
            contact: Contact::Online,
            unread: LogRate::new(),
        }
    }

    /// The names of all members, on all nodes, in order of joining.
    fn everybody(&self) -> Vec<&str> {
        let own = self.bus.node();
        let mut people: Vec<_> = self
            .bus
            .members(ROOM)
            .filter_map(|(key, member)| Some((member.node, Person::read(key, &member.value)?)))
            // While Redis is away it lists members of this node that have left.
            .filter(|(node, person)| *node != own || self.names.holder(person.name) == Some(person.number))
            .collect();
        // One that changes its name has two for a moment.
        people.sort_unstable_by_key(|(node, person)| {
            (person.rank, *node, person.number, Reverse(person.renames))
        });
        people.dedup_by_key(|(node, person)| (person.rank, *node, person.number));
        people.into_iter().map(|(_, person)| person.name).collect()
    }

    /// Sends a word to all nodes.
    fn publish(&mut self, io: &mut Io<'_>, number: u64, word: &Word<'_>) -> Result<BusToken, PublishError> {
        self.bus.publish(io, ROOM, word.write(number))
    }

    /// Tells other nodes what a member does, now or as soon as there is room.
    fn notify(&mut self, io: &mut Io<'_>, number: u64, word: &Word<'_>) -> Option<BusToken> {
        let notice = Bytes::from(word.write(number));
        let outcome = if self.owed.is_empty() {
            self.bus.publish(io, ROOM, notice.clone())
        } else {
            Err(PublishError::Full)
        };
        if outcome.is_err() && self.owed.len() < MOST_OWED {
            self.owed.push_back(notice);
        }
        outcome.ok()
    }

    /// Sends the notices that had to wait.
    fn pay(&mut self, io: &mut Io<'_>) {
        while let Some(notice) = self.owed.front()
            && self.bus.publish(io, ROOM, notice.clone()).is_ok()
        {
            self.owed.pop_front();
        }
    }

    /// Sends what a member says. As [`Hall::answer`].
    fn deliver(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, word: &Word<'_>) -> bool {
        match self.publish(io, number, word) {
            Ok(token) => {
                self.said.insert(token, number);
                false
            }
            Err(error) => self.connection(number).is_some_and(|id| hall.answer(io, id, undelivered(&error))),
        }
    }

    /// Has a member go on that had to wait with its next line.
    fn go_on(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64) {
        let Some(id) = self.connection(number) else { return };
        match self.last_lines.get_mut(&number) {
            None => io.resume(id),
            Some(line) => {
                if let Some(line) = line.take()
                    && hall.floor.queue(io, Waiting::LastLine { number, id, line }).is_err()
                {
                    io.abort(id);
                    self.leave(hall, io, number, None);
                }
            }
        }
    }
}

/// What the speaker is told of a line that was not delivered.
fn undelivered(error: &PublishError) -> String {
    let why = match error {
        PublishError::Offline | PublishError::TimedOut | PublishError::Ended => return OFFLINE.into(),
        PublishError::Unknown => return "! perhaps not delivered: the room went offline\n".into(),
        PublishError::TooLong => "the line is too long",
        PublishError::Full => "too many lines wait",
        _ => "the room has refused it",
    };
    format!("! not delivered: {why}\n")
}

impl Reach for Shared {
    fn members(&self) -> impl ExactSizeIterator<Item = (ConnId, &str)> {
        self.members.values().map(|member| (member.id, member.name.as_str()))
    }

    fn connections(&self) -> impl Iterator<Item = ConnId> {
        let arrivals = self.arrivals.values().map(|arrival| arrival.id);
        self.members.values().map(|member| member.id).chain(arrivals)
    }

    fn connection(&self, number: u64) -> Option<ConnId> {
        let member = self.members.get(&number).map(|member| member.id);
        member.or_else(|| self.arrivals.get(&number).map(|arrival| arrival.id))
    }

    fn name(&self, number: u64) -> Option<&str> {
        self.members.get(&number).map(|member| member.name.as_str())
    }

    fn begin(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        Ok(self.bus.subscribe(io, ROOM)?)
    }

    fn enter(
        &mut self,
        hall: &mut Hall,
        io: &mut Io<'_>,
        peer: &Peer,
        wire: Wire,
    ) -> Result<Entry, BoxError> {
        let id = io.id();
        self.last_number += 1;
        let number = self.last_number;
        let arrival = Arrival { id, wire, peer: peer.clone(), asks: None };
        self.arrivals.insert(number, arrival);
        if let Err(error) = self.ask_for_guest(io, number) {
            self.arrivals.remove(&number);
            return Err(error.into());
        }
        hall.audience.remember(id, wire);
        let is_full = self.contact == Contact::Offline && hall.answer(io, id, IS_OFFLINE);
        Ok(Entry { number, is_full })
    }

    fn takes_line(&mut self, _: &Io<'_>, number: u64) -> bool {
        let is_settled =
            |member: &Member| member.asks.is_none() && member.notice.is_none() && member.missed.is_none();
        let is_named = self.members.get(&number).is_some_and(is_settled);
        let is_behind = || self.bus.waiting() >= self.most_unanswered || !self.owed.is_empty();
        if is_named && self.bus.is_up() && is_behind() {
            self.held.insert(number);
            return false;
        }
        is_named
    }

    fn keep_last_line(&mut self, number: u64, line: BytesMut) {
        self.last_lines.insert(number, Some(line));
    }

    fn has_last_line(&self, number: u64) -> bool {
        // Nobody knows how long it would have to be kept for whom.
        self.bus.is_up() && self.last_lines.contains_key(&number)
    }

    fn say(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, text: &str) -> bool {
        let Some(member) = self.members.get(&number) else { return false };
        let (id, name) = (member.id, member.name.clone());
        let is_full = self.deliver(hall, io, number, &Word::Said { name: &name, text: text.into() });
        hall.observe(&ChatEvent::Said { id, name: &name, text });
        is_full
    }

    fn whisper(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, to: &str, text: &str) -> bool {
        let Some(member) = self.members.get(&number) else { return false };
        let (id, from) = (member.id, member.name.clone());
        let is_there = self.bus.member(ROOM, &key(to)).is_some();
        if !is_there {
            return hall.answer(io, id, format!("! no such name {to}\n"));
        }
        self.deliver(hall, io, number, &Word::Whispered { from: &from, to, text: text.into() })
    }

    fn rename(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, name: &str) -> bool {
        self.change_name(hall, io, number, name)
    }

    fn who(&self) -> String {
        who(self.everybody().into_iter())
    }

    fn leave(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64, text: Option<&str>) {
        self.held.remove(&number);
        self.last_lines.remove(&number);
        if let Some(arrival) = self.arrivals.remove(&number) {
            if let Some(ask) = arrival.asks {
                self.release(io, number, &ask.name);
            }
            return;
        }
        let Some(member) = self.members.remove(&number) else { return };
        let (id, name) = (member.id, member.name);
        hall.audience.leave(io, id);
        if let Some(Missed { asked: Some(token), .. }) = member.missed {
            self.returning.remove(&token);
            self.bus.cancel_resume(token);
        }
        self.notify(io, number, &Word::Left { name: &name, text: text.map(Into::into) });
        self.release(io, number, &name);
        if let Some(ask) = member.asks {
            self.release(io, number, &ask.name);
        }
        hall.observe(&ChatEvent::Left { id, name: &name, text });
    }

    fn tick(&mut self, hall: &mut Hall, io: &mut Io<'_>, timer: TimerId) {
        if self.crowd.is_tick(timer) {
            self.miss(hall, io);
        }
    }

    fn drained(&mut self, hall: &mut Hall, io: &mut Io<'_>, number: u64) {
        self.go_on_returning(hall, io, number);
    }

    fn shutting_down(&mut self, hall: &mut Hall, io: &mut Io<'_>) {
        if self.bus.is_up() {
            return;
        }
        // No name comes for these any more, and nothing that was missed for the others.
        for arrival in self.arrivals.values() {
            hall.audience.close(io, arrival.id);
        }
        self.give_returning_up(hall, io);
    }
}
