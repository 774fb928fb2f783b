//! `Rooms`: a subject with several nodes of a bus, which share a room by a simulated
//! Redis that has faults (features `bus` and `sim`).

mod account;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use self::account::{Log, Told};
use super::log::Life;
use super::redis::Redis;
use super::subject::Subject;
use crate::bus::{Bus, BusError, BusEvent, BusLimits, BusOptions, BusToken, EnterError, Position};
use crate::driver::sim::{ClientId, Network, Rng};
use crate::{BoxError, CloseReason, ConnId, Endpoint, Io, Limits, Origin, StreamHandler, TimerId};

/// A service that is three nodes of a bus at once: each client belongs to one of them,
/// and gets what anybody says on any node. It says each line that it is sent, and lists
/// its clients under four names, for which they compete.
///
/// All nodes see one order; no message comes twice; each is told or is in a gap; each
/// publication is answered once; and once nothing has happened for as long as a dead node
/// stays listed, all nodes list the same members, which are the clients that were told so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rooms;

const NODES: usize = 3;
const NAMES: usize = 4;
const ROOM: &str = "lobby";

/// Something happens to Redis in this time.
const FAULTY: Duration = Duration::from_secs(10);

/// Without clients and with all nodes up for so long, the nodes leave.
const CALM: Duration = Duration::from_secs(90);

/// After so long without clients they leave in any case. A process that has no descriptor
/// for its client tries to accept it all the while, which takes turns.
const PATIENCE: Duration = Duration::from_secs(1000);

/// The longest line, and its place.
const HEADROOM: usize = 128;

fn host() -> Endpoint {
    Endpoint::Tcp(([192, 0, 2, 1], 6379).into())
}

/// How long a message waits for those of the node, on each of them.
const GATHER: [Duration; NODES] = [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(1)];

fn limits(node: usize) -> BusLimits {
    BusLimits {
        connect_timeout: Duration::from_secs(60),
        gather: GATHER[node],
        history: 20,
        page: 3,
        page_bytes: 64,
        max_batch: 3,
        max_in_flight: 4,
        ..BusLimits::default()
    }
}

impl Subject for Rooms {
    type Handler = RoomsHandler;

    fn handler(&self) -> RoomsHandler {
        RoomsHandler::default()
    }

    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn prepare(&self, net: &mut Network) {
        // What takes seven thousand bytes to begin with would take hours where a network
        // carries one at a time.
        let conditions = net.conditions_mut();
        conditions.buffer = conditions.buffer.max(512);
        conditions.segment.1 = conditions.segment.1.max(64);
        for latency in [&mut conditions.latency.0, &mut conditions.latency.1] {
            *latency = (*latency).min(Duration::from_millis(10));
        }
        // A process that stands still most of the time never ends its greeting.
        conditions.stop = conditions.stop.min(Duration::from_secs(3));
        conditions.stopped = conditions.stopped.no_more_than_one_in(500);
        let redis = Redis::seeded(&mut net.chance(), FAULTY);
        redis.host(net, &host());
    }

    /// Seven thousand bytes for each node that greets Redis, again behind each fault.
    fn own_bytes(&self) -> usize {
        const GREETING: usize = 7_000;
        const FAULTS: usize = 8;
        NODES * (1 + FAULTS) * GREETING
    }

    /// Lines, each of which nobody else says.
    fn stream(&self, _: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|number| format!("{client}.{number}\n").into_bytes()).collect()
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, _: bool) -> Result<(), String> {
        let received = String::from_utf8_lossy(net.client(client).received());
        let mut last: Option<Position> = None;
        for line in received.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let position: Position = line
                .split_once(' ')
                .and_then(|(position, _)| position.parse().ok())
                .ok_or_else(|| format!("client {client} received {line:?}"))?;
            if last.is_some_and(|last| last.epoch == position.epoch && last.offset >= position.offset) {
                return Err(format!("client {client} received {position} behind {last:?}"));
            }
            last = Some(position);
        }
        Ok(())
    }

    fn check_handler(&self, handler: &RoomsHandler, _: &[Life]) -> Result<(), String> {
        handler.check()
    }

    fn may_overflow(&self) -> bool {
        true
    }

    fn headroom(&self) -> usize {
        HEADROOM
    }
}

/// A node: a bus, and what it has told.
#[derive(Debug)]
struct Node {
    bus: Bus,
    log: Log,
    asked: BTreeMap<BusToken, String>,
    /// Own members that were told that they are listed.
    listed: BTreeSet<String>,
    reasons: Vec<BusError>,
}

/// The handler of [`Rooms`].
#[derive(Debug, Default)]
pub struct RoomsHandler {
    nodes: Vec<Node>,
    clients: BTreeMap<ConnId, Client>,
    /// When something happened last that changes who is listed.
    calm_since: Option<Instant>,
    /// Since when there is no client.
    empty_since: Option<Instant>,
    outcome: Outcome,
    violations: Vec<String>,
}

