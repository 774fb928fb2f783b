//! `World`: a handler in a reactor over a simulated network, checked after
//! every turn.

use std::fmt;
use std::time::{Duration, Instant};

use super::checks::Checks;
use super::log::Life;
use super::recording::Recording;
use super::turns::{TurnRecord, Turns};
use crate::driver::sim::{Actor, Client, ClientId, Conditions, Network, SimDriver};
use crate::{Config, Endpoint, Error, Limits, ListenOptions, Reactor, Service, StreamHandler, Turn};

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
    checks: Checks<SHORT>,
    /// The turns so far, if they are recorded.
    recorded: Option<Turns>,
    /// The events of the trace that are in it.
    recorded_events: usize,
    /// The turn to stop after.
    last_turn: u64,
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
        let mut checks = Checks::new(config.accepts_per_turn);
        let read_budget = limits.read_budget;
        let mut reactor = Reactor::with_driver(driver, config)?;
        let service = reactor.add(Recording::new(handler, &limits), limits)?;
        checks.watch(&service, read_budget);
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
            checks,
            recorded: None,
            recorded_events: 0,
            last_turn: u64::MAX,
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

    /// Adds another service to the reactor, whose handler is recorded and checked as
    /// the first is. A client is addressed to it by where it
    /// [listens](Self::listen).
    ///
    /// ```
    /// use serve_forever::driver::sim::{Conditions, Script};
    /// use serve_forever::services::{Echo, Upper};
    /// use serve_forever::sim::World;
    /// use serve_forever::ListenOptions;
    ///
    /// let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), Echo::limits())?;
    /// let upper = world.add(Upper::new(), Upper::limits())?;
    /// let at = world.listen(&upper, &"127.0.0.1:8".parse()?, &ListenOptions::default())?;
    ///
    /// let quiet = world.play(Script::new().send("hello").finish());
    /// let loud = world.net_mut().play(&at, Script::new().send("hello").finish());
    /// world.run()?;
    /// assert_eq!(world.client(quiet).received(), b"hello");
    /// assert_eq!(world.client(loud).received(), b"HELLO");
    /// assert_eq!(world.recording_of(&upper).lives().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Reactor::add`].
    pub fn add<O: StreamHandler>(
        &mut self,
        handler: O,
        limits: Limits,
    ) -> Result<Service<Recording<O>>, Error> {
        let read_budget = limits.read_budget;
        let service = self.reactor.add(Recording::new(handler, &limits), limits)?;
        self.checks.watch(&service, read_budget);
        Ok(service)
    }

    /// Has a service listen at one more endpoint, and returns that: a port 0 has
    /// become a number. No fault of the conditions hits the listening itself.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen_with`].
    pub fn listen<O: StreamHandler>(
        &mut self,
        service: &Service<Recording<O>>,
        at: &Endpoint,
        options: &ListenOptions,
    ) -> Result<Endpoint, Error> {
        let conditions = std::mem::take(self.net_mut().conditions_mut());
        let listening = self.reactor.listen_with(service, at, options);
        *self.net_mut().conditions_mut() = conditions;
        let listener = listening?;
        Ok(self.reactor.local(listener).unwrap_or(at).clone())
    }

    /// The record of the callbacks of a service that was [added](Self::add).
    #[must_use]
    pub fn recording_of<O: StreamHandler>(&self, service: &Service<Recording<O>>) -> &Recording<O> {
        self.reactor.get(service)
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

    /// Connects a TCP client that the actor plays; a
    /// [`Script`](crate::driver::sim::Script) is an actor.
    pub fn play(&mut self, actor: impl Actor) -> ClientId {
        let at = self.tcp.clone();
        self.net_mut().play(&at, actor)
    }

    /// Connects a client to the Unix socket that the actor plays.
    pub fn play_unix(&mut self, actor: impl Actor) -> ClientId {
        let at = self.unix.clone();
        self.net_mut().play(&at, actor)
    }

    /// A client, to read.
    #[must_use]
    pub fn client(&self, client: ClientId) -> &Client {
        self.net().client(client)
    }

    /// The records of all connections of its first service, in the order of `open`.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        self.recording().lives()
    }

    /// The record of a client's connection, if it was opened, of whichever service.
    #[must_use]
    pub fn life(&self, client: ClientId) -> Option<&Life> {
        let mut lives = self.checks.logs(&self.reactor).flat_map(|log| &log.lives);
        lives.find(|life| life.client() == Some(client))
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
        self.checks.stillness = turns;
    }

    /// Stops before the turn behind this one: [`turn`](Self::turn), and whatever takes
    /// turns, then fails.
    pub const fn stop_after(&mut self, turn: u64) {
        self.last_turn = turn;
    }

    /// Whether the turn to [stop after](Self::stop_after) is over.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.turns >= self.last_turn
    }

    /// Keeps what happens in each turn from now on.
    pub fn record_turns(&mut self) {
        self.net_mut().trace_mut().record();
        self.recorded.get_or_insert_default();
    }

    /// The turns since [`record_turns`](Self::record_turns).
    #[must_use]
    pub fn take_turns(&mut self) -> Turns {
        self.recorded.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn record_turn(&mut self) {
        let Some(Turns(records)) = &mut self.recorded else { return };
        let trace = self.reactor.driver().net().trace();
        let events = trace.entries()[self.recorded_events..].iter().map(ToString::to_string).collect();
        self.recorded_events = trace.entries().len();
        records.push(TurnRecord { turn: self.turns, hash: trace.hash(), events });
    }

    /// The state between two turns, as text: every connection as the reactor has it,
    /// as its handler was told of it, and as the network has it.
    #[must_use]
    pub fn state(&self) -> String {
        let callbacks: u64 = self.checks.logs(&self.reactor).map(|log| log.callbacks).sum();
        let mut lines = vec![
            format!("after turn {} and {:?}, with {callbacks} callbacks", self.turns, self.elapsed()),
            "connections of the reactor:".into(),
        ];
        lines.extend(self.reactor.describe().map(|(id, state)| format!("  {id}: {state}")));
        lines.push("connections as their handlers know them:".into());
        for life in self.checks.logs(&self.reactor).flat_map(|log| &log.lives) {
            let client = life.client().map_or_else(|| "nobody".into(), |client| client.to_string());
            lines.push(format!(
                "  {} of {client}: {} bytes of input, {} of them left; {}",
                life.id(),
                life.input().len(),
                life.left().len(),
                life.closed().map_or_else(|| "open".into(), |why| format!("closed as {why}")),
            ));
        }
        lines.push("connections of the network:".into());
        lines.extend(self.net().describe().map(|state| format!("  {state}")));
        lines.join("\n")
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
        if self.is_stopped() {
            return Err(self.violation("it was stopped here, as asked".into()));
        }
        self.turns += 1;
        let turn = self.reactor.turn(max_wait);
        self.record_turn();
        let turn = turn.map_err(|error| self.violation(error.to_string()))?;
        self.checks.end_turn(&mut self.reactor);
        if max_wait == Some(Duration::ZERO) {
            self.checks.excuse_from_rest();
        }
        self.checks.run(&mut self.reactor, self.turns).map_err(|what| self.violation(what))?;
        Ok(turn)
    }

    /// Takes turns until nothing more will happen: no client will act, and no
    /// timer is set.
    ///
    /// # Errors
    ///
    /// The first broken check, or an [endless run](Self::set_patience).
    pub fn run(&mut self) -> Result<(), Violation> {
        self.run_while(|world| !world.is_at_rest())
    }

    /// Whether nothing more will happen: no client will act, and no timer is set.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.net().is_quiet() && self.reactor.next_timeout().is_none()
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
        let sessions: usize = self.checks.logs(&self.reactor).map(|log| log.open.len()).sum();
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
}
