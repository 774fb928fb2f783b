//! `run`, which runs a plan with all checks, and `shrink`, which makes a
//! failing plan smaller.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use super::log::Life;
use super::plan::{ClientPlan, Ending, Plan, STILLNESS};
use super::subject::{Subject, populate};
use super::turns::Turns;
use super::world::{Violation, World};
use crate::driver::Moment;
use crate::driver::sim::{Client, ClientId, Faults, Pace};
use crate::{ListenOptions, Turn};

/// The coverage of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Turns of the reactor.
    pub turns: u64,
    /// Simulated time.
    pub time: Duration,
    /// Connections that were opened.
    pub connections: u64,
    /// Child processes that were started.
    pub children: u64,
    /// Bytes read and written by the server.
    pub bytes: u64,
    /// Callbacks.
    pub callbacks: u64,
    /// Faults.
    pub faults: Faults,
    /// The hashes of all traces, combined.
    pub hash: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.turns += other.turns;
        self.time += other.time;
        self.connections += other.connections;
        self.children += other.children;
        self.bytes += other.bytes;
        self.callbacks += other.callbacks;
        self.faults += other.faults;
        self.hash ^= other.hash;
    }
}

/// A run that broke a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The broken check.
    pub violation: Violation,
    /// The events until then, line by line, if they were recorded.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.violation.fmt(f)
    }
}

impl std::error::Error for Failure {}

/// What of a run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Its totals.
    Nothing,
    /// The trace too, line by line.
    Trace,
}

/// Runs a plan to its end, with all of [`World`]'s checks after every turn and
/// the subject's own at the end. `record` says whether a failure
/// has its trace.
///
/// ```
/// use serve_forever::sim::{Plan, Record, run, subject::Echo};
///
/// let once = run(&Echo, &Plan::new(42), Record::Nothing)?;
/// let again = run(&Echo, &Plan::new(42), Record::Nothing)?;
/// assert_eq!(once.hash, again.hash, "the same seed, the same run");
/// # Ok::<(), serve_forever::sim::Failure>(())
/// ```
///
/// # Errors
///
/// The broken check.
pub fn run<S: Subject>(subject: &S, plan: &Plan, record: Record) -> Result<Totals, Failure> {
    if plan.short_means_blocked {
        run_in::<S, true>(subject, plan, record)
    } else {
        run_in::<S, false>(subject, plan, record)
    }
}

fn run_in<S: Subject, const SHORT: bool>(
    subject: &S,
    plan: &Plan,
    record: Record,
) -> Result<Totals, Failure> {
    let mut world = prepare::<S, SHORT>(subject, plan)?;
    if record == Record::Trace {
        world.net_mut().trace_mut().record();
    }
    match play(subject, plan, &mut world) {
        Ok(()) => Ok(totals(&world)),
        Err(violation) => Err(Failure { violation, trace: world.net().trace().to_string() }),
    }
}

/// Runs a plan as [`run`] does, and keeps what happens in each turn, to compare it
/// with another run: [`Turns::first_difference`].
pub fn run_recorded<S: Subject>(subject: &S, plan: &Plan) -> (Turns, Result<(), Failure>) {
    fn run_in<S: Subject, const SHORT: bool>(subject: &S, plan: &Plan) -> (Turns, Result<(), Failure>) {
        let mut world = match prepare::<S, SHORT>(subject, plan) {
            Ok(world) => world,
            Err(failure) => return (Turns::default(), Err(failure)),
        };
        world.record_turns();
        let outcome = play(subject, plan, &mut world);
        let trace = world.net().trace().to_string();
        (world.take_turns(), outcome.map_err(|violation| Failure { violation, trace }))
    }
    if plan.short_means_blocked {
        run_in::<S, true>(subject, plan)
    } else {
        run_in::<S, false>(subject, plan)
    }
}

/// Runs a plan as [`run`] does up to the end of this turn, and returns what happened in
/// that and the [state](World::state) after it. A run that ends before is shown at its
/// end.
///
/// ```
/// use serve_forever::sim::{Plan, stop_at, subject::Echo};
///
/// let shown = stop_at(&Echo, &Plan::new(42), 5)?;
/// assert!(shown.contains("after turn 5 "), "{shown}");
/// # Ok::<(), serve_forever::sim::Failure>(())
/// ```
///
/// # Errors
///
/// A check that breaks before.
pub fn stop_at<S: Subject>(subject: &S, plan: &Plan, turn: u64) -> Result<String, Failure> {
    fn stop_in<S: Subject, const SHORT: bool>(
        subject: &S,
        plan: &Plan,
        turn: u64,
    ) -> Result<String, Failure> {
        let mut world = prepare::<S, SHORT>(subject, plan)?;
        world.record_turns();
        world.stop_after(turn);
        let outcome = play(subject, plan, &mut world);
        match outcome {
            Err(violation) if !world.is_stopped() => {
                Err(Failure { violation, trace: world.net().trace().to_string() })
            }
            _ => {
                let last = world.take_turns().0.pop().map(|record| record.to_string());
                Ok(format!("{}{}", last.unwrap_or_default(), world.state()))
            }
        }
    }
    if plan.short_means_blocked {
        stop_in::<S, true>(subject, plan, turn)
    } else {
        stop_in::<S, false>(subject, plan, turn)
    }
}

