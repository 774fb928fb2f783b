//! The turn: seven phases, one after the other, and the loop of turns.

use std::time::Duration;

use super::Reactor;
use crate::core::RunState;
use crate::driver::{Driver, Notice};
use crate::error::Result;

/// The result of one pass of the loop.
struct Pass {
    /// The number of events.
    events: usize,
    /// A shutdown is complete.
    finished: bool,
}

/// The result of one turn of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// The number of events that the system reported.
    pub events: usize,
    /// True when work is left: the next turn will not wait.
    pub more: bool,
    /// True when a shutdown is complete: no connection, listener or socket is
    /// left.
    pub finished: bool,
}

impl<D: Driver> Reactor<D> {
    /// Takes turns until a shutdown is complete, which a
    /// [`Handle`](crate::Handle) or a callback requests. The reactor can be
    /// used again afterwards: its listeners are closed, its services are still
    /// there, and so are connections in the
    /// [background](crate::Io::set_background).
    ///
    /// # Errors
    ///
    /// [`Error::System`](crate::Error::System) if waiting for events fails, which no
    /// connection can cause. [`Error::Listen`](crate::Error::Listen) when the last listener
    /// has failed, could not be made again
    /// ([`Config::listen_again`](crate::Config::listen_again)), and no datagram socket is
    /// left: the reactor has then shut down within
    /// [`SHUTDOWN_DEADLINE`](crate::SHUTDOWN_DEADLINE).
    pub fn serve_forever(&mut self) -> Result<()> {
        self.driver.notice(Notice::Serving);
        self.clock = self.driver.now();
        self.core.pending.raise_rare();
        self.serves_forever = true;
        let outcome = loop {
            match self.pass(None) {
                Ok(pass) if pass.finished => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.serves_forever = false;
        match self.lost.take() {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    /// Takes one [turn](Self#a-turn). Waits for events for at most `max_wait`
    /// (`None`: without a bound), and less if a timer is due or work is left;
    /// `Some(Duration::ZERO)` does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::System`](crate::Error::System) if waiting for events fails.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn> {
        self.driver.notice(Notice::Turn(max_wait));
        // The caller may have done something else since the last turn: the
        // clock has to be read before callbacks use it.
        self.clock = self.driver.now();
        self.had_events = false;
        self.core.pending.raise_rare();
        let Pass { events, finished } = self.pass(max_wait)?;
        let more = self.has_work() || self.has_events() || self.inbox.is_waiting();
        Ok(Turn { events, more: more || self.core.next_due() <= self.clock, finished })
    }

    /// Takes a turn right after another one, or after the clock was read.
    /// Returns the number of events, and whether a shutdown is complete.
    #[inline]
    fn pass(&mut self, max_wait: Option<Duration>) -> Result<Pass> {
        let events = self.wait(max_wait)?; // 1
        let began = self.clock;
        if self.core.pending.is_rare() {
            self.accept(); // 2
            self.before_reading();
        }
        self.read_ready(); // 3
        if self.core.pending.is_rare() {
            self.poll_children();
            if !self.has_rare_work() {
                self.core.pending.clear_rare();
            }
        }
        self.fire_timers(); // 4
        self.run_calls(); // 5
        // A state other than running is rare work, too.
        let finished = self.core.pending.is_any() && self.carry_out(); // 6, 7
        if self.slow_after.is_none() {
            // With `slow_callback`, the last callback has read the clock.
            self.clock = self.driver.now();
        }
        // A driver's time never goes backwards.
        let took = self.clock.as_nanos().wrapping_sub(began.as_nanos());
        self.core.stats.turn_times.count_nanos(took);
        Ok(Pass { events, finished })
    }

    /// Runs the calls of phase 5 between services, and phases 6 and 7, in a turn that has
    /// put something on a work list.
    /// True when a shutdown is complete.
    #[inline(never)]
    fn carry_out(&mut self) -> bool {
        if !self.core.calls.is_empty() {
            self.run_local_calls(); // 5
        }
        if !self.core.to_connect.is_empty() {
            self.begin_connecting();
        }
        if self.core.children.has_listed() {
            self.serve_children();
        }
        if !self.core.datagrams.to_send.is_empty() {
            self.send_queued(); // 6
        }
        self.flush_queued();
        if self.slow_after.is_some() {
            // The time of the writes must not count as the next callback's.
            self.clock = self.driver.now();
        }
        self.reap(); // 7
        let was_running = self.state == RunState::Running;
        let finished = self.step_shutdown();
        // The second step of a shutdown must not wait for an event, for none
        // may come.
        let has_begun = was_running && self.state != RunState::Running;
        if let Some(incident) = self.core.incident.take() {
            self.driver.notice(Notice::Incident(incident));
        }
        if self.core.has_listed() || has_begun {
            self.core.pending.raise();
        } else {
            self.core.pending.clear();
        }
        if self.state != RunState::Running {
            self.core.pending.raise_rare();
        }
        finished
    }

    /// The time for which a loop around the reactor may sleep, unless the
    /// reactor's descriptor becomes readable before: zero if work is left,
    /// `None` if no timer is pending.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.inbox.is_waiting() || self.has_events() {
            return Some(Duration::ZERO);
        }
        self.timeout_at(self.driver.now())
    }

    /// True when the next turn has to look at more than the lists of what to read
    /// and to flush: at phases 2 and 4, at the steps of a shutdown, or at how to wait.
    fn has_rare_work(&self) -> bool {
        self.state != RunState::Running
            || self.core.config.busy_poll.is_some()
            || self.listeners.has_ready()
            || self.core.lists_rare_work()
    }

    /// The beginning of phase 3, in the few turns that have rare work: outbound
    /// connections, hang-ups, datagrams.
    #[inline(never)]
    fn before_reading(&mut self) {
        if !self.core.to_establish.is_empty() {
            self.establish();
        }
        if !self.core.to_check.is_empty() {
            self.check_hangups();
        }
        if !self.core.datagrams.to_receive.is_empty() {
            self.receive_ready();
        }
    }
}
