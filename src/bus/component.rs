//! `Bus`: what a handler asks of it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::batch::Outgoing;
use super::command::{Command, Names, RoomRef};
use super::error::{BusError, PublishError};
use super::event::{BusEvent, BusToken, GapReason, Message, NodeId};
use super::gather::Gathering;
use super::limits::{BusLimits, BusOptions, Offline};
use super::outbox::Outbox;
use super::position::{Epoch, Position};
use super::presence::Member;
use super::room::{Follows, OwnMember, Room, Told};
use super::scripts::Script;
use super::url::BusUrl;
use crate::Io;
use crate::Tally;
use crate::{ConnId, GroupId, TimerId};
use crate::{Error, Result};

/// The longest name of a room or a member in bytes, whatever the limits say.
const LONGEST_ROOM: usize = 255;

/// A room's way to all nodes: one connection to a Redis, in the loop of the handler that
/// owns it.
///
/// A handler makes a bus, owns it, and is added to its reactor in an
/// [`OnBus`](super::OnBus), which runs the bus's connection and calls the
/// [`BusHandler`](super::BusHandler) for what comes. See the [module](super) for the
/// whole.
///
/// No method blocks, and none calls the handler.
pub struct Bus {
    pub(super) url: BusUrl,
    pub(super) options: BusOptions,
    pub(super) names: Names,
    pub(super) random: Random,
    pub(super) link: Link,
    pub(super) outbox: Outbox,
    pub(super) rooms: BTreeMap<Arc<str>, Room>,
    pub(super) resumes: BTreeMap<BusToken, Catching>,
    pub(super) events: VecDeque<BusEvent>,
    pub(super) gathering: Gathering,
    pub(super) health: Health,
    pub(super) timing: Timing,
    pub(super) scripts: Scripts,
    tokens: u64,
    serials: u64,
    numbers: u64,
    scratch: BytesMut,
}

/// How far the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// [`Bus::start`] was not called.
    New,
    /// It is down, until the next attempt.
    Down,
    Connecting(ConnId),
    /// Connected, and not yet greeted.
    Greeting(ConnId),
    Ready(ConnId),
    /// To be closed.
    Failing(ConnId),
    /// The bus has left.
    Ended,
}

impl Link {
    pub(super) const fn id(self) -> Option<ConnId> {
        match self {
            Self::Connecting(id) | Self::Greeting(id) | Self::Ready(id) | Self::Failing(id) => Some(id),
            Self::New | Self::Down | Self::Ended => None,
        }
    }
}

/// What the handler was told about Redis.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) status: Status,
    /// Why the link ends that ends.
    pub(super) reason: Option<BusError>,
    /// What was logged last.
    pub(super) logged: Option<BusError>,
    /// Attempts since the link was up for a while.
    pub(super) failures: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing is known yet.
    #[default]
    New,
    Up,
    Down,
}

/// When the bus looks at what.
#[derive(Debug, Default)]
pub(super) struct Timing {
    pub(super) pulse: Option<TimerId>,
    /// When the pulse was due last.
    pub(super) pulsed: Option<Instant>,
    pub(super) retry: Option<TimerId>,
    pub(super) retry_at: Option<Instant>,
    /// Since when the link is as far as it is.
    pub(super) since: Option<Instant>,
    /// When Redis said something last.
    pub(super) heard: Option<Instant>,
    pub(super) beat: Option<Instant>,
    /// The handler has nothing more to say: leave when all is said.
    pub(super) leaves: Leaves,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaves {
    #[default]
    No,
    WhenAllIsSaid,
    Now,
    /// It has said so to Redis.
    Departed,
}

/// Whether Redis has the scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scripts {
    #[default]
    Loaded,
    /// So many answers are missing; nothing else is sent.
    Loading(usize),
}

/// A client that catches up.
#[derive(Debug)]
pub(super) struct Catching {
    pub(super) room: Arc<str>,
    pub(super) at: Position,
    pub(super) asks: Asks,
}