/// Makes the world of a plan, with its clients.
fn prepare<S: Subject, const SHORT: bool>(
    subject: &S,
    plan: &Plan,
) -> Result<World<S::Handler, SHORT>, Failure> {
    let mut limits = plan.limits(subject.limits());
    limits.hard_mark = limits.hard_mark.max(limits.high_mark + subject.headroom());
    let servers = subject.layers().map(|layers| layers.servers);
    let world = World::<_, SHORT>::listening(
        plan.seed,
        plan.conditions.clone(),
        subject.handler(),
        limits,
        plan.config(),
        &ListenOptions { layer: servers, ..ListenOptions::default() },
    );
    let mut world = world.map_err(|error| Failure {
        violation: Violation { turn: 0, at: Duration::ZERO, what: error.to_string() },
        trace: String::new(),
    })?;
    world.set_patience(plan.patience(subject.own_bytes()));
    world.set_stillness(STILLNESS);
    let endpoints = [world.tcp(), world.unix()].map(Clone::clone);
    populate(world.net_mut(), subject, plan, &endpoints);
    #[cfg(feature = "workers")]
    if subject.has_workers() {
        let workers = world.net().workers();
        world.reactor().set_workers(&workers);
    }
    Ok(world)
}

fn totals<H: crate::StreamHandler, const SHORT: bool>(world: &World<H, SHORT>) -> Totals {
    let (bytes_in, bytes_out) = world.net().moved();
    let connections = world.lives().len() as u64;
    Totals {
        runs: 1,
        turns: world.turns(),
        time: world.elapsed(),
        connections,
        children: world.net().processes().len() as u64,
        bytes: bytes_in + bytes_out,
        callbacks: world.recording().callbacks(),
        faults: world.net().faults(),
        hash: world.net().trace().hash(),
    }
}

fn play<S: Subject, const SHORT: bool>(
    subject: &S,
    plan: &Plan,
    world: &mut World<S::Handler, SHORT>,
) -> Result<(), Violation> {
    let mut shutdown = None;
    if let Some((after, deadline)) = plan.shutdown {
        world.run_for(after)?;
        world.net_mut().hold_up(plan.held_up);
        let deadline_at = world.elapsed() + deadline;
        shutdown = Some(Shutdown { arrived: arrived(world), deadline_at: world.epoch() + deadline_at });
        world.reactor().shutdown(deadline);
        let mut finished = false;
        for _ in 0..plan.patience(subject.own_bytes()) {
            let Turn { finished: done, .. } = world.turn(None)?;
            finished = done;
            if finished {
                break;
            }
        }
        if !finished {
            return Err(world.violation("a shutdown does not come to its end".into()));
        }
        let stopped = world.net().faults().stopped > 0;
        if world.elapsed() > deadline_at + GRACE && !stopped {
            return Err(world.violation("a shutdown came to its end long after its deadline".into()));
        }
    } else {
        world.run()?;
    }
    world.check_baseline()?;
    let recording = world.recording();
    subject.check_handler(recording.inner(), recording.lives()).map_err(|what| world.violation(what))?;
    world.net_mut().settle();
    let own = world.net().clients().filter(|(_, seen)| !seen.is_host()).map(|(client, _)| client);
    for (client, planned) in own.zip(&plan.clients) {
        check_client(subject, plan, shutdown.as_ref(), world, planned, client)
            .map_err(|what| world.violation(what))?;
    }
    check_turned_away(plan, world).map_err(|what| world.violation(what))?;
    subject.check_all(world.net(), world.lives()).map_err(|what| world.violation(what))
}

/// The time beyond its deadline that a shutdown may take, for children that
/// have to be killed.
const GRACE: Duration = Duration::from_secs(2);

/// The longest turn, and so the longest time from its beginning to its last
/// write.
const TURN: Duration = Duration::from_secs(1);

