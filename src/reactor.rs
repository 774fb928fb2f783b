//! The loop. See [`Reactor`].

mod accept;
#[cfg(feature = "sim")]
mod check;
mod children;
mod connect;
mod datagrams;
mod dispatch;
mod flush;
mod listeners;
mod read;
mod reap;
mod shutdown;
mod sockets;
mod stage;
mod timers;
mod wait;

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use self::listeners::{Listeners, Single};
use self::sockets::Ports;
use self::stage::Stage;
use crate::core::{Core, Ending};
use crate::driver::{Driver, ListenOptions, MioDriver, Moment};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::handle::{Calls, Handle, Inbox};
use crate::handler::StreamHandler;
use crate::id::{Bound, ConnId, ListenerId};
use crate::input::Input;
use crate::limits::{Config, Limits};
use crate::link::{Link, Peer, Side};
use crate::service::{Serve, Streams};
use crate::stats::Stats;

/// A service that was added to a reactor: what [`Reactor::listen`],
/// [`Reactor::handle`] and [`Reactor::get_mut`] are told.
pub struct Service<S> {
    index: u16,
    home: Arc<Inbox>,
    handler: PhantomData<fn(&mut S)>,
}

impl<S> Clone for Service<S> {
    fn clone(&self) -> Self {
        Self { index: self.index, home: Arc::clone(&self.home), handler: PhantomData }
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("index", &self.index).finish_non_exhaustive()
    }
}

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

/// What became of [`Reactor::handle_request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// One connection was accepted, and served until it was closed; or one
    /// datagram was handed over, and what its handler sent has left.
    Served,
    /// One connection was accepted and turned away: by `verify`, by a failing
    /// `open`, or at `max_connections`; or `verify` refused one datagram.
    Refused,
    /// Nobody connected in time.
    TimedOut,
    /// A shutdown was asked for meanwhile, and is complete.
    Shutdown,
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
/// 5. **calls** from [`Handle`]s
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
/// need not be); a [`Handle`] reaches it from the others.
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
    stage: Stage,
    /// By the slot of the connection's id.
    sockets: Vec<Option<D::Stream>>,
    listeners: Listeners<D::Listener>,
    /// The datagram sockets.
    ports: Ports<D::Socket>,
    /// The child processes, by the slot of the child's id.
    processes: Vec<Option<D::Child>>,
    input: Input,
    inbox: Arc<Inbox>,
    calls: Calls,
    /// The list that a phase works on while the next one fills.
    batch: Vec<ConnId>,
    /// `Config::slow_callback` in nanoseconds.
    slow_after: Option<u64>,
    ending: Ending,
    /// When the shutdown under way began.
    draining_since: Moment,
    /// The clock when it was last read.
    clock: Moment,
    /// The last wait ended with an event.
    had_events: bool,
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

    /// Takes over a connected stream socket that the program made (TCP or
    /// Unix), as a connection of `service`; [`StreamHandler::open`] is called
    /// before this returns. It becomes non-blocking. The socket is closed if
    /// this fails; if `open` does, the connection's end is told by its absence.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at `max_connections`, [`Error::System`] if it is no
    /// connected stream socket, [`Error::ForeignService`].
    pub fn adopt<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        let index = self.index_of(service)?;
        self.takes_connections(index).map_err(Error::system("adopting a socket"))?;
        self.stage.core.room_for(index)?;
        let (stream, peer) = self.driver.adopt(socket).map_err(Error::system("adopting a socket"))?;
        // The last turn may be long ago.
        self.read_clock();
        self.admit(index, stream, &Link::Adopted { peer, side: Side::Both })
            .map_err(Error::system("registering a socket"))
    }
}

