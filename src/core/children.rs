//! What handlers wish of child processes, and when something is due of them.

use super::{Alarm, Core, Purpose};
use crate::children::{Child, ChildState};
use crate::conn::Conn;
use crate::error::{Error, Result};
use crate::id::{ChildId, ConnId};
use crate::moment::Moment;
use crate::origin::Side;
use crate::process::{Command, ExitCause, Pipe, Signal};

impl Core {
    /// Asks for a program to be run; the loop starts it after the callback.
    pub(crate) fn spawn(&mut self, service: u16, command: Command, tag: u64) -> Result<ChildId> {
        if self.is_over {
            return Err(Error::Over);
        }
        let limit = self.config.max_children;
        if self.children.under_way() >= limit {
            return Err(Error::Full { what: "child processes", limit });
        }
        let mut pipes = [None; 3];
        for pipe in command.pipes() {
            let side = if pipe == Pipe::Stdin { Side::Output } else { Side::Input };
            pipes[pipe as usize] = Some(ConnId(self.conns.insert(Conn::pipe(service, self.moment, side))));
            self.pipes += 1;
        }
        let id = ChildId(self.children.table.insert(Child::new(service, tag, command, pipes)));
        for pipe in pipes.into_iter().flatten() {
            if let Some(conn) = self.conns.get_mut(pipe.0) {
                conn.extras().child = Some(id);
            }
        }
        self.children.to_start.push(id);
        self.listed = true;
        Ok(id)
    }

    /// A connection that is no socket and no child's, and is to be opened.
    pub(crate) fn admit_one_way(&mut self, service: u16, side: Side) -> ConnId {
        self.services[service as usize].connections += 1;
        self.own += 1;
        ConnId(self.conns.insert(Conn::pipe(service, self.moment, side)))
    }

    /// Asks a child to end, and ends it if it does not.
    pub(crate) fn terminate(&mut self, id: ChildId, cause: ExitCause) -> bool {
        let now = self.moment;
        let Some(child) = self.children.table.get_mut(id.0) else { return false };
        child.blame(cause);
        match child.state {
            ChildState::Asked(_) => child.state = ChildState::Cancelled,
            ChildState::Cancelled => {}
            ChildState::Running | ChildState::Exited(_) | ChildState::Told => {
                if child.kill_at != Moment::NEVER || child.killed {
                    return true;
                }
                child.kill_at = now.plus(child.times.kill_after);
                self.children.to_signal.push((id, Signal::Terminate));
                self.listed = true;
                self.watch_child(id);
            }
        }
        true
    }

    /// Ends a child at once.
    pub(crate) fn kill_child(&mut self, id: ChildId, cause: ExitCause) -> bool {
        let Some(child) = self.children.table.get_mut(id.0) else { return false };
        child.blame(cause);
        // There is no more to come.
        child.kill_at = Moment::NEVER;
        match child.state {
            ChildState::Asked(_) => child.state = ChildState::Cancelled,
            ChildState::Cancelled => {}
            ChildState::Running | ChildState::Exited(_) | ChildState::Told if !child.killed => {
                child.killed = true;
                self.children.to_signal.push((id, Signal::Kill));
                self.listed = true;
            }
            ChildState::Running | ChildState::Exited(_) | ChildState::Told => {}
        }
        true
    }

    /// Sets the timer of a child for the first thing that is due of it.
    pub(crate) fn watch_child(&mut self, id: ChildId) {
        let Some(child) = self.children.table.get_mut(id.0) else { return };
        let at = child.first_due();
        match child.timer {
            Some(timer) => self.timers.reschedule(timer, at),
            None => child.timer = Some(self.timers.insert(at, Alarm::once(Purpose::Child(id)))),
        }
    }

    /// Frees the id of a child that is reaped, or was never started.
    pub(crate) fn free_child(&mut self, id: ChildId) {
        let Some(child) = self.children.table.remove(id.0) else { return };
        self.children.told -= usize::from(child.state == ChildState::Told);
        if let Some(timer) = child.timer {
            self.timers.remove(timer);
        }
    }

    /// Looks whether the handler of a child is to be told of its end, later in
    /// this turn.
    pub(crate) fn tell_later(&mut self, id: ChildId) {
        self.children.to_tell.push(id);
        self.listed = true;
    }
}

impl Child {
    /// The first cause stands.
    fn blame(&mut self, cause: ExitCause) {
        if self.cause == ExitCause::Itself && !matches!(self.state, ChildState::Exited(_) | ChildState::Told)
        {
            self.cause = cause;
        }
    }
}
