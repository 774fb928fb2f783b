//! `Reactor`: the loop, which takes turns of seven phases over its sockets,
//! timers and calls.

mod accept;
mod adopt;
#[cfg(feature = "workers")]
mod attempts;
mod callbacks;
mod calls;
#[cfg(feature = "sim")]
mod check;
mod children;
mod connect;
mod connect_queue;
mod datagram_sockets;
mod datagrams;
#[cfg(feature = "sim")]
mod describe;
mod dispatch;
mod flush;
mod handshake;
#[cfg(feature = "workers")]
mod jobs;
mod layered;
mod listeners;
#[cfg(feature = "workers")]
mod names;
mod open;
mod read;
mod reap;
mod relisten;
mod services;
mod shutdown;
mod single;
mod timers;
mod transfer;
mod turn;
mod wait;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub use self::services::Service;
pub use self::single::Handled;
pub use self::turn::Turn;

#[cfg(feature = "workers")]
use self::attempts::Attempts;
use self::callbacks::Callbacks;
use self::connect_queue::ConnectQueue;
use self::datagram_sockets::DatagramSockets;
use self::listeners::Listeners;
use crate::core::{Core, RunState};
use crate::driver::{Driver, MioDriver, Moment};
use crate::error::{Error, Result};
use crate::handle::{Inbox, Messages};
use crate::input::Input;
use crate::limits::Config;
use crate::service_stats::ServiceStats;
use crate::slots::Slots;
use crate::stats::Stats;

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
/// 6. **flush** what was queued, one write for each connection; after
///    [`Config::flushes_per_turn`] of them the others are for the next turn
/// 7. **reap**: report queues that drained and connections that closed, and
///    free ids
///
/// Callbacks run in 2 to 5 and in 7, and before 6 when a child was started; a
/// shutdown takes its steps after 7. The loop writes what a callback wrote to
/// its own connection as soon as the callback returns. Once a message went from
/// one connection to another in this turn, all later output waits for 6, so
/// that a burst to many is one write for each of them. There, connections go
/// first for which nothing but their own callback has written.
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
    /// The sockets of the connections.
    streams: Slots<D::Stream>,
    listeners: Listeners<D::Listener>,
    /// The datagram sockets.
    datagram_sockets: DatagramSockets<D::Socket>,
    /// The child processes.
    processes: Slots<D::Child>,
    input: Input,
    inbox: Arc<Inbox>,
    messages: Messages,
    /// `Config::slow_callback` in nanoseconds.
    slow_after: Option<u64>,
    state: RunState,
    /// When the shutdown under way began.
    shutdown_since: Moment,
    /// The last reading of the clock.
    clock: Moment,
    /// True when the last wait returned an event.
    had_events: bool,
    /// True when the last turn has left its output to this one.
    has_left_output: bool,
    /// The bytes that were received when it began to.
    received_before_left: u64,
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
    /// Outbound connections by name that try their addresses.
    #[cfg(feature = "workers")]
    attempts: Attempts<D::Stream>,
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
            streams: Slots::new(),
            listeners: Listeners::new(),
            datagram_sockets: DatagramSockets::new(),
            processes: Slots::new(),
            input: Input::new(config.read_buffer, core.direct.address()),
            inbox: Arc::new(Inbox::new(waker, config.max_calls)),
            messages: Messages::new(),
            slow_after: config.slow_callback.map(|slow| Moment::ZERO.plus(slow).as_nanos().max(1)),
            state: RunState::Running,
            shutdown_since: now,
            clock: now,
            had_events: false,
            has_left_output: false,
            received_before_left: 0,
            interruptions: 0,
            is_due: false,
            unobserved: None,
            connect_queue: ConnectQueue::default(),
            #[cfg(feature = "workers")]
            attempts: Attempts::new(),
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

    /// The counters of each service, in the order in which they were added.
    pub fn service_stats(&self) -> impl ExactSizeIterator<Item = &ServiceStats> {
        self.core.services.iter().map(|service| &service.stats)
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

    /// Has handlers see what the driver has counted.
    fn tell_system_calls(&mut self) {
        self.core.stats.system = self.driver.calls();
    }

    /// Reads the clock: the time that all callbacks see until the next reading.
    #[inline]
    fn read_clock(&mut self) {
        self.clock = self.driver.now();
        self.core.moment = self.clock;
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