/// Whether a client that catches up waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// For its room to be live.
    Later,
    Asked,
}

/// Numbers from a seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    fn new(seed: Option<u64>) -> Self {
        // The keys of the standard library's hash maps are the system's random numbers.
        Self(seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()))
    }

    pub(super) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("url", &self.url)
            .field("node", &self.names.node)
            .field("link", &self.link)
            .field("rooms", &self.rooms.len())
            .field("waiting", &self.outbox.messages())
            .finish_non_exhaustive()
    }
}

/// # Making one
impl Bus {
    /// Makes a bus to this Redis. It connects when its [`OnBus`](super::OnBus) is added
    /// to a reactor.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if the limits cannot work; [`Error::Bus`] for `rediss://`
    /// without [`BusOptions`]' `tls`.
    pub fn new(url: BusUrl, options: BusOptions) -> Result<Self> {
        options.limits.check()?;
        #[cfg(feature = "tls")]
        if url.security == super::url::Security::Tls && options.tls.is_none() {
            let reason = "rediss:// needs BusOptions::tls".into();
            return Err(Error::Bus { what: "the URL of the bus", reason });
        }
        let mut random = Random::new(options.seed);
        let names = Names {
            prefix: url.prefix().into(),
            node: NodeId(random.draw()),
            login: url.login.clone(),
            run: Bytes::new(),
            hashes: [const { Bytes::new() }; Script::ALL.len()],
        };
        Ok(Self {
            url,
            options,
            names,
            random,
            link: Link::New,
            outbox: Outbox::default(),
            rooms: BTreeMap::new(),
            resumes: BTreeMap::new(),
            events: VecDeque::new(),
            gathering: Gathering::default(),
            health: Health::default(),
            timing: Timing::default(),
            scripts: Scripts::default(),
            tokens: 0,
            serials: 0,
            numbers: 0,
            scratch: BytesMut::new(),
        })
    }

    /// The name of this node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.names.node
    }

    /// Its Redis.
    #[must_use]
    pub const fn url(&self) -> &BusUrl {
        &self.url
    }

    /// True while it has a Redis that takes messages.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.link, Link::Ready(_))
    }

    /// True while it is up, follows all of its rooms, and has asked for nothing that Redis
    /// has not answered (but whether it is there).
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_live = |room: &Room| room.follows == Follows::Live;
        self.is_up() && self.outbox.is_idle() && self.rooms.values().all(is_live)
    }

    /// How many messages of this node wait, for Redis or for its answer.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.outbox.messages()
    }

    /// Its bounds.
    #[must_use]
    pub const fn limits(&self) -> &BusLimits {
        &self.options.limits
    }
}

/// # Rooms
impl Bus {
    /// Puts a connection into a room, whose group on this node it joins; it leaves when
    /// it ends. With the first member the node subscribes, and
    /// [`grace`](super::BusLimits::grace) after the last has left it unsubscribes. What
    /// is published from the subscription on comes as [`Message`]s. `false`: there is no
    /// such connection.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at [`BusLimits::max_rooms`](super::BusLimits::max_rooms), and as
    /// [`Io::join`] and [`Io::group`]; [`Error::Bus`] for a bad name: it has 1 to 255
    /// bytes, without control characters.
    pub fn join(&mut self, io: &mut Io<'_>, room: &str, id: ConnId) -> Result<bool> {
        let group = self.room(io, room)?.group;
        io.join(group, id)
    }

    /// Takes a connection out of a room; `false` if it was not in it.
    pub fn leave(&mut self, io: &mut Io<'_>, room: &str, id: ConnId) -> bool {
        self.rooms.get(room).is_some_and(|room| io.leave(room.group, id))
    }

