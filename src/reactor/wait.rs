//! Phase 1: waits for events and notes which connections are ready.
//!
//! It also keeps `Core::observed_until`, the moment up to which everything that has
//! happened is noted. Deadlines and timers are judged by that moment.

use std::io;
use std::time::Duration;

use super::Reactor;
use super::listeners::Listeners;
use crate::core::{Core, List, RunState};
use crate::driver::{Driver, Event, Target};
use crate::error::{Error, Result};
use crate::id::ConnId;
use crate::life::Flags;
use crate::moment::Moment;

/// While events come, nobody waits for longer, and nobody has to compute for
/// how long: for a wait of this length that was done when this was compiled.
/// Without events the next wait is as long as it may be.
const WHILE_BUSY: Duration = Duration::from_secs(1);

/// A turn that took longer than this, for a callback or for a stop of the
/// process, kept everybody waiting.
const LONG_TURN: Duration = Duration::from_millis(10);

/// [`WHILE_BUSY`] in nanoseconds.
const WHILE_BUSY_NANOS: u64 = WHILE_BUSY.as_nanos() as u64;

/// The same of a turn and the wait behind it, which is no longer than
/// [`WHILE_BUSY`].
const LONG_BUSY_TURN: u64 = WHILE_BUSY_NANOS + LONG_TURN.as_nanos() as u64;

impl<D: Driver> Reactor<D> {
    /// Phase 1: waits, and notes what is ready.
    #[inline(always)]
    pub(super) fn wait(&mut self, max_wait: Option<Duration>) -> Result<usize> {
        if !self.had_events || max_wait.is_some() || !self.is_nothing_due_soon() {
            return self.wait_in_time(max_wait);
        }
        let turn = self.core.moment;
        let events = match self.poll::<true>(Some(WHILE_BUSY)) {
            Ok(events) => events,
            Err(error) => return self.not_waited(error),
        };
        self.waited(events);
        // Nothing was due so soon. (In numbers: the arithmetic of durations costs
        // more than the clock.)
        if self.clock.as_nanos().wrapping_sub(turn.as_nanos()) < WHILE_BUSY_NANOS {
            return Ok(events);
        }
        self.after_a_second(turn, events)
    }

    #[inline(always)]
    fn waited(&mut self, events: usize) {
        self.had_events = events > 0;
        // On this side of the clock, so that the two counters are not added as a vector,
        // which takes three times as many instructions.
        self.core.stats.events += events as u64;
        self.read_clock();
        self.core.stats.turns += 1;
    }

    /// Waits where something may be due soon, or the last wait had no event.
    #[inline(never)]
    fn wait_in_time(&mut self, max_wait: Option<Duration>) -> Result<usize> {
        self.tell_system_calls();
        let outcome = self.poll_in_time(max_wait);
        let began = self.clock;
        match outcome {
            Ok(events) => {
                self.waited(events);
                self.judge(began, events)
            }
            Err(error) => self.not_waited(error),
        }
    }

    /// A busy turn that began at `turn`, and the wait behind it, have taken a
    /// second or more.
    #[cold]
    fn after_a_second(&mut self, turn: Moment, events: usize) -> Result<usize> {
        let core = &mut self.core;
        if core.moment.as_nanos() - turn.as_nanos() > LONG_BUSY_TURN {
            // The wait took its second at most.
            core.restamp(turn, Moment::from_nanos(core.moment.as_nanos() - WHILE_BUSY_NANOS));
        }
        self.judge(turn, events)
    }

    /// Whether something is due after a wait that began at `began`, or later.
    fn judge(&mut self, began: Moment, events: usize) -> Result<usize> {
        let core = &self.core;
        self.is_due = core.next_due() <= core.moment || self.state != RunState::Running;
        if self.is_due { self.observe_due(began, events) } else { Ok(events) }
    }

