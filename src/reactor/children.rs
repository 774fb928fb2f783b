//! Child processes: starts and signals them before phase 6, polls them in phase
//! 4, and reports their exit in phase 7.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use super::Reactor;
use crate::children::ChildState;
use crate::close::CloseReason;
use crate::core::{List, NO_CONNECTION};
use crate::driver::{Closing, Driver, Spawned, Token};
use crate::id::{ChildId, ConnId};
use crate::life::{Flags, Phase};
use crate::moment::Moment;
use crate::origin::{Origin, Peer};
use crate::process::{Command, Exit, ExitCause, Fate, Pipe, Signal};

/// The period of polling a child whose exit no event reports.
const POLL_EVERY: Duration = Duration::from_millis(20);

impl<D: Driver> Reactor<D> {
    /// Starts and signals children, as callbacks have asked.
    #[cold]
    pub(super) fn serve_children(&mut self) {
        let mut share = self.core.config.spawns_per_turn;
        let mut batch = self.core.children.to_start.batch();
        while let Some(id) = self.core.children.to_start.take(&mut batch) {
            let child = self.core.children.table.get(id.0);
            // A cancelled child takes no time, and so no share of the turn.
            let starts = child.is_some_and(|child| matches!(child.state, ChildState::Asked(_)));
            if starts && share == 0 {
                self.core.children.to_start.keep(&mut batch);
            } else {
                share -= usize::from(starts);
                self.start_child(id);
            }
        }
        let mut batch = self.core.children.to_signal.batch();
        while let Some((id, signal)) = self.core.children.to_signal.take(&mut batch) {
            self.signal_child(id, signal);
        }
    }

