//! `Reactor`: the loop, which takes turns of seven phases over its sockets,
//! timers and calls.

mod accept;
mod adopt;
mod callbacks;
mod calls;
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
mod transfer;
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
use crate::input::Input;
use crate::limits::Config;
use crate::stats::Stats;

/// The result of one pass of the loop.
struct Pass {
    /// The number of events.
    events: usize,
    /// A shutdown is complete.
    finished: bool,
}

/// What remains when everything is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spared {
    /// Connections in the background, which outlive a shutdown.
    Background,
    Nothing,
}

/// The result of one turn of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// The number of events that the system reported.
    pub events: usize,
    /// True when work is left: the next turn will not wait.
    pub more: bool,
    /// True when a shutdown is complete: no connection, listener or socket is
    /// left.
    pub finished: bool,
}

/// One thread, one readiness loop, many sockets.
///
/// # A turn
///
/// [`turn`](Self::turn) is one pass of the loop, always in this order:
///
/// 1. **wait** for events; without blocking if work is left
/// 2. **accept** connections
/// 3. **read** what is ready and deliver it, datagrams first
/// 4. **timers** that are due
/// 5. **calls** from [`Handle`](crate::Handle)s
/// 6. **flush** what was queued, one write for each connection
/// 7. **reap**: report queues that drained and connections that closed, and
///    free ids
///
/// Callbacks run in 2 to 5 and in 7, and before 6 when a child was started; a
/// shutdown takes its steps after 7. The loop writes what a callback wrote to
/// its own connection as soon as the callback returns. Once a message went from
/// one connection to another in this turn, all later output waits for 6, so
/// that a burst to many is one write for each of them.
///
/// [`serve_forever`](Self::serve_forever) is a loop of turns. Another loop can
/// take turns as well: the reactor's descriptor ([`AsFd`]) is readable while
/// there are events, and [`next_timeout`](Self::next_timeout) says how long it
/// may sleep.
///
/// A reactor is bound to the thread that made it (it is not `Send`, as handlers
/// need not be); a [`Handle`](crate::Handle) reaches it from other threads.
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
    /// The sockets, by the slot of the connection's id.
    streams: Vec<Option<D::Stream>>,
    listeners: Listeners<D::Listener>,
    /// The datagram sockets.
    datagram_sockets: DatagramSockets<D::Socket>,
    /// The child processes, by the slot of the child's id.
    processes: Vec<Option<D::Child>>,
    input: Input,
    inbox: Arc<Inbox>,
    calls: Calls,
    /// `Config::slow_callback` in nanoseconds.
    slow_after: Option<u64>,
    state: RunState,
    /// When the shutdown under way began.
    shutdown_since: Moment,
    /// The last reading of the clock.
    clock: Moment,
    /// True when the last wait returned an event.
    had_events: bool,
    /// Consecutive waits that a signal has interrupted, perhaps before they
    /// polled.
    interruptions: u64,
    /// True when a timer is due in this turn.
    is_due: bool,
    /// The moment up to which events may still be unreported, and how many more
    /// events may be needed to report them.
    unobserved: Option<(Moment, usize)>,
    /// Outbound connections that wait to be begun again.
    connect_queue: ConnectQueue,
    /// True while `serve_forever` takes the turns.
    serves_forever: bool,
    /// The error that `serve_forever` returns: the last listener is lost.
    lost: Option<Error>,
}

impl Reactor<MioDriver> {
    /// Makes a reactor on the operating system.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if the configuration contradicts itself,
    /// [`Error::System`] if the system has no descriptor for the poll.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let driver = MioDriver::new(config.events_per_turn).map_err(Error::system("making the poll"))?;
        Self::with_driver(driver, config)
    }
}

impl<D: Driver> Reactor<D> {
    /// Makes a reactor on a given driver.
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