    /// Deals with a wait that has failed. A signal may have ended it before it had
    /// polled, so nothing is judged in this turn.
    #[cold]
    fn not_waited(&mut self, source: io::Error) -> Result<usize> {
        if source.kind() != io::ErrorKind::Interrupted {
            return Err(Error::System { what: "waiting for events", source });
        }
        self.interruptions += 1;
        self.had_events = false;
        self.read_clock();
        self.core.stats.turns += 1;
        Ok(0)
    }

    /// Before anything that is due is carried out: asks for all that had
    /// happened by then. The process may have been stopped, or busy in a
    /// callback, for longer than every deadline; what came meanwhile lies in the
    /// kernel, and came in time. `events` of a wait that began at `began` are
    /// noted, which may be all there were. Returns how many are noted now.
    #[inline(never)]
    fn observe_due(&mut self, began: Moment, events: usize) -> Result<usize> {
        self.note_observed(began, events);
        let core = &self.core;
        let due = core.next_due().min(self.state.deadline());
        if due <= core.observed_until || due > core.moment {
            return Ok(events);
        }
        let began = self.clock;
        let more = match self.poll::<false>(Some(Duration::ZERO)) {
            Ok(more) => more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(events),
            Err(source) => return Err(Error::System { what: "waiting for events", source }),
        };
        self.had_events |= more > 0;
        self.core.stats.events += more as u64;
        self.note_observed(began, more);
        Ok(events + more)
    }

    /// Notes that a wait which began at `began` has reported `events`. If it had no
    /// room for all, the following waits report the rest first: at the latest when
    /// they have reported as many events as there are sockets, everything that had
    /// happened by `began` is noted.
    fn note_observed(&mut self, began: Moment, events: usize) {
        let is_all = self.driver.reported_all();
        let (until, left) = self.unobserved.unwrap_or_else(|| (began, self.sources()));
        let left = left.saturating_sub(events);
        self.unobserved = (!is_all && left > 0).then_some((until, left));
        if self.unobserved.is_none() {
            let until = if is_all { began } else { until };
            self.core.observed_until = self.core.observed_until.max(until);
        }
    }

    /// How many sources can have an event, the waker among them.
    fn sources(&self) -> usize {
        let core = &self.core;
        1 + core.conns.len()
            + self.listeners.table.len()
            + core.datagrams.table.len()
            + core.children.table.len()
    }

    /// True when nothing is listed, rare or due within [`WHILE_BUSY`].
    #[inline]
    fn is_nothing_due_soon(&self) -> bool {
        !self.core.pending.is_any()
            && self.core.next_due().as_nanos() >= self.clock.as_nanos() + WHILE_BUSY_NANOS
    }

    /// Waits until the first of what is due, and for no longer than `max_wait`.
    fn poll_in_time(&mut self, max_wait: Option<Duration>) -> io::Result<usize> {
        self.clock = self.driver.now();
        let turn = self.core.moment;
        if self.clock.since(turn) > LONG_TURN {
            self.core.restamp(turn, self.clock);
        }
        let timeout = match (self.timeout_at(self.clock), max_wait) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match self.core.config.busy_poll {
            Some(busy) if timeout != Some(Duration::ZERO) => self.poll_busily(busy, timeout),
            _ => self.poll::<false>(timeout),
        }
    }

