//! `World`: a handler in a reactor over a simulated network, checked after
//! every turn.

use std::fmt;
use std::time::{Duration, Instant};

use super::recording::{Late, Life, Recording, Told};
use crate::driver::Moment;
use crate::driver::sim::{Client, ClientId, Conditions, Network, Process, Script, SimDriver};
use crate::process::{Fate, Pipe, Signal};
use crate::{Config, Endpoint, Error, Limits, ListenOptions, Reactor, Service, StreamHandler, Turn};

/// The most consecutive turns without an effect before they count as spinning.
/// A few are legitimate: a connection may turn out to have no input.
const IDLE_TURNS: u32 = 8;

/// For so long a loop may be busy with what has come in time, while nothing stops
/// it.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// A broken check, and when it broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The turn, counted from 1.
    pub turn: u64,
    /// Simulated time since the start.
    pub at: Duration,
    /// The broken check, as text.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {}, after {:?}: {}", self.turn, self.at, self.what)
    }
}

impl std::error::Error for Violation {}

/// A handler in a reactor over a simulated network, with a TCP and a Unix
/// listener, and checks after every turn:
///
/// - the reactor's own invariants: counters are right, no limit is exceeded, no
///   connection that has work is forgotten or past a deadline, and an event
///   will come for every connection that is taken for idle;
/// - the callbacks of each connection come in their order, `close` once and not
///   before its FIN;
/// - a handler gets what its client has sent, in order, and no turn takes more
///   than its share of bytes or connections;
/// - each child is answered once, after its pipes are closed; its output is
///   delivered in order, and whole unless something explains a loss;
/// - the counted bytes equal the moved ones, the open sockets equal the
///   connections, and none closes while others are still read;
/// - the loop writes to no socket that has reported no room;
/// - a wait follows turns without an effect, and no wait comes between a
///   descriptor that becomes free and a client that needs it.
///
/// ```
/// use serve_forever::driver::sim::{Script, Conditions};
/// use serve_forever::services::Echo;
/// use serve_forever::sim::World;
///
/// let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), Echo::limits())?;
/// let client = world.play(Script::new().send("hello").finish());
/// world.run()?;
/// assert_eq!(world.client(client).received(), b"hello");
/// assert_eq!(world.life(client).and_then(|life| life.closed()), Some("Finished"));
/// world.check_baseline()?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct World<H: StreamHandler, const SHORT: bool = false> {
    reactor: Reactor<SimDriver<SHORT>>,
    service: Service<Recording<H>>,
    tcp: Endpoint,
    unix: Endpoint,
    turns: u64,
    patience: u64,
    stillness: u64,
    /// The counts at the last movement, and its turn.
    moved: ([u64; 6], u64),
    read_budget: usize,
    accepts_per_turn: usize,
    /// The number of compared bytes of each life's input.
    compared: Vec<usize>,
    /// The turns and the accepted connections at the last check of the share.
    shared: (u64, u64),
    /// The number of checked answers about children.
    answers: usize,
    /// The counts at the last effect, and the turns since.
    achieved: ([u64; 9], u32),
}

impl<H: StreamHandler, const SHORT: bool> World<H, SHORT> {
    /// Makes a world with a service, under [`Config::default`].
    ///
    /// # Errors
    ///
    /// As [`Reactor::add`].
    pub fn new(seed: u64, conditions: Conditions, handler: H, limits: Limits) -> Result<Self, Error> {
        Self::with_config(seed, conditions, handler, limits, Config::default())
    }

    /// Makes a world with a service.
    ///
    /// # Errors
    ///
    /// As [`Reactor::with_driver`] and [`Reactor::add`].
    pub fn with_config(
        seed: u64,
        conditions: Conditions,
        handler: H,
        limits: Limits,
        config: Config,
    ) -> Result<Self, Error> {
        Self::listening(seed, conditions, handler, limits, config, &ListenOptions::default())
    }

