//! What children leave behind, where it becomes this process's (feature
//! `signals`).

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;

use crate::{BoxError, Error, Io, Limits, Origin, Reactor, Result, Service, StreamHandler, TimerId};

/// Reaps what children leave behind: for **a program all of whose children are
/// one reactor's** ([`Io::spawn`]). Any other child that has exited is taken for
/// an orphan, and its status is lost to whoever would have waited for it.
///
/// A process whose parent has gone is given to the first process of its PID
/// namespace, as which a server in a container often runs, or to a subreaper
/// (prctl(2), `PR_SET_CHILD_SUBREAPER`), and stays a zombie unless that waits
/// for it. So does what a shell had started before it became this process
/// (`exec`). Where it is neither, nothing is looked for. Processes are looked
/// for in `/proc`, a second after the first exit at the latest.
///
/// It hears of exits by SIGCHLD, as a connection in the one loop that there is.
/// So that signal is ignored no longer if it was when the process was started
/// (`trap '' CHLD`): the system would keep no status of any child then
/// (waitid(2), `ECHILD`), and every [`Exit`](crate::process::Exit) would be
/// without one. What the program starts has it at its default again.
///
/// ```no_run
/// use serve_forever::{Config, Limits, Orphans, Reactor, services::Echo};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// Orphans::watch(&mut reactor)?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Debug)]
pub struct Orphans {
    registered: Option<SigId>,
    /// It has had children before it had a reactor.
    inherits: bool,
    /// When it looks next.
    looks: Option<TimerId>,
    reaped: u64,
}

/// How long after an exit it looks: that takes longer the more processes there
/// are, and exits come together.
const LATER: Duration = Duration::from_secs(1);

impl Orphans {
    /// How many connections it has, which count under
    /// [`Config::max_connections`](crate::Config::max_connections).
    pub const CONNECTIONS: usize = 1;

    /// Watches from now on.
    ///
    /// # Errors
    ///
    /// [`Error::System`] without descriptors for it; [`Error::Full`] at
    /// `max_connections`.
    pub fn watch(reactor: &mut Reactor) -> Result<Service<Self>> {
        // It may be silent for as long as nothing ends.
        let orphans = Self { registered: None, inherits: !children().is_empty(), looks: None, reaped: 0 };
        let limits = Limits { idle: None, ..Limits::without_frames() };
        let service = reactor.add(orphans, limits)?;
        let (arrives, sent) = UnixStream::pair().map_err(watching)?;
        // A signal's handler must not block when nobody reads.
        sent.set_nonblocking(true).map_err(watching)?;
        let id = signal_hook::low_level::pipe::register(SIGCHLD, sent).map_err(watching)?;
        reactor.get_mut(&service).registered = Some(id);
        reactor.adopt(&service, arrives)?;
        Ok(service)
    }

    /// How many orphans it has reaped so far.
    #[must_use]
    pub const fn reaped(&self) -> u64 {
        self.reaped
    }

    /// Something has exited.
    fn look_later(&mut self, io: &mut Io<'_>) {
        if self.looks.is_none() && (self.inherits || is_given_orphans()) {
            match io.tick_after(LATER) {
                Ok(timer) => self.looks = Some(timer),
                Err(_) => self.reap(io),
            }
        }
    }

    /// Reaps all that have exited and are no children of the reactor.
    fn reap(&mut self, io: &Io<'_>) {
        let ours: BTreeSet<u32> = io.child_pids().collect();
        for pid in
            children().into_iter().filter(|pid| !ours.contains(&pid.as_raw_nonzero().get().unsigned_abs()))
        {
            let options = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);
            if let Ok(Some(_)) = rustix::process::waitid(WaitId::Pid(pid), options) {
                self.reaped += 1;
                log::debug!("process {pid} is reaped: it was left behind", pid = pid.as_raw_nonzero());
            }
        }
    }
}

impl Drop for Orphans {
    fn drop(&mut self) {
        if let Some(id) = self.registered.take() {
            signal_hook::low_level::unregister(id);
        }
    }
}

fn watching(source: io::Error) -> Error {
    Error::System { what: "watching for SIGCHLD", source }
}

/// Processes whose parent has gone are given to this one.
fn is_given_orphans() -> bool {
    rustix::process::getpid().is_init() || is_subreaper()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_subreaper() -> bool {
    matches!(rustix::process::child_subreaper(), Ok(Some(_)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn is_subreaper() -> bool {
    false
}

/// The children of this process (proc(5)). waitid(2) for any child will not do:
/// it goes on naming the first that has exited, and that may be the reactor's,
/// which it keeps for as long as its group may be owed a signal.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| parent(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

/// The parent of a process. Its name stands in brackets before, and may be
/// anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

impl StreamHandler for Orphans {
    type Session = ();

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        io.set_background(io.id(), true);
        self.look_later(io);
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        input.clear();
        self.look_later(io);
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        if self.looks == Some(timer) {
            self.looks = None;
            self.reap(io);
        }
    }
}