    /// Subscribes to a room, whoever is in it, until [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn subscribe(&mut self, io: &mut Io<'_>, room: &str) -> Result<()> {
        self.room(io, room)?.is_held = true;
        Ok(())
    }

    /// Takes [`subscribe`](Self::subscribe) back. The room stays while somebody is in it.
    pub fn unsubscribe(&mut self, room: &str) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.is_held = false;
        }
    }

    /// The connections on this node that are in a room; `None` if the node is not
    /// subscribed to it.
    #[must_use]
    pub fn group(&self, room: &str) -> Option<GroupId> {
        self.rooms.get(room).map(|room| room.group)
    }

    /// Sends bytes to every connection on this node that is in a room, as
    /// [`Io::broadcast`] does.
    pub fn broadcast(&self, io: &mut Io<'_>, room: &str, data: &Bytes) -> Tally {
        self.group(room).map_or_else(Tally::default, |group| io.broadcast(group, data, None))
    }

    /// The last message of a room that came to this node, or the one before the first
    /// that will come; `None` before Redis has answered. The events that the bus still
    /// has to tell count as told.
    #[must_use]
    pub fn position(&self, room: &str) -> Option<Position> {
        self.rooms.get(room)?.position
    }

    /// The room, subscribed to.
    pub(super) fn room(&mut self, io: &mut Io<'_>, name: &str) -> Result<&mut Room> {
        if !self.rooms.contains_key(name) {
            if !is_name(name, LONGEST_ROOM) {
                let reason = format!(
                    "{:?} has not 1 to {LONGEST_ROOM} bytes without control characters",
                    name.chars().take(32).collect::<String>()
                );
                return Err(Error::Bus { what: "the name of the room", reason });
            }
            let limit = self.limits().max_rooms;
            if self.rooms.len() >= limit {
                return Err(Error::Full {
                    what: "rooms of the bus",
                    field: Some("BusLimits::max_rooms"),
                    limit,
                });
            }
            self.serials += 1;
            let at = RoomRef { name: name.into(), serial: self.serials };
            let mut room = Room::new(at, io.group()?, io.now());
            if self.is_up() {
                self.outbox.push_first(subscription(&mut room).into_iter());
            }
            self.rooms.insert(Arc::clone(&room.at.name), room);
            self.pump(io);
        }
        Ok(self.rooms.get_mut(name).expect("it was there or was inserted"))
    }
}

/// What a room asks for on a new link, which it follows from now on.
pub(super) fn subscription(room: &mut Room) -> Vec<Command> {
    room.follows = Follows::Reading;
    let mut commands = vec![Command::Subscribe(room.at.clone())];
    commands.extend(state_of(room));
    commands
}

/// The commands by which a room and Redis learn of each other.
pub(super) fn state_of(room: &Room) -> Vec<Command> {
    let at = || room.at.clone();
    let mut commands = vec![Command::Read(at(), room.position), Command::Members(at())];
    commands.extend(room.own.iter().map(|(name, own)| Command::Enter(own.entering(at(), name))));
    commands
}

/// True for a name of a room or a member.
pub(super) fn is_name(name: &str, longest: usize) -> bool {
    !name.is_empty() && name.len() <= longest && !name.contains(char::is_control)
}