    /// Makes a world with a service whose listeners have these options.
    ///
    /// # Errors
    ///
    /// As [`Reactor::with_driver`] and [`Reactor::add`].
    pub fn listening(
        seed: u64,
        conditions: Conditions,
        handler: H,
        limits: Limits,
        config: Config,
        options: &ListenOptions,
    ) -> Result<Self, Error> {
        let driver = SimDriver::new(seed, Conditions::calm());
        let (read_budget, accepts_per_turn) = (limits.read_budget, config.accepts_per_turn);
        let mut reactor = Reactor::with_driver(driver, config)?;
        let service = reactor.add(Recording::new(handler, &limits), limits)?;
        let tcp: Endpoint = "127.0.0.1:7".parse()?;
        let unix: Endpoint = "unix:/sim".parse()?;
        reactor.listen_with(&service, &tcp, options)?;
        reactor.listen_with(&service, &unix, options)?;
        // Set only now, so that no fault hits the listening itself, which a
        // separate test covers.
        *reactor.driver_mut().net_mut().conditions_mut() = conditions;
        Ok(Self {
            reactor,
            service,
            tcp,
            unix,
            turns: 0,
            patience: 10_000_000,
            stillness: u64::MAX,
            moved: ([0; 6], 0),
            read_budget,
            accepts_per_turn,
            compared: Vec::new(),
            shared: (0, 0),
            answers: 0,
            achieved: ([0; 9], 0),
        })
    }

    /// The reactor.
    pub const fn reactor(&mut self) -> &mut Reactor<SimDriver<SHORT>> {
        &mut self.reactor
    }

    /// The service.
    #[must_use]
    pub const fn service(&self) -> &Service<Recording<H>> {
        &self.service
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        self.reactor.get_mut(&self.service).handler()
    }

    /// The record of its callbacks.
    #[must_use]
    pub fn recording(&self) -> &Recording<H> {
        self.reactor.get(&self.service)
    }

    /// The network, to read.
    #[must_use]
    pub const fn net(&self) -> &Network {
        self.reactor.driver().net()
    }

    /// The network, to let its clients act.
    pub const fn net_mut(&mut self) -> &mut Network {
        self.reactor.driver_mut().net_mut()
    }

    /// The TCP endpoint of the service.
    #[must_use]
    pub const fn tcp(&self) -> &Endpoint {
        &self.tcp
    }

    /// The Unix endpoint of the service.
    #[must_use]
    pub const fn unix(&self) -> &Endpoint {
        &self.unix
    }

    /// Connects a TCP client that follows the script.
    pub fn play(&mut self, script: Script) -> ClientId {
        let at = self.tcp.clone();
        self.net_mut().play(&at, script)
    }

    /// Connects a client to the Unix socket that follows the script.
    pub fn play_unix(&mut self, script: Script) -> ClientId {
        let at = self.unix.clone();
        self.net_mut().play(&at, script)
    }

    /// A client, to read.
    #[must_use]
    pub fn client(&self, client: ClientId) -> &Client {
        self.net().client(client)
    }

