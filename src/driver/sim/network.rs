//! `Network`: the clock, the agenda and the clients of a simulation.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use super::act::{Act, ClientId};
use super::actor::{News, Order, Players};
use super::conditions::{Conditions, Faults};
use super::datagram_actor::{DatagramNews, DatagramPlayer};
use super::datagram_socket::{DatagramSocket, Packet};
use super::process::Process;
use super::program::Programs;
use super::rng::Rng;
use super::trace::{Trace, What};
use super::wire::{Client, Kind, Wire};
#[cfg(feature = "workers")]
use super::workers::SimWorkers;
use crate::driver::{KeepAlive, Token};
use crate::endpoint::Endpoint;
use crate::moment::Moment;
use crate::origin::Peer;

/// The most consecutive reports of noise, without any other event.
const NOISES: u32 = 8;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// An item of the agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Connect(usize),
    /// A client's actor begins.
    Begin(usize),
    Arrive(usize, Way),
    Reset(usize, Way),
    /// A client's act: the client, and the index of the act.
    Act(usize, usize),
    /// A client's timer: the client, and the tag.
    Timer(usize, u64),
    /// A client goes on behind a cut.
    Cut(usize),
    /// A slow reader reads.
    Tick(usize),
    /// The edge that follows a needless `WouldBlock`.
    ReadEdge(usize),
    WriteEdge(usize),
    AcceptEdge(usize),
    SocketEdge(usize),
    /// A datagram arrives.
    Packet(usize),
    /// A timer of a datagram actor: its place, and the tag.
    DatagramTimer(usize, u64),
    /// Keep-alive breaks the connection of a vanished client.
    GiveUp(usize),
    /// A host, or its absence, answers the server's connect.
    Answer(usize),
    /// A child process runs.
    Runs(usize),
    /// A child process ends of a signal, with this status.
    Dies(usize, i32),
    /// The grandchild of a child process ends.
    GrandchildEnds(usize),
    /// The exit of a child process is reported, late.
    ExitEdge(usize),
    /// A job of the workers ends.
    #[cfg(feature = "workers")]
    Job(usize),
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
    /// Connections that were reset in the backlog, each to be reported.
    pub(super) aborted: usize,
    /// The error with which every accept fails.
    pub(super) broken: Option<i32>,
    pub(super) armed: bool,
    pub(super) edge: bool,
    pub(super) listed: bool,
}

