//! Shutdown: closes listeners, finishes what is under way until the deadline,
//! and drops the rest, one step a turn.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::time::Duration;

use super::Reactor;
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::contain::caught;
use crate::core::{List, RunState};
use crate::driver::{Driver, Notice};
use crate::id::{ConnId, GroupId};
use crate::life::{Flags, Input};

/// What remains when everything is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spared {
    /// Connections in the background, which outlive a shutdown.
    Background,
    Nothing,
}

impl<D: Driver> Reactor<D> {
    /// Requests a shutdown, as [`Handle::shutdown`](crate::Handle::shutdown)
    /// does from another thread. `deadline` counts from now; of several
    /// requests the soonest deadline counts. Returns at once: later turns carry
    /// the shutdown out.
    pub fn shutdown(&mut self, deadline: Duration) {
        self.driver.notice(Notice::Shutdown(deadline));
        self.request_shutdown(deadline);
    }

    pub(super) fn request_shutdown(&mut self, deadline: Duration) {
        let at = self.driver.now().plus(deadline);
        self.core.request(RunState::ShuttingDown(at));
    }

    /// Takes one step of a requested shutdown, at the end of a turn. True when
    /// the shutdown is complete.
    pub(super) fn step_shutdown(&mut self) -> bool {
        let wish = std::mem::replace(&mut self.core.requested, RunState::Running);
        let was_running = self.state == RunState::Running;
        self.state.hasten(wish);
        self.core.is_shutting_down = self.state != RunState::Running;
        match self.state {
            RunState::Running => return false,
            RunState::ShuttingDown(_) if was_running => self.begin_shutdown(),
            RunState::ShuttingDown(deadline) => {
                self.close_quiet_sockets();
                if self.core.observed_until >= deadline || self.only_background() {
                    // From here the loop waits for what is left (a killed child
                    // may take its time to die), without spinning.
                    self.state = RunState::Stopping;
                    self.drop_everything(Spared::Background);
                } else {
                    self.close_the_quiet();
                }
            }
            RunState::Stopping => self.drop_everything(Spared::Background),
        }
        let core = &self.core;
        let finished = core.conns.iter().all(|(_, conn)| outlives_shutdown(conn))
            && self.listeners.is_empty()
            && core.datagrams.table.is_empty()
            && core.children.table.is_empty()
            && !core.has_jobs();
        if finished {
            self.state = RunState::Running;
            self.core.is_over = false;
            self.core.is_shutting_down = false;
            // The finished shutdown answers every request made meanwhile.
            self.core.requested = RunState::Running;
        }
        finished
    }

    /// Begins a shutdown: accepts the clients that have connected already,
    /// closes the listeners, and reads every connection once more, so that what
    /// has arrived is answered.
    fn begin_shutdown(&mut self) {
        self.shutdown_since = self.core.moment;
        self.listeners.resume(&mut self.core.timers);
        self.close_listeners();
        for service in 0..self.callbacks.count() {
            #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 65,536")]
            self.with_service(service as u16, "shutting_down", |handler, io| handler.shutting_down(io));
        }
        self.drain_sockets();
        let core = &mut self.core;
        for key in core.conns.keys() {
            if let Some(conn) = core.conns.get_mut(key)
                && conn.life.input() == Input::Open
                && !conn.life.is_connecting()
            {
                // Input may have arrived whose event is not reported yet.
                conn.set(Flags::READABLE);
                core.list(ConnId(key), List::Read);
            }
        }
    }

    fn only_background(&self) -> bool {
        let core = &self.core;
        core.calls.is_empty()
            && !core.has_jobs()
            && core.datagrams.table.is_empty()
            && core.children.table.is_empty()
            && core.conns.iter().all(|(_, conn)| conn.has(Flags::BACKGROUND))
    }