/// A client, or what a node knows of it.
#[derive(Clone, Debug)]
struct Client {
    node: usize,
    name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outcome {
    #[default]
    UnderWay,
    /// The nodes have left in calm.
    Settled,
    /// They have left because it took too long.
    NeverCalm,
    /// They had to leave before.
    ShutDown,
}

/// The session of a connection.
#[derive(Debug)]
pub enum RoomsSession {
    /// The link of this node.
    Link(usize),
    /// A client of this node.
    Client(usize),
}

impl RoomsHandler {
    /// Takes what all buses have to tell.
    fn take_events(&mut self, io: &mut Io<'_>) {
        for number in 0..self.nodes.len() {
            while let Some(event) = self.nodes[number].bus.next_event(io) {
                io.as_service(|io| self.take(io, number, event));
            }
            let node = &mut self.nodes[number];
            if node.log.start.is_none() {
                node.log.start = node.bus.position(ROOM);
            }
        }
    }

    fn take(&mut self, io: &mut Io<'_>, number: usize, event: BusEvent) {
        let now = io.now();
        let node = &mut self.nodes[number];
        match event {
            BusEvent::Message(message) => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                let Some(position) = message.position else {
                    return self.violations.push(format!("{text} has no position"));
                };
                let line = format!("{position} {text}\n").into();
                node.log.told.push(Told::Message(position, text));
                node.bus.broadcast(io, ROOM, &line);
            }
            BusEvent::Gap(gap) => node.log.told.push(Told::Gap(gap)),
            BusEvent::Published { token, outcome } => match (node.asked.remove(&token), outcome) {
                (None, _) => self.violations.push("a publication is answered twice".into()),
                (Some(text), Ok(position)) => node.log.published.push((text, position)),
                (Some(_), Err(_)) => {}
            },
            BusEvent::Entered { member, outcome, .. } => {
                self.calm_since = Some(now);
                match outcome {
                    Ok(()) => _ = node.listed.insert(member.to_string()),
                    Err(EnterError::Taken) => _ = node.listed.remove(&*member),
                    Err(error) => self.violations.push(format!("{member}: {error}")),
                }
            }
            BusEvent::Presence(_) | BusEvent::Up => self.calm_since = Some(now),
            BusEvent::Down(reason) => {
                self.calm_since = Some(now);
                node.reasons.push(reason);
            }
            BusEvent::Resume { .. } => self.violations.push("nobody has resumed".into()),
        }
    }

    /// Looks whether all is calm, and what that means.
    fn look(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        if self.nodes.iter().any(|node| !node.bus.is_idle()) {
            self.calm_since = Some(now);
        }
        let since = |moment: Option<Instant>| {
            moment.map_or(Duration::ZERO, |moment| now.saturating_duration_since(moment))
        };
        let is_calm = since(self.calm_since) >= CALM;
        if is_calm {
            self.check_members();
        }
        if !self.clients.is_empty() {
            self.empty_since = Some(now);
        }
        let alone = since(self.empty_since);
        let says_nothing = |node: &Node| node.bus.waiting() == 0 && node.bus.position(ROOM).is_some();
        let says_nothing = self.nodes.iter().all(says_nothing);
        if self.outcome == Outcome::UnderWay && alone >= CALM {
            if is_calm && says_nothing {
                self.leave(io, Outcome::Settled);
            } else if alone >= PATIENCE {
                self.leave(io, Outcome::NeverCalm);
            }
        }
    }

    fn leave(&mut self, io: &mut Io<'_>, outcome: Outcome) {
        self.outcome = outcome;
        if outcome == Outcome::Settled {
            let positions: Vec<_> = self.nodes.iter().map(|node| node.bus.position(ROOM)).collect();
            // One that has had no message since does not know of a new epoch yet.
            let is_behind = |pair: &[Option<Position>]| match pair {
                [Some(one), Some(other)] => one.epoch == other.epoch && one.offset != other.offset,
                _ => true,
            };
            if positions.windows(2).any(is_behind) {
                self.violations.push(format!("the nodes are at {positions:?}"));
            }
        }
        for node in &mut self.nodes {
            node.bus.shutting_down(io);
            node.bus.leave_all(io);
        }
    }

    /// In calm, who is listed is known.
    fn check_members(&mut self) {
        let listed: BTreeSet<&str> =
            self.nodes.iter().flat_map(|node| &node.listed).map(String::as_str).collect();
        let own: usize = self.nodes.iter().map(|node| node.listed.len()).sum();
        if own != listed.len() {
            self.violations.push(format!("{own} members have {} names", listed.len()));
        }
        for node in &self.nodes {
            let members: BTreeSet<&str> = node.bus.members(ROOM).map(|(name, _)| name).collect();
            if members != listed {
                self.violations
                    .push(format!("a node lists {members:?}, and there are {listed:?}; {:?}", self.nodes));
            }
        }
        // One is enough.
        self.violations.truncate(10);
    }