    /// The timeout of the loop's own wait. A waiting call needs no check here:
    /// its wake makes the wait return.
    pub(super) fn timeout_at(&self, now: Moment) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let timer = self.core.next_due();
        let next = match self.state {
            RunState::ShuttingDown(deadline) => timer.min(deadline),
            RunState::Running | RunState::Stopping => timer,
        };
        next.after(now)
    }

    /// True when the system may have events for which the last wait had no
    /// room. The loop's next wait finds them at once; an outer loop must not
    /// sleep.
    pub(super) fn has_events(&self) -> bool {
        self.had_events && !self.driver.reported_all()
    }

    /// True when the next turn has work without any new event.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.core.pending.is_listed() || self.listeners.can_accept()
    }
    /// Polls the driver once, and notes what is ready. `HOT` makes the busy wait an
    /// instance of its own, which is inlined.
    #[inline(always)]
    fn poll<const HOT: bool>(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let Self { driver, core, listeners, .. } = self;
        driver.wait(timeout, |event: Event| match event.token.target() {
            Target::Connection(id) => note(core, id, event),
            target => {
                note_other(core, listeners, target, event.readable || event.hangup, event.writable);
            }
        })
    }

    /// Polls again and again for `busy`, and sleeps only then
    /// ([`Config::busy_poll`](crate::Config::busy_poll)). Nothing that is due by the
    /// time-out is later by a poll, and a waiting call ends it without a wake.
    #[inline(never)]
    fn poll_busily(&mut self, busy: Duration, timeout: Option<Duration>) -> io::Result<usize> {
        let mut now = self.clock;
        let until = timeout.map_or(Moment::NEVER, |timeout| now.plus(timeout));
        let asleep = now.plus(busy).min(until);
        while now < asleep {
            let events = match self.poll::<false>(Some(Duration::ZERO)) {
                // A signal ends no turn in which nothing else has happened.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                outcome => outcome?,
            };
            if events > 0 || self.inbox.is_waiting() {
                return Ok(events);
            }
            // Even by a clock that stands still this comes to an end.
            now = self.driver.now().max(now.plus(Duration::from_nanos(1)));
        }
        self.poll::<false>(until.after(now))
    }
}

/// Notes an event of a listener, a datagram socket or a child.
#[inline(never)]
fn note_other<L>(
    core: &mut Core,
    listeners: &mut Listeners<L>,
    target: Target,
    readable: bool,
    writable: bool,
) {
    core.pending.raise_rare();
    match target {
        // The hot path has noted it.
        Target::Connection(_) => {}
        Target::Listener(id) => listeners.note(id, &mut core.pending),
        Target::Child(id) if core.children.table.contains(id.0) => {
            core.children.to_poll.note(id, &mut core.pending);
        }
        Target::Child(_) => core.stats.stale_events += 1,
        Target::Socket(id) => core.note_socket(id, readable, writable),
    }
}

/// Notes an event of a connection: its readiness, and the lists it belongs to.
#[inline(always)]
fn note(core: &mut Core, id: ConnId, event: Event) {
    let Some(conn) = core.conns.get_mut(id.0) else {
        core.stats.stale_events += 1;
        return;
    };
    let mut said = Flags::NONE;
    if event.readable {
        said = said.union(Flags::READABLE);
    }
    if event.writable {
        said = said.union(Flags::WRITABLE);
    }
    if event.hangup {
        said = said.union(Flags::READABLE).union(Flags::HANGUP);
        if !conn.life.is_connecting() && !conn.life.is_read() {
            core.to_check.note(id, &mut core.pending);
        }
    }
    if conn.life.is_connecting() {
        return note_connecting(core, id, said);
    }
    let before = conn.life;
    conn.set(said);
    if said.has(Flags::READABLE) {
        // One that is paused is passed over when its turn comes.
        core.to_read.note_once(id, conn.mark(Flags::IN_READ_LIST), &mut core.pending);
    }
    // Output that waits though its socket had room is on the flush list.
    if !before.has(Flags::WRITABLE) && said.has(Flags::WRITABLE) && conn.has_output() {
        core.list(id, List::Flush);
    }
}

/// The same of a connection that is being made, or whose layer is not ready.
#[cold]
fn note_connecting(core: &mut Core, id: ConnId, said: Flags) {
    core.to_establish.note(id, &mut core.pending);
    let is_begun = core.layers.is_begun(id.0);
    let Some(conn) = core.conns.get_mut(id.0).filter(|_| is_begun) else { return };
    conn.set(said);
    if said.has(Flags::WRITABLE) && conn.has(Flags::WIRE_PENDING) {
        core.list(id, List::Flush);
    }
}
