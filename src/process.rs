//! `Command`, a program to run as a child process, and `Exit`, how the child
//! ended.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A program to run as a child process, for [`Io::spawn`](crate::Io::spawn).
///
/// By default the child gets the environment and the working directory of this
/// process, `/dev/null` as its standard input, a pipe each for its standard
/// output and standard error, and no time limit.
///
/// The child leads a process group of its own, so that a signal also reaches
/// the processes that it has started. It inherits the descriptors 0, 1 and 2
/// alone: before the start the reactor marks all others of this process
/// close-on-exec, and leaves them so (`CLOSE_RANGE_CLOEXEC`, close_range(2)).
/// The child starts with SIGPIPE at its default.
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
    /// Changes of the environment, in order; `None` removes a variable.
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

/// The target of one of a child's standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// `/dev/null`.
    Null,
    /// A pipe, whose other end is a connection.
    Piped,
    /// For the standard error: the same pipe as the standard output.
    Stdout,
}

impl Command {
    /// A command that runs a program, which is searched in `PATH` unless its
    /// name contains a slash.
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

    /// A command that runs `/bin/sh -c LINE`. A client that can influence the
    /// line has the rights of this process.
    #[must_use]
    pub fn shell(line: impl AsRef<OsStr>) -> Self {
        Self::new("/bin/sh").arg("-c").arg(line)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the child's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable from the child's environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Clears the child's environment, and every change made to it before: only
    /// variables that [`env`](Self::env) sets afterwards are in it.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.environment.clear();
        self.clears_environment = true;
        self
    }

    /// Sets the child's working directory. Give the program by an absolute path
    /// then: systems differ in what a relative one is relative to.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Makes the standard input a pipe, which is a connection to write to
    /// ([`Pipe::Stdin`]). The child waits for more input until
    /// [`Io::finish`](crate::Io::finish) ends it.
    ///
    /// Writing to a pipe that the child has closed raises SIGPIPE, which Rust's
    /// runtime ignores; a program without that runtime must ignore it itself
    /// (signal(7)).
    #[must_use]
    pub const fn piped_stdin(mut self) -> Self {
        self.stdin = Wiring::Piped;
        self
    }

    /// Makes the standard output `/dev/null`.
    #[must_use]
    pub const fn null_stdout(mut self) -> Self {
        self.stdout = Wiring::Null;
        self
    }

    /// Makes the standard error `/dev/null`.
    #[must_use]
    pub const fn null_stderr(mut self) -> Self {
        self.stderr = Wiring::Null;
        self
    }

    /// Makes the standard error the same as the standard output: one pipe, in
    /// the order in which the child writes.
    #[must_use]
    pub const fn stderr_to_stdout(mut self) -> Self {
        self.stderr = Wiring::Stdout;
        self
    }

    /// Sets the time that the child may run. After it the reactor terminates
    /// the child as [`Io::terminate`](crate::Io::terminate) does, and reports
    /// [`ExitCause::TimedOut`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the time between SIGTERM and SIGKILL when the child is terminated.
    /// Default 1 s.
    #[must_use]
    pub const fn kill_after(mut self, time: Duration) -> Self {
        self.kill_after = time;
        self
    }

    /// Sets the time for which the reactor reads the child's pipes after its
    /// exit, if they do not end by themselves: a process that the child has
    /// started may still hold them, and write to them. The reactor delivers
    /// what was in them at the exit in any case, and waits for a pipe that the
    /// handler has paused. Default 200 ms.
    #[must_use]
    pub const fn pipe_grace(mut self, time: Duration) -> Self {
        self.pipe_grace = time;
        self
    }

    /// The program's name, as given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments.
    pub fn arguments(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.arguments.iter().map(OsString::as_os_str)
    }

    /// The standard streams that are separate pipes.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = Pipe> {
        Pipe::ALL.into_iter().filter(|pipe| self.wiring(*pipe) == Wiring::Piped)
    }

    pub(crate) const fn wiring(&self, pipe: Pipe) -> Wiring {
        match pipe {
            Pipe::Stdin => self.stdin,
            // `Wiring::Stdout` occurs for the standard error alone.
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
    /// The standard input: a connection that takes output and has no input.
    Stdin,
    /// The standard output: a connection that has input and takes no output.
    Stdout,
    /// The standard error: a connection that has input and takes no output.
    Stderr,
}

impl Pipe {
    pub(crate) const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];
}

/// The end of a child, for
/// [`StreamHandler::child_exited`](crate::StreamHandler::child_exited).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The system's status: a code or a signal. `None` if the status is lost
    /// because other code in the process has waited for the child, or the
    /// process ignores SIGCHLD (waitid(2), `ECHILD`; `Orphans`, of the feature
    /// `signals`, prevents the latter); also if the reactor has abandoned the
    /// child ([`Config::reap_within`](crate::Config::reap_within)).
    pub status: Option<ExitStatus>,
    /// The cause of the end, as far as the reactor knows.
    pub cause: ExitCause,
}

/// The cause of a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitCause {
    /// The child exited by itself, or by a signal of another process.
    Itself,
    /// The child exceeded its [`Command::timeout`], and was terminated.
    TimedOut,
    /// The handler ended it ([`Io::terminate`](crate::Io::terminate),
    /// [`Io::kill`](crate::Io::kill)).
    Killed,
    /// The reactor shut down, or was dropped, and killed the child.
    Shutdown,
}

/// The state of a child process, as a [`Driver`](crate::driver::Driver) reports
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The child runs.
    Running,
    /// The child has exited; `None` if other code has taken its status.
    Exited(Option<ExitStatus>),
}

/// The signals that a reactor sends to a child's process group, and to a child
/// that has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM, which asks the child to end.
    Terminate,
    /// SIGKILL, which ends the child.
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