/// A host that the server can connect to.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) at: Endpoint,
    /// The makers of its ends of connections; `None`: it never answers.
    pub(super) players: Option<Players>,
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
/// [`SimDriver::net_mut`](super::SimDriver::net_mut). Time stands still between
/// turns; it jumps to the next item of the agenda while the loop waits, and
/// passes a little with each call.
#[derive(Debug)]
pub struct Network {
    pub(super) rng: Rng,
    pub(super) conditions: Conditions,
    pub(super) now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64, Due)>>,
    sequence: u64,
    pub(super) listeners: Vec<Listening>,
    pub(super) wires: Vec<Wire>,
    /// Hosts for outbound connections.
    pub(super) hosts: Vec<Host>,
    /// Unix sockets whose backlog is full, until a moment.
    pub(super) crowded: Vec<(Endpoint, u64)>,
    /// Endpoints that are taken by another process, until a moment.
    pub(super) taken: Vec<(Endpoint, u64)>,
    pub(super) datagram_sockets: Vec<DatagramSocket>,
    /// Addresses of the server at which a peer has asked.
    pub(super) asked: BTreeSet<IpAddr>,
    /// Actors with an address for datagrams; `None`: another has taken it.
    pub(super) datagram_players: Vec<Option<DatagramPlayer>>,
    /// Datagrams in flight.
    pub(super) packets: Vec<Option<Packet>>,
    /// Arrived datagrams of the server, with the endpoint that sent each.
    pub(super) delivered: Vec<(Endpoint, Peer, Bytes)>,
    pub(super) acts: Vec<Option<Act>>,
    /// What actors have asked for and is not carried out yet.
    pub(super) orders: VecDeque<Order>,
    pub(super) is_carrying_out: bool,
    pub(super) programs: Programs,
    pub(super) processes: Vec<Process>,
    #[cfg(feature = "workers")]
    pub(super) jobs: SimWorkers,
    pub(super) edges: Vec<Source>,
    /// The number of first edges that a wait could have reported and has not.
    pub(super) left_behind: usize,
    pub(super) descriptors: Option<usize>,
    /// Open sockets and pipes of the server.
    pub(super) open: usize,
    pub(super) exhausted: Option<(u64, i32)>,
    pub(super) trace: Trace,
    pub(super) faults: Faults,
    /// The intervals in which the server stood still, in order.
    pub(super) stops: Vec<(u64, u64)>,
    /// Bytes that the server has read, and bytes that it has written.
    pub(super) moved: (u64, u64),
    /// Waits in which time passed.
    pub(super) naps: u64,
    /// Consecutive reports of noise, and the counts before the first.
    pub(super) noises: (u32, (u64, u64, u64)),
    /// True if the server has closed a connection since its last wait.
    pub(super) has_closed: bool,
    /// Reads after such a close.
    pub(super) hasty: u64,
    /// Writes to sockets that had reported no room.
    pub(super) futile: u64,
    /// The listener whose accept found no descriptor, if that was the last
    /// accept.
    pub(super) starved: Option<usize>,
    /// Waits in which time passed and a client could have been accepted.
    pub(super) overslept: u64,
    /// Stale events of sockets that the server had connected to hosts.
    pub(super) stale_of_hosts: u64,
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
            datagram_players: Vec::new(),
            packets: Vec::new(),
            delivered: Vec::new(),
            acts: Vec::new(),
            orders: VecDeque::new(),
            is_carrying_out: false,
            programs: Programs::default(),
            processes: Vec::new(),
            #[cfg(feature = "workers")]
            jobs: SimWorkers::new(),
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
            stale_of_hosts: 0,
        }
    }

    // What a test does

    /// Fills the backlog of a Unix socket for this long: connecting fails with
    /// `EAGAIN`, and no event reports room.
    pub fn crowd(&mut self, at: &Endpoint, time: Duration) {
        self.crowded.push((at.clone(), self.now.saturating_add(nanos(time))));
    }

    /// Takes an endpoint for another process for this long: the server cannot
    /// listen there.
    pub fn take_endpoint(&mut self, at: &Endpoint, time: Duration) {
        self.taken.push((at.clone(), self.now.saturating_add(nanos(time))));
    }

    /// A client, to read.
    ///
    /// # Panics
    ///
    /// If the client belongs to another network.
    #[must_use]
    pub fn client(&self, client: ClientId) -> &Client {
        &self.wires[client.number()].client
    }

    /// Whether the server has sent a client its FIN, or has broken the
    /// connection.
    ///
    /// # Panics
    ///
    /// If the client belongs to another network.
    #[must_use]
    pub fn has_heard_all(&self, client: ClientId) -> bool {
        let socket = &self.wires[client.number()].socket;
        !socket.open || socket.fin_sent || socket.broken
    }

    /// The number of a client's bytes that have arrived at the server, read or
    /// not.
    ///
    /// # Panics
    ///
    /// If the client belongs to another network.
    #[must_use]
    pub fn arrived(&self, client: ClientId) -> usize {
        let wire = &self.wires[client.number()];
        wire.client.pumped - wire.up.in_flight()
    }

    /// All clients so far, without the pipes of child processes.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        let clients = self.wires.iter().enumerate().filter(|(_, wire)| wire.kind != Kind::Pipe);
        clients.map(|(place, wire)| (ClientId::at(place), &wire.client))
    }

    /// Makes every accept of the listener at an endpoint fail with this error
    /// from now on, as if its descriptor had been closed under it (`EBADF`). A
    /// listener that the server makes there afterwards works.
    pub fn break_listener(&mut self, at: &Endpoint, error: Errno) {
        for place in 0..self.listeners.len() {
            if self.listeners[place].at == *at {
                self.listeners[place].broken = Some(error.raw_os_error());
                self.listener_edge(place);
            }
        }
    }

    /// Limits the connections of the process: one more accept fails with
    /// `EMFILE`, until a connection closes. `None`: no limit.
    pub fn limit_descriptors(&mut self, limit: Option<usize>) {
        self.descriptors = limit;
    }

    /// Makes every accept fail with this error for this long, as
    /// [`Conditions::exhausted`] does.
    pub fn exhaust(&mut self, time: Duration, error: Errno) {
        self.exhausted = Some((self.now.saturating_add(nanos(time)), error.raw_os_error()));
    }

    /// The conditions under which it carries bytes.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The conditions from now on. Existing connections keep their buffer size.
    pub fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.conditions
    }

    /// The counts of faults.
    #[must_use]
    pub const fn faults(&self) -> Faults {
        self.faults
    }

    /// The trace.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The trace, to [record](Trace::record) it.
    pub const fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// The bytes that the server has read, and those that it has written.
    #[must_use]
    pub const fn moved(&self) -> (u64, u64) {
        self.moved
    }

    /// The number of waits in which time passed.
    #[must_use]
    pub const fn naps(&self) -> u64 {
        self.naps
    }

    /// The number of reads after a close of a connection, without a wait in
    /// between. It is 0 for a loop that closes only after it has handled every
    /// event of a wait, some of which may be about the socket to be closed.
    #[must_use]
    pub const fn reads_after_a_close(&self) -> u64 {
        self.hasty
    }

    /// The number of writes to a socket that had reported no room, by
    /// `WouldBlock` or (where the driver vouches for it) by taking less than it
    /// was offered, without an event since.
    #[must_use]
    pub const fn futile_writes(&self) -> u64 {
        self.futile
    }

    /// The number of waits in which time passed while a client waited in a
    /// backlog whose accept had found no descriptor, and a descriptor had been
    /// closed since. It is 0 for a loop that accepts again after each close,
    /// which no event would tell it to.
    #[must_use]
    pub const fn overslept(&self) -> u64 {
        self.overslept
    }

    /// The number of stale events of sockets that the server had connected to hosts. It
    /// may not know that one is stale: all attempts of a connection have its token.
    #[must_use]
    pub const fn stale_of_hosts(&self) -> u64 {
        self.stale_of_hosts
    }

    /// The current time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        Moment::from_nanos(self.now)
    }

    /// The number of open sockets and pipe ends of the server, without
    /// listeners.
    #[must_use]
    pub const fn open_sockets(&self) -> usize {
        self.open
    }

    /// The number of open listeners of the server.
    #[must_use]
    pub fn open_listeners(&self) -> usize {
        self.listeners.iter().filter(|listener| listener.token.is_some()).count()
    }

    /// A chance of its own for a host or a test, from the network's seed.
    pub fn chance(&mut self) -> Rng {
        self.rng.fork()
    }

    /// True when nothing more will happen unless the server or the test acts.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        #[cfg(feature = "workers")]
        if self.jobs.workers.has_waiting() {
            return false;
        }
        self.agenda.is_empty() && self.edges.is_empty()
    }

    /// Lets time pass, and runs what is due by then, while the server does
    /// nothing, as in a slow callback.
    pub fn hold_up(&mut self, time: Duration) {
        self.stand_still(nanos(time));
    }

    /// The time between two moments for which the server has stood still,
    /// because its process was stopped or it was held up.
    #[must_use]
    pub fn stopped_between(&self, from: Moment, to: Moment) -> Duration {
        let (from, to) = (from.as_nanos(), to.as_nanos());
        let since = self.stops.partition_point(|(_, end)| *end <= from);
        let within = |(begin, end): &(u64, u64)| (*end).min(to).saturating_sub((*begin).max(from));
        Duration::from_nanos(self.stops[since..].iter().map(within).sum())
    }

    /// Runs the whole agenda while the server does nothing: after its end, to
    /// see what its clients got.
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

    /// Lets time pass until `to` in a wait of the server.
    pub(super) fn nap(&mut self, to: u64) {
        self.naps += 1;
        let room = self.descriptors.is_none_or(|limit| self.open < limit);
        let starved = self.starved.map(|place| &self.listeners[place]);
        let waits = starved.is_some_and(|listener| listener.token.is_some() && !listener.waiting.is_empty());
        self.overslept += u64::from(room && waits && to > self.now);
        self.pass(to);
    }

    /// Lets time pass until `to`, and runs what is due by then.
    pub(super) fn pass(&mut self, to: u64) {
        while let Some(at) = self.next_due().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            if let Some(Reverse((_, _, due))) = self.agenda.pop() {
                self.happen(due);
            }
        }
        self.now = self.now.max(to);
    }

    /// Whether one more report of noise is fair. A loop that polls without
    /// sleeping takes many reports in no time; if every poll reported noise, it
    /// would never sleep.
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

    /// The arrival of an item that leaves now.
    pub(super) fn arrival(&mut self) -> u64 {
        let latency = self.latency();
        self.now.saturating_add(nanos(latency))
    }

    pub(super) fn note(&mut self, client: usize, what: What, number: u64) {
        self.trace.note(self.now, Some(ClientId::at(client)), what, number);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Connect(place) => self.arrive_at_listener(place),
            Due::Begin(place) => self.tell(place, &News::Begin),
            Due::Timer(place, tag) => self.timer(place, tag),
            Due::Arrive(place, Way::Up) => self.arrive_at_server(place),
            Due::Arrive(place, Way::Down) => self.arrive_at_client(place),
            Due::Reset(place, Way::Up) => self.reset_arrives_at_server(place),
            Due::Reset(place, Way::Down) => self.reset_arrives_at_client(place),
            Due::Act(place, act) => {
                if let Some(act) = self.acts[act].take() {
                    self.act(ClientId::at(place), act);
                }
            }
            Due::Cut(place) => self.pass_cut(place),
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
            Due::DatagramTimer(place, tag) => self.tell_datagram_actor(place, &DatagramNews::Timer(tag)),
            Due::Answer(place) => self.answer_server(place),
            Due::Runs(place) => self.run_process(place),
            Due::Dies(place, status) => self.exit(place, status),
            Due::GrandchildEnds(place) => self.grandchild_ends(place),
            Due::ExitEdge(place) => self.exit_edge(place),
            #[cfg(feature = "workers")]
            Due::Job(place) => self.end_job(place),
            Due::GiveUp(place) => {
                self.note(place, What::ServerSeesTimeOut, 0);
                self.break_socket(place, Errno::TIMEDOUT);
            }
        }
    }
}

impl Listening {
    /// True if an accept would not return `WouldBlock`.
    pub(super) fn would_accept(&self) -> bool {
        !self.waiting.is_empty() || self.aborted > 0 || self.broken.is_some()
    }
}

/// A duration in nanoseconds, saturated at 64 bits.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
