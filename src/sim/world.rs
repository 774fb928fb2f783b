//! A reactor over a simulated network, checked after every turn.

use std::fmt;
use std::time::{Duration, Instant};

use super::recording::{Late, Life, Recording, Told};
use crate::driver::Moment;
use crate::driver::sim::{Client, ClientId, Conditions, Network, Process, Script, SimDriver};
use crate::process::{Fate, Pipe, Signal};
use crate::{Config, Endpoint, Error, Limits, Reactor, Service, StreamHandler, Turn};

/// So many turns in a row may achieve nothing before that is called spinning.
/// A few may: a connection that is found to have nothing after all.
const IDLE_TURNS: u32 = 8;

/// For so long a loop may be busy with what has come in time, while nothing stops
/// it.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// What did not hold, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The turn, counted from 1.
    pub turn: u64,
    /// Simulated time since the start.
    pub at: Duration,
    /// What did not hold.
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
/// - the reactor's own invariants: what is counted is there, no limit is
///   exceeded, no connection that has work is forgotten or past a deadline, none
///   is taken for idle of which no event would come;
/// - the callbacks of each connection come in their order, `close` once and not
///   before its FIN;
/// - what a handler is given is what the client sent, in order, and no turn
///   takes more than its share, of bytes or of connections;
/// - each child is answered once, when its pipes are closed; what it wrote is
///   handed over in order, and whole unless something explains a loss;
/// - as many bytes are counted as were moved, as many sockets are open as
///   there are connections, and none closes while others are still read;
/// - no socket is written to that has said it has no room;
/// - turns that achieve nothing are followed by a wait, and no wait comes
///   between a descriptor that is free again and a client it was lacking for.
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
    /// What had moved when something last did, and in which turn that was.
    moved: ([u64; 6], u64),
    read_budget: usize,
    accepts_per_turn: usize,
    /// How much of each life's input was compared.
    compared: Vec<usize>,
    /// Turns of the reactor and connections accepted, when that was looked at.
    shared: (u64, u64),
    /// How many of the answers about children were looked at.
    answers: usize,
    /// What had been achieved when something last was, and the turns since.
    achieved: ([u64; 9], u32),
}

impl<H: StreamHandler, const SHORT: bool> World<H, SHORT> {
    /// A world with a service, under [`Config::default`].
    ///
    /// # Errors
    ///
    /// As [`Reactor::add`].
    pub fn new(seed: u64, conditions: Conditions, handler: H, limits: Limits) -> Result<Self, Error> {
        Self::with_config(seed, conditions, handler, limits, Config::default())
    }

    /// A world with a service.
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
        let driver = SimDriver::new(seed, Conditions::calm());
        let (read_budget, accepts_per_turn) = (limits.read_budget, config.accepts_per_turn);
        let mut reactor = Reactor::with_driver(driver, config)?;
        let service = reactor.add(Recording::new(handler, &limits), limits)?;
        let tcp: Endpoint = "127.0.0.1:7".parse()?;
        let unix: Endpoint = "unix:/sim".parse()?;
        reactor.listen(&service, &tcp)?;
        reactor.listen(&service, &unix)?;
        // Only now: who listens is told of what goes wrong, and tries again
        // or does not. That is for a test of its own.
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

    /// What its callbacks were.
    #[must_use]
    pub fn recording(&self) -> &Recording<H> {
        self.reactor.get(&self.service)
    }

    /// The network, to look at.
    #[must_use]
    pub const fn net(&self) -> &Network {
        self.reactor.driver().net()
    }

    /// The network, to have its clients do something.
    pub const fn net_mut(&mut self) -> &mut Network {
        self.reactor.driver_mut().net_mut()
    }

    /// Where the service listens for TCP.
    #[must_use]
    pub const fn tcp(&self) -> &Endpoint {
        &self.tcp
    }

    /// Where the service listens on a Unix socket.
    #[must_use]
    pub const fn unix(&self) -> &Endpoint {
        &self.unix
    }

    /// A TCP client connects and does what the script says.
    pub fn play(&mut self, script: Script) -> ClientId {
        let at = self.tcp.clone();
        self.net_mut().play(&at, script)
    }

    /// A client on the Unix socket connects and does what the script says.
    pub fn play_unix(&mut self, script: Script) -> ClientId {
        let at = self.unix.clone();
        self.net_mut().play(&at, script)
    }

    /// A client, to look at.
    #[must_use]
    pub fn client(&self, client: ClientId) -> &Client {
        self.net().client(client)
    }

