//! `Checks`: what [`World`](super::World) checks after every turn, whatever the
//! handlers.

use std::fmt;
use std::time::{Duration, Instant};

use super::log::{Late, Life, Log, Told};
use super::recording::Recording;
use crate::driver::Moment;
use crate::driver::sim::{Network, Process, SimDriver};
use crate::process::{Fate, Pipe, Signal};
use crate::{Reactor, Service, StreamHandler};

/// The most consecutive turns without an effect before they count as spinning.
/// A few are legitimate: a connection may turn out to have no input.
const IDLE_TURNS: u32 = 8;

/// For so long a loop may be busy with what has come in time, while nothing stops
/// it.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// A service whose handler is recorded.
trait Recorded<const SHORT: bool> {
    fn log<'a>(&self, reactor: &'a Reactor<SimDriver<SHORT>>) -> &'a Log;
    fn log_mut<'a>(&self, reactor: &'a mut Reactor<SimDriver<SHORT>>) -> &'a mut Log;
}

impl<H: StreamHandler, const SHORT: bool> Recorded<SHORT> for Service<Recording<H>> {
    fn log<'a>(&self, reactor: &'a Reactor<SimDriver<SHORT>>) -> &'a Log {
        &reactor.get(self).log
    }

    fn log_mut<'a>(&self, reactor: &'a mut Reactor<SimDriver<SHORT>>) -> &'a mut Log {
        &mut reactor.get_mut(self).log
    }
}

/// A service, and how far it is checked.
struct Watched<const SHORT: bool> {
    service: Box<dyn Recorded<SHORT>>,
    read_budget: usize,
    /// The number of compared bytes of each life's input.
    compared: Vec<usize>,
    /// The number of checked answers about children.
    answers: usize,
}

/// The checks of a world, with the counts that they compare.
pub(super) struct Checks<const SHORT: bool> {
    services: Vec<Watched<SHORT>>,
    accepts_per_turn: usize,
    /// The number of consecutive turns without any movement that count as endless.
    pub(super) stillness: u64,
    /// The counts at the last movement, and its turn.
    moved: ([u64; 6], u64),
    /// The turns and the accepted connections at the last check of the share.
    shared: (u64, u64),
    /// The counts at the last effect, and the turns since.
    achieved: ([u64; 9], u32),
}

impl<const SHORT: bool> fmt::Debug for Checks<SHORT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

impl<const SHORT: bool> Checks<SHORT> {
    pub(super) const fn new(accepts_per_turn: usize) -> Self {
        Self {
            services: Vec::new(),
            accepts_per_turn,
            stillness: u64::MAX,
            moved: ([0; 6], 0),
            shared: (0, 0),
            achieved: ([0; 9], 0),
        }
    }

    /// Adds a service, which may read so many bytes of a connection in a turn.
    pub(super) fn watch<H: StreamHandler>(&mut self, service: &Service<Recording<H>>, read_budget: usize) {
        let service = Box::new(service.clone());
        self.services.push(Watched { service, read_budget, compared: Vec::new(), answers: 0 });
    }

