//! Programs to run: what a handler says of one, and what it is told of it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A program to run as a child process, for [`Io::spawn`](crate::Io::spawn).
///
/// By default it gets the environment and the working directory of this
/// process, `/dev/null` as its standard input, and a pipe each for its
/// standard output and standard error; no time limit.
///
/// The child leads a process group of its own, so that a signal reaches what
/// it has started too. It inherits no descriptor but 0, 1 and 2: before it is
/// started, all others of this process are marked close-on-exec, and stay so
/// (`CLOSE_RANGE_CLOEXEC`, close_range(2)). SIGPIPE is at its default in it.
///
/// ```
/// use serve_forever::process::Command;
/// use std::time::Duration;
///
/// let list = Command::new("ls").arg("-l").current_dir("/").timeout(Duration::from_secs(10));
/// let both = Command::shell("make 2>&1 | tail -n 3").stderr_to_stdout();
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// In order; `None` takes a variable away.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    pub(crate) clears_environment: bool,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) stdin: Wiring,
    pub(crate) stdout: Wiring,
    pub(crate) stderr: Wiring,
    pub(crate) timeout: Option<Duration>,
    pub(crate) kill_after: Duration,
    pub(crate) pipe_grace: Duration,
}

/// What one of the standard streams of a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// `/dev/null`.
    Null,
    /// A pipe, whose other end is a connection.
    Piped,
    /// Of the standard error: the same pipe as the standard output.
    Stdout,
}

impl Command {
    /// A program, looked for in `PATH` unless there is a slash in its name.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            clears_environment: false,
            directory: None,
            stdin: Wiring::Null,
            stdout: Wiring::Piped,
            stderr: Wiring::Piped,
            timeout: None,
            kill_after: Duration::from_secs(1),
            pipe_grace: Duration::from_millis(200),
        }
    }

    /// `/bin/sh -c LINE`. Whoever has a say in the line has the powers of this
    /// process.
    #[must_use]
    pub fn shell(line: impl AsRef<OsStr>) -> Self {
        Self::new("/bin/sh").arg("-c").arg(line)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes a variable out of its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Gives it an environment without any variable but those that
    /// [`env`](Self::env) is called with after this.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.environment.clear();
        self.clears_environment = true;
        self
    }

    /// The directory in which it begins. A relative path of the program itself
    /// is best avoided then: systems differ in what it is relative to.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Gives it a pipe as its standard input, a connection that can be written
    /// to ([`Pipe::Stdin`]). [`Io::finish`](crate::Io::finish) it, or the
    /// child waits for more.
    ///
    /// Writing to a child that has closed it raises SIGPIPE, which Rust's
    /// runtime ignores; a program without that runtime has to (signal(7)).
    #[must_use]
    pub const fn piped_stdin(mut self) -> Self {
        self.stdin = Wiring::Piped;
        self
    }

    /// `/dev/null` as its standard output.
    #[must_use]
    pub const fn null_stdout(mut self) -> Self {
        self.stdout = Wiring::Null;
        self
    }

    /// `/dev/null` as its standard error.
    #[must_use]
    pub const fn null_stderr(mut self) -> Self {
        self.stderr = Wiring::Null;
        self
    }

    /// Its standard error is its standard output: one pipe, in the order in
    /// which it writes.
    #[must_use]
    pub const fn stderr_to_stdout(mut self) -> Self {
        self.stderr = Wiring::Stdout;
        self
    }

    /// How long it may run; then it is terminated as
    /// [`Io::terminate`](crate::Io::terminate) does, and its [`Exit`] says
    /// [`ExitCause::TimedOut`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The time between SIGTERM and SIGKILL when it is terminated. Default 1 s.
    #[must_use]
    pub const fn kill_after(mut self, time: Duration) -> Self {
        self.kill_after = time;
        self
    }

    /// How long its pipes are read after it has exited, if they do not end by
    /// themselves: what it has started may still hold them, and write to them.
    /// What was in them when it exited is handed over in any case, and a pipe
    /// that the handler has paused is waited for. Default 200 ms.
    #[must_use]
    pub const fn pipe_grace(mut self, time: Duration) -> Self {
        self.pipe_grace = time;
        self
    }

    /// The program's name, as it was given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Its arguments.
    pub fn arguments(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.arguments.iter().map(OsString::as_os_str)
    }

    /// Which of its standard streams are pipes of their own.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = Pipe> {
        Pipe::ALL.into_iter().filter(|pipe| self.wiring(*pipe) == Wiring::Piped)
    }

    pub(crate) const fn wiring(&self, pipe: Pipe) -> Wiring {
        match pipe {
            Pipe::Stdin => self.stdin,
            // Each to the same pipe as the other would be neither.
            Pipe::Stdout => self.stdout,
            Pipe::Stderr => self.stderr,
        }
    }
}

impl fmt::Debug for Command {
    /// The program and its arguments, escaped. The environment may hold
    /// secrets and is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument:?}"))
    }
}

/// One of the three standard streams of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pipe {
    /// Its standard input: a connection that is written to, and has no input.
    Stdin,
    /// Its standard output: a connection that has input, and takes no output.
    Stdout,
    /// Its standard error: the same.
    Stderr,
}

impl Pipe {
    pub(crate) const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];
}

/// How a child ended, for [`StreamHandler::child_exited`](crate::StreamHandler::child_exited).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// What the system says: a code or a signal. `None` if something else in
    /// the process has waited for the child, or SIGCHLD is ignored in it, so
    /// that nobody can know (waitid(2), `ECHILD`; `Orphans`, of the feature
    /// `signals`, sees to the latter); or if it was let go of
    /// ([`Config::reap_within`](crate::Config::reap_within)).
    pub status: Option<ExitStatus>,
    /// What it ended of, as far as the reactor knows.
    pub cause: ExitCause,
}

/// What a child ended of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitCause {
    /// By itself, or by somebody else's signal.
    Itself,
    /// It was over its [`Command::timeout`], and was terminated.
    TimedOut,
    /// The handler ended it ([`Io::terminate`](crate::Io::terminate),
    /// [`Io::kill`](crate::Io::kill)).
    Killed,
    /// The reactor shut down, and did not wait for it any longer.
    Shutdown,
}

/// What a [`Driver`](crate::driver::Driver) knows of a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs.
    Running,
    /// It has exited. `None`: something else has waited for it.
    Exited(Option<ExitStatus>),
}

/// The signals that a reactor sends to a child's process group, and to a child
/// that has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM: asks it to end.
    Terminate,
    /// SIGKILL: ends it.
    Kill,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_shows_what_it_runs_escaped_and_none_of_its_secrets() {
        let command = Command::new("ls").arg("a b").arg("\x1b[2J").env("TOKEN", "secret");
        assert_eq!(format!("{command:?}"), r#""ls" "a b" "\u{1b}[2J""#);
    }

    #[test]
    fn pipes_of_their_own_are_told_apart() {
        let pipes = |command: Command| command.pipes().collect::<Vec<_>>();
        assert_eq!(pipes(Command::new("a")), [Pipe::Stdout, Pipe::Stderr]);
        assert_eq!(pipes(Command::new("a").piped_stdin().stderr_to_stdout()), [Pipe::Stdin, Pipe::Stdout]);
        assert_eq!(pipes(Command::new("a").null_stdout().null_stderr()), []);
    }
}