    /// Closes each connection that has nothing under way, unless it shares a
    /// group with a connection that does and may still broadcast. A connection
    /// that was quiet since the shutdown began is closed at once, for its peer
    /// may stay connected as long as it likes. A connection that moved bytes
    /// since then, or whose handler has a last word, is ended in order: more
    /// input may be in flight, on which closing at once would send a reset and
    /// could destroy the reply.
    fn close_the_quiet(&mut self) {
        let core = &self.core;
        if !core.calls.is_empty() {
            // A call may write to any connection.
            return;
        }
        // The pipes of a child end with it.
        let concerned =
            |conn: &Conn| conn.is_live() && conn.child().is_none() && !conn.has(Flags::BACKGROUND);
        let speaking: BTreeSet<GroupId> = core
            .conns
            .iter()
            .filter(|(_, conn)| concerned(conn) && !conn.is_heard())
            .flat_map(|(key, _)| core.groups.of(ConnId(key)))
            .collect();
        let quiet: Vec<ConnId> = core
            .conns
            .iter()
            .filter(|(_, conn)| concerned(conn) && conn.is_quiet())
            .map(|(key, _)| ConnId(key))
            .filter(|id| speaking.is_empty() || !core.groups.of(*id).any(|group| speaking.contains(&group)))
            .collect();
        // Who has not begun to shake hands by now has nothing under way.
        let silent: Vec<ConnId> = core
            .conns
            .iter()
            .filter(|(_, conn)| conn.life.is_connecting() && conn.has(Flags::HANDSHAKING))
            .filter(|(_, conn)| !conn.life.is_unanswered() && !conn.has(Flags::READABLE))
            .filter(|(_, conn)| conn.last_activity <= self.shutdown_since)
            .map(|(key, _)| ConnId(key))
            .collect();
        for id in silent {
            self.core.fail(id, CloseReason::Shutdown);
        }
        for id in quiet {
            // The last word of one may have been a message to another.
            let is_quiet = |conn: &&Conn| conn.is_live() && conn.is_quiet();
            let Some(conn) = self.core.conns.get(id.0).filter(is_quiet) else { continue };
            let was_busy = conn.last_activity > self.shutdown_since;
            if self.end(id, CloseReason::Shutdown) || was_busy {
                self.flush_or_defer(id);
            } else {
                self.core.fail(id, CloseReason::Shutdown);
            }
        }
    }

    /// Closes everything at once, except background connections if `spares`,
    /// and calls `close` for every session.
    fn drop_everything(&mut self, spared: Spared) {
        self.core.is_over = true;
        self.core.calls.clear();
        for id in self.listeners.ids() {
            self.listeners.close(&mut self.driver, id);
        }
        self.listeners.watch_failed(&mut self.core.timers);
        self.close_all_sockets();
        self.listeners.resume(&mut self.core.timers);
        self.kill_children();
        for key in self.core.conns.keys() {
            let is_spared =
                spared == Spared::Background && self.core.conns.get(key).is_some_and(outlives_shutdown);
            if !is_spared {
                self.core.fail(ConnId(key), CloseReason::Shutdown);
            }
        }
        self.reap();
        #[cfg(feature = "workers")]
        self.abandon_jobs();
    }
}

/// True for a live background connection.
fn outlives_shutdown(conn: &Conn) -> bool {
    conn.has(Flags::BACKGROUND) && conn.is_live() && conn.child().is_none()
}

impl<D: Driver> Drop for Reactor<D> {
    /// Closes every session that is left, with
    /// [`CloseReason::Shutdown`](crate::CloseReason::Shutdown), and ends every
    /// child. If a panic drops the reactor, it ends the children and calls no
    /// handler, for a second panic would end the process.
    ///
    /// A drop in a fork of the process that made the reactor leaves sockets,
    /// files and children as they are for that process. Handlers in the fork
    /// still see `close`, for their copies of the sessions.
    fn drop(&mut self) {
        self.inbox.close();
        if std::thread::panicking() {
            return self.end_processes();
        }
        let told = caught(|| {
            self.read_clock();
            self.drop_everything(Spared::Nothing);
            self.end_children();
        });
        if let Err(payload) = told {
            // A callback panicked, and `catch_panics` is off.
            self.end_processes();
            resume_unwind(payload);
        }
    }
}