/// A shutdown.
struct Shutdown {
    /// The clients with an open connection at its request, and how many of each
    /// one's bytes had arrived.
    arrived: BTreeMap<ClientId, usize>,
    deadline_at: Instant,
}

fn arrived<H: crate::StreamHandler, const SHORT: bool>(world: &World<H, SHORT>) -> BTreeMap<ClientId, usize> {
    let open = world.lives().iter().filter(|life| life.closed().is_none());
    let clients = open.filter_map(Life::client);
    clients.map(|client| (client, world.net().arrived(client))).collect()
}

/// Checks that no more clients were refused than the service had no room for.
fn check_turned_away<H: crate::StreamHandler, const SHORT: bool>(
    plan: &Plan,
    world: &mut World<H, SHORT>,
) -> Result<(), String> {
    let stats = world.reactor().stats();
    let refused = stats.refused_full;
    if plan.max_connections.is_none() && refused > 0 {
        return Err(format!("{refused} clients were turned away, and there was room"));
    }
    let refused = refused + stats.handshake_failures;
    let opened: BTreeSet<_> = world.lives().iter().filter_map(Life::client).collect();
    let unopened = world.net().clients().filter(|(client, seen)| {
        !seen.is_host()
            && !opened.contains(client)
            && !seen.has_reset()
            && !seen.was_lost()
            && !seen.was_refused()
    });
    let closes = |client: ClientId| plan.clients[client.number()].ending == Ending::Close;
    let unopened = unopened.filter(|(client, _)| !closes(*client)).count();
    if plan.shutdown.is_none() && unopened as u64 > refused {
        return Err(format!("{unopened} clients were never opened, and {refused} turned away"));
    }
    Ok(())
}

/// Checks that every loss of a client is explained, and that it received the
/// right bytes.
fn check_client<S: Subject, const SHORT: bool>(
    subject: &S,
    plan: &Plan,
    shutdown: Option<&Shutdown>,
    world: &World<S::Handler, SHORT>,
    planned: &ClientPlan,
    client: ClientId,
) -> Result<(), String> {
    let life = world.life(client);
    let seen = world.client(client);
    let left = planned.ending == Ending::Close;
    let broken = left || seen.has_reset() || seen.was_lost() || seen.was_refused();
    let stops = u32::try_from(world.net().faults().stopped).unwrap_or(u32::MAX);
    let cut = match life.map(Life::closed) {
        // A count covers those that were refused.
        None if broken || plan.shutdown.is_some() || plan.max_connections.is_some() => true,
        // Its handshake took too long, by its own fault or the network's.
        None if subject.layers().is_some() && !is_prompt(plan, planned) => true,
        None => return Err(format!("client {client} was never opened")),
        Some(None) => return Err(format!("client {client} was never closed")),
        Some(Some(why))
            if why.starts_with("InputTooLong")
                && life.is_some_and(|life| life.left().len() > plan.max_input()) =>
        {
            true
        }
        Some(Some(why)) => {
            let output = output_after(subject, plan, planned, why, broken, stops);
            let unexplained = || format!("client {client} was closed as {why}, and nothing explains it");
            output.ok_or_else(unexplained)? == Output::Cut
        }
    };
    if let Some(life) = life {
        check_times(subject, plan, world, client, life)?;
    }
    let in_order = match (shutdown, life) {
        (Some(shutdown), Some(life)) => ended_in_order(plan, shutdown, world, client, life, broken)?,
        _ => false,
    };
    let drops = |why: &str| {
        ["Overflow", "TimedOut(WriteStall)", "Aborted", "Panicked"].iter().any(|drop| why.starts_with(drop))
    };
    if !planned.unix && seen.saw_fin().is_some() && life.and_then(Life::closed).is_some_and(drops) {
        return Err(format!("client {client} saw a FIN, and takes for the whole what is a part"));
    }
    if subject.layers().is_some() {
        check_layer(life, seen, broken).map_err(|what| format!("client {client} {what}"))?;
    }
    let mut whole = !cut && !broken && planned.is_well_behaved();
    if let Some(reset) = seen.saw_reset()
        && (!cut || in_order)
        && !broken
    {
        // The client has used up its linger time: bytes in flight may be
        // destroyed.
        let epoch = world.epoch();
        let lingered =
            life.and_then(Life::closed_at).map(|at| at.saturating_duration_since(epoch) + plan.linger);
        // A shutdown ends the linger time too, but only at its deadline.
        let dropped = plan.shutdown.map(|(after, deadline)| after + deadline);
        let lingered = lingered.into_iter().chain(dropped).min();
        if lingered.is_none_or(|lingered| Duration::from_nanos(reset.as_nanos()) < lingered) {
            return Err(format!("client {client} was reset, and nothing explains it"));
        }
        whole = false;
    }
    subject.check(world.net(), client, life, whole)
}