    /// The records of all connections, in the order of `open`.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        self.recording().lives()
    }

    /// The record of a client's connection, if it was opened.
    #[must_use]
    pub fn life(&self, client: ClientId) -> Option<&Life> {
        self.lives().iter().find(|life| life.client() == Some(client))
    }

    /// Sets the number of turns after which a run counts as endless. Default
    /// ten million.
    pub const fn set_patience(&mut self, turns: u64) {
        self.patience = turns;
    }

    /// Sets the number of consecutive turns without any movement of a byte, a
    /// connection or a child after which a run counts as endless. Default: no
    /// limit.
    pub const fn set_stillness(&mut self, turns: u64) {
        self.stillness = turns;
    }

    /// Turns so far.
    #[must_use]
    pub const fn turns(&self) -> u64 {
        self.turns
    }

    /// The instant at which simulated time begins, as handlers see it.
    #[must_use]
    pub const fn epoch(&self) -> Instant {
        self.reactor.driver().start()
    }

    /// Simulated time since the start.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.net().now().as_nanos())
    }

    /// Takes one turn of the reactor, and runs all checks.
    ///
    /// # Errors
    ///
    /// The first broken check.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn, Violation> {
        self.turns += 1;
        let turn = self.reactor.turn(max_wait).map_err(|error| self.violation(error.to_string()))?;
        let ended_at = self.epoch() + self.elapsed();
        self.reactor.get_mut(&self.service).end_turn(ended_at);
        if max_wait == Some(Duration::ZERO) {
            self.achieved.1 = 0; // the turn was not allowed to wait
        }
        self.check().map_err(|what| self.violation(what))?;
        Ok(turn)
    }

    /// Takes turns until nothing more will happen: no client will act, and no
    /// timer is set.
    ///
    /// # Errors
    ///
    /// The first broken check, or an [endless run](Self::set_patience).
    pub fn run(&mut self) -> Result<(), Violation> {
        self.run_while(|world| !(world.net().is_quiet() && world.reactor.next_timeout().is_none()))
    }

    /// Takes turns until this much simulated time has passed.
    ///
    /// # Errors
    ///
    /// The first broken check.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.elapsed() + time;
        while self.elapsed() < until {
            self.turn(Some(until - self.elapsed()))?;
        }
        Ok(())
    }

    /// Takes turns while `going` returns true.
    ///
    /// # Errors
    ///
    /// The first broken check, or an [endless run](Self::set_patience).
    pub fn run_while(&mut self, mut going: impl FnMut(&mut Self) -> bool) -> Result<(), Violation> {
        let last = self.turns + self.patience;
        while going(self) {
            self.turn(None)?;
            if self.turns == last {
                return Err(self.violation("it does not come to rest".into()));
            }
        }
        Ok(())
    }

    /// Checks, after the last client has left, that everything is as before the
    /// first came.
    ///
    /// # Errors
    ///
    /// The state that is left over.
    pub fn check_baseline(&self) -> Result<(), Violation> {
        let (connections, sockets) = (self.reactor.connections(), self.net().open_sockets());
        let sessions = self.recording().sessions();
        let children = self.reactor.children();
        let unreaped = self
            .net()
            .processes()
            .iter()
            .filter(|process| !(process.is_reaped() || process.is_let_go()))
            .count();
        if (connections, sockets, sessions, children, unreaped) == (0, 0, 0, 0, 0) {
            return Ok(());
        }
        Err(self.violation(format!(
            "{connections} connections, {sockets} sockets, {sessions} sessions and {children} children are \
             left, and {unreaped} processes are not reaped"
        )))
    }

    /// Makes a violation of the current turn.
    #[must_use]
    pub fn violation(&self, what: String) -> Violation {
        Violation { turn: self.turns, at: self.elapsed(), what }
    }

    fn check(&mut self) -> Result<(), String> {
        self.reactor.check_invariants()?;
        self.reactor.check_readiness(|stream| self.reactor.driver().will_tell(stream))?;
        self.check_accounts()?;
        let turns = self.check_share()?;
        self.check_input(turns)?;
        self.check_late()?;
        self.check_drained()?;
        self.check_ended()?;
        self.check_children()?;
        self.check_rest()?;
        self.check_motion()
    }

    /// Checks the reactor's counts against the network's.
    fn check_accounts(&self) -> Result<(), String> {
        let stats = self.reactor.stats();
        let net = self.reactor.driver().net();
        let counted = (stats.bytes_in, stats.bytes_out);
        if counted != net.moved() {
            return Err(format!("{counted:?} bytes are counted, and {:?} were moved", net.moved()));
        }
        if self.reactor.streams() != net.open_sockets() {
            let (sockets, streams) = (net.open_sockets(), self.reactor.streams());
            return Err(format!("{sockets} sockets are open for {streams} connections"));
        }
        if stats.stale_events != net.faults().stale {
            let (seen, made) = (stats.stale_events, net.faults().stale);
            return Err(format!("{seen} stale events were seen, of {made}"));
        }
        if net.reads_after_a_close() > 0 {
            return Err("a connection was closed before the turn's events were dealt with".into());
        }
        // Stalled output is offered once more without an event.
        if net.futile_writes() > stats.stalls_checked {
            return Err("a socket was written to that had said it had no room".into());
        }
        if net.overslept() > 0 {
            return Err("a descriptor was free for a client that waited, and the loop slept".into());
        }
        let recording = self.recording();
        let closed = recording.lives().len() - recording.sessions();
        if stats.closed != closed as u64 {
            return Err(format!("{} closed connections are counted, not {closed}", stats.closed));
        }
        recording.violations().first().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    /// Checks that no turn accepts more than its share. Returns the number of
    /// turns.
    fn check_share(&mut self) -> Result<u64, String> {
        let stats = self.reactor.stats();
        let accepted = stats.accepted + stats.refused_full + stats.refused_by_handler;
        let (turns, before) = std::mem::replace(&mut self.shared, (stats.turns, accepted));
        let turns = stats.turns - turns;
        let listeners = self.reactor.driver().net().open_listeners();
        let share = (self.accepts_per_turn * listeners) as u64;
        // A shutdown accepts the whole backlog as it closes its listeners.
        if listeners > 0 && accepted - before > turns.saturating_mul(share) {
            return Err(format!("{} connections were accepted in {turns} turns", accepted - before));
        }
        Ok(turns)
    }

    /// Checks that handlers get what clients have sent, in order, and no more
    /// at once than their share.
    fn check_input(&mut self, turns: u64) -> Result<(), String> {
        let share = turns.saturating_mul(self.read_budget as u64);
        let news = self.reactor.get_mut(&self.service).take_news();
        let lives = self.reactor.get(&self.service).lives();
        self.compared.resize(lives.len(), 0);
        for place in news {
            let (life, compared) = (&lives[place], &mut self.compared[place]);
            let net = self.reactor.driver().net();
            let of_child = |(child, pipe)| process_of(net, child).and_then(|process| process.pipe(pipe));
            let Some(client) = life.client().or_else(|| life.pipe().and_then(of_child)) else { continue };
            let (new, from) = (&life.input()[*compared..], *compared);
            let sent = net.client(client).sent();
            if !sent[from..].starts_with(new) {
                return Err(format!(
                    "client {client}: what was handed over after {from} bytes is not what it sent"
                ));
            }
            if new.len() as u64 > share {
                return Err(format!("client {client}: {} bytes were read in {turns} turns", new.len()));
            }
            *compared += new.len();
        }
        Ok(())
    }

    /// What came late was there when the loop began to catch up, and it has
    /// done nothing else since; but for the time in which it stood still.
    fn check_late(&mut self) -> Result<(), String> {
        let late = self.reactor.get_mut(&self.service).take_late();
        let moment = |at: Instant| Moment::ZERO.plus(at.saturating_duration_since(self.epoch()));
        for Late { id, what, heard_at, at } in late {
            let stopped = self.net().stopped_between(moment(heard_at), moment(at));
            if heard_at + CATCHING_UP + stopped < at {
                return Err(format!("connection {id}: `{what}` after a frame has taken too long"));
            }
        }
        Ok(())
    }

    /// Checks that `drained` was called, or is about to be, for every queue that
    /// has fallen from above its high mark to its low mark.
    fn check_drained(&self) -> Result<(), String> {
        let mut waiting = self.recording().awaiting_drained();
        match waiting.find(|id| self.reactor.has_forgotten_drained(*id)) {
            Some(id) => Err(format!("connection {id} is down to its low mark, and `drained` was not told")),
            None => Ok(()),
        }
    }

    /// Checks that our side has ended on every connection whose `close` was
    /// called.
    fn check_ended(&mut self) -> Result<(), String> {
        let ended = self.reactor.get_mut(&self.service).take_ended();
        let lives = self.recording().lives();
        for client in ended.into_iter().filter_map(|place| lives[place].client()) {
            if !self.net().has_heard_all(client) {
                return Err(format!("client {client}: `close` came before our FIN"));
            }
        }
        Ok(())
    }

    /// Checks that answers about children are true, and come after their
    /// output.
    fn check_children(&mut self) -> Result<(), String> {
        let recording = self.reactor.get(&self.service);
        let net = self.reactor.driver().net();
        let answers = std::mem::replace(&mut self.answers, recording.told().len());
        let stats = self.reactor.stats();
        let started = net.processes().len() as u64;
        let counted = (stats.children_started, stats.children_exited + stats.children_failed);
        let seen = (started, recording.told().len() as u64);
        if counted != seen {
            return Err(format!("{counted:?} children are counted as started and told of, not {seen:?}"));
        }
        recording.told()[answers..].iter().try_for_each(|told| check_told(net, recording.lives(), told))
    }

    /// Checks that a wait follows turns without an effect.
    fn check_rest(&mut self) -> Result<(), String> {
        let stats = self.reactor.stats();
        let net = self.reactor.driver().net();
        let achieved = [
            stats.bytes_in + stats.bytes_out,
            stats.accepted + stats.refused_full + stats.refused_by_handler + stats.accept_errors,
            stats.accept_pauses,
            stats.events,
            stats.timers_fired + stats.calls,
            stats.children_started + stats.children_exited + stats.children_failed,
            net.faults().total(),
            net.naps(),
            self.recording().callbacks(),
        ];
        if achieved != self.achieved.0 {
            self.achieved = (achieved, 0);
            return Ok(());
        }
        self.achieved.1 += 1;
        if self.achieved.1 > IDLE_TURNS {
            return Err(format!("{} turns achieved nothing and did not wait", self.achieved.1));
        }
        Ok(())
    }

    /// Checks that something moves, sooner or later.
    fn check_motion(&mut self) -> Result<(), String> {
        let stats = self.reactor.stats();
        let moved = [
            stats.bytes_in + stats.bytes_out,
            stats.accepted + stats.refused_full + stats.refused_by_handler,
            stats.connected + stats.connect_failures,
            stats.closed,
            stats.datagrams_in + stats.datagrams_out,
            stats.children_started + stats.children_exited + stats.children_failed,
        ];
        if moved != self.moved.0 {
            self.moved = (moved, self.turns);
        }
        if self.turns - self.moved.1 > self.stillness {
            return Err(format!("{} turns passed in which nothing moved", self.stillness));
        }
        Ok(())
    }
}

