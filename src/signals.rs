//! SIGINT, SIGTERM and SIGHUP as a shutdown (feature `signals`).

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::{BoxError, Error, Io, Limits, Origin, Reactor, Result, Service, StreamHandler, TimerId};

/// Has SIGINT, SIGTERM and SIGHUP end a reactor: the first of them begins a
/// shutdown ([`Io::shutdown`]), a second one ends it at once ([`Io::stop`]). What
/// comes within a second of the first is the first one doubled: timeout(1) and
/// many supervisors signal a process and its group. They arrive as connections
/// in the one loop that there is, which a shutdown neither waits for nor
/// closes: a reactor that is used again hears them again.
///
/// Once [`serve_forever`](Reactor::serve_forever) has returned,
/// [`forced`](Self::forced) tells of a second one, for the exit status. What
/// the signals did before, by default end the process, they do no more, not
/// even when the reactor is gone.
///
/// Beside these it takes SIGXFSZ, which by default ends the process when a file
/// is to grow beyond RLIMIT_FSIZE (setrlimit(2)): the write fails instead, with
/// `EFBIG`, so that an upload is refused and everybody else is served. Programs
/// that are started get the default back, as execve(2) does it. Of the other
/// signals that a write can raise, SIGPIPE is ignored by Rust's own start-up,
/// and SIGTTOU only stops a process in the background.
///
/// ```no_run
/// use serve_forever::{Config, SHUTDOWN_DEADLINE, Limits, Reactor, Signals, services::Echo};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let signals = Signals::watch(&mut reactor, SHUTDOWN_DEADLINE)?;
/// let echo = reactor.add(Echo::new(), Limits::default())?;
/// reactor.listen(&echo, &"127.0.0.1:7007".parse()?)?;
/// reactor.serve_forever()?;
/// if let Some(signal) = reactor.get(&signals).forced() {
///     std::process::exit(128 + signal);
/// }
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    deadline: Duration,
    /// Whose connection is being opened.
    watched: i32,
    registered: Vec<SigId>,
    first: Option<First>,
    forced: Option<i32>,
}

/// The signal that began a shutdown.
#[derive(Debug)]
struct First {
    at: Instant,
    /// Until it fires, whatever comes may have come together with the first:
    /// a loop that was held up sees both only afterwards.
    doubled: Option<TimerId>,
    /// Its shutdown has still to begin.
    is_new: bool,
}

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Who ignores these means that they are none of ours: nohup(1) does, and
/// shells do for what they start in the background.
const LEFT_IGNORED: [i32; 2] = [SIGINT, SIGHUP];

/// How long what comes is the first one doubled.
const DOUBLED: Duration = Duration::from_secs(1);

impl Signals {
    /// How many connections it has at most, which count under
    /// [`Config::max_connections`](crate::Config::max_connections).
    pub const CONNECTIONS: usize = SIGNALS.len();

    /// Watches for the signals from now on; a shutdown may take `shutdown`.
    ///
    /// What the process was started with is respected as far as it makes
    /// sense: a SIGINT or SIGHUP that is ignored stays so (where proc(5)
    /// tells, which is on Linux), a SIGTERM that is ignored is watched for. If
    /// this thread blocks them (pthread_sigmask(3)), it blocks them no longer.
    ///
    /// # Errors
    ///
    /// [`Error::System`] without descriptors for it; [`Error::Full`] at
    /// `max_connections`.
    pub fn watch(reactor: &mut Reactor, deadline: Duration) -> Result<Service<Self>> {
        // They may stay away for as long as they like.
        let limits = Limits { idle: None, ..Limits::without_frames() };
        let signals = Self { deadline, watched: 0, registered: Vec::new(), first: None, forced: None };
        let service = reactor.add(signals, limits)?;
        let ignored = ignored();
        for signal in SIGNALS {
            if LEFT_IGNORED.contains(&signal) && ignored & bit(signal) != 0 {
                log::debug!("signal {signal} is ignored, and stays so");
                continue;
            }
            let (arrives, sent) = UnixStream::pair().map_err(watching)?;
            // A signal's handler must not block when nobody reads.
            sent.set_nonblocking(true).map_err(watching)?;
            let id = signal_hook::low_level::pipe::register(signal, sent).map_err(watching)?;
            let this = reactor.get_mut(&service);
            this.registered.push(id);
            this.watched = signal;
            reactor.adopt(&service, arrives)?;
        }
        survive_full_files().map_err(watching)?;
        unblock().map_err(watching)?;
        Ok(service)
    }

    /// The number of the second signal, if one came and cut the last shutdown
    /// short.
    #[must_use]
    pub const fn forced(&self) -> Option<i32> {
        self.forced
    }

    fn came(&mut self, io: &mut Io<'_>, signal: i32) {
        let now = io.now();
        let is_near = |first: &First| now.saturating_duration_since(first.at) < DOUBLED;
        match &self.first {
            Some(first) if is_near(first) || io.is_shutting_down() => {
                if is_near(first) || first.doubled.is_some() {
                    log::debug!("signal {signal} within a second of the first: it counts as that one");
                } else {
                    log::warn!("signal {signal} again: no more waiting");
                    self.forced = Some(signal);
                    io.stop();
                }
            }
            _ => {
                log::info!("signal {signal}: finishing what is under way");
                // Without a timer the time alone has to tell.
                let doubled = io.tick_after(DOUBLED).ok();
                self.first = Some(First { at: now, doubled, is_new: !io.is_shutting_down() });
                self.forced = None;
                io.shutdown(self.deadline);
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

fn watching(source: io::Error) -> Error {
    Error::System { what: "watching for signals", source }
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Which signals this process ignores (proc(5)); none where that is not told.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// A handler that does nothing, rather than ignoring it: what is ignored stays
/// so in programs that are started, what is handled does not (signal(7)).
fn survive_full_files() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Who asked for them to be blocked did not think of us: it is inherited.
fn unblock() -> io::Result<()> {
    let ours: SigSet = SIGNALS.into_iter().filter_map(|signal| Signal::try_from(signal).ok()).collect();
    Ok(ours.thread_unblock()?)
}

impl StreamHandler for Signals {
    /// The signal's number.
    type Session = i32;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<i32, BoxError> {
        io.set_background(io.id(), true);
        Ok(self.watched)
    }

    fn data(&mut self, io: &mut Io<'_>, signal: &mut i32, input: &mut BytesMut) -> Result<(), BoxError> {
        for _ in input.split() {
            self.came(io, *signal);
        }
        Ok(())
    }

    fn tick(&mut self, _: &mut Io<'_>, timer: TimerId) {
        if let Some(first) = self.first.as_mut().filter(|first| first.doubled == Some(timer)) {
            first.doubled = None;
            first.is_new = false;
        }
    }

    fn shutting_down(&mut self, _: &mut Io<'_>) {
        if let Some(first) = &mut self.first
            && !std::mem::take(&mut first.is_new)
        {
            // It was of an earlier shutdown, and somebody else has begun this.
            self.first = None;
        }
    }
}
