//! `Program`: a scripted program of a simulation, and `Grandchild`, the process
//! that it leaves behind.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use super::act::Pace;
use crate::process::{Command, Pipe};

/// A step of a program; the next one begins when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Lets time pass.
    Sleep(Duration),
    /// Writes, and waits while the pipe is full.
    Write(Pipe, Bytes),
    /// Writes its arguments, a space between two.
    WriteArguments,
    /// Writes the same bytes repeatedly.
    Repeat(Bytes),
    /// Reads its input to the end and throws it away.
    Read(Pace),
    /// Reads its input to the end and writes it to its output.
    Copy,
    /// Closes one of its standard streams.
    Close(Pipe),
    /// Does nothing more, and does not exit.
    Stay,
    Exit(u8),
    Die(u8),
}

/// The reaction of a program to SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnTerminate {
    Dies,
    Ignores,
    /// Exits with this code after this time, as a program that cleans up.
    Exits(Duration, u8),
}

/// A program of a simulated system: what a child process that runs it does,
/// one step after the other. [`Network::install`](super::Network::install)
/// gives it a name.
///
/// After its last step it exits with 0. SIGTERM and SIGKILL end it at once, and
/// so does SIGPIPE when it writes to a pipe without a reader, unless a method
/// here changes that.
///
/// ```
/// use std::time::Duration;
/// use serve_forever::driver::sim::Program;
///
/// let compiler = Program::new()
///     .after(Duration::from_secs(3))
///     .write_error("warning: unused\n")
///     .exit(1);
/// let stubborn = Program::new().stay().ignoring_terminate();
/// let yes = Program::new().write_for_ever("y\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) on_terminate: OnTerminate,
    /// The time that SIGKILL takes to end it.
    pub(super) slow_to_die: Duration,
    pub(super) leaves_group: bool,
    pub(super) ignores_broken_pipes: bool,
    pub(super) leaves: Option<Grandchild>,
    /// The error of its start.
    pub(super) failure: Option<i32>,
    pub(super) stolen: bool,
    pub(super) silent: bool,
}

impl Default for Program {
    /// [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

impl Program {
    /// A program that exits with 0 at once.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            steps: Vec::new(),
            on_terminate: OnTerminate::Dies,
            slow_to_die: Duration::ZERO,
            leaves_group: false,
            ignores_broken_pipes: false,
            leaves: None,
            failure: None,
            stolen: false,
            silent: false,
        }
    }

    /// A program that fails to start: with `ENOENT`, `EACCES`, `EAGAIN`,
    /// `EMFILE`, `E2BIG`, ….
    #[must_use]
    pub const fn that_fails(error: Errno) -> Self {
        let mut program = Self::new();
        program.failure = Some(error.raw_os_error());
        program
    }

    /// A program that copies its standard input to its standard output, as
    /// cat(1) does.
    #[must_use]
    pub fn cat() -> Self {
        Self::new().copy()
    }

    // What it does, one after the other

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Then sleeps for this time.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        self.then(Step::Sleep(time))
    }

    /// Then writes to its standard output, and waits while the pipe is full.
    #[must_use]
    pub fn write(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Write(Pipe::Stdout, bytes.into()))
    }

    /// Then writes to its standard error.
    #[must_use]
    pub fn write_error(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Write(Pipe::Stderr, bytes.into()))
    }

    /// Then writes its arguments to its standard output, a space between two,
    /// and no line end.
    #[must_use]
    pub fn write_arguments(self) -> Self {
        self.then(Step::WriteArguments)
    }

    /// Then writes the same to its standard output repeatedly, as yes(1) does.
    #[must_use]
    pub fn write_for_ever(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Repeat(bytes.into()))
    }

    /// Then copies its standard input to its standard output, to the end.
    #[must_use]
    pub fn copy(self) -> Self {
        self.then(Step::Copy)
    }

    /// Then reads its standard input to the end, at this pace, and throws it
    /// away. [`Pace::Never`] is [`stay`](Self::stay).
    #[must_use]
    pub fn read(self, pace: Pace) -> Self {
        self.then(Step::Read(pace))
    }

    /// Then closes one of its standard streams.
    #[must_use]
    pub fn close(self, pipe: Pipe) -> Self {
        self.then(Step::Close(pipe))
    }

    /// Then does nothing more, and does not exit.
    #[must_use]
    pub fn stay(self) -> Self {
        self.then(Step::Stay)
    }

    /// Then exits with this code.
    #[must_use]
    pub fn exit(self, code: u8) -> Self {
        self.then(Step::Exit(code))
    }

    /// Then dies of the signal with this number: 11 is SIGSEGV.
    #[must_use]
    pub fn die(self, signal: u8) -> Self {
        self.then(Step::Die(signal))
    }

    // How it is, all the while

    /// Ignores SIGTERM.
    #[must_use]
    pub const fn ignoring_terminate(mut self) -> Self {
        self.on_terminate = OnTerminate::Ignores;
        self
    }

    /// Stops its steps at SIGTERM, and exits with this code after this time.
    #[must_use]
    pub const fn cleaning_up(mut self, time: Duration, code: u8) -> Self {
        self.on_terminate = OnTerminate::Exits(time, code);
        self
    }

    /// Leaves the process group that it began with, and its grandchild does
    /// too: a signal reaches the child alone.
    #[must_use]
    pub const fn leaving_its_group(mut self) -> Self {
        self.leaves_group = true;
        self
    }

    /// Sets the time that SIGKILL takes to end it, as when it waits for a disk.
    /// [`Duration::MAX`]: SIGKILL does not end it.
    #[must_use]
    pub const fn slow_to_die(mut self, time: Duration) -> Self {
        self.slow_to_die = time;
        self
    }

    /// Ignores SIGPIPE: the rest of a write to a pipe without a reader is lost,
    /// and the program goes on.
    #[must_use]
    pub const fn ignoring_broken_pipes(mut self) -> Self {
        self.ignores_broken_pipes = true;
        self
    }

    /// Leaves a grandchild behind when it ends.
    #[must_use]
    pub fn leaving(mut self, grandchild: Grandchild) -> Self {
        self.leaves = Some(grandchild);
        self
    }

    /// Loses its status: other code in the process waits for it as soon as it
    /// has exited ([`Fate::Exited(None)`](crate::process::Fate::Exited)).
    #[must_use]
    pub const fn stolen(mut self) -> Self {
        self.stolen = true;
        self
    }

    /// Exits without an event: the loop has to poll it
    /// ([`Spawned::has_events`](crate::driver::Spawned::has_events)).
    #[must_use]
    pub const fn without_events(mut self) -> Self {
        self.silent = true;
        self
    }
}