/// # Messages
impl Bus {
    /// Publishes a message to a room, whether or not this node is subscribed to it. It is
    /// answered once, by [`BusHandler::published`](super::BusHandler::published), and
    /// comes back as a [`Message`] to every node that is subscribed, this one included,
    /// at the place that Redis gives it.
    ///
    /// The messages of one node to one room stay in order. What one callback publishes to
    /// a room goes to Redis in one command when the callback has returned, up to
    /// [`BusLimits::max_batch`](super::BusLimits::max_batch). While Redis is away it waits,
    /// and is sent when Redis is back; what was sent and not answered is sent again, and
    /// is no second message.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] or [`PublishError::Offline`] if too much waits already,
    /// [`PublishError::TooLong`], [`PublishError::BadRoom`], [`PublishError::Ended`].
    /// Then there is no other answer.
    pub fn publish(
        &mut self,
        io: &mut Io<'_>,
        room: &str,
        payload: impl Into<Bytes>,
    ) -> Result<BusToken, PublishError> {
        let payload = payload.into();
        let limits = self.limits();
        if matches!(self.link, Link::New | Link::Ended) {
            return Err(PublishError::Ended);
        } else if payload.len() > limits.max_payload {
            return Err(PublishError::TooLong);
        } else if !is_name(room, LONGEST_ROOM) {
            return Err(PublishError::BadRoom);
        }
        let is_down = self.health.status == Status::Down;
        if is_down && self.options.offline == Offline::ServeOwn {
            return Ok(self.publish_here(room, payload));
        }
        if !self.outbox.admits(payload.len(), limits) {
            return Err(if is_down { PublishError::Offline } else { PublishError::Full });
        }
        let token = self.token();
        let name = self.rooms.get(room).map_or_else(|| room.into(), |room| Arc::clone(&room.at.name));
        self.outbox.publish(name, io.now(), Outgoing { token, payload }, &self.options.limits);
        Ok(token)
    }

    /// Gives a message to the members on this node alone.
    fn publish_here(&mut self, room: &str, payload: Bytes) -> BusToken {
        let token = self.token();
        if let Some(room) = self.rooms.get_mut(room) {
            if !room.has_lost_order {
                room.has_lost_order = true;
                let at = room.position.unwrap_or(Position { epoch: Epoch(0), offset: 0 });
                self.events.push_back(BusEvent::Gap(room.gap(at, at, GapReason::OrderLost)));
            }
            let name = Arc::clone(&room.at.name);
            let message = Message { room: name, position: None, node: self.names.node, payload };
            self.events.push_back(BusEvent::Message(message));
        }
        self.events.push_back(BusEvent::Published { token, outcome: Err(PublishError::OnlyHere) });
        token
    }

    pub(super) const fn token(&mut self) -> BusToken {
        self.tokens += 1;
        BusToken(self.tokens)
    }
}

/// # Members
impl Bus {
    /// Lists a member in a room, under a name that no member of another node has, with a
    /// value for everybody to see; again with another value changes it. It is answered by
    /// [`BusHandler::entered`](super::BusHandler::entered), once Redis is there, unless
    /// the member [exits](Self::exit) before that; of several calls, the last one has the
    /// answer. Another answer with an error follows if Redis has lost the member and the
    /// name is another's by then. A bus whose Redis is back lists its members again by itself.
    ///
    /// The node stays subscribed to the room while it has members listed there.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`Error::Bus`] if name or value are longer than
    /// [`BusLimits::max_member`](super::BusLimits::max_member), or the name is empty or
    /// has control characters; [`Error::Full`] at
    /// [`BusLimits::max_members`](super::BusLimits::max_members) on this node alone.
    pub fn enter(
        &mut self,
        io: &mut Io<'_>,
        room: &str,
        member: &str,
        value: impl Into<Bytes>,
    ) -> Result<()> {
        let value = value.into();
        let (longest, limit) = (self.limits().max_member, self.limits().max_members);
        if !is_name(member, longest) || value.len() > longest {
            let reason = format!(
                "its name has 1 to {longest} bytes without control characters, its value at most {longest}"
            );
            return Err(Error::Bus { what: "the member", reason });
        }
        self.serials += 1;
        let serial = self.serials;
        let room = self.room(io, room)?;
        if room.own.len() >= limit && !room.own.contains_key(member) {
            let field = Some("BusLimits::max_members");
            return Err(Error::Full { what: "members of a room", field, limit });
        }
        let member: Arc<str> = member.into();
        let own = OwnMember { value, serial, told: Told::NotYet };
        let entering = own.entering(room.at.clone(), &member);
        room.has_entered = true;
        room.own.insert(member, own);
        let can_ask = room.follows != Follows::Away;
        forget_answer(&mut self.events, &entering.room.name, &entering.member);
        if can_ask {
            self.outbox.push(Command::Enter(entering));
            self.pump(io);
        }
        Ok(())
    }

