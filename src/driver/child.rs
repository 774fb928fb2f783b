//! Child processes of the operating system.

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

/// How long is waited at most for a child that was ended as it had begun.
const AT_START: Duration = Duration::from_secs(1);

/// How often a child is looked at that is waited for; less than a second.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A child process of [`MioDriver`](super::MioDriver).
#[derive(Debug)]
pub struct MioChild {
    child: std::process::Child,
    /// Its own number, and that of the process group that it leads.
    pid: Pid,
    /// Becomes readable when it exits (pidfd_open(2)).
    exit: Option<Source>,
    /// Something else has waited for it: its number may be another's by now.
    is_lost: bool,
}

impl MioChild {
    /// Starts a program; with it come our ends of its pipes, which do not
    /// block.
    pub(super) fn spawn(command: &Command) -> io::Result<(Self, [Option<OwnedFd>; 3])> {
        // What the standard library opens is close-on-exec, what others do
        // need not be. It cannot be done in the child: that would take a fork
        // with all of our memory in place of posix_spawn(3).
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
                // It is not to go on without anybody who knows of it.
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

    /// Has its exit reported, where there is a descriptor for it. False if it
    /// will not be.
    pub(super) fn register(&mut self, registry: &Registry, token: mio::Token) -> bool {
        let Some(exit) = &mut self.exit else { return false };
        exit.register(registry, token, Interest::READABLE).is_ok()
    }

    pub(super) fn fate(&mut self) -> io::Result<Fate> {
        // WNOWAIT: it stays a zombie, and its group's number its own.
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

    /// An event that came too soon is used up.
    fn await_exit(&mut self) {
        if let Some(exit) = &mut self.exit {
            let _ = exit.input(|_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// What to wait for: by its descriptor where there is one, which names it
    /// even when its number is another's.
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
        // Whether it is still its number: somebody may have taken it just now.
        if self.is_lost || matches!(fate, Ok(Fate::Exited(None))) {
            return Ok(());
        }
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        let group = rustix::process::kill_process_group(self.pid, signal);
        // It may have gone over into another group of its session (setpgid(2)),
        // ours if it likes, which is not to be ended with it.
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

    /// Signals the process and no group: by its descriptor where that can be.
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
                // To wait for a number that is another child's by now would be
                // to wait for that one, and to take its status.
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

    /// Waits for so long, or until it has exited, where that shows.
    fn wait_for_exit(&self, time: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut exit: Vec<PollFd<'_>> =
            self.exit.iter().map(|exit| PollFd::new(exit, PollFlags::IN)).collect();
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        // A signal (EINTR) makes it a shorter wait.
        let _ = poll(&mut exit, Some(&time));
    }
}

/// Starts a program; with it comes our end of the pipe that is both its output
/// and its errors, if there is such a one.
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
    // With `system` go our copies of its ends.
    Ok((spawn(&mut system)?, both))
}

/// Starts it. Where the standard library takes fork(2), it waits for the child
/// that could not become the program, and panics if that is lost, as it is
/// while SIGCHLD is ignored.
fn spawn(system: &mut std::process::Command) -> io::Result<std::process::Child> {
    caught(|| system.spawn()).unwrap_or_else(|payload| {
        log::debug!("the standard library panicked: {}", message(payload));
        Err(io::Error::other("it could not be started, and the reason is lost: is SIGCHLD ignored?"))
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn exit_descriptor(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Where there is none, the child is looked at from time to time.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn exit_descriptor(_: Pid) -> Option<OwnedFd> {
    None
}

/// As waitpid(2) encodes it: the code in the second byte, or the signal.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    const DUMPED_CORE: i32 = 0x80;
    let signal = status.terminating_signal().unwrap_or(0) | if status.dumped() { DUMPED_CORE } else { 0 };
    ExitStatus::from_raw(status.exit_status().map_or(signal, |code| (code & 0xFF) << 8))
}