/// The simulated process of a child.
fn process_of(net: &Network, child: crate::ChildId) -> Option<&Process> {
    net.processes().iter().rev().find(|process| process.child() == child)
}

/// Checks one answer: its status is the process's, and the output was delivered
/// to its last byte, unless its pipe was ended otherwise.
fn check_told(net: &Network, lives: &[Life], told: &Told) -> Result<(), String> {
    let child = told.child();
    let (exit, process) = match (told.outcome(), process_of(net, child)) {
        (Ok(exit), Some(process)) => (exit, process),
        (Err(_), None) => return Ok(()),
        (Ok(_), None) => return Err(format!("child {child} has ended, and was never started")),
        (Err(_), Some(_)) => return Err(format!("child {child} was started, and is said not to be")),
    };
    let killed = process.signals().any(|(_, signal)| signal == Signal::Kill);
    // A shutdown does not wait for it, whatever it was first killed for.
    let was_let_go = process.is_let_go() && killed && exit.status.is_none();
    if process.fate() != Fate::Exited(exit.status) && !was_let_go {
        return Err(format!("child {child} is said to have ended with {exit:?}, not {:?}", process.fate()));
    }
    for (pipe, life) in lives.iter().filter_map(|life| Some((life.pipe()?, life))) {
        let whole = life.closed() == Some("Finished") && pipe.0 == child && pipe.1 != Pipe::Stdin;
        let (given, own) = (life.input().len(), process.own_output(pipe.1).unwrap_or(0));
        if whole && given < own {
            return Err(format!(
                "child {child} wrote {own} bytes to {:?}, and {given} were handed over",
                pipe.1
            ));
        }
    }
    Ok(())
}
