//! The network itself: its clock, its agenda, and what happens on the way.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use super::conditions::{Conditions, Faults};
use super::datagram_socket::{DatagramSocket, Packet};
use super::process::Process;
use super::program::Programs;
use super::rng::Rng;
use super::script::{Act, ClientId, Script};
use super::trace::{Trace, What};
use super::wire::{Client, Kind, Wire};
use crate::driver::{KeepAlive, Token};
use crate::endpoint::Endpoint;
use crate::moment::Moment;
use crate::origin::Peer;

/// Reports of noise in a row, without anything else that happens.
const NOISES: u32 = 8;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What is due at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Connect(usize),
    Arrive(usize, Way),
    Reset(usize, Way),
    /// Of this client, the act at this place.
    Act(usize, usize),
    /// A slow reader reads.
    Tick(usize),
    /// The edge that follows a `WouldBlock` out of the blue.
    ReadEdge(usize),
    WriteEdge(usize),
    AcceptEdge(usize),
    SocketEdge(usize),
    /// A datagram arrives.
    Packet(usize),
    /// Keep-alive gives a client up that has vanished.
    GiveUp(usize),
    /// A host answers the server, or its absence does.
    Answer(usize),
    /// A child process gets its share of the processor.
    Runs(usize),
    /// A signal, or what follows from one, ends it, with this status.
    Dies(usize, i32),
    /// What it left behind ends.
    GrandchildEnds(usize),
    /// Its exit is reported late.
    ExitEdge(usize),
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) at: Endpoint,
    pub(super) token: Option<Token>,
    pub(super) backlog: usize,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) user_timeout: Option<Duration>,
    pub(super) waiting: VecDeque<usize>,
    /// Connections that were reset while they waited, each to be told.
    pub(super) aborted: usize,
    /// Every accept fails with this.
    pub(super) broken: Option<i32>,
    pub(super) armed: bool,
    pub(super) edge: bool,
    pub(super) listed: bool,
}

/// A socket that has an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Wire(usize),
    Listener(usize),
    DatagramSocket(usize),
    Child(usize),
}

/// A network in memory, its clock, and the clients in it.
///
/// A test reaches it through its driver, between turns:
/// [`SimDriver::net_mut`](super::SimDriver::net_mut). Time stands still there;
/// it passes while the loop waits, when it jumps to the next thing due, and a
/// little with each call.
#[derive(Debug)]
pub struct Network {
    pub(super) rng: Rng,
    pub(super) conditions: Conditions,
    pub(super) now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64, Due)>>,
    sequence: u64,
    pub(super) listeners: Vec<Listening>,
    pub(super) wires: Vec<Wire>,
    /// Who can be connected to, and what is met there; `None`: no answer.
    pub(super) hosts: Vec<(Endpoint, Option<Script>)>,
    /// Unix sockets whose backlog is full until some moment.
    pub(super) crowded: Vec<(Endpoint, u64)>,
    /// Where somebody else listens until some moment.
    pub(super) taken: Vec<(Endpoint, u64)>,
    pub(super) datagram_sockets: Vec<DatagramSocket>,
    /// Addresses of the server that somebody has asked it at.
    pub(super) asked: BTreeSet<IpAddr>,
    /// Datagrams on their way.
    pub(super) packets: Vec<Option<Packet>>,
    /// What the server sent, as it arrived, and from which of its endpoints.
    pub(super) delivered: Vec<(Endpoint, Peer, Bytes)>,
    acts: Vec<Option<Act>>,
    pub(super) programs: Programs,
    pub(super) processes: Vec<Process>,
    pub(super) edges: Vec<Source>,
    /// How many of them, the first ones, a wait could have reported and has not.
    pub(super) left_behind: usize,
    pub(super) descriptors: Option<usize>,
    /// Sockets that the server has open, and pipes.
    pub(super) open: usize,
    pub(super) exhausted: Option<(u64, i32)>,
    pub(super) trace: Trace,
    pub(super) faults: Faults,
    /// From when to when the server stood still, in order.
    pub(super) stops: Vec<(u64, u64)>,
    /// Bytes that the server read, and that it wrote.
    pub(super) moved: (u64, u64),
    /// Waits in which time passed.
    pub(super) naps: u64,
    /// Reports of noise in a row, and what had happened before the first.
    pub(super) noises: (u32, (u64, u64, u64)),
    /// The server has closed a connection since its last wait.
    pub(super) has_closed: bool,
    /// Reads after that.
    pub(super) hasty: u64,
    /// Writes to sockets that were said to have no room.
    pub(super) futile: u64,
    /// The listener whose accept found no descriptor, if it was the last accept.
    pub(super) starved: Option<usize>,
    /// Waits in which time passed and a client could have been accepted.
    pub(super) overslept: u64,
}