/// A process that a program has started and leaves behind. It holds the
/// program's pipes, is in the same process group, and ends of the signals that
/// the group receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grandchild {
    pub(super) lifetime: Duration,
    pub(super) writes: Option<(Bytes, Duration)>,
    pub(super) ignores_terminate: bool,
    pub(super) has_own_group: bool,
}

impl Grandchild {
    /// A grandchild that ends this long after its parent.
    #[must_use]
    pub const fn living(time: Duration) -> Self {
        Self { lifetime: time, writes: None, ignores_terminate: false, has_own_group: false }
    }

    /// A grandchild that never ends by itself.
    #[must_use]
    pub const fn for_ever() -> Self {
        Self::living(Duration::MAX)
    }

    /// Writes this to the standard output once in each period (at least a
    /// microsecond), and waits while the pipe is full. It ends when the pipe
    /// has no reader.
    #[must_use]
    pub fn writing(mut self, bytes: impl Into<Bytes>, every: Duration) -> Self {
        self.writes = Some((bytes.into(), every.max(Duration::from_micros(1))));
        self
    }

    /// Makes it ignore SIGTERM.
    #[must_use]
    pub const fn ignoring_terminate(mut self) -> Self {
        self.ignores_terminate = true;
        self
    }

    /// Gives it a process group of its own, as a daemon has: no signal to its
    /// parent's group reaches it.
    #[must_use]
    pub const fn in_its_own_group(mut self) -> Self {
        self.has_own_group = true;
        self
    }
}

/// The programs of a simulated system, by name.
#[derive(Debug, Default)]
pub(super) struct Programs(Vec<(OsString, Program)>);

impl Programs {
    pub(super) fn install(&mut self, name: &OsStr, program: Program) {
        self.0.retain(|(installed, _)| installed != name);
        self.0.push((name.to_owned(), program));
    }

    /// The program that a command runs.
    pub(super) fn of(&self, command: &Command) -> Option<&Program> {
        self.0.iter().find(|(name, _)| name == command.program()).map(|(_, program)| program)
    }
}

/// The arguments of a command, a space between two.
pub(super) fn words(command: &Command) -> Vec<u8> {
    let words: Vec<&[u8]> = command.arguments().map(OsStr::as_bytes).collect();
    words.join(&b' ')
}