/// Whether nothing keeps a client and the network from a handshake within its time.
fn is_prompt(plan: &Plan, planned: &ClientPlan) -> bool {
    plan.conditions.buffer >= 512 && plan.conditions.stopped.is_never() && planned.is_well_behaved()
}

/// Checks what a client sees of its layer: the end if the server has ended in order,
/// and only then, so that it takes no part for the whole; and no error but of a
/// connection that is broken.
fn check_layer(life: Option<&Life>, seen: &Client, broken: bool) -> Result<(), String> {
    if let Some(error) = seen.layer_error() {
        return Err(format!("was sent what its layer refuses: {error}"));
    }
    let why = life.and_then(Life::closed).unwrap_or("never opened");
    let is_cut = ["Overflow", "TimedOut(WriteStall)", "Io", "Aborted", "Panicked", "never opened"]
        .iter()
        .any(|cut| why.starts_with(cut));
    if seen.saw_layer_end() && is_cut {
        return Err(format!("saw an end of its layer, and was closed as {why}"));
    }
    let is_whole = matches!(why, "Finished" | "Closed");
    if is_whole && seen.saw_fin().is_some() && !seen.saw_layer_end() && !broken {
        return Err("saw a FIN without an end of its layer".into());
    }
    Ok(())
}

/// Checks that no deadline ended a connection early.
fn check_times<S: Subject, const SHORT: bool>(
    subject: &S,
    plan: &Plan,
    world: &World<S::Handler, SHORT>,
    client: ClientId,
    life: &Life,
) -> Result<(), String> {
    let (Some(why), Some(closed_at)) = (life.closed(), life.closed_at()) else { return Ok(()) };
    let limits = plan.limits(subject.limits());
    let written_to = world.client(client).written_to();
    let written_at = written_to.map(|at| world.epoch() + Duration::from_nanos(at.as_nanos()));
    let before = |since: Instant, time: Option<Duration>| time.is_none_or(|time| closed_at < since + time);
    // The recorded moments lie within the turn, not at its beginning.
    let turn = if plan.conditions.stopped.is_never() { TURN } else { TURN + 4 * plan.conditions.stop };
    let long_before = |since: Option<Instant>, time: Option<Duration>| {
        since.is_some_and(|since| time.is_none_or(|time| closed_at + turn < since + time))
    };
    let is_early = match why {
        // Output queued by then may have been written since, in order.
        "TimedOut(Idle)" => before(life.heard_at(), limits.idle),
        "TimedOut(FirstFrame)" => before(life.opened_at(), limits.first_frame),
        "TimedOut(Frame)" => long_before(life.frame_since(), limits.frame),
        "TimedOut(WriteStall)" => long_before(written_at, limits.write_stall),
        "TimedOut(Handler)" => before(life.heard_at(), subject.own_deadline()),
        _ => false,
    };
    // docs/guarantees.md, 63: a peer that takes little has not stalled.
    let took_at = world.client(client).took_at();
    let took_at = took_at.map(|at| world.epoch() + Duration::from_nanos(at.as_nanos()));
    let has_stalled = |stall| took_at.is_none_or(|took_at: Instant| took_at + stall <= closed_at + turn);
    if why == "TimedOut(WriteStall)" && !limits.write_stall.is_none_or(has_stalled) {
        return Err(format!("client {client} took something, and was closed as {why}"));
    }
    if is_early {
        return Err(format!("client {client} was closed as {why} too early"));
    }
    // Input that had come by then was delivered before, unless calls return a
    // needless `WouldBlock`.
    let due = match why {
        "TimedOut(FirstFrame)" => limits.first_frame.map(|time| life.opened_at() + time),
        "TimedOut(Frame)" if !life.is_frame_resumed() => {
            life.frame_since().zip(limits.frame).map(|(since, time)| since + time)
        }
        _ => None,
    };
    let is_plain = subject.layers().is_none();
    if let Some(due) = due.filter(|_| is_plain && plan.conditions.would_block.is_never()) {
        let due = Moment::ZERO.plus(due.min(closed_at).saturating_duration_since(world.epoch()));
        let (arrived, read) = (world.client(client).arrived_by(due), life.input().len());
        if read < arrived {
            return Err(format!("client {client} was closed as {why} with {read} bytes read of {arrived}"));
        }
    }
    Ok(())
}

