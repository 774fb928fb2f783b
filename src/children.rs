//! The state of child processes, as the loop and the handlers share it.

use std::process::ExitStatus;

use crate::id::{ChildId, ConnId, Key, Table};
use crate::moment::Moment;
use crate::process::{Command, ExitCause, Pipe, Signal};

/// How far the life of a child has come; it only moves down this list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChildState {
    /// To be started when the callback has returned.
    Asked(Box<Command>),
    /// Not to be started any more; its handler will be told.
    Cancelled,
    Running,
    /// It has exited; what is in its pipes is still handed over.
    Exited(Option<ExitStatus>),
    /// Its handler was told. It is not reaped before the last signal that its
    /// group is to get, so that the group's number stays its own.
    Told,
}

/// One child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) service: u16,
    pub(crate) tag: u64,
    /// The number of its process, once it has one.
    pub(crate) pid: Option<u32>,
    pub(crate) state: ChildState,
    pub(crate) cause: ExitCause,
    /// The connections that its pipes are, in the order of [`Pipe::ALL`];
    /// there may be none.
    pub(crate) pipes: [Option<ConnId>; 3],
    /// When it is over its time.
    pub(crate) timeout_at: Moment,
    /// When what was asked to end is ended.
    pub(crate) kill_at: Moment,
    /// When its pipes are not read any longer.
    pub(crate) pipes_until: Moment,
    /// When it is not waited for any longer, though it was killed.
    pub(crate) give_up_at: Moment,
    /// When to look at it, where no event tells of its exit.
    pub(crate) poll_at: Moment,
    /// The time of `pipes_until` is over: each of them ends when what the child itself had
    /// written is handed over, and it is not paused.
    pub(crate) grace_is_over: bool,
    /// SIGKILL was sent.
    pub(crate) killed: bool,
    /// The timer of the first of the moments above.
    pub(crate) timer: Option<Key>,
    pub(crate) times: Times,
}

/// What its command said of times, in nanoseconds.
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

    /// The first moment at which something is to be done about it.
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

    /// The pipes that it is read from.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = ConnId> + use<> {
        [self.pipes[1], self.pipes[2]].into_iter().flatten()
    }
}

/// All of them, and what is to be done about them.
#[derive(Debug)]
pub(crate) struct Children {
    pub(crate) table: Table<Child>,
    /// How many of them were told of, and wait for the last signal to their
    /// group.
    pub(crate) told: usize,
    pub(crate) to_start: Vec<ChildId>,
    pub(crate) to_signal: Vec<(ChildId, Signal)>,
    /// Those that may have exited.
    pub(crate) to_poll: Vec<ChildId>,
    /// Those whose handler may have to be told that they have.
    pub(crate) to_tell: Vec<ChildId>,
}

impl Children {
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(),
            told: 0,
            to_start: Vec::new(),
            to_signal: Vec::new(),
            to_poll: Vec::new(),
            to_tell: Vec::new(),
        }
    }

    /// Those whose end was not told yet.
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
