//! A simulated child process: how far it has come.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::program::{Program, words};
use super::script::ClientId;
use crate::driver::Token;
use crate::id::ChildId;
use crate::moment::Moment;
use crate::process::{Command, Fate, Pipe, Signal};

/// What became of what a program has left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its parent lives, or had none.
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
    /// The places of the wires that its pipes are, in the order of
    /// [`Pipe::ALL`]; the last two may be the same.
    pub(super) wires: [Option<usize>; 3],
    /// Those of its standard streams that it has open.
    pub(super) open: [bool; 3],
    /// The step it is at, and how much of it is done.
    pub(super) step: usize,
    pub(super) done: usize,
    /// When it goes on that sleeps.
    pub(super) wakes: Option<u64>,
    /// It is to run as soon as the system gets round to it.
    pub(super) runnable: bool,
    /// What it has read, and not written yet.
    pub(super) carried: Vec<u8>,
    pub(super) started: u64,
    pub(super) ended: Option<u64>,
    /// As waitpid(2) encodes it.
    pub(super) status: i32,
    pub(super) left: Left,
    /// How much had been put into its pipes when it ended.
    pub(super) own: [usize; 3],
    pub(super) signals: Vec<(u64, Signal)>,
    /// No event tells of its exit.
    pub(super) silent: bool,
    /// Somebody else waits for it.
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
            // Those that are no pipes are `/dev/null`.
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

    /// One of its pipes as a client of the network, to look at: what it has
    /// put into it is [`sent`](super::Client::sent), what it has taken out is
    /// [`received`](super::Client::received). `None` where that is no pipe.
    #[must_use]
    pub fn pipe(&self, pipe: Pipe) -> Option<ClientId> {
        #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24")]
        self.wires[pipe as usize].map(|wire| ClientId(wire as u32))
    }

    /// How much of what was put into one of its pipes came from the program
    /// itself, once that has ended: the rest is of what it left behind.
    #[must_use]
    pub const fn own_output(&self, pipe: Pipe) -> Option<usize> {
        if self.ended.is_some() { Some(self.own[pipe as usize]) } else { None }
    }

    /// When it was started.
    #[must_use]
    pub const fn started(&self) -> Moment {
        Moment::from_nanos(self.started)
    }

    /// When it ended.
    #[must_use]
    pub fn ended(&self) -> Option<Moment> {
        self.ended.map(Moment::from_nanos)
    }

    /// How it ended, whoever was told.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.ended.map(|_| ExitStatus::from_raw(self.status))
    }

    /// The signals that its group has got.
    pub fn signals(&self) -> impl ExactSizeIterator<Item = (Moment, Signal)> {
        self.signals.iter().map(|(at, signal)| (Moment::from_nanos(*at), *signal))
    }

    /// What it left behind lives.
    #[must_use]
    pub fn has_grandchild(&self) -> bool {
        self.left == Left::Lives
    }

    /// The reactor has reaped it.
    #[must_use]
    pub const fn is_reaped(&self) -> bool {
        self.reaped
    }

    /// The reactor has let go of it: it had not ended, though it was killed.
    #[must_use]
    pub const fn is_let_go(&self) -> bool {
        self.let_go
    }

    /// What a wait for it says.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self.ended {
            None => Fate::Running,
            Some(_) if self.stolen => Fate::Exited(None),
            Some(_) => Fate::Exited(self.status()),
        }
    }
}