    fn signal_child(&mut self, id: ChildId, signal: Signal) {
        let core = &mut self.core;
        let Some(child) = core.children.table.get(id.0) else { return };
        if child.state == ChildState::Told {
            // The signal may be all that the child was kept for.
            core.children.to_tell.push(id, &mut core.pending);
        }
        let Some(process) = self.processes.get_mut(id.0) else { return };
        let sent = loop {
            match self.driver.signal(process, signal) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        let Err(error) = sent else { return };
        self.log_of_child(format_args!("{id} cannot be ended ({signal:?}): {error}"));
        if signal == Signal::Kill && self.core.is_over {
            self.give_up(id);
        }
    }

    /// Abandons a child that this process may not kill (it has become another
    /// user's: EPERM, kill(2)) or has killed in vain: its exit may never come.
    fn give_up(&mut self, id: ChildId) {
        self.poll_child(id);
        let Some(child) = self.core.children.table.get(id.0) else { return };
        if child.state == ChildState::Running {
            self.log_of_child(format_args!("{id} is let go of: it has not ended, though it was killed"));
            let process = self.processes.take(id.0);
            // The child may have exited just now.
            let status = process.and_then(|process| self.driver.reap(process, Duration::ZERO));
            self.child_exited(id, status);
        }
    }

    fn start_child(&mut self, id: ChildId) {
        let Some(child) = self.core.children.table.get_mut(id.0) else { return };
        let (service, tag) = (child.service, child.tag);
        let started = match std::mem::replace(&mut child.state, ChildState::Running) {
            ChildState::Asked(command) => {
                self.spawn(service, &command, id).and_then(|spawned| self.take_in_pipes(id, spawned))
            }
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match started {
            Ok(has_events) => self.child_started(id, has_events),
            Err(error) => {
                self.core.stats.children_failed += 1;
                self.free_pipes(id);
                self.core.free_child(id);
                self.with_service(service, "spawn_failed", |handler, io| {
                    handler.spawn_failed(io, id, tag, &error);
                });
            }
        }
    }

    fn spawn(
        &mut self,
        service: u16,
        command: &Command,
        id: ChildId,
    ) -> io::Result<Spawned<D::Child, D::Stream>> {
        self.takes_connections(service)?;
        loop {
            match self.driver.spawn(command, Token::child(id)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    // The time of the start must not count as the next
                    // callback's.
                    self.clock = self.driver.now();
                    return outcome;
                }
            }
        }
    }

    /// Registers the child's pipes, except those that the handler has ended
    /// before they opened. If registering fails, the child is killed and counts
    /// as not started: its output would be lost silently.
    fn take_in_pipes(&mut self, id: ChildId, spawned: Spawned<D::Child, D::Stream>) -> io::Result<bool> {
        let Spawned { mut child, pid, pipes, has_events } = spawned;
        let conns = self.core.children.table.get(id.0).map_or([None; 3], |child| child.pipes);
        let mut outcome = Ok(());
        for (conn, stream) in conns.into_iter().zip(pipes) {
            let (Some(conn), Some(stream)) = (conn, stream) else { continue };
            if outcome.is_err() || !self.core.is_connecting(conn) {
                self.driver.close(stream, Closing::InOrder);
            } else {
                outcome = self.register(conn, stream);
            }
        }
        if let Err(error) = outcome {
            if self.driver.signal(&mut child, Signal::Kill).is_ok() {
                self.driver.reap(child, self.core.config.reap_within);
            }
            return Err(error);
        }
        self.processes.insert(id.0, child);
        if let Some(child) = self.core.children.table.get_mut(id.0) {
            child.pid = Some(pid);
        }
        log::debug!("child process {id} started, its pid is {pid}");
        Ok(has_events)
    }

    fn child_started(&mut self, id: ChildId, has_events: bool) {
        // The child's time-out counts from now, however long the turn has
        // lasted.
        self.clock = self.driver.now();
        let core = &mut self.core;
        core.stats.children_started += 1;
        let now = self.clock;
        let Some(child) = core.children.table.get_mut(id.0) else { return };
        if let Some(timeout) = child.times.timeout {
            child.timeout_at = now.plus(timeout);
        }
        if !has_events {
            child.poll_at = now.plus(POLL_EVERY);
        }
        let (tag, conns) = (child.tag, child.pipes);
        core.watch_child(id);
        for (pipe, conn) in Pipe::ALL.into_iter().zip(conns) {
            // The `open` of an earlier pipe may have ended this one.
            if let Some(conn) = conn.filter(|conn| self.core.is_connecting(*conn)) {
                self.open_one_way(conn, &Origin::Pipe { child: id, tag, pipe, peer: Peer::pipe() });
            }
        }
    }

    /// Runs phase 4 for children, before the timers: polls those that may have
    /// exited.
    #[inline]
    pub(super) fn poll_children(&mut self) {
        let mut batch = self.core.children.to_poll.batch();
        while let Some(id) = self.core.children.to_poll.take(&mut batch) {
            self.poll_child(id);
        }
    }

    fn poll_child(&mut self, id: ChildId) {
        let Some(child) = self.core.children.table.get_mut(id.0) else { return };
        if child.state != ChildState::Running {
            return;
        }
        let Some(process) = self.processes.get_mut(id.0) else { return };
        match self.driver.fate(process) {
            Ok(Fate::Running) => {}
            Ok(Fate::Exited(status)) => {
                if status.is_none() {
                    self.log_of_child(format_args!(
                        "{id} has exited, and nobody knows how: something else in the process has waited \
                         for it, or SIGCHLD is ignored (waitid(2), ECHILD)"
                    ));
                }
                self.child_exited(id, status);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.core.children.to_poll.push(id, &mut self.core.pending);
            }
            Err(error) => {
                // The event is spent, and no other one follows.
                let what = format!("{id} cannot be looked at: {error}");
                child.poll_at = self.core.moment.plus(POLL_EVERY);
                self.core.watch_child(id);
                self.log_of_child(format_args!("{what}"));
            }
        }
    }

    /// Logs a fault of a child, at a limited rate, for clients may cause many.
    #[cold]
    fn log_of_child(&mut self, what: std::fmt::Arguments<'_>) {
        let core = &mut self.core;
        if let Some(more) = core.rates.children.allows(core.now()) {
            log::error!("child process {what}{more}");
        }
    }

    fn child_exited(&mut self, id: ChildId, status: Option<ExitStatus>) {
        let core = &mut self.core;
        let now = core.moment;
        let Some(child) = core.children.table.get_mut(id.0) else { return };
        child.state = ChildState::Exited(status);
        child.timeout_at = Moment::NEVER;
        child.poll_at = Moment::NEVER;
        child.give_up_at = Moment::NEVER;
        child.pipes_until = now.plus(child.times.pipe_grace);
        let (stdin, outputs) = (child.pipe(Pipe::Stdin), child.outputs());
        core.watch_child(id);
        core.children.to_tell.push(id, &mut core.pending);
        // The reader of stdin is gone; a grandchild may still hold it, unknown
        // to the loop.
        if let Some(stdin) = stdin
            && let Some(conn) = core.conns.get(stdin.0)
        {
            if conn.queued() > 0 {
                core.fail(stdin, CloseReason::Io(io::ErrorKind::BrokenPipe.into()));
            } else {
                core.mark_dead(stdin);
            }
        }
        outputs.for_each(|pipe| self.note_backlog(pipe));
    }

    /// Notes how many bytes the child has left in a pipe: bytes of any other
    /// writer follow those.
    fn note_backlog(&mut self, pipe: ConnId) {
        if !self.core.is_live(pipe) {
            return;
        }
        let Some(stream) = self.streams.get_mut(pipe.0) else { return };
        let unread = loop {
            match self.driver.unread(stream) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome.unwrap_or(0),
            }
        };
        if let Some(conn) = self.core.conns.get_mut(pipe.0).filter(|_| unread > 0) {
            conn.extras().backlog = unread;
            conn.set(Flags::READABLE.union(Flags::HANGUP));
            self.core.list(pipe, List::Read);
        }
    }