    /// Takes a member of this node off the list of a room; `false` if it was not on it. An
    /// answer to [`enter`](Self::enter) that was not told yet is not told any more.
    pub fn exit(&mut self, io: &mut Io<'_>, room: &str, member: &str) -> bool {
        forget_answer(&mut self.events, room, member);
        let Some(room) = self.rooms.get_mut(room) else { return false };
        let Some((name, _)) = room.own.remove_entry(member) else { return false };
        if room.follows != Follows::Away {
            self.outbox.push(Command::Exit(room.at.clone(), name, room.remaining()));
            self.pump(io);
        }
        true
    }

    /// The members that a room lists, on all nodes, in the order of their names, as far
    /// as this node knows: those on others from its subscription on. Changes that the bus
    /// still has to tell count as told. While Redis is away it is the list of before.
    pub fn members(&self, room: &str) -> impl Iterator<Item = (&str, &Member)> {
        self.rooms.get(room).into_iter().flat_map(|room| room.listing.iter())
    }

    /// The member with a name among [`members`](Self::members).
    #[must_use]
    pub fn member(&self, room: &str, name: &str) -> Option<&Member> {
        self.rooms.get(room)?.listing.get(name)
    }
}

/// Drops the answer for a member, which has exited or was entered again.
fn forget_answer(events: &mut VecDeque<BusEvent>, room: &str, member: &str) {
    events.retain(|event| match event {
        BusEvent::Entered { room: of, member: who, .. } => **of != *room || **who != *member,
        _ => true,
    });
}

/// # For the wrapper
impl Bus {
    /// The next thing to tell the handler; when there is none, what was published goes to
    /// Redis. For a handler that is not in an [`OnBus`](super::OnBus): to be called until
    /// there is none, after each callback that has called a method of the bus.
    ///
    /// `None` says that there is nothing to tell now: what
    /// [waits](super::BusLimits::gather) comes after a later call of [`data`](Self::data),
    /// [`closed`](Self::closed) or [`tick`](Self::tick), for a timer that the bus may have
    /// set at any time.
    pub fn next_event(&mut self, io: &mut Io<'_>) -> Option<BusEvent> {
        // Whoever is closed by a shutdown gets what has come.
        let is_staying = self.timing.leaves == Leaves::No;
        let longest = if is_staying { self.options.limits.gather } else { Duration::ZERO };
        let event = self.gathering.next(io, &mut self.events, &self.outbox, longest);
        if event.is_none() {
            self.pump(io);
        }
        event
    }

    /// Sends what waits, as far as it may.
    pub(super) fn pump(&mut self, io: &mut Io<'_>) {
        while let Link::Ready(_) = self.link
            && self.scripts == Scripts::Loaded
            // A message to a room whose place is not known yet waits for that: were the
            // link lost before, nobody would know where to read on from.
            && let Some(command) = self.outbox.next(&self.options.limits, self.numbers + 1, |batch| {
                self.rooms.get(&batch.room).is_some_and(|room| room.position.is_none())
            })
        {
            self.send(io, command);
        }
    }

    /// Sends a command now.
    pub(super) fn send(&mut self, io: &mut Io<'_>, mut command: Command) {
        let Some(link) = self.link.id() else { return };
        if let Command::Publish(batch) = &mut command
            && batch.number.is_none()
        {
            batch.number = Some(self.numbers + 1);
            self.numbers += batch.len() as u64;
        }
        let fresh = Epoch(self.random.draw());
        command.encode(&self.names, &self.options.limits, fresh, &mut self.scratch);
        let bytes = self.scratch.split().freeze();
        self.outbox.sent(command, bytes.len(), io.now());
        // If it is refused, the link has ended, and `closed` follows.
        let _ = io.send(link, bytes);
    }
}