    /// The records of all services.
    pub(super) fn logs<'a>(
        &'a self,
        reactor: &'a Reactor<SimDriver<SHORT>>,
    ) -> impl Iterator<Item = &'a Log> {
        self.services.iter().map(|watched| watched.service.log(reactor))
    }

    /// A turn has ended.
    pub(super) fn end_turn(&self, reactor: &mut Reactor<SimDriver<SHORT>>) {
        let driver = reactor.driver();
        let ended_at = driver.start() + Duration::from_nanos(driver.net().now().as_nanos());
        for watched in &self.services {
            watched.service.log_mut(reactor).end_turn(ended_at);
        }
    }

    /// The last turn was not allowed to wait.
    pub(super) const fn excuse_from_rest(&mut self) {
        self.achieved.1 = 0;
    }

    /// Runs all checks after turn number `turn`.
    pub(super) fn run(&mut self, reactor: &mut Reactor<SimDriver<SHORT>>, turn: u64) -> Result<(), String> {
        reactor.check_invariants()?;
        reactor.check_readiness(|stream| reactor.driver().will_tell(stream))?;
        self.check_accounts(reactor)?;
        let turns = self.check_share(reactor)?;
        for watched in &mut self.services {
            watched.check_input(reactor, turns)?;
            watched.check_late(reactor)?;
            watched.check_drained(reactor)?;
            watched.check_ended(reactor)?;
        }
        self.check_children(reactor)?;
        self.check_rest(reactor)?;
        self.check_motion(reactor, turn)
    }

    /// Checks the reactor's counts against the network's.
    fn check_accounts(&self, reactor: &Reactor<SimDriver<SHORT>>) -> Result<(), String> {
        let stats = reactor.stats();
        let net = reactor.driver().net();
        let counted = (stats.bytes_in, stats.bytes_out);
        if counted != net.moved() {
            return Err(format!("{counted:?} bytes are counted, and {:?} were moved", net.moved()));
        }
        if reactor.streams() != net.open_sockets() {
            let (sockets, streams) = (net.open_sockets(), reactor.streams());
            return Err(format!("{sockets} sockets are open for {streams} connections"));
        }
        let (seen, made) = (stats.stale_events, net.faults().stale);
        if seen < made || seen > made + net.stale_of_hosts() {
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
        let closed: usize = self.logs(reactor).map(|log| log.lives.len() - log.open.len()).sum();
        if stats.closed != closed as u64 {
            return Err(format!("{} closed connections are counted, not {closed}", stats.closed));
        }
        let mut violations = self.logs(reactor).filter_map(|log| log.violations.first());
        violations.next().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    /// Checks that no turn accepts more than its share. Returns the number of
    /// turns.
    fn check_share(&mut self, reactor: &Reactor<SimDriver<SHORT>>) -> Result<u64, String> {
        let stats = reactor.stats();
        let accepted = stats.accepted + stats.refused_full + stats.refused_by_handler;
        let (turns, before) = std::mem::replace(&mut self.shared, (stats.turns, accepted));
        let turns = stats.turns - turns;
        let listeners = reactor.driver().net().open_listeners();
        let share = (self.accepts_per_turn * listeners) as u64;
        // A shutdown accepts the whole backlog as it closes its listeners.
        if listeners > 0 && accepted - before > turns.saturating_mul(share) {
            return Err(format!("{} connections were accepted in {turns} turns", accepted - before));
        }
        Ok(turns)
    }

    /// Checks that answers about children are true, and come after their
    /// output.
    fn check_children(&mut self, reactor: &Reactor<SimDriver<SHORT>>) -> Result<(), String> {
        let net = reactor.driver().net();
        let stats = reactor.stats();
        let started = net.processes().len() as u64;
        let told: usize = self.logs(reactor).map(|log| log.told.len()).sum();
        let counted = (stats.children_started, stats.children_exited + stats.children_failed);
        let seen = (started, told as u64);
        if counted != seen {
            return Err(format!("{counted:?} children are counted as started and told of, not {seen:?}"));
        }
        for watched in &mut self.services {
            let log = watched.service.log(reactor);
            let answers = std::mem::replace(&mut watched.answers, log.told.len());
            log.told[answers..].iter().try_for_each(|told| check_told(net, &log.lives, told))?;
        }
        Ok(())
    }

    /// Checks that a wait follows turns without an effect.
    fn check_rest(&mut self, reactor: &Reactor<SimDriver<SHORT>>) -> Result<(), String> {
        let stats = reactor.stats();
        let net = reactor.driver().net();
        let achieved = [
            stats.bytes_in + stats.bytes_out,
            stats.accepted + stats.refused_full + stats.refused_by_handler + stats.accept_errors,
            stats.accept_pauses,
            stats.events,
            stats.timers_fired + stats.calls,
            stats.children_started + stats.children_exited + stats.children_failed + stats.jobs,
            net.faults().total(),
            net.naps(),
            self.logs(reactor).map(|log| log.callbacks).sum(),
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
    fn check_motion(&mut self, reactor: &Reactor<SimDriver<SHORT>>, turn: u64) -> Result<(), String> {
        let stats = reactor.stats();
        let moved = [
            stats.bytes_in + stats.bytes_out,
            stats.accepted + stats.refused_full + stats.refused_by_handler,
            stats.connected + stats.connect_failures,
            stats.closed,
            stats.datagrams_in + stats.datagrams_out,
            stats.children_started + stats.children_exited + stats.children_failed + stats.jobs,
        ];
        if moved != self.moved.0 {
            self.moved = (moved, turn);
        }
        if turn - self.moved.1 > self.stillness {
            return Err(format!("{} turns passed in which nothing moved", self.stillness));
        }
        Ok(())
    }
}

impl<const SHORT: bool> Watched<SHORT> {
    /// Checks that handlers get what clients have sent, in order, and no more
    /// at once than their share.
    fn check_input(&mut self, reactor: &mut Reactor<SimDriver<SHORT>>, turns: u64) -> Result<(), String> {
        let share = turns.saturating_mul(self.read_budget as u64);
        let news = self.service.log_mut(reactor).take_news();
        let lives = &self.service.log(reactor).lives;
        let net = reactor.driver().net();
        self.compared.resize(lives.len(), 0);
        for place in news {
            let (life, compared) = (&lives[place], &mut self.compared[place]);
            let of_child = |(child, pipe)| process_of(net, child).and_then(|process| process.pipe(pipe));
            let Some(client) = life.client().or_else(|| life.pipe().and_then(of_child)) else { continue };
            if net.client(client).has_own_layer() {
                continue; // it sends something else
            }
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
    fn check_late(&self, reactor: &mut Reactor<SimDriver<SHORT>>) -> Result<(), String> {
        let late = self.service.log_mut(reactor).take_late();
        let (net, epoch) = (reactor.driver().net(), reactor.driver().start());
        let moment = |at: Instant| Moment::ZERO.plus(at.saturating_duration_since(epoch));
        for Late { id, what, heard_at, at } in late {
            let stopped = net.stopped_between(moment(heard_at), moment(at));
            if heard_at + CATCHING_UP + stopped < at {
                return Err(format!("connection {id}: `{what}` after a frame has taken too long"));
            }
        }
        Ok(())
    }

    /// Checks that `drained` was called, or is about to be, for every queue that
    /// has fallen from above its high mark to its low mark.
    fn check_drained(&self, reactor: &Reactor<SimDriver<SHORT>>) -> Result<(), String> {
        let mut waiting = self.service.log(reactor).awaiting_drained();
        match waiting.find(|id| reactor.has_forgotten_drained(*id)) {
            Some(id) => Err(format!("connection {id} is down to its low mark, and `drained` was not told")),
            None => Ok(()),
        }
    }

    /// Checks that our side has ended on every connection whose `close` was
    /// called.
    fn check_ended(&self, reactor: &mut Reactor<SimDriver<SHORT>>) -> Result<(), String> {
        let ended = self.service.log_mut(reactor).take_ended();
        let lives = &self.service.log(reactor).lives;
        for client in ended.into_iter().filter_map(|place| lives[place].client()) {
            if !reactor.driver().net().has_heard_all(client) {
                return Err(format!("client {client}: `close` came before our FIN"));
            }
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