    fn check(&self) -> Result<(), String> {
        if let Some(violation) = self.violations.first() {
            return Err(violation.clone());
        }
        let logs: Vec<_> = self.nodes.iter().map(|node| &node.log).collect();
        let reached: Vec<_> = self.nodes.iter().map(|node| node.bus.position(ROOM)).collect();
        account::check(&logs, &reached)?;
        let lacks_room = |node: &Node| {
            let is_full = |reason: &BusError| {
                let said = reason.to_string();
                said.contains("too many connections") || said.contains("Too many open files")
            };
            node.reasons.iter().any(is_full)
        };
        match self.outcome {
            Outcome::Settled => match self.nodes.iter().find_map(|node| node.asked.values().next()) {
                Some(text) => Err(format!("{text} was not answered")),
                None => Ok(()),
            },
            Outcome::NeverCalm if !self.nodes.iter().any(lacks_room) => {
                Err(format!("the nodes do not come to rest: {:?}", self.nodes))
            }
            _ => Ok(()),
        }
    }
}

impl StreamHandler for RoomsHandler {
    type Session = RoomsSession;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        for number in 0..NODES {
            let options =
                BusOptions { limits: limits(number), seed: Some(number as u64), ..BusOptions::default() };
            let mut bus = Bus::new("redis://192.0.2.1".parse()?, options)?;
            bus.start(io)?;
            bus.subscribe(io, ROOM)?;
            let (log, asked, listed, reasons) = Default::default();
            self.nodes.push(Node { bus, log, asked, listed, reasons });
        }
        (self.calm_since, self.empty_since) = (Some(io.now()), Some(io.now()));
        self.take_events(io);
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<RoomsSession, BoxError> {
        let id = io.id();
        if let Some(number) = self.nodes.iter().position(|node| node.bus.is_link(id)) {
            self.nodes[number].bus.opened(io);
            self.take_events(io);
            return Ok(RoomsSession::Link(number));
        }
        let client = ClientId::of(origin.peer()).map_or(0, ClientId::number);
        let number = client % NODES;
        let name = format!("member {}", client / NODES % NAMES);
        let node = &mut self.nodes[number];
        node.bus.join(io, ROOM, id)?;
        if !self.clients.values().any(|other| other.node == number && other.name == name) {
            node.bus.enter(io, ROOM, &name, "")?;
        }
        self.clients.insert(id, Client { node: number, name });
        self.calm_since = Some(io.now());
        self.take_events(io);
        Ok(RoomsSession::Client(number))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut RoomsSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        match session {
            RoomsSession::Link(number) => self.nodes[*number].bus.data(io, input),
            RoomsSession::Client(number) => {
                let node = &mut self.nodes[*number];
                while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                    let line = input.split_to(end + 1).split_to(end);
                    let text = String::from_utf8_lossy(&line).into_owned();
                    if let Ok(token) = node.bus.publish(io, ROOM, line) {
                        node.asked.insert(token, text);
                    }
                }
            }
        }
        self.take_events(io);
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, session: RoomsSession, why: &CloseReason) {
        match session {
            RoomsSession::Link(number) => self.nodes[number].bus.closed(io, why),
            RoomsSession::Client(number) => {
                self.calm_since = Some(io.now());
                self.empty_since = Some(io.now());
                if let Some(Client { name, .. }) = self.clients.remove(&io.id())
                    && !self.clients.values().any(|other| other.node == number && other.name == name)
                {
                    let node = &mut self.nodes[number];
                    node.listed.remove(&name);
                    node.bus.exit(io, ROOM, &name);
                }
            }
        }
        if self.outcome == Outcome::ShutDown && self.clients.is_empty() {
            self.nodes.iter_mut().for_each(|node| node.bus.leave_all(io));
        }
        self.take_events(io);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, _: u64, error: &io::Error) {
        let id = io.id();
        if let Some(node) = self.nodes.iter_mut().find(|node| node.bus.is_link(id)) {
            node.bus.connect_failed(io, error);
        }
        self.take_events(io);
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = self.nodes.iter_mut().any(|node| node.bus.tick(io, timer));
        self.take_events(io);
        self.look(io);
        self.take_events(io);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        if self.outcome == Outcome::UnderWay {
            self.outcome = Outcome::ShutDown;
            for node in &mut self.nodes {
                node.bus.shutting_down(io);
                if self.clients.is_empty() {
                    node.bus.leave_all(io);
                }
            }
        }
        self.take_events(io);
    }
}
