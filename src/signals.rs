//! SIGINT, SIGTERM and SIGHUP as a shutdown (feature `signals`).

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::BytesMut;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};

use crate::driver::Adopt;
use crate::{BoxError, Error, Io, Limits, Origin, Reactor, Result, Service, StreamHandler, TimerId};

/// A service that turns SIGINT, SIGTERM and SIGHUP into a shutdown of its reactor.
///
/// The first signal begins a shutdown ([`Io::shutdown`]). A second one ends the
/// reactor at once ([`Io::stop`]). A signal within one second of the first counts
/// as the first one sent twice: timeout(1) and many supervisors signal a process and
/// its group. Signals arrive through connections of the reactor. A shutdown neither
/// waits for these connections nor closes them, so a reactor that is used again
/// still receives signals.
///
/// [`forced`](Self::forced) returns the second signal after
/// [`serve_forever`](Reactor::serve_forever) has returned, for the exit status. The
/// signals lose their earlier effect, which by default is the end of the process,
/// also after the reactor has been dropped.
///
/// `Signals` also handles SIGXFSZ. By default that signal ends a process that lets a
/// file grow beyond RLIMIT_FSIZE (setrlimit(2)). With a handler the write fails with
/// `EFBIG` instead, so an upload is refused and all other clients are served.
/// Programs that this process starts have the default again (execve(2)). A write can
/// raise two more signals: Rust's start-up code ignores SIGPIPE, and SIGTTOU only
/// stops a process in the background.
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
    /// The signal whose connection `open` is called for.
    watched: i32,
    registered: Vec<SigId>,
    first: Option<First>,
    forced: Option<i32>,
    on_hangup: Option<OnSignal>,
    on_user_signal: Option<OnSignal>,
}

/// What a signal calls.
struct OnSignal(Box<dyn FnMut()>);

impl fmt::Debug for OnSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnSignal")
    }
}

/// The signal that began a shutdown.
#[derive(Debug)]
struct First {
    at: Instant,
    /// The timer that ends the second in which another signal counts as the first.
    /// A loop that was blocked sees both signals late, and sees them before the timer.
    doubled: Option<TimerId>,
    /// Whether `shutting_down` is still to be called for it.
    is_new: bool,
}

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Signals that stay ignored if the process was started with them ignored, as by
/// nohup(1), or by a shell that starts a command in the background.
const LEFT_IGNORED: [i32; 2] = [SIGINT, SIGHUP];

/// The time in which another signal counts as the first one sent twice.
const DOUBLED: Duration = Duration::from_secs(1);

impl Signals {
    /// The largest number of its connections, which count under
    /// [`Config::max_connections`](crate::Config::max_connections).
    pub const CONNECTIONS: usize = SIGNALS.len();

    /// Adds a `Signals` to a reactor and begins to watch. A shutdown by a signal
    /// takes at most `deadline`.
    ///
    /// A SIGINT or SIGHUP that the process was started with ignored stays ignored
    /// (on Linux, where proc(5) lists ignored signals). SIGTERM is watched for in any
    /// case. `watch` unblocks the three signals in the calling thread
    /// (pthread_sigmask(3)).
    ///
    /// # Errors
    ///
    /// [`Error::System`] if no descriptors are left; [`Error::Full`] at
    /// `max_connections`.
    pub fn watch<D: Adopt>(reactor: &mut Reactor<D>, deadline: Duration) -> Result<Service<Self>> {
        // Its connections are silent for as long as no signal comes.
        let limits = Limits { idle: None, ..Limits::default() };
        let signals = Self {
            deadline,
            watched: 0,
            registered: Vec::new(),
            first: None,
            forced: None,
            on_hangup: None,
            on_user_signal: None,
        };
        let service = reactor.add(signals, limits)?;
        let ignored = ignored();
        for signal in SIGNALS {
            if LEFT_IGNORED.contains(&signal) && ignored & bit(signal) != 0 {
                log::debug!("signal {signal} is ignored, and stays so");
                continue;
            }
            Self::watch_for(reactor, &service, signal)?;
        }
        survive_full_files().map_err(watching)?;
        unblock(SIGNALS).map_err(watching)?;
        Ok(service)
    }