impl Network {
    pub(super) fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            rng: Rng::new(seed),
            conditions,
            now: 0,
            agenda: BinaryHeap::new(),
            sequence: 0,
            listeners: Vec::new(),
            wires: Vec::new(),
            hosts: Vec::new(),
            crowded: Vec::new(),
            taken: Vec::new(),
            datagram_sockets: Vec::new(),
            asked: BTreeSet::new(),
            packets: Vec::new(),
            delivered: Vec::new(),
            acts: Vec::new(),
            programs: Programs::default(),
            processes: Vec::new(),
            edges: Vec::new(),
            left_behind: 0,
            descriptors: None,
            open: 0,
            exhausted: None,
            trace: Trace::new(),
            faults: Faults::default(),
            stops: Vec::new(),
            moved: (0, 0),
            naps: 0,
            noises: (0, (0, 0, 0)),
            has_closed: false,
            hasty: 0,
            futile: 0,
            starved: None,
            overslept: 0,
        }
    }

    // What a test does

    /// A client connects. Where nobody listens it is
    /// [refused](Client::was_refused).
    pub fn connect(&mut self, to: &Endpoint) -> ClientId {
        self.play(to, Script::new())
    }

    /// A client connects and does what the script says.
    ///
    /// # Panics
    ///
    /// With 2²⁴ clients.
    pub fn play(&mut self, to: &Endpoint, script: Script) -> ClientId {
        let place = self.wires.len();
        let number =
            u32::try_from(place).ok().filter(|number| number >> 24 == 0).expect("2^24 clients at most");
        let kind = if matches!(to, Endpoint::Unix(_)) { Kind::Unix } else { Kind::Tcp };
        let is_there = |listener: &Listening| listener.token.is_some() && listener.at == *to;
        let listener = self.listeners.iter().position(is_there).unwrap_or(usize::MAX);
        self.wires.push(Wire::new(kind, listener, self.conditions.buffer));
        let latency = self.latency();
        self.after(script.start.saturating_add(latency), Due::Connect(place));
        let client = ClientId(number);
        for (time, act) in script.acts {
            self.later(script.start.saturating_add(time), client, act);
        }
        client
    }

    /// A host listens there from now on: each connection that the server makes
    /// to it meets a client, as it were, that does what the script says.
    /// Where there is no host, a connection is refused.
    pub fn host(&mut self, at: &Endpoint, script: Script) {
        self.hosts.push((at.clone(), Some(script)));
    }

    /// A host is there that never answers, as behind a firewall that drops.
    pub fn silent_host(&mut self, at: &Endpoint) {
        self.hosts.push((at.clone(), None));
    }

    /// The backlog of the Unix socket there is full for this long: who connects
    /// is told `EAGAIN`, and no event tells when there is room.
    pub fn crowd(&mut self, at: &Endpoint, time: Duration) {
        self.crowded.push((at.clone(), self.now.saturating_add(nanos(time))));
    }

    /// Somebody else listens there for this long: the server cannot.
    pub fn take_endpoint(&mut self, at: &Endpoint, time: Duration) {
        self.taken.push((at.clone(), self.now.saturating_add(nanos(time))));
    }

    /// A client does something after a time.
    pub fn later(&mut self, time: Duration, client: ClientId, act: Act) {
        self.acts.push(Some(act));
        self.after(time, Due::Act(client.number(), self.acts.len() - 1));
    }

    /// A client does something now.
    pub fn act(&mut self, client: ClientId, act: Act) {
        self.perform(client.number(), act);
    }

    /// A client, to look at.
    ///
    /// # Panics
    ///
    /// If it is another network's.
    #[must_use]
    pub fn client(&self, client: ClientId) -> &Client {
        &self.wires[client.number()].client
    }

    /// The server has sent a client the last: its FIN, or the end of it all.
    ///
    /// # Panics
    ///
    /// If it is another network's.
    #[must_use]
    pub fn has_heard_all(&self, client: ClientId) -> bool {
        let socket = &self.wires[client.number()].socket;
        !socket.open || socket.fin_sent || socket.broken
    }

    /// How many of a client's bytes have arrived at the server, read or not.
    ///
    /// # Panics
    ///
    /// If it is another network's.
    #[must_use]
    pub fn arrived(&self, client: ClientId) -> usize {
        let wire = &self.wires[client.number()];
        wire.client.pumped - wire.up.in_flight()
    }

    /// Every client there ever was; pipes of child processes are none.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        let clients = self.wires.iter().enumerate().filter(|(_, wire)| wire.kind != Kind::Pipe);
        #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24")]
        clients.map(|(place, wire)| (ClientId(place as u32), &wire.client))
    }

    /// Every accept on what listens there fails with this error from now on,
    /// as if its descriptor had been closed under it (`EBADF`). What the server
    /// makes there afterwards is another listener.
    pub fn break_listener(&mut self, at: &Endpoint, error: Errno) {
        for place in 0..self.listeners.len() {
            if self.listeners[place].at == *at {
                self.listeners[place].broken = Some(error.raw_os_error());
                self.listener_edge(place);
            }
        }
    }

    /// How many connections the process may have: one more accept is `EMFILE`,
    /// until one closes. `None`: no limit.
    pub fn limit_descriptors(&mut self, limit: Option<usize>) {
        self.descriptors = limit;
    }

    /// Every accept for this long fails with this error, as with [`Conditions::exhausted`].
    pub fn exhaust(&mut self, time: Duration, error: Errno) {
        self.exhausted = Some((self.now.saturating_add(nanos(time)), error.raw_os_error()));
    }

    /// What may go wrong from now on. Connections keep the buffers that they
    /// were made with.
    pub fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.conditions
    }

    /// How often each fault struck.
    #[must_use]
    pub const fn faults(&self) -> Faults {
        self.faults
    }

    /// What happened.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What happened, to have it [recorded](Trace::record).
    pub const fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// How many bytes the server has read, and how many it has written.
    #[must_use]
    pub const fn moved(&self) -> (u64, u64) {
        self.moved
    }

    /// How many waits there were in which time passed until something was due.
    #[must_use]
    pub const fn naps(&self) -> u64 {
        self.naps
    }

    /// How many reads there were after a connection was closed, without a wait
    /// in between. There are none where a loop closes only when it has dealt
    /// with all that a wait reported, some of which may be about the socket
    /// that is to be closed.
    #[must_use]
    pub const fn reads_after_a_close(&self) -> u64 {
        self.hasty
    }

    /// How many writes there were to a socket that had said there was no more
    /// room, by `WouldBlock` or (where the driver vouches for it) by taking
    /// less than it was offered, and of which no event had come since.
    #[must_use]
    pub const fn futile_writes(&self) -> u64 {
        self.futile
    }

    /// How many waits there were in which time passed though somebody waited to
    /// be accepted, had been turned back for want of a descriptor, and one had
    /// been closed since. There are none where a loop tries again when it has
    /// closed one: nothing else will tell it.
    #[must_use]
    pub const fn overslept(&self) -> u64 {
        self.overslept
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        Moment::from_nanos(self.now)
    }

    /// Sockets that the server has open, and its ends of pipes; listeners not
    /// counted.
    #[must_use]
    pub const fn open_sockets(&self) -> usize {
        self.open
    }

    /// Listeners that the server has open.
    #[must_use]
    pub fn open_listeners(&self) -> usize {
        self.listeners.iter().filter(|listener| listener.token.is_some()).count()
    }

    /// True when nothing will happen any more unless the server, or the test,
    /// does something.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.agenda.is_empty() && self.edges.is_empty()
    }

    /// Lets time pass, and all happen that is due by then, while the server does
    /// nothing: as in a callback that takes its time.
    pub fn hold_up(&mut self, time: Duration) {
        self.stand_still(nanos(time));
    }

    /// For how long the server has stood still between two moments, because its
    /// process was stopped or it was held up.
    #[must_use]
    pub fn stopped_between(&self, from: Moment, to: Moment) -> Duration {
        let (from, to) = (from.as_nanos(), to.as_nanos());
        let since = self.stops.partition_point(|(_, end)| *end <= from);
        let within = |(begin, end): &(u64, u64)| (*end).min(to).saturating_sub((*begin).max(from));
        Duration::from_nanos(self.stops[since..].iter().map(within).sum())
    }

    /// Lets all happen that is due, however late, while the server does
    /// nothing: when it has ended, to see what its clients got.
    pub fn settle(&mut self) {
        while let Some(due) = self.next_due() {
            self.pass(due);
        }
    }

    // Time

    pub(super) fn next_due(&self) -> Option<u64> {
        self.agenda.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn after(&mut self, time: Duration, due: Due) {
        self.at(self.now.saturating_add(nanos(time)), due);
    }

    pub(super) fn at(&mut self, at: u64, due: Due) {
        self.sequence += 1;
        self.agenda.push(Reverse((at, self.sequence, due)));
    }

    /// The server waits, and time passes until `to`.
    pub(super) fn nap(&mut self, to: u64) {
        self.naps += 1;
        let room = self.descriptors.is_none_or(|limit| self.open < limit);
        let starved = self.starved.map(|place| &self.listeners[place]);
        let waits = starved.is_some_and(|listener| listener.token.is_some() && !listener.waiting.is_empty());
        self.overslept += u64::from(room && waits && to > self.now);
        self.pass(to);
    }

    /// Lets time pass until `to`, and all happen that is due by then.
    pub(super) fn pass(&mut self, to: u64) {
        while let Some(at) = self.next_due().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            if let Some(Reverse((_, _, due))) = self.agenda.pop() {
                self.happen(due);
            }
        }
        self.now = self.now.max(to);
    }

    /// Whether one more report of noise is fair. A loop that looks and does not
    /// sleep is told much in no time; if noise followed on noise for as long as
    /// it looks, it would never come to sleep.
    pub(super) fn has_patience_for_noise(&mut self) -> bool {
        let happened = (self.naps, self.moved.0 + self.moved.1, self.sequence);
        if self.noises.1 != happened {
            self.noises = (0, happened);
        }
        self.noises.0 < NOISES
    }

    pub(super) fn latency(&mut self) -> Duration {
        let (least, most) = self.conditions.latency;
        Duration::from_nanos(self.rng.between(nanos(least), nanos(most)))
    }

    /// When something that leaves now would arrive.
    pub(super) fn arrival(&mut self) -> u64 {
        let latency = self.latency();
        self.now.saturating_add(nanos(latency))
    }

    pub(super) fn note(&mut self, client: usize, what: What, number: u64) {
        #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24")]
        self.trace.note(self.now, Some(ClientId(client as u32)), what, number);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Connect(place) => self.arrive_at_listener(place),
            Due::Arrive(place, Way::Up) => self.arrive_at_server(place),
            Due::Arrive(place, Way::Down) => self.arrive_at_client(place),
            Due::Reset(place, Way::Up) => self.reset_arrives_at_server(place),
            Due::Reset(place, Way::Down) => self.reset_arrives_at_client(place),
            Due::Act(place, act) => {
                if let Some(act) = self.acts[act].take() {
                    self.perform(place, act);
                }
            }
            Due::Tick(place) => self.tick(place),
            Due::ReadEdge(place) => {
                if self.wires[place].socket.read_armed && self.wires[place].is_readable() {
                    self.read_edge(place);
                }
            }
            Due::WriteEdge(place) => {
                if self.wires[place].socket.write_armed && self.wires[place].is_writable() {
                    self.write_edge(place);
                }
            }
            Due::AcceptEdge(place) => {
                if self.listeners[place].armed && self.listeners[place].would_accept() {
                    self.listener_edge(place);
                }
            }
            Due::SocketEdge(place) => self.socket_edge(place),
            Due::Packet(place) => self.deliver(place),
            Due::Answer(place) => self.answer_server(place),
            Due::Runs(place) => self.run_process(place),
            Due::Dies(place, status) => self.exit(place, status),
            Due::GrandchildEnds(place) => self.grandchild_ends(place),
            Due::ExitEdge(place) => self.exit_edge(place),
            Due::GiveUp(place) => {
                self.note(place, What::ServerSeesTimeOut, 0);
                self.break_socket(place, Errno::TIMEDOUT);
            }
        }
    }
}

impl Listening {
    /// An accept would say something else than `WouldBlock`.
    pub(super) fn would_accept(&self) -> bool {
        !self.waiting.is_empty() || self.aborted > 0 || self.broken.is_some()
    }
}

/// A time in nanoseconds, as far as 64 bits reach.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