    /// Runs what is due for a child: its time-out, its SIGKILL, its poll, the
    /// end of its pipes, or its abandonment.
    pub(super) fn child_is_due(&mut self, id: ChildId) {
        let now = self.core.observed_until;
        let Some(child) = self.core.children.table.get_mut(id.0) else { return };
        let gives_up = child.give_up_at <= now;
        if child.poll_at <= now {
            child.poll_at = self.core.moment.plus(POLL_EVERY);
            self.poll_child(id);
        } else if child.timeout_at.min(child.kill_at).min(child.give_up_at) <= now {
            // The child may have exited in time, with its event not reported
            // yet.
            self.poll_child(id);
        }
        let core = &mut self.core;
        if core.children.to_poll.contains(&id) {
            // A signal interrupted the poll; the next turn polls first.
            let timer = core.children.table.get(id.0).and_then(|child| child.timer);
            let next = core.moment.plus(Duration::from_nanos(1));
            if let Some(timer) = timer {
                core.timers.reschedule(timer, next);
            }
            return;
        }
        if gives_up {
            self.give_up(id);
        }
        let core = &mut self.core;
        let Some(child) = core.children.table.get_mut(id.0) else { return };
        if child.timeout_at <= now {
            child.timeout_at = Moment::NEVER;
            core.terminate(id, ExitCause::TimedOut);
        }
        let Some(child) = core.children.table.get_mut(id.0) else { return };
        if child.kill_at <= now {
            core.kill_child(id, ExitCause::Killed);
        }
        let Some(child) = self.core.children.table.get_mut(id.0) else { return };
        if child.pipes_until <= now {
            child.pipes_until = Moment::NEVER;
            child.grace_is_over = true;
            self.end_pipes(id);
        }
        self.core.watch_child(id);
    }

    /// Ends the pipes of a child that has exited, when their grace is over:
    /// another process may hold them for ever. The loop delivers what the child
    /// itself had written first, and ends no pipe that its handler has paused.
    fn end_pipes(&mut self, id: ChildId) {
        let core = &self.core;
        let Some(child) = core.children.table.get(id.0) else { return };
        for pipe in child.outputs() {
            let Some(conn) = self.core.conns.get(pipe.0) else { continue };
            match conn.phase() {
                Phase::Live if conn.has(Flags::PAUSED) || conn.has_backlog() => {}
                Phase::Live => self.end_of_input(pipe),
                _ => self.core.mark_dead(pipe),
            }
        }
    }

