//! The loop. See [`Reactor`].

mod accept;
mod adopt;
mod callbacks;
#[cfg(feature = "sim")]
mod check;
mod children;
mod connect;
mod connect_queue;
mod datagram_sockets;
mod datagrams;
mod dispatch;
mod flush;
mod listeners;
mod read;
mod reap;
mod relisten;
mod services;
mod shutdown;
mod single;
mod timers;
mod wait;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

pub use self::services::Service;
pub use self::single::Handled;

use self::callbacks::Callbacks;
use self::connect_queue::ConnectQueue;
use self::datagram_sockets::DatagramSockets;
use self::listeners::Listeners;
use crate::contain::caught;
use crate::core::{Core, RunState};
use crate::driver::{Driver, MioDriver, Moment};
use crate::error::{Error, Result};
use crate::handle::{Calls, Inbox};
use crate::id::ConnId;
use crate::input::Input;
use crate::limits::Config;
use crate::stats::Stats;

/// What one pass of the loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// How many events the system had reported.
    pub events: usize,
    /// There is more to do already: the next turn will not wait.
    pub more: bool,
    /// A shutdown is complete: no connection, listener or socket is left.
    pub finished: bool,
}

/// One thread, one readiness loop, many sockets.
///
/// # A turn
///
/// [`turn`](Self::turn) is one pass of the loop, always in this order:
///
/// 1. **wait** for events; not at all if something is still to be done
/// 2. **accept** connections
/// 3. **read** what is ready and hand it over, datagrams first
/// 4. **timers** that are due
/// 5. **calls** from [`Handle`](crate::Handle)s
/// 6. **flush** what was queued, one write for each connection
/// 7. **reap**: tell what drained and what closed, and free ids
///
/// Callbacks run in 2 to 5 and in 7, and before 6 when a child was started; a shutdown takes its steps after 7. What
/// a callback writes to its own connection leaves as soon as it returns, unless
/// a message went from one connection to another in this turn: then everything
/// waits for 6, so that a burst to many is one write for each of them.
///
/// [`serve_forever`](Self::serve_forever) is a loop of turns. Another loop can
/// take turns as well: the reactor's descriptor ([`AsFd`]) is readable while
/// there are events, and [`next_timeout`](Self::next_timeout) says how long it
/// may sleep.
///
/// A reactor stays on the thread that made it (it is not `Send`, as handlers
/// need not be); a [`Handle`](crate::Handle) reaches it from the others.
///
/// ```
/// use serve_forever::{Config, Limits, Reactor, services::Echo};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let echo = reactor.add(Echo::new(), Limits::default())?;
/// let listener = reactor.listen(&echo, &"127.0.0.1:0".parse()?)?;
/// println!("listening on {}", reactor.local(listener).expect("it was just made"));
/// # reactor.handle(&echo).shutdown(std::time::Duration::ZERO);
/// reactor.serve_forever()?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
pub struct Reactor<D: Driver = MioDriver> {
    driver: D,
    core: Core,
    callbacks: Callbacks,
    /// By the slot of the connection's id.
    streams: Vec<Option<D::Stream>>,
    listeners: Listeners<D::Listener>,
    /// The datagram sockets.
    datagram_sockets: DatagramSockets<D::Socket>,
    /// The child processes, by the slot of the child's id.
    processes: Vec<Option<D::Child>>,
    input: Input,
    inbox: Arc<Inbox>,
    calls: Calls,
    /// The list that a phase works on while the next one fills.
    batch: Vec<ConnId>,
    /// `Config::slow_callback` in nanoseconds.
    slow_after: Option<u64>,
    state: RunState,
    /// When the shutdown under way began.
    shutdown_since: Moment,
    /// The clock when it was last read.
    clock: Moment,
    /// The last wait ended with an event.
    had_events: bool,
    /// Waits that a signal has ended, and that may not have looked.
    interruptions: u64,
    /// Something is due in this turn.
    is_due: bool,
    /// Up to when things have happened that were not all reported yet, and how
    /// many more events may be needed for that.
    unobserved: Option<(Moment, usize)>,
    /// Connections that could not be begun yet.
    connect_queue: ConnectQueue,
    /// `serve_forever` is what takes the turns.
    serves_forever: bool,
    /// What it ends with: nothing is left that it could serve.
    lost: Option<Error>,
}