impl Reactor<MioDriver> {
    /// Takes over something to read, such as the program's standard input:
    /// a pipe, a terminal, a socket or a file, as a connection of `service`
    /// that has input and takes no output ([`Side::Input`]). No deadline holds
    /// for it. [`StreamHandler::open`] is called before this returns.
    ///
    /// ```
    /// # use std::os::fd::AsFd;
    /// # use serve_forever::{Config, Limits, Reactor, services::Echo};
    /// # let mut reactor = Reactor::new(Config::default())?;
    /// # let service = reactor.add(Echo::new(), Limits::default())?;
    /// let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
    /// let operator = reactor.adopt_input(&service, stdin)?;
    /// # Ok::<(), serve_forever::Error>(())
    /// ```
    ///
    /// On Linux a pipe or a terminal is opened a second time, so that nobody
    /// who shares it finds it non-blocking. Where that cannot be, and for a
    /// socket, it becomes non-blocking for all who share it. **A file** (and
    /// `/dev/null`) cannot be polled: it is read in turns, by its share of
    /// each, and blocks the loop for as long as its disk takes.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at `max_connections`, [`Error::System`] if it can be
    /// neither polled nor read as a file, [`Error::ForeignService`].
    pub fn adopt_input<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        source: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        self.adopt_one_way(service, source.into(), Side::Input)
    }

    /// Takes over something to write, such as the program's standard output:
    /// the counterpart of [`adopt_input`](Self::adopt_input), a connection
    /// that takes output and has no input ([`Side::Output`]). What is written
    /// waits in its queue, under the marks of [`Limits`], for as long as
    /// nobody reads.
    ///
    /// Writing to a pipe that nobody will read raises SIGPIPE, which Rust's
    /// runtime ignores; a program without that runtime has to (signal(7)).
    ///
    /// # Errors
    ///
    /// As [`adopt_input`](Self::adopt_input).
    pub fn adopt_output<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        sink: impl Into<OwnedFd>,
    ) -> Result<ConnId> {
        self.adopt_one_way(service, sink.into(), Side::Output)
    }

    fn adopt_one_way<S>(&mut self, service: &Service<S>, descriptor: OwnedFd, side: Side) -> Result<ConnId> {
        const WHAT: &str = "adopting a descriptor";
        let index = self.index_of(service)?;
        self.takes_connections(index).map_err(Error::system(WHAT))?;
        self.stage.core.room_for(index)?;
        let stream = self.driver.adopt_one_way(descriptor, side).map_err(Error::system(WHAT))?;
        // The last turn may be long ago.
        self.read_clock();
        let id = self.stage.core.admit_one_way(index, side);
        if let Err(error) = self.register(id, stream) {
            self.stage.core.free(id);
            return Err(Error::system(WHAT)(error));
        }
        self.open_one_way(id, &Link::Adopted { peer: Peer::pipe(), side });
        Ok(id)
    }

    /// Takes over a listening socket that somebody else made (TCP or Unix
    /// stream): one that a supervisor passed on, or that was bound before
    /// privileges were dropped. It becomes non-blocking; its options stay as
    /// they are, and so does its file, if it has one, when it closes.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if it is no stream socket that listens;
    /// [`Error::Full`] at [`Config::max_listeners`]; [`Error::ForeignService`].
    pub fn adopt_listener<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        socket: impl Into<OwnedFd>,
    ) -> Result<ListenerId> {
        let index = self.index_of(service)?;
        let limit = self.stage.core.config.max_listeners;
        let backlog = ListenOptions::default().backlog;
        let make = |token| self.driver.adopt_listener(socket, token);
        self.listeners.open(limit, index, backlog, &"a socket that was passed on", make)
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
            sockets: Vec::new(),
            listeners: Listeners::new(),
            ports: Ports::new(),
            processes: Vec::new(),
            input: Input::new(config.read_buffer, core.hand.address()),
            inbox: Arc::new(Inbox::new(waker, config.max_calls)),
            calls: Calls::new(),
            batch: Vec::new(),
            slow_after: config.slow_callback.map(|slow| Moment::ZERO.plus(slow).as_nanos()),
            ending: Ending::Running,
            draining_since: now,
            clock: now,
            had_events: false,
            stage: Stage::new(core),
        })
    }

    /// Adds a service: a handler, and the limits for its connections. If the
    /// handler is a [`DatagramHandler`](crate::DatagramHandler) too, the service
    /// can [`bind`](Self::bind) as well as listen.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] if the limits contradict each other,
    /// [`Error::Full`] with 65,535 services.
    pub fn add<S: StreamHandler>(&mut self, handler: S, limits: Limits) -> Result<Service<S>> {
        self.add_service(Box::new(Streams::new(handler)), limits)
    }

    fn add_service<S>(&mut self, service: Box<dyn Serve>, limits: Limits) -> Result<Service<S>> {
        limits.check()?;
        let index = self.stage.add(service, limits)?;
        Ok(Service { index, home: Arc::clone(&self.inbox), handler: PhantomData })
    }

    /// Listens on an endpoint for a service, with [`ListenOptions::default`].
    ///
    /// # Errors
    ///
    /// As [`listen_with`](Self::listen_with).
    pub fn listen<S: StreamHandler>(&mut self, service: &Service<S>, at: &Endpoint) -> Result<ListenerId> {
        self.listen_with(service, at, &ListenOptions::default())
    }

    /// Listens on an endpoint for a service. A service may listen on any
    /// number of endpoints, and a reactor have any number of services.
    ///
    /// At the path of a Unix socket, a stale socket (nobody listens there any
    /// more) is replaced; a live one, and anything that is no socket, is
    /// refused. The file is removed when the listener closes, if it is still
    /// the one that was made.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] with the system's reason: the address is in use, not
    /// permitted, not there, or a datagram endpoint (which is for
    /// [`bind`](Self::bind)). [`Error::Full`] at
    /// [`Config::max_listeners`]. [`Error::ForeignService`].
    pub fn listen_with<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        at: &Endpoint,
        options: &ListenOptions,
    ) -> Result<ListenerId> {
        let index = self.index_of(service)?;
        if let Err(source) = self.takes_connections(index) {
            return Err(Error::Listen { endpoint: at.to_string(), source });
        }
        let limit = self.stage.core.config.max_listeners;
        let make = |token| self.driver.listen(at, options, token);
        self.listeners.open(limit, index, options.backlog, at, make)
    }

    /// Where a listener listens or a datagram socket is bound, with the real
    /// port; `None` if it is closed.
    #[must_use]
    pub fn local(&self, of: impl Into<Bound>) -> Option<&Endpoint> {
        match of.into() {
            Bound::Listener(listener) => self.listeners.local(listener),
            Bound::Socket(socket) => self.socket_local(socket),
        }
    }

    /// Closes a listener; connections that it accepted stay. `false` if it
    /// was closed already.
    pub fn close_listener(&mut self, listener: ListenerId) -> bool {
        self.listeners.close(&mut self.driver, listener)
    }

    /// A handle to a service, for any thread.
    ///
    /// # Panics
    ///
    /// If the service belongs to another reactor.
    #[must_use]
    pub fn handle<S: 'static>(&self, service: &Service<S>) -> Handle<S> {
        let index = self.index_of(service).expect("a service of this reactor");
        Handle::new(Arc::clone(&self.inbox), index)
    }

    /// The handler of a service, between turns, to look at.
    ///
    /// # Panics
    ///
    /// If the service belongs to another reactor.
    #[must_use]
    pub fn get<S: StreamHandler>(&self, service: &Service<S>) -> &S {
        let index = self.index_of(service).expect("a service of this reactor");
        self.stage.handler_ref(index).downcast_ref().expect("its index was given out with its type")
    }

    /// The handler of a service, between turns.
    ///
    /// # Panics
    ///
    /// If the service belongs to another reactor.
    pub fn get_mut<S: 'static>(&mut self, service: &Service<S>) -> &mut S {
        let index = self.index_of(service).expect("a service of this reactor");
        self.stage.handler(index).downcast_mut().expect("its index was given out with its type")
    }

    /// The counters, as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { system: self.driver.calls(), ..self.stage.core.stats.clone() }
    }

    /// How many connections there are, those that are closing included, and
    /// the pipes of children not.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.stage.core.connections()
    }

    /// How many child processes there are, until each is reaped.
    #[must_use]
    pub const fn children(&self) -> usize {
        self.stage.core.children.table.len()
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

    /// Takes turns until a shutdown is complete, which a [`Handle`] or a
    /// callback asks for. It then can be used again: listeners are closed,
    /// services stay.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if waiting for events fails, which no connection can
    /// cause.
    pub fn serve_forever(&mut self) -> Result<()> {
        self.clock = self.driver.now();
        while !self.pass(None)?.1 {}
        Ok(())
    }

    /// Accepts one connection and serves it until it is closed, or receives
    /// one datagram, whichever comes first; other connections are served
    /// meanwhile, further ones are not accepted, nor datagrams received.
    /// Returns sooner if nothing has come within `timeout`; `None` waits
    /// for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if waiting for events fails.
    pub fn handle_request(&mut self, timeout: Option<Duration>) -> Result<Handled> {
        let began = self.driver.now();
        self.listeners.single = Some(Single::Awaited);
        let outcome = self.serve_single(began, timeout);
        self.listeners.single = None;
        self.release_sockets();
        outcome
    }

    fn serve_single(&mut self, began: Moment, timeout: Option<Duration>) -> Result<Handled> {
        loop {
            let left = match self.listeners.single {
                Some(Single::Served(id)) if !self.stage.core.conns.contains(id.0) => {
                    return Ok(Handled::Served);
                }
                Some(Single::Answered(id)) if !self.is_sending(id) => return Ok(Handled::Served),
                Some(Single::Refused) => return Ok(Handled::Refused),
                Some(Single::Awaited) => {
                    let waited = self.driver.now().since(began);
                    timeout.map(|timeout| timeout.saturating_sub(waited))
                }
                _ => None,
            };
            let turn = self.turn(left)?;
            if turn.finished {
                return Ok(Handled::Shutdown);
            }
            let nobody = self.listeners.single == Some(Single::Awaited);
            if nobody && timeout.is_some_and(|timeout| self.clock.since(began) >= timeout) {
                return Ok(Handled::TimedOut);
            }
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
        Ok(Turn { events, more: self.has_work() || self.inbox.is_waiting(), finished })
    }

    /// A turn right after another one, or after the clock was read: how many
    /// events there were, and whether a shutdown is complete.
    #[inline]
    fn pass(&mut self, max_wait: Option<Duration>) -> Result<(usize, bool)> {
        let events = self.wait(max_wait)?; // 1
        self.accept(); // 2
        self.read_ready(); // 3
        self.look_at_children();
        self.fire_timers(); // 4
        self.run_calls(); // 5
        let finished = (self.stage.core.listed || self.ending != Ending::Running) && self.carry_out(); // 6, 7
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
        if !self.stage.core.to_connect.is_empty() {
            self.begin_connecting();
        }
        if self.stage.core.children.has_listed() {
            self.serve_children();
        }
        self.flush_queued(); // 6
        if self.slow_after.is_some() {
            // The next callback is not to blame for the writes.
            self.clock = self.driver.now();
        }
        self.reap(); // 7
        let was_running = self.ending == Ending::Running;
        let finished = self.end_if_wished();
        // No event may come that the second step of a shutdown could wait for.
        let has_begun = was_running && self.ending != Ending::Running;
        self.stage.core.listed = self.stage.core.has_listed() || has_begun;
        finished
    }

    /// How long a loop that takes turns may sleep, unless the reactor's
    /// descriptor becomes readable before: zero if there is something to do
    /// already, `None` if nothing is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.inbox.is_waiting() {
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
        let timer = self.stage.core.next_due();
        let next = match self.ending {
            Ending::Draining(deadline) => timer.min(deadline),
            Ending::Running | Ending::Stopping => timer,
        };
        next.after(now)
    }

    /// The one time for all callbacks until it is read again.
    #[inline]
    fn read_clock(&mut self) {
        self.clock = self.driver.now();
        self.stage.core.moment = self.clock;
    }

    /// True when the next turn has something to do without any new event.
    #[inline]
    fn has_work(&self) -> bool {
        self.stage.core.listed || self.listeners.can_accept()
    }

    /// Whether a service can have any; if not, what would be right.
    fn takes_connections(&self, service: u16) -> std::io::Result<()> {
        if self.stage.takes_connections(service) {
            return Ok(());
        }
        let message = "the service was added for datagrams alone; Reactor::add is for both";
        Err(std::io::Error::new(std::io::ErrorKind::Unsupported, message))
    }

    fn index_of<S>(&self, service: &Service<S>) -> Result<u16> {
        if Arc::ptr_eq(&service.home, &self.inbox) { Ok(service.index) } else { Err(Error::ForeignService) }
    }
}

impl<D: Driver> Drop for Reactor<D> {
    /// Every session that is still there is closed, with
    /// [`Close::Shutdown`](crate::Close::Shutdown), and every child is ended;
    /// unless a panic is what drops the reactor, for a second one would end the
    /// process: then children are ended, and nobody is told.
    fn drop(&mut self) {
        self.inbox.close();
        if !std::thread::panicking() {
            self.read_clock();
            self.drop_everything();
            self.bury_children();
        } else {
            self.end_processes();
        }
    }
}

impl AsFd for Reactor<MioDriver> {
    /// The descriptor to nest the reactor in another loop: readable while
    /// there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.driver.as_fd()
    }
}

impl<D: Driver> fmt::Debug for Reactor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("connections", &self.connections())
            .field("ending", &self.ending)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
