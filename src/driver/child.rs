//! `MioChild`: a child process of the operating system, started, signalled,
//! polled and reaped.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mio::{Interest, Registry};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};

use super::source::Source;
use crate::contain::{caught, message};
use crate::process::{Command, Fate, Pipe, Signal, Wiring};

/// The longest wait for a child that is killed right after its start.
const AT_START: Duration = Duration::from_secs(1);

/// The period of polling a child that `reap` waits for; less than a second.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A child process of [`MioDriver`](super::MioDriver).
#[derive(Debug)]
pub struct MioChild {
    child: std::process::Child,
    /// Its process id, which is also that of the process group it leads.
    pid: Pid,
    /// A descriptor that becomes readable at its exit (pidfd_open(2)).
    exit: Option<Source>,
    /// True once other code has waited for the child: its process id may be
    /// reused by now.
    is_lost: bool,
}

impl MioChild {
    /// Starts a program, and returns it with our ends of its pipes, which are
    /// non-blocking.
    pub(super) fn spawn(command: &Command) -> io::Result<(Self, [Option<OwnedFd>; 3])> {
        // Descriptors of the standard library are close-on-exec, those of other
        // code need not be. Marking them in the child would take a fork with
        // all of our memory in place of posix_spawn(3).
        close_fds::set_fds_cloexec(3, &[]);
        let (mut child, output) = start(command)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::Unsupported)?;
        let pipes = [
            child.stdin.take().map(OwnedFd::from),
            output.or_else(|| child.stdout.take().map(OwnedFd::from)),
            child.stderr.take().map(OwnedFd::from),
        ];
        let exit = exit_descriptor(pid).map(Source::new);
        let mut child = Self { child, pid, exit, is_lost: false };
        for pipe in pipes.iter().flatten() {
            if let Err(error) = rustix::io::ioctl_fionbio(pipe, true) {
                // A child that the reactor does not know of must not run on.
                if child.signal(Signal::Kill).is_ok() {
                    child.reap(AT_START);
                }
                return Err(error.into());
            }
        }
        Ok((child, pipes))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Registers the exit descriptor, if there is one. False if no event will
    /// report the exit.
    pub(super) fn register(&mut self, registry: &Registry, token: mio::Token) -> bool {
        let Some(exit) = &mut self.exit else { return false };
        exit.register(registry, token, Interest::READABLE).is_ok()
    }