impl Reactor<MioDriver> {
    /// A reactor on the operating system.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if the configuration contradicts itself,
    /// [`Error::System`] if there is no descriptor for the poll.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let driver = MioDriver::new(config.events_per_turn).map_err(Error::system("making the poll"))?;
        Self::with_driver(driver, config)
    }
}

impl<D: Driver> Reactor<D> {
    /// A reactor on a driver of one's own.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if the configuration contradicts itself,
    /// [`Error::System`] if the driver has no waker.
    pub fn with_driver(mut driver: D, config: Config) -> Result<Self> {
        config.check()?;
        let waker = driver.waker().map_err(Error::system("making the waker"))?;
        let max_connections = config
            .max_connections
            .unwrap_or_else(|| driver.max_streams().map_or(10_000, |limit| (limit / 2).clamp(1, 10_000)));
        let (epoch, now) = (driver.epoch(), driver.now());
        let core = Core::new(config, max_connections, epoch, now);
        let config = &core.config;
        Ok(Self {
            driver,
            streams: Vec::new(),
            listeners: Listeners::new(),
            datagram_sockets: DatagramSockets::new(),
            processes: Vec::new(),
            input: Input::new(config.read_buffer, core.direct.address()),
            inbox: Arc::new(Inbox::new(waker, config.max_calls)),
            calls: Calls::new(),
            batch: Vec::new(),
            slow_after: config.slow_callback.map(|slow| Moment::ZERO.plus(slow).as_nanos()),
            state: RunState::Running,
            shutdown_since: now,
            clock: now,
            had_events: false,
            interruptions: 0,
            is_due: false,
            unobserved: None,
            connect_queue: ConnectQueue::default(),
            serves_forever: false,
            lost: None,
            callbacks: Callbacks::new(),
            core,
        })
    }