    /// Runs phase 7 for children: reports those that have exited and whose
    /// output has ended.
    pub(super) fn tell_exits(&mut self) {
        let mut batch = self.core.children.to_tell.batch();
        while let Some(id) = self.core.children.to_tell.take(&mut batch) {
            self.tell_exit(id);
        }
    }

    fn tell_exit(&mut self, id: ChildId) {
        let core = &mut self.core;
        let Some(child) = core.children.table.get_mut(id.0) else { return };
        if let ChildState::Exited(status) = child.state {
            if child.pipes.into_iter().flatten().any(|pipe| core.conns.contains(pipe.0)) {
                if child.grace_is_over {
                    self.end_pipes(id);
                }
                return;
            }
            child.state = ChildState::Told;
            child.pipes_until = Moment::NEVER;
            core.children.told += 1;
            let (service, tag) = (child.service, child.tag);
            let exit = Exit { status, cause: child.cause };
            core.stats.children_exited += 1;
            log::debug!("child process {id} exited: {exit:?}");
            self.with_service(service, "child_exited", |handler, io| {
                handler.child_exited(io, id, tag, &exit);
            });
        }
        let core = &mut self.core;
        let too_many_wait = core.children.told > core.config.max_children;
        let Some(child) = core.children.table.get(id.0) else { return };
        if too_many_wait && child.state == ChildState::Told {
            core.kill_child(id, ExitCause::Killed);
        }
        let Some(child) = core.children.table.get(id.0) else { return };
        let awaits_signal =
            child.kill_at != Moment::NEVER || core.children.to_signal.iter().any(|(child, _)| child == id);
        if child.state == ChildState::Told && !awaits_signal {
            self.reap_child(id);
        } else {
            self.core.watch_child(id);
        }
    }

    fn reap_child(&mut self, id: ChildId) {
        if let Some(process) = self.processes.take(id.0) {
            // The child has exited: its status is there at once.
            self.driver.reap(process, Duration::ZERO);
        }
        self.core.free_child(id);
    }

    /// Ends the connections reserved as pipes of a child that was not started.
    /// They have no session.
    fn free_pipes(&mut self, id: ChildId) {
        let core = &mut self.core;
        let Some(child) = core.children.table.get(id.0) else { return };
        for pipe in child.pipes.into_iter().flatten() {
            core.mark_dead(pipe);
        }
    }

    /// Kills every child, at the end of a shutdown.
    pub(super) fn kill_children(&mut self) {
        for key in self.core.children.table.keys() {
            let core = &mut self.core;
            core.kill_child(ChildId(key), ExitCause::Shutdown);
            core.children.to_tell.push(ChildId(key), &mut core.pending);
        }
        self.serve_children();
        // `reap_within` counts from now, however long the turn has lasted.
        let give_up_at = self.driver.now().plus(self.core.config.reap_within);
        for key in self.core.children.table.keys() {
            let core = &mut self.core;
            if let Some(child) = core.children.table.get_mut(key)
                && child.state == ChildState::Running
                && child.give_up_at == Moment::NEVER
            {
                child.give_up_at = give_up_at;
                core.watch_child(ChildId(key));
            }
        }
    }

    /// Waits up to `reap_within` for the killed children, and reports them,
    /// when the reactor is dropped.
    pub(super) fn end_children(&mut self) {
        let until = self.driver.now().plus(self.core.config.reap_within);
        for key in self.core.children.table.keys() {
            let id = ChildId(key);
            let process = self.processes.take(key);
            let within = until.since(self.driver.now());
            let status = process.and_then(|process| self.driver.reap(process, within));
            if let Some(child) = self.core.children.table.get_mut(key)
                && child.state == ChildState::Running
            {
                child.state = ChildState::Exited(status);
            }
            self.tell_exit(id);
        }
        debug_assert_eq!(self.core.current, NO_CONNECTION, "no callback runs");
    }

    /// Kills and reaps every child without a callback, when a panic drops the
    /// reactor.
    pub(super) fn end_processes(&mut self) {
        let until = self.driver.now().plus(self.core.config.reap_within);
        for mut process in self.processes.take_all() {
            if self.driver.signal(&mut process, Signal::Kill).is_ok() {
                let within = until.since(self.driver.now());
                self.driver.reap(process, within);
            }
        }
    }
}