    pub(super) fn fate(&mut self) -> io::Result<Fate> {
        // WNOWAIT leaves the child a zombie, so that its group's id is not
        // reused.
        let options = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG).union(WaitIdOptions::NOWAIT);
        let outcome = match rustix::process::waitid(self.wait_id(), options) {
            // Linux before 5.4 has such descriptors, and does not wait for them.
            Err(rustix::io::Errno::INVAL) => rustix::process::waitid(WaitId::Pid(self.pid), options),
            outcome => outcome,
        };
        match outcome {
            Ok(None) => {
                self.await_exit();
                Ok(Fate::Running)
            }
            Ok(Some(status)) => Ok(Fate::Exited(Some(exit_status(&status)))),
            Err(rustix::io::Errno::CHILD) => {
                self.is_lost = true;
                Ok(Fate::Exited(None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Consumes an event that came too early, so that the next one is reported.
    fn await_exit(&mut self) {
        if let Some(exit) = &mut self.exit {
            let _ = exit.input(|_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// The child as waitid(2) names it: by its descriptor, if it has one, which
    /// names the child even when its process id is reused.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn wait_id(&self) -> WaitId<'_> {
        self.exit.as_ref().map_or(WaitId::Pid(self.pid), |exit| WaitId::PidFd(std::os::fd::AsFd::as_fd(exit)))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const fn wait_id(&self) -> WaitId<'_> {
        WaitId::Pid(self.pid)
    }

    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let fate = self.fate();
        // `fate` has checked that the process id is still the child's: other
        // code may have reaped it.
        if self.is_lost || matches!(fate, Ok(Fate::Exited(None))) {
            return Ok(());
        }
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        let group = rustix::process::kill_process_group(self.pid, signal);
        // The child may have moved to another group of its session
        // (setpgid(2)), even to ours, and that group must not be signalled with
        // it.
        let has_left = rustix::process::getpgid(Some(self.pid)) != Ok(self.pid);
        let itself = match fate {
            Ok(Fate::Exited(_)) => Ok(()),
            _ if has_left => self.signal_alone(signal),
            _ => Ok(()),
        };
        for outcome in [group, itself] {
            match outcome {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Signals the process alone: by its descriptor, if it has one.
    fn signal_alone(&self, signal: rustix::process::Signal) -> rustix::io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(exit) = &self.exit {
            match rustix::process::pidfd_send_signal(exit, signal) {
                // Linux 5.3, which is the first with such descriptors, has both.
                Err(rustix::io::Errno::NOSYS) => {}
                outcome => return outcome,
            }
        }
        rustix::process::kill_process(self.pid, signal)
    }

    pub(super) fn reap(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut left = within;
        loop {
            match self.fate() {
                // Waiting for a reused process id would wait for another child,
                // and take its status.
                _ if self.is_lost => return None,
                Ok(Fate::Exited(None)) => return None,
                // The standard library tries again after a signal (EINTR).
                Ok(Fate::Exited(Some(_))) => return self.child.wait().ok(),
                _ if left.is_zero() => return None,
                _ => {}
            }
            let time = left.min(BETWEEN_LOOKS);
            left -= time;
            self.wait_for_exit(time);
        }
    }

    /// Waits for a time, or until the exit, if a descriptor shows it.
    fn wait_for_exit(&self, time: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut exit: Vec<PollFd<'_>> =
            self.exit.iter().map(|exit| PollFd::new(exit, PollFlags::IN)).collect();
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        // A signal (EINTR) shortens the wait.
        let _ = poll(&mut exit, Some(&time));
    }
}

/// Starts a program, and returns it with our end of a pipe that is both its
/// output and its errors, if it has one.
fn start(command: &Command) -> io::Result<(std::process::Child, Option<OwnedFd>)> {
    let mut system = std::process::Command::new(&command.program);
    system.args(&command.arguments).process_group(0);
    if command.clears_environment {
        system.env_clear();
    }
    for (name, value) in &command.environment {
        match value {
            Some(value) => system.env(name, value),
            None => system.env_remove(name),
        };
    }
    if let Some(directory) = &command.directory {
        system.current_dir(directory);
    }
    let stream = |pipe| match command.wiring(pipe) {
        Wiring::Piped => Stdio::piped(),
        Wiring::Null | Wiring::Stdout => Stdio::null(),
    };
    system.stdin(stream(Pipe::Stdin)).stdout(stream(Pipe::Stdout)).stderr(stream(Pipe::Stderr));
    let mut both = None;
    if command.stderr == Wiring::Stdout && command.stdout == Wiring::Piped {
        let (ours, theirs) = io::pipe()?;
        system.stdout(theirs.try_clone()?).stderr(theirs);
        both = Some(ours.into());
    }
    // Dropping `system` closes our copies of the child's ends.
    Ok((spawn(&mut system)?, both))
}

/// Starts the program, containing a panic of the standard library: where it
/// uses fork(2), it waits for a child whose exec(2) has failed, and panics if
/// that child's status is lost, as it is while SIGCHLD is ignored.
fn spawn(system: &mut std::process::Command) -> io::Result<std::process::Child> {
    caught(|| system.spawn()).unwrap_or_else(|payload| {
        log::debug!("the standard library panicked: {}", message(payload));
        Err(io::Error::other("the program was not started, and the reason is lost; do not ignore SIGCHLD"))
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn exit_descriptor(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// No such descriptor exists here: the loop polls the child.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn exit_descriptor(_: Pid) -> Option<OwnedFd> {
    None
}

/// The status as waitpid(2) encodes it: the code in the second byte, or the
/// signal.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    const DUMPED_CORE: i32 = 0x80;
    let signal = status.terminating_signal().unwrap_or(0) | if status.dumped() { DUMPED_CORE } else { 0 };
    ExitStatus::from_raw(status.exit_status().map_or(signal, |code| (code & 0xFF) << 8))
}