    /// The counters, as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { system: self.driver.calls(), ..self.core.stats.clone() }
    }

    /// How many connections there are, those that are closing included, and
    /// the pipes of children not.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.core.connections()
    }

    /// How many child processes there are, until each is reaped.
    #[must_use]
    pub const fn children(&self) -> usize {
        self.core.children.table.len()
    }

    /// The driver.
    #[must_use]
    pub const fn driver(&self) -> &D {
        &self.driver
    }

    /// The driver, between turns.
    pub const fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Takes turns until a shutdown is complete, which a
    /// [`Handle`](crate::Handle) or a callback asks for. It then can be used
    /// again: listeners are closed, services stay, and so do connections in
    /// the [background](crate::Io::set_background).
    ///
    /// # Errors
    ///
    /// [`Error::System`] if waiting for events fails, which no connection can
    /// cause. [`Error::Listen`] when the last listener has failed and could not be
    /// made again ([`Config::listen_again`]), and there is no datagram socket
    /// either: what was under way then has had [`SHUTDOWN_DEADLINE`](crate::SHUTDOWN_DEADLINE) to end.
    pub fn serve_forever(&mut self) -> Result<()> {
        self.clock = self.driver.now();
        self.serves_forever = true;
        let outcome = loop {
            match self.pass(None) {
                Ok((_, false)) => {}
                Ok((_, true)) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.serves_forever = false;
        match self.lost.take() {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    /// One pass of the loop: see the type. Waits for events for at most
    /// `max_wait` (`None`: for as long as it takes), and less if a timer is due
    /// or something is still to be done; `Some(Duration::ZERO)` does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if waiting for events fails.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn> {
        // Whoever calls may have been busy with something else, and counts on
        // the time that is told.
        self.clock = self.driver.now();
        self.had_events = false;
        let (events, finished) = self.pass(max_wait)?;
        let more = self.has_work() || self.has_events() || self.inbox.is_waiting();
        Ok(Turn { events, more: more || self.core.next_due() <= self.clock, finished })
    }

    /// A turn right after another one, or after the clock was read: how many
    /// events there were, and whether a shutdown is complete.
    #[inline]
    fn pass(&mut self, max_wait: Option<Duration>) -> Result<(usize, bool)> {
        let events = self.wait(max_wait)?; // 1
        self.accept(); // 2
        self.read_ready(); // 3
        self.poll_children();
        self.fire_timers(); // 4
        self.run_calls(); // 5
        let finished = (self.core.listed || self.state != RunState::Running) && self.carry_out(); // 6, 7
        if self.slow_after.is_none() {
            // Else the last callback has read it.
            self.clock = self.driver.now();
        }
        Ok((events, finished))
    }

    /// Phases 6 and 7, for a turn in which something was listed. True when a
    /// shutdown is complete.
    #[inline(never)]
    fn carry_out(&mut self) -> bool {
        if !self.core.to_connect.is_empty() {
            self.begin_connecting();
        }
        if self.core.children.has_listed() {
            self.serve_children();
        }
        self.flush_queued(); // 6
        if self.slow_after.is_some() {
            // The next callback is not to blame for the writes.
            self.clock = self.driver.now();
        }
        self.reap(); // 7
        let was_running = self.state == RunState::Running;
        let finished = self.step_shutdown();
        // No event may come that the second step of a shutdown could wait for.
        let has_begun = was_running && self.state != RunState::Running;
        self.core.listed = self.core.has_listed() || has_begun;
        finished
    }

    /// How long a loop that takes turns may sleep, unless the reactor's
    /// descriptor becomes readable before: zero if there is something to do
    /// already, `None` if nothing is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.inbox.is_waiting() || self.has_events() {
            return Some(Duration::ZERO);
        }
        self.timeout_at(self.driver.now())
    }

    /// The same within the loop, where a waiting call counts as an event: its
    /// wake makes the wait return.
    fn timeout_at(&self, now: Moment) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let timer = self.core.next_due();
        let next = match self.state {
            RunState::ShuttingDown(deadline) => timer.min(deadline),
            RunState::Running | RunState::Stopping => timer,
        };
        next.after(now)
    }

    /// The one time for all callbacks until it is read again.
    #[inline]
    fn read_clock(&mut self) {
        self.clock = self.driver.now();
        self.core.moment = self.clock;
    }

    /// True when the system has events for which the last wait had no room. Within
    /// the loop the next wait finds them at once; an outer loop has to know.
    fn has_events(&self) -> bool {
        self.had_events && !self.driver.reported_all()
    }

    /// True when the next turn has something to do without any new event.
    #[inline]
    fn has_work(&self) -> bool {
        self.core.listed || self.listeners.can_accept()
    }
}

impl<D: Driver> Drop for Reactor<D> {
    /// Every session that is still there is closed, with
    /// [`CloseReason::Shutdown`](crate::CloseReason::Shutdown), and every child is ended;
    /// unless a panic is what drops the reactor, for a second one would end the
    /// process: then children are ended, and nobody is told.
    ///
    /// In a fork of the process that made the reactor, sockets, files and
    /// children stay as they are for that process; handlers are told all the
    /// same, of their copies of the sessions.
    fn drop(&mut self) {
        self.inbox.close();
        if std::thread::panicking() {
            return self.end_processes();
        }
        let told = caught(|| {
            self.read_clock();
            self.drop_everything(false);
            self.end_children();
        });
        if let Err(payload) = told {
            // Of a callback, and `catch_panics` is off.
            self.end_processes();
            resume_unwind(payload);
        }
    }
}

impl<D: Driver + AsFd> AsFd for Reactor<D> {
    /// The descriptor to nest the reactor in another loop: readable while
    /// there are events. There is none where the driver has none, as over
    /// poll(2).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.driver.as_fd()
    }
}

impl<D: Driver> fmt::Debug for Reactor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("connections", &self.connections())
            .field("ending", &self.state)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