    /// What was recorded of every connection.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        self.recording().lives()
    }

    /// What was recorded of a client's connection, if it was opened.
    #[must_use]
    pub fn life(&self, client: ClientId) -> Option<&Life> {
        self.lives().iter().find(|life| life.client() == Some(client))
    }

    /// After how many turns a run is taken to have no end: ten million, if
    /// nobody says otherwise.
    pub const fn set_patience(&mut self, turns: u64) {
        self.patience = turns;
    }

    /// After how many turns in a row in which nothing moves, no byte, no
    /// connection and no child, a run is taken to have no end: with any number
    /// of them, if nobody says otherwise.
    pub const fn set_stillness(&mut self, turns: u64) {
        self.stillness = turns;
    }

    /// Turns so far.
    #[must_use]
    pub const fn turns(&self) -> u64 {
        self.turns
    }

    /// Where simulated time is counted from, as handlers see it.
    #[must_use]
    pub const fn epoch(&self) -> Instant {
        self.reactor.driver().start()
    }

    /// Simulated time since the start.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.net().now().as_nanos())
    }

    /// One turn of the reactor, and all checks.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn, Violation> {
        self.turns += 1;
        let turn = self.reactor.turn(max_wait).map_err(|error| self.violation(error.to_string()))?;
        let ended_at = self.epoch() + self.elapsed();
        self.reactor.get_mut(&self.service).end_turn(ended_at);
        if max_wait == Some(Duration::ZERO) {
            self.achieved.1 = 0; // it was not to wait
        }
        self.check().map_err(|what| self.violation(what))?;
        Ok(turn)
    }

    /// Turns until nothing will happen any more: no client is going to do
    /// anything, and no timer is set.
    ///
    /// # Errors
    ///
    /// What does not hold; or that there is [no end of it](Self::set_patience).
    pub fn run(&mut self) -> Result<(), Violation> {
        self.run_while(|world| !(world.net().is_quiet() && world.reactor.next_timeout().is_none()))
    }

    /// Turns until so much simulated time has passed.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.elapsed() + time;
        while self.elapsed() < until {
            self.turn(Some(until - self.elapsed()))?;
        }
        Ok(())
    }

    /// Turns while `going` says so.
    ///
    /// # Errors
    ///
    /// What does not hold; or that there is [no end of it](Self::set_patience).
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

    /// After the last client has left: everything is as before the first came.
    ///
    /// # Errors
    ///
    /// What is still there.
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

    /// Something that did not hold just now.
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
        self.check_ended()?;
        self.check_children()?;
        self.check_rest()?;
        self.check_motion()
    }

    /// What the reactor counts is what the network counts.
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
        // What has waited too long is offered once more all the same.
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

    /// No turn accepts more than its share. Returns how many turns there were.
    fn check_share(&mut self) -> Result<u64, String> {
        let stats = self.reactor.stats();
        let accepted = stats.accepted + stats.refused_full + stats.refused_by_handler;
        let (turns, before) = std::mem::replace(&mut self.shared, (stats.turns, accepted));
        let turns = stats.turns - turns;
        let listeners = self.reactor.driver().net().open_listeners();
        let share = (self.accepts_per_turn * listeners) as u64;
        // With its listeners, a shutdown takes in all that had connected.
        if listeners > 0 && accepted - before > turns.saturating_mul(share) {
            return Err(format!("{} connections were accepted in {turns} turns", accepted - before));
        }
        Ok(turns)
    }

    /// What handlers were given is what clients sent, in order, and no more at
    /// once than they may take.
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

    /// Of whom `close` was told, our side is over.
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

    /// What is told of children is true, and comes when all else was.
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

    /// A turn that did nothing is followed by a wait.
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

    /// Something moves, sooner or later.
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

/// The process that a child is.
fn process_of(net: &Network, child: crate::ChildId) -> Option<&Process> {
    net.processes().iter().rev().find(|process| process.child() == child)
}

/// One answer: the status is that of the process, and what it wrote was
/// handed over to its last byte, unless its pipe was ended otherwise.
fn check_told(net: &Network, lives: &[Life], told: &Told) -> Result<(), String> {
    let child = told.child();
    let (exit, process) = match (told.outcome(), process_of(net, child)) {
        (Ok(exit), Some(process)) => (exit, process),
        (Err(_), None) => return Ok(()),
        (Ok(_), None) => return Err(format!("child {child} has ended, and was never started")),
        (Err(_), Some(_)) => return Err(format!("child {child} was started, and is said not to be")),
    };
    let killed = process.signals().any(|(_, signal)| signal == Signal::Kill);
    // Whatever it was killed for first, a shutdown has not waited for it.
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
