//! `Children`: the state of child processes and their work lists, which the
//! loop and the handlers share.

use std::process::ExitStatus;

use crate::id::{ChildId, ConnId, Key, Table};
use crate::moment::Moment;
use crate::process::{Command, ExitCause, Pipe, Signal};
use crate::work_list::{RareList, WorkList};

/// The phase of a child's life; it only moves down this list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChildState {
    /// The loop will start it after the callback.
    Asked(Box<Command>),
    /// It will not be started; the loop will call `spawn_failed`.
    Cancelled,
    Running,
    /// It has exited; the loop still delivers what is in its pipes.
    Exited(Option<ExitStatus>),
    /// Its exit is reported. It is reaped after the last signal to its process
    /// group, so that the group's id is not reused before.
    Told,
}

/// One child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) service: u16,
    pub(crate) tag: u64,
    /// Its process id, once it has started.
    pub(crate) pid: Option<u32>,
    pub(crate) state: ChildState,
    pub(crate) cause: ExitCause,
    /// The connections of its pipes, in the order of [`Pipe::ALL`]; `None` for
    /// a stream without a pipe.
    pub(crate) pipes: [Option<ConnId>; 3],
    /// The moment of its time-out.
    pub(crate) timeout_at: Moment,
    /// The moment of the SIGKILL that follows a SIGTERM.
    pub(crate) kill_at: Moment,
    /// The moment from which its pipes are no longer read.
    pub(crate) pipes_until: Moment,
    /// The moment at which the loop abandons it, though it was killed.
    pub(crate) give_up_at: Moment,
    /// The moment of the next poll, where no event reports its exit.
    pub(crate) poll_at: Moment,
    /// True once `pipes_until` has passed: each pipe ends when the child's own
    /// output is delivered and the pipe is not paused.
    pub(crate) grace_is_over: bool,
    /// SIGKILL was sent.
    pub(crate) killed: bool,
    /// The timer of the first of the moments above.
    pub(crate) timer: Option<Key>,
    pub(crate) times: Times,
}

/// The durations of its command, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) timeout: Option<std::time::Duration>,
    pub(crate) kill_after: std::time::Duration,
    pub(crate) pipe_grace: std::time::Duration,
}

impl Child {
    pub(crate) fn new(service: u16, tag: u64, command: Command, pipes: [Option<ConnId>; 3]) -> Self {
        let times = Times {
            timeout: command.timeout,
            kill_after: command.kill_after,
            pipe_grace: command.pipe_grace,
        };
        Self {
            service,
            tag,
            pid: None,
            state: ChildState::Asked(Box::new(command)),
            cause: ExitCause::Itself,
            pipes,
            timeout_at: Moment::NEVER,
            kill_at: Moment::NEVER,
            pipes_until: Moment::NEVER,
            give_up_at: Moment::NEVER,
            poll_at: Moment::NEVER,
            grace_is_over: false,
            killed: false,
            timer: None,
            times,
        }
    }

    /// The first of its moments.
    pub(crate) fn first_due(&self) -> Moment {
        self.timeout_at.min(self.kill_at).min(self.pipes_until).min(self.poll_at).min(self.give_up_at)
    }

    pub(crate) const fn pipe(&self, pipe: Pipe) -> Option<ConnId> {
        match pipe {
            Pipe::Stdin => self.pipes[0],
            Pipe::Stdout => self.pipes[1],
            Pipe::Stderr => self.pipes[2],
        }
    }

    /// The pipes that carry its output.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = ConnId> + use<> {
        [self.pipes[1], self.pipes[2]].into_iter().flatten()
    }
}

/// All children of a reactor, and their work lists.
#[derive(Debug)]
pub(crate) struct Children {
    pub(crate) table: Table<Child>,
    /// The number of children that are reported and wait for the last signal to
    /// their process group.
    pub(crate) told: usize,
    pub(crate) to_start: WorkList<ChildId>,
    pub(crate) to_signal: WorkList<(ChildId, Signal)>,
    /// Children that may have exited.
    pub(crate) to_poll: RareList<ChildId>,
    /// Children whose exit may have to be reported.
    pub(crate) to_tell: WorkList<ChildId>,
}

impl Children {
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(),
            told: 0,
            to_start: WorkList::new(),
            to_signal: WorkList::new(),
            to_poll: RareList::new(),
            to_tell: WorkList::new(),
        }
    }

    /// The number of children whose end is not reported yet.
    pub(crate) const fn under_way(&self) -> usize {
        self.table.len() - self.told
    }

    pub(crate) fn has_listed(&self) -> bool {
        !(self.to_start.is_empty()
            && self.to_signal.is_empty()
            && self.to_poll.is_empty()
            && self.to_tell.is_empty())
    }
}