    /// A copy of the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { system: self.driver.calls(), ..self.core.stats.clone() }
    }

    /// The number of connections, with those that are closing and without the
    /// pipes of children.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.core.connections()
    }

    /// The number of child processes that are not reaped yet.
    #[must_use]
    pub const fn children(&self) -> usize {
        self.core.children.table.len()
    }

    /// The driver.
    #[must_use]
    pub const fn driver(&self) -> &D {
        &self.driver
    }

    /// The driver, to change between turns.
    pub const fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Takes turns until a shutdown is complete, which a
    /// [`Handle`](crate::Handle) or a callback requests. The reactor can be
    /// used again afterwards: its listeners are closed, its services are still
    /// there, and so are connections in the
    /// [background](crate::Io::set_background).
    ///
    /// # Errors
    ///
    /// [`Error::System`] if waiting for events fails, which no connection can
    /// cause. [`Error::Listen`] when the last listener has failed, could not be
    /// made again ([`Config::listen_again`]), and no datagram socket is left:
    /// the reactor has then shut down within
    /// [`SHUTDOWN_DEADLINE`](crate::SHUTDOWN_DEADLINE).
    pub fn serve_forever(&mut self) -> Result<()> {
        self.clock = self.driver.now();
        self.core.pending.raise_rare();
        self.serves_forever = true;
        let outcome = loop {
            match self.pass(None) {
                Ok(pass) if pass.finished => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.serves_forever = false;
        match self.lost.take() {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    /// Takes one [turn](Self#a-turn). Waits for events for at most `max_wait`
    /// (`None`: without a bound), and less if a timer is due or work is left;
    /// `Some(Duration::ZERO)` does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if waiting for events fails.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<Turn> {
        // The caller may have done something else since the last turn: the
        // clock has to be read before callbacks use it.
        self.clock = self.driver.now();
        self.had_events = false;
        self.core.pending.raise_rare();
        let Pass { events, finished } = self.pass(max_wait)?;
        let more = self.has_work() || self.has_events() || self.inbox.is_waiting();
        Ok(Turn { events, more: more || self.core.next_due() <= self.clock, finished })
    }

    /// Takes a turn right after another one, or after the clock was read.
    /// Returns the number of events, and whether a shutdown is complete.
    #[inline]
    fn pass(&mut self, max_wait: Option<Duration>) -> Result<Pass> {
        let events = self.wait(max_wait)?; // 1
        if self.core.pending.is_rare() {
            self.accept(); // 2
            self.before_reading();
        }
        self.read_ready(); // 3
        if self.core.pending.is_rare() {
            self.poll_children();
            if !self.has_rare_work() {
                self.core.pending.clear_rare();
            }
        }
        self.fire_timers(); // 4
        self.run_calls(); // 5
        // A state other than running is rare work, too.
        let finished = self.core.pending.is_any() && self.carry_out(); // 6, 7
        if self.slow_after.is_none() {
            // With `slow_callback`, the last callback has read the clock.
            self.clock = self.driver.now();
        }
        Ok(Pass { events, finished })
    }

    /// Runs the calls of phase 5 between services, and phases 6 and 7, in a turn that has
    /// put something on a work list.
    /// True when a shutdown is complete.
    #[inline(never)]
    fn carry_out(&mut self) -> bool {
        if !self.core.calls.is_empty() {
            self.run_local_calls(); // 5
        }
        if !self.core.to_connect.is_empty() {
            self.begin_connecting();
        }
        if self.core.children.has_listed() {
            self.serve_children();
        }
        self.flush_queued(); // 6
        if self.slow_after.is_some() {
            // The time of the writes must not count as the next callback's.
            self.clock = self.driver.now();
        }
        self.reap(); // 7
        let was_running = self.state == RunState::Running;
        let finished = self.step_shutdown();
        // The second step of a shutdown must not wait for an event, for none
        // may come.
        let has_begun = was_running && self.state != RunState::Running;
        if self.core.has_listed() || has_begun {
            self.core.pending.raise();
        } else {
            self.core.pending.clear();
        }
        if self.state != RunState::Running {
            self.core.pending.raise_rare();
        }
        finished
    }

    /// The time for which a loop around the reactor may sleep, unless the
    /// reactor's descriptor becomes readable before: zero if work is left,
    /// `None` if no timer is pending.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.inbox.is_waiting() || self.has_events() {
            return Some(Duration::ZERO);
        }
        self.timeout_at(self.driver.now())
    }

    /// The timeout of the loop's own wait. A waiting call needs no check here:
    /// its wake makes the wait return.
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

    /// True when the next turn has to look at more than the lists of what to read
    /// and to flush: at phases 2 and 4, at the steps of a shutdown, or at how to wait.
    fn has_rare_work(&self) -> bool {
        self.state != RunState::Running
            || self.core.config.busy_poll.is_some()
            || self.listeners.has_ready()
            || self.core.lists_rare_work()
    }

    /// Reads the clock: the time that all callbacks see until the next reading.
    #[inline]
    fn read_clock(&mut self) {
        self.clock = self.driver.now();
        self.core.moment = self.clock;
    }

    /// True when the system may have events for which the last wait had no
    /// room. The loop's next wait finds them at once; an outer loop must not
    /// sleep.
    fn has_events(&self) -> bool {
        self.had_events && !self.driver.reported_all()
    }

    /// True when the next turn has work without any new event.
    #[inline]
    fn has_work(&self) -> bool {
        self.core.pending.is_listed() || self.listeners.can_accept()
    }
}

impl<D: Driver> Drop for Reactor<D> {
    /// Closes every session that is left, with
    /// [`CloseReason::Shutdown`](crate::CloseReason::Shutdown), and ends every
    /// child. If a panic drops the reactor, it ends the children and calls no
    /// handler, for a second panic would end the process.
    ///
    /// A drop in a fork of the process that made the reactor leaves sockets,
    /// files and children as they are for that process. Handlers in the fork
    /// still see `close`, for their copies of the sessions.
    fn drop(&mut self) {
        self.inbox.close();
        if std::thread::panicking() {
            return self.end_processes();
        }
        let told = caught(|| {
            self.read_clock();
            self.drop_everything(Spared::Nothing);
            self.end_children();
        });
        if let Err(payload) = told {
            // A callback panicked, and `catch_panics` is off.
            self.end_processes();
            resume_unwind(payload);
        }
    }
}

impl<D: Driver + AsFd> AsFd for Reactor<D> {
    /// The descriptor to nest the reactor in another loop: readable while there
    /// are events. A driver without a descriptor, such as mio over poll(2),
    /// does not implement this.
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
