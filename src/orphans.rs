//! Reaping of orphaned processes that the system gives to this one (feature
//! `signals`).

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;

use crate::driver::Adopt;
use crate::{BoxError, Error, Io, Limits, Origin, Reactor, Result, Service, StreamHandler, TimerId};

/// A reaper of orphaned processes, for **a program all of whose children belong
/// to one reactor** ([`Io::spawn`]). `Orphans` takes any other child that has
/// exited for an orphan and reaps it; code that waits for such a child gets
/// `ECHILD`.
///
/// Linux gives a process whose parent has exited to the first process of its PID
/// namespace, or to a subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`). A server in a
/// container is often that first process. The orphan stays a zombie after its exit
/// unless its new parent waits for it. The same holds for a process that a shell
/// had started before the shell became this process (`exec`). A process that is
/// neither first nor a subreaper, and that began without children, gets no
/// orphans, and `Orphans` then does nothing. It searches `/proc`, at the latest
/// one second after an exit.
///
/// SIGCHLD tells `Orphans` of exits, through a connection of the reactor. The
/// signal is therefore no longer ignored if the process was started with it
/// ignored (`trap '' CHLD`): the system keeps no status of any child in that case
/// (waitid(2), `ECHILD`), and every [`Exit`](crate::process::Exit) would be without
/// one. Programs that this process starts have SIGCHLD at its default.
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
    /// Whether the process had children before `watch`.
    inherits: bool,
    /// The timer of the next search.
    looks: Option<TimerId>,
    reaped: u64,
}

/// The time from an exit to the search. A search costs a read for each process of
/// the system, and exits come in groups.
const LATER: Duration = Duration::from_secs(1);

impl Orphans {
    /// The number of its connections, which count under
    /// [`Config::max_connections`](crate::Config::max_connections).
    pub const CONNECTIONS: usize = 1;

    /// Adds an `Orphans` to a reactor and begins to watch.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no descriptors are left; [`Error::Full`] at
    /// `max_connections`.
    pub fn watch<D: Adopt>(reactor: &mut Reactor<D>) -> Result<Service<Self>> {
        // Its connection is silent for as long as no child exits.
        let orphans = Self { registered: None, inherits: !children().is_empty(), looks: None, reaped: 0 };
        let limits = Limits { idle: None, ..Limits::default() };
        let service = reactor.add(orphans, limits)?;
        let (arrives, sent) = UnixStream::pair().map_err(watching)?;
        // A signal's handler must not block when nobody reads.
        sent.set_nonblocking(true).map_err(watching)?;
        let id = signal_hook::low_level::pipe::register(SIGCHLD, sent).map_err(watching)?;
        reactor.get_mut(&service).registered = Some(id);
        reactor.adopt(&service, arrives)?;
        Ok(service)
    }

    /// The number of orphans reaped so far.
    #[must_use]
    pub const fn reaped(&self) -> u64 {
        self.reaped
    }

    /// Sets the timer of the next search after an exit.
    fn look_later(&mut self, io: &mut Io<'_>) {
        if self.looks.is_none() && (self.inherits || is_given_orphans()) {
            match io.tick_after(LATER) {
                Ok(timer) => self.looks = Some(timer),
                Err(_) => self.reap(io),
            }
        }
    }

    /// Reaps each process that has exited and is no child of the reactor.
    fn reap(&mut self, io: &Io<'_>) {
        let ours: BTreeSet<u32> = io.child_pids().collect();
        for pid in
            children().into_iter().filter(|pid| !ours.contains(&pid.as_raw_nonzero().get().unsigned_abs()))
        {
            let options = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);
            if let Ok(Some(_)) = rustix::process::waitid(WaitId::Pid(pid), options) {
                self.reaped += 1;
                log::debug!("reaped the orphaned process {pid}", pid = pid.as_raw_nonzero());
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

/// Whether the system gives orphaned processes to this one.
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

/// The children of this process (proc(5)). waitid(2) for any child (`P_ALL`) cannot
/// replace the search: it returns the first child that has exited again and again,
/// and that may be one of the reactor's. The reactor leaves a child unreaped for as
/// long as it may still signal its group.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| parent(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

/// The parent of a process (proc_pid_stat(5)). The command name before it stands in
/// brackets and may hold any character, brackets and spaces included.
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