    /// Has a signal arrive through a connection.
    fn watch_for<D: Adopt>(reactor: &mut Reactor<D>, service: &Service<Self>, signal: i32) -> Result<()> {
        let (arrives, sent) = UnixStream::pair().map_err(watching)?;
        // A signal's handler must not block when nobody reads.
        sent.set_nonblocking(true).map_err(watching)?;
        let id = signal_hook::low_level::pipe::register(signal, sent).map_err(watching)?;
        let this = reactor.get_mut(service);
        this.registered.push(id);
        this.watched = signal;
        reactor.adopt(service, arrives).map(drop)
    }

    /// Has a SIGUSR1 call this, which by default ends the process: to write a dump, for
    /// instance (`record::DumpRequest`). It is called in the loop, where nothing else
    /// happens meanwhile, and takes one connection more than
    /// [`CONNECTIONS`](Self::CONNECTIONS). SIGUSR1 is unblocked in the calling thread.
    ///
    /// ```no_run
    /// # use serve_forever::{Config, Reactor, SHUTDOWN_DEADLINE, Signals};
    /// # let mut reactor = Reactor::new(Config::default())?;
    /// let signals = Signals::watch(&mut reactor, SHUTDOWN_DEADLINE)?;
    /// Signals::on_user_signal(&mut reactor, &signals, || println!("here I am"))?;
    /// # Ok::<(), serve_forever::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch).
    pub fn on_user_signal<D: Adopt>(
        reactor: &mut Reactor<D>,
        signals: &Service<Self>,
        call: impl FnMut() + 'static,
    ) -> Result<()> {
        let is_new = reactor.get_mut(signals).on_user_signal.replace(OnSignal(Box::new(call))).is_none();
        if is_new {
            Self::watch_for(reactor, signals, SIGUSR1)?;
            unblock([SIGUSR1]).map_err(watching)?;
        }
        Ok(())
    }

    /// The number of the second signal, if one ended the last shutdown early.
    #[must_use]
    pub const fn forced(&self) -> Option<i32> {
        self.forced
    }

    /// Has a SIGHUP call this instead of beginning a shutdown: to read a configuration
    /// or certificates again. It is called in the loop, where nothing else happens
    /// meanwhile. A SIGHUP that the process was started with ignored stays ignored.
    ///
    /// ```no_run
    /// # use serve_forever::{Config, Reactor, SHUTDOWN_DEADLINE, Signals};
    /// # let mut reactor = Reactor::new(Config::default())?;
    /// let signals = Signals::watch(&mut reactor, SHUTDOWN_DEADLINE)?;
    /// reactor.get_mut(&signals).on_hangup(|| println!("reading it again"));
    /// # Ok::<(), serve_forever::Error>(())
    /// ```
    pub fn on_hangup(&mut self, call: impl FnMut() + 'static) {
        self.on_hangup = Some(OnSignal(Box::new(call)));
    }

    fn came(&mut self, io: &mut Io<'_>, signal: i32) {
        let instead = match signal {
            SIGHUP => &mut self.on_hangup,
            SIGUSR1 => &mut self.on_user_signal,
            _ => &mut None,
        };
        if let Some(OnSignal(call)) = instead {
            return call();
        }
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
                // `first.at` alone decides if there is no room for a timer.
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

/// The mask of signals that this process ignores (proc(5)); zero without procfs.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Installs a handler of SIGXFSZ that does nothing. An ignored signal would stay
/// ignored in programs that this process starts, a handled one does not (signal(7)).
fn survive_full_files() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Unblocks signals. A mask that blocks them is inherited from a parent that meant its
/// own signals.
fn unblock<const N: usize>(signals: [i32; N]) -> io::Result<()> {
    let ours: SigSet = signals.into_iter().filter_map(|signal| Signal::try_from(signal).ok()).collect();
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
            // `first` belongs to an earlier shutdown; other code has begun this one.
            self.first = None;
        }
    }
}
