//! Child processes in the core: queues starts and signals, and schedules each
//! child's next deadline.

use super::{Alarm, Core, Purpose};
use crate::children::{Child, ChildState};
use crate::conn::Conn;
use crate::error::{Error, Result};
use crate::id::{ChildId, ConnId};
use crate::moment::Moment;
use crate::origin::Side;
use crate::process::{Command, ExitCause, Pipe, Signal};

impl Core {
    /// Queues a program to run; the loop starts it after the callback.
    pub(crate) fn spawn(&mut self, service: u16, command: Command, tag: u64) -> Result<ChildId> {
        if self.is_over {
            return Err(Error::Over);
        }
        let limit = self.config.max_children;
        if self.children.under_way() >= limit {
            return Err(Error::Full { what: "child processes", field: Some("Config::max_children"), limit });
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
        self.children.to_start.push(id, &mut self.pending);
        Ok(id)
    }

    /// Sends a child SIGTERM, and SIGKILL after its `kill_after`. False if the
    /// child no longer exists.
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
                self.children.to_signal.push((id, Signal::Terminate), &mut self.pending);
                self.watch_child(id);
            }
        }
        true
    }

    /// Sends a child SIGKILL. False if the child no longer exists.
    pub(crate) fn kill_child(&mut self, id: ChildId, cause: ExitCause) -> bool {
        let Some(child) = self.children.table.get_mut(id.0) else { return false };
        child.blame(cause);
        // No later signal follows SIGKILL.
        child.kill_at = Moment::NEVER;
        match child.state {
            ChildState::Asked(_) => child.state = ChildState::Cancelled,
            ChildState::Cancelled => {}
            ChildState::Running | ChildState::Exited(_) | ChildState::Told if !child.killed => {
                child.killed = true;
                self.children.to_signal.push((id, Signal::Kill), &mut self.pending);
            }
            ChildState::Running | ChildState::Exited(_) | ChildState::Told => {}
        }
        true
    }

    /// Sets a child's timer to the first of its moments.
    pub(crate) fn watch_child(&mut self, id: ChildId) {
        let Some(child) = self.children.table.get_mut(id.0) else { return };
        let at = child.first_due();
        match child.timer {
            Some(timer) => self.timers.reschedule(timer, at),
            None => child.timer = Some(self.timers.insert(at, Alarm::once(Purpose::Child(id)))),
        }
    }

    /// Frees the id of a child that was reaped or never started.
    pub(crate) fn free_child(&mut self, id: ChildId) {
        let Some(child) = self.children.table.remove(id.0) else { return };
        self.children.told -= usize::from(child.state == ChildState::Told);
        if let Some(timer) = child.timer {
            self.timers.remove(timer);
        }
    }
}

impl Child {
    /// Records the cause of the exit; the first cause counts.
    fn blame(&mut self, cause: ExitCause) {
        if self.cause == ExitCause::Itself && !matches!(self.state, ChildState::Exited(_) | ChildState::Told)
        {
            self.cause = cause;
        }
    }
}
