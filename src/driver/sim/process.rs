//! `Process`: the state of a simulated child process.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::act::ClientId;
use super::program::{Program, words};
use crate::driver::Token;
use crate::id::ChildId;
use crate::moment::Moment;
use crate::process::{Command, Fate, Pipe, Signal};

/// The state of the grandchild that a program leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The parent lives, or has no grandchild.
    Nothing,
    Lives,
    Gone,
}

/// A child process of a simulated network, as a test sees it.
#[derive(Debug)]
pub struct Process {
    pub(super) name: OsString,
    pub(super) arguments: Vec<u8>,
    pub(super) program: Program,
    pub(super) token: Token,
    pub(super) child: ChildId,
    /// The places of the wires of its pipes, in the order of [`Pipe::ALL`]; the
    /// last two may be the same.
    pub(super) wires: [Option<usize>; 3],
    /// Whether each of its standard streams is open.
    pub(super) open: [bool; 3],
    /// The current step; `done` counts its progress.
    pub(super) step: usize,
    pub(super) done: usize,
    /// The end of its sleep.
    pub(super) wakes: Option<u64>,
    /// True while it waits to run.
    pub(super) runnable: bool,
    /// Bytes that it has read and not written yet.
    pub(super) carried: Vec<u8>,
    pub(super) started: u64,
    pub(super) ended: Option<u64>,
    /// Its status, as waitpid(2) encodes it.
    pub(super) status: i32,
    pub(super) left: Left,
    /// The bytes that had been put into each of its pipes when it ended.
    pub(super) own: [usize; 3],
    pub(super) signals: Vec<(u64, Signal)>,
    /// True if no event reports its exit.
    pub(super) silent: bool,
    /// True if other code takes its status.
    pub(super) stolen: bool,
    pub(super) reaped: bool,
    pub(super) let_go: bool,
    pub(super) edge: bool,
    pub(super) listed: bool,
}

impl Process {
    pub(super) fn new(command: &Command, program: Program, token: Token, child: ChildId, now: u64) -> Self {
        Self {
            name: command.program().to_owned(),
            arguments: words(command),
            silent: program.silent,
            stolen: program.stolen,
            program,
            token,
            child,
            wires: [None; 3],
            // Streams without a pipe are `/dev/null`.
            open: [true; 3],
            step: 0,
            done: 0,
            wakes: None,
            runnable: false,
            carried: Vec::new(),
            started: now,
            ended: None,
            status: 0,
            left: Left::Nothing,
            own: [0; 3],
            signals: Vec::new(),
            reaped: false,
            let_go: false,
            edge: false,
            listed: false,
        }
    }

    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The id that the reactor has given it.
    #[must_use]
    pub const fn child(&self) -> ChildId {
        self.child
    }

    /// One of its pipes as a client of the network: the bytes that it has
    /// written are [`sent`](super::Client::sent), those that it has read are
    /// [`received`](super::Client::received). `None` if the stream is not a
    /// pipe.
    #[must_use]
    pub fn pipe(&self, pipe: Pipe) -> Option<ClientId> {
        #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24")]
        self.wires[pipe as usize].map(|wire| ClientId(wire as u32))
    }

    /// The bytes in one of its pipes that the program itself has written, once
    /// it has ended: its grandchild has written the rest.
    #[must_use]
    pub const fn own_output(&self, pipe: Pipe) -> Option<usize> {
        if self.ended.is_some() { Some(self.own[pipe as usize]) } else { None }
    }

    /// The moment of its start.
    #[must_use]
    pub const fn started(&self) -> Moment {
        Moment::from_nanos(self.started)
    }

    /// The moment of its end.
    #[must_use]
    pub fn ended(&self) -> Option<Moment> {
        self.ended.map(Moment::from_nanos)
    }

    /// Its status, whichever code was told.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.ended.map(|_| ExitStatus::from_raw(self.status))
    }

    /// The signals that its group has received.
    pub fn signals(&self) -> impl ExactSizeIterator<Item = (Moment, Signal)> {
        self.signals.iter().map(|(at, signal)| (Moment::from_nanos(*at), *signal))
    }

    /// Whether its grandchild lives.
    #[must_use]
    pub fn has_grandchild(&self) -> bool {
        self.left == Left::Lives
    }

    /// Whether the reactor has reaped it.
    #[must_use]
    pub const fn is_reaped(&self) -> bool {
        self.reaped
    }

    /// Whether the reactor has abandoned it, though it had not ended after
    /// SIGKILL.
    #[must_use]
    pub const fn is_let_go(&self) -> bool {
        self.let_go
    }

    /// The result of a wait for it.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self.ended {
            None => Fate::Running,
            Some(_) if self.stolen => Fate::Exited(None),
            Some(_) => Fate::Exited(self.status()),
        }
    }
}