/// Checks a connection that sent during a shutdown and ended before its
/// deadline: it must not be reset, and its handler must have taken all that had
/// arrived.
fn ended_in_order<H: crate::StreamHandler, const SHORT: bool>(
    plan: &Plan,
    shutdown: &Shutdown,
    world: &World<H, SHORT>,
    client: ClientId,
    life: &Life,
    broken: bool,
) -> Result<bool, String> {
    if life.closed() != Some("Shutdown") || life.closed_at().is_none_or(|at| at >= shutdown.deadline_at) {
        return Ok(false);
    }
    if !life.left().is_empty() && !life.saw_eof() {
        return Err(format!("client {client} was not done, and closed by a shutdown"));
    }
    // With needless `WouldBlock`s the loop cannot know.
    let arrived = shutdown.arrived.get(&client).copied().unwrap_or(0);
    // A layer's bytes are counted as they arrive, and the handler's as plaintext.
    if !world.client(client).has_layer()
        && !world.client(client).has_own_layer()
        && plan.conditions.would_block.is_never()
        && !broken
        && life.input().len() < arrived
    {
        let read = life.input().len();
        return Err(format!("a shutdown closed client {client} with {read} bytes read of {arrived}"));
    }
    Ok(world.recording().shutting_down_at().is_some_and(|began| life.heard_at() > began))
}

/// Whether every client reads all the time, and its connection can take a good
/// part of its queue in a tenth of a second.
fn keeps_up(plan: &Plan) -> bool {
    let reads = |client: &ClientPlan| client.pace == Pace::AtOnce && client.ending != Ending::Vanish;
    plan.conditions.buffer >= 512 && plan.clients.iter().all(reads)
}

/// The output that a client gets of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Whole,
    Cut,
}

/// The output that a client gets after this close reason; `None` if the reason
/// should not occur.
fn output_after<S: Subject>(
    subject: &S,
    plan: &Plan,
    planned: &ClientPlan,
    why: &str,
    broken: bool,
    stops: u32,
) -> Option<Output> {
    match why {
        "Finished" | "Closed" => Some(Output::Whole),
        "Shutdown" => plan.shutdown.map(|_| Output::Cut),
        why if why.starts_with("Overflow") => {
            (subject.may_overflow() && !(subject.keeps_readers() && keeps_up(plan))).then_some(Output::Cut)
        }
        // A slow network makes the frames of fast clients slow.
        why if why.starts_with("TimedOut(F") && subject.limits().frame.is_some() => Some(Output::Cut),
        "TimedOut(Handler)" if subject.own_deadline().is_none() => None,
        why if why.starts_with("TimedOut") => {
            // With needless `WouldBlock`s, a loop that was stopped cannot know
            // what came meanwhile.
            let misled = stops > 0 && !plan.conditions.would_block.is_never();
            // A paused connection is not read, and counts as idle.
            let paused = why == "TimedOut(Idle)"
                && subject
                    .limits()
                    .idle
                    .is_some_and(|idle| plan.conditions.stop.saturating_mul(stops) >= idle);
            (misled || paused || planned.may_time_out()).then_some(Output::Cut)
        }
        why if why.starts_with("Io") => broken.then_some(Output::Cut),
        _ => None,
    }
}

/// The kind of a failure: its text without the numbers.
///
/// ```
/// use serve_forever::sim::kind_of;
///
/// assert_eq!(kind_of("client #3: byte 491 is wrong"), kind_of("client #0: byte 7 is wrong"));
/// ```
#[must_use]
pub fn kind_of(what: &str) -> String {
    let mut kind = String::with_capacity(what.len());
    for char in what.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }) {
        if char != '0' || !kind.ends_with('0') {
            kind.push(char);
        }
    }
    kind
}

/// Makes a failing plan smaller, as long as the rest fails in the same way,
/// with at most `runs` runs. `failure` returns the broken check of a plan, if
/// any; two failures are the same if their texts differ [in numbers
/// alone](kind_of). A plan that does not fail is returned unchanged.
pub fn shrink(plan: &Plan, runs: usize, mut failure: impl FnMut(&Plan) -> Option<String>) -> Plan {
    let mut smallest = plan.clone();
    let Some(kind) = failure(plan).map(|what| kind_of(&what)) else { return smallest };
    let mut left = runs;
    'smaller: loop {
        for simpler in smallest.simpler() {
            if left == 0 {
                return smallest;
            }
            left -= 1;
            if failure(&simpler).is_some_and(|what| kind_of(&what) == kind) {
                smallest = simpler;
                continue 'smaller;
            }
        }
        return smallest;
    }
}
