//! Phase 1: waiting for events, asleep or not, and noting what is ready.

use std::io;
use std::time::Duration;

use super::{Reactor, Stage};
use crate::conn::{Flags, Phase};
use crate::core::Core;
use crate::driver::{Driver, Event, Target};
use crate::error::{Error, Result};
use crate::id::ConnId;
use crate::moment::Moment;

impl<D: Driver> Reactor<D> {
    /// Phase 1: waits, and notes what is ready.
    #[inline]
    pub(super) fn wait(&mut self, max_wait: Option<Duration>) -> Result<usize> {
        let timeout = match (self.timeout_at(self.clock), max_wait) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let outcome = match self.stage.core.config.busy_poll {
            Some(busy) if timeout != Some(Duration::ZERO) => self.look_busily(busy, timeout),
            _ => self.look(timeout),
        };
        let events = match outcome {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(source) => return Err(Error::System { what: "waiting for events", source }),
        };
        self.read_clock();
        let core = &mut self.stage.core;
        core.crossed = false;
        core.stats.turns += 1;
        core.stats.events += events as u64;
        Ok(events)
    }

    /// Asks the driver once for what is ready, and notes it.
    #[inline]
    fn look(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let Self { driver, stage: Stage { core, .. }, listeners, .. } = self;
        let mut events = 0;
        driver.wait(timeout, |event: Event| {
            events += 1;
            match event.token.target() {
                Target::Connection(id) => note(core, id, event),
                Target::Listener(id) => listeners.note(id),
                Target::Child(id) if core.children.table.contains(id.0) => core.children.to_look.push(id),
                Target::Child(_) => core.stats.stale_events += 1,
                Target::Socket(id) => core.note_socket(id, event.readable || event.hangup, event.writable),
            }
        })?;
        Ok(events)
    }

    /// Asks again and again for as long as `busy`, and sleeps only then. What
    /// was due by the time-out is not a look later, and a call that is left
    /// meanwhile needs no wake.
    #[inline(never)]
    fn look_busily(&mut self, busy: Duration, timeout: Option<Duration>) -> io::Result<usize> {
        let mut now = self.clock;
        let until = timeout.map_or(Moment::NEVER, |timeout| now.plus(timeout));
        let asleep = now.plus(busy).min(until);
        while now < asleep {
            let events = match self.look(Some(Duration::ZERO)) {
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
        self.look(until.after(now))
    }
}

/// Notes what an event says of a connection.
#[inline]
fn note(core: &mut Core, id: ConnId, event: Event) {
    let Some(conn) = core.conns.get_mut(id.0) else {
        core.stats.stale_events += 1;
        return;
    };
    if conn.phase == Phase::Connecting {
        core.to_establish.push(id);
        return;
    }
    let mut said = Flags::NONE;
    if event.readable {
        said = said.union(Flags::READABLE);
    }
    if event.writable {
        said = said.union(Flags::WRITABLE);
    }
    if event.hangup {
        said = said.union(Flags::READABLE).union(Flags::HANGUP);
        if conn.has(Flags::PAUSED.union(Flags::PEER_DONE)) {
            core.to_check.push(id);
        }
    }
    conn.set(said);
    if said.has(Flags::READABLE) && !conn.has(Flags::PAUSED.union(Flags::IN_READ_LIST)) {
        conn.set(Flags::IN_READ_LIST);
        core.to_read.push(id);
    }
    if said.has(Flags::WRITABLE) && conn.out.is_some() {
        core.flush_later(id);
    }
}
