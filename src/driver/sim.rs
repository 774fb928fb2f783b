//! A network in memory under a clock of its own, decided by a seed.
//!
//! [`SimDriver`] is a [`Driver`]: the reactor and the handlers that run over
//! it are the ones that run over the real system. There are no threads, no
//! sockets and no waiting: an idle day passes in a jump, and a run is decided
//! by one number, its seed, so that what it finds is found again.
//!
//! ```
//! use std::time::Duration;
//! use serve_forever::driver::sim::{Script, SimDriver, Weather};
//! use serve_forever::{Config, Endpoint, Reactor, services::Upper};
//!
//! let driver = SimDriver::<false>::new(7, Weather::calm());
//! let mut reactor = Reactor::with_driver(driver, Config::default())?;
//! let upper = reactor.add(Upper::new(), Upper::limits())?;
//! let at: Endpoint = "127.0.0.1:7000".parse()?;
//! reactor.listen(&upper, &at)?;
//!
//! let script = Script::new().send("hel").after(Duration::from_secs(60)).send("lo").finish();
//! let client = reactor.driver_mut().net_mut().play(&at, script);
//! while !reactor.driver().net().client(client).has_ended() {
//!     reactor.turn(None)?;
//! }
//! assert_eq!(reactor.driver().net().client(client).received(), b"HELLO");
//! # Ok::<(), serve_forever::Error>(())
//! ```
//!
//! # What is simulated
//!
//! What a kernel with edge-triggered readiness does: an edge is reported once,
//! in any order and perhaps late; a hang-up may come with data in one event;
//! buffers are bounded; a segment is cut anywhere and delayed; a socket that
//! is closed with unread input resets its peer, and so does data that arrives
//! for a closed one; a reset may destroy what was not read yet; a datagram may be
//! lost, doubled or overtaken; a child waits while its pipe is full, dies of
//! SIGPIPE, of a signal to its group or not, and may leave something behind
//! that holds its pipes; its exit and the end of its pipes come in any order. [`Weather`]
//! says how often each thing happens, [`Script`] what a client does, and
//! [`Program`] what a child process does that the handlers start.
//!
//! What is not: the file system (a Unix path is just a name), congestion,
//! urgent data.

mod children;
mod clients;
mod datagrams;
mod events;
mod lane;
mod network;
mod post;
mod process;
mod program;
mod rng;
mod script;
mod steps;
mod trace;
mod traffic;
mod weather;
mod wire;

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use self::network::Network;
pub use self::process::Process;
pub use self::program::{Grandchild, Program};
pub use self::rng::{Odds, Rng};
pub use self::script::{Act, ClientId, Pace, Script};
pub use self::trace::{Entry, Trace, What};
pub use self::weather::{Faults, Weather};
pub use self::wire::Client;

use self::network::{Due, Listening, Way, nanos};
use self::wire::{Kind, Stage};
use super::{BindOptions, Closing, Driver, Event, ListenOptions, Moment, Spawned, Token};
use crate::endpoint::Endpoint;
use crate::link::{Credentials, Peer};
use crate::process::{Command, Fate, Signal};
use crate::stats::SystemCalls;

/// A [`Driver`] over a simulated [`Network`].
///
/// `SHORT` is its [`Driver::SHORT_MEANS_BLOCKED`]: a loop takes another branch
/// in each case, so a test that means to see all of them runs both. With
/// `false`, reads and writes may fall short for no reason.
///
/// # When nothing will ever happen
///
/// A [`wait`](Driver::wait) for as long as it takes, with no client that is
/// going to do anything, would never end. It fails instead, with
/// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut), and so does the turn.
#[derive(Debug)]
pub struct SimDriver<const SHORT: bool = false> {
    net: Network,
    epoch: Instant,
    woken: Arc<Flag>,
    calls: SystemCalls,
    /// Something was about to happen in a wait since the last one without a
    /// time-out that found nothing.
    stirred: bool,
}

/// A listening socket of a [`SimDriver`].
#[derive(Debug)]
pub struct SimListener(usize);

/// A connected socket of a [`SimDriver`].
#[derive(Debug)]
pub struct SimStream(usize);

/// A child process of a [`SimDriver`].
#[derive(Debug)]
pub struct SimChild(usize);

/// A datagram socket of a [`SimDriver`].
#[derive(Debug)]
pub struct SimSocket(usize);

/// What a waker sets.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl<const SHORT: bool> SimDriver<SHORT> {
    /// A network without listeners and clients.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            net: Network::new(seed, weather),
            epoch: super::mio::an_instant(),
            woken: Arc::default(),
            calls: SystemCalls::default(),
            stirred: false,
        }
    }

    /// The instant at which simulated time begins, as handlers see it.
    #[must_use]
    pub const fn start(&self) -> Instant {
        self.epoch
    }

    /// The network, to look at.
    #[must_use]
    pub const fn net(&self) -> &Network {
        &self.net
    }

    /// The network, to have its clients do something.
    pub const fn net_mut(&mut self) -> &mut Network {
        &mut self.net
    }

    /// Whether an event will come of a connection when there is input, and when
    /// there is room, without any further call.
    #[must_use]
    pub fn will_tell(&self, stream: &SimStream) -> (bool, bool) {
        let socket = &self.net.wires[stream.0].socket;
        (socket.read_armed || socket.read_edge, socket.write_armed || socket.write_edge)
    }

    /// A call takes time, in which the world goes on; or it is interrupted.
    fn call(&mut self) -> io::Result<()> {
        let (least, most) = self.net.weather.call;
        let cost = self.net.rng.between(nanos(least), nanos(most));
        self.net.pass(self.net.now.saturating_add(cost));
        if self.net.rng.chance(self.net.weather.interrupted) {
            self.net.faults.interrupted += 1;
            self.net.trace.note(self.net.now, None, What::Interrupted, 0);
            return Err(Errno::INTR.into());
        }
        Ok(())
    }

    /// Whether a call says `WouldBlock` though it need not.
    fn blocks_anyway(&mut self) -> bool {
        let blocks = self.net.rng.chance(self.net.weather.would_block);
        self.net.faults.would_block += u64::from(blocks);
        blocks
    }

    fn fail<T>(&mut self, client: usize, what: What, error: Errno) -> io::Result<T> {
        #[allow(clippy::cast_sign_loss, reason = "an errno is positive")]
        self.net.note(client, what, error.raw_os_error() as u64);
        Err(error.into())
    }

    /// How an accept fails, if it does.
    fn accept_fault(&mut self, place: usize) -> Option<Errno> {
        let net = &mut self.net;
        net.starved = None;
        if let Some(error) = net.listeners[place].broken {
            return Some(Errno::from_raw_os_error(error));
        }
        if let Some((_, error)) = net.exhausted.filter(|(until, _)| *until > net.now) {
            net.faults.exhausted += 1;
            return Some(Errno::from_raw_os_error(error));
        }
        net.exhausted = None;
        if net.descriptors.is_some_and(|limit| net.open >= limit) {
            net.faults.exhausted += 1;
            net.starved = Some(place);
            return Some(Errno::MFILE);
        }
        if net.listeners[place].aborted > 0 {
            net.listeners[place].aborted -= 1;
            return Some(Errno::CONNABORTED);
        }
        if net.listeners[place].waiting.is_empty() {
            net.listeners[place].armed = true;
            return Some(Errno::AGAIN);
        }
        if net.rng.chance(net.weather.exhausted) {
            let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
            let error = errors[net.rng.size(0, 3)];
            let time = Duration::from_millis(net.rng.between(0, 1000));
            net.exhaust(time, error);
            net.faults.exhausted += 1;
            return Some(error);
        }
        if self.blocks_anyway() {
            self.net.listeners[place].armed = true;
            let latency = self.net.latency();
            self.net.after(latency, Due::AcceptEdge(place));
            return Some(Errno::AGAIN);
        }
        None
    }

    /// Ends the server's side of a connection that it lets go of.
    fn let_go(&mut self, place: usize, how: Closing) {
        let net = &mut self.net;
        let wire = &mut net.wires[place];
        let unread = wire.up.unread() > 0;
        let is_tcp = wire.kind == Kind::Tcp;
        let resets = (is_tcp && how == Closing::Reset) || unread;
        let was_broken = wire.socket.broken;
        net.note(place, if resets { What::CloseWithReset } else { What::Close }, u64::from(unread));
        let wire = &mut net.wires[place];
        wire.up.lose_unread();
        if was_broken {
            return;
        }
        if resets {
            net.send_reset(place, Way::Down);
        } else if !wire.socket.fin_sent {
            net.send_fin_down(place);
        }
    }
}

/// How the server sees a client, from which [`ClientId::of`] reads its number.
fn peer_of(kind: Kind, place: usize) -> Peer {
    #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24 clients")]
    let number = place as u32;
    match kind {
        Kind::Tcp => Peer::inet((Ipv4Addr::from(10 << 24 | number), 40_000).into()),
        // That of a pipe is the reactor's to tell.
        Kind::Pipe => Peer::pipe(),
        Kind::Unix => Peer::unix(None, Some(Credentials { pid: Some(number), uid: 1000, gid: 1000 })),
    }
}

impl<const SHORT: bool> Driver for SimDriver<SHORT> {
    type Listener = SimListener;
    type Stream = SimStream;
    type Socket = SimSocket;
    type Child = SimChild;

    const SHORT_MEANS_BLOCKED: bool = SHORT;

    fn epoch(&self) -> Instant {
        self.epoch
    }

    fn now(&self) -> Moment {
        self.net.now()
    }

    fn waker(&mut self) -> io::Result<Waker> {
        self.calls.register += 1;
        Ok(Arc::clone(&self.woken).into())
    }

    fn wait(&mut self, timeout: Option<Duration>, mut report: impl FnMut(Event)) -> io::Result<usize> {
        self.calls.wait += 1;
        self.net.has_closed = false;
        self.stirred |= !self.net.is_quiet();
        self.call()?;
        let until = timeout.map(|timeout| self.net.now.saturating_add(nanos(timeout)));
        let mut reported = self.net.report_noise(&mut report);
        loop {
            reported += self.net.report_edges(&mut report);
            if self.woken.0.swap(false, Ordering::AcqRel) || reported > 0 {
                break;
            }
            let due = self.net.next_due().filter(|due| until.is_none_or(|until| *due <= until));
            match (due, until) {
                (Some(due), _) => self.net.nap(due),
                (None, Some(until)) => {
                    let late = if timeout == Some(Duration::ZERO) {
                        Duration::ZERO
                    } else {
                        self.net.weather.overshoot
                    };
                    let late = self.net.rng.between(0, nanos(late));
                    let to = until.saturating_add(late);
                    if until > self.net.now {
                        self.net.nap(to)
                    } else {
                        self.net.pass(to)
                    }
                    break;
                }
                // The last of the clients did its last, and it was no news.
                (None, None) if std::mem::take(&mut self.stirred) => break,
                (None, None) => {
                    let message = "nothing will ever happen any more: no client is going to do anything";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
            }
        }
        self.net.trace.note(self.net.now, None, What::Wait, reported);
        Ok(usize::try_from(reported).unwrap_or(usize::MAX))
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(SimListener, Endpoint)> {
        self.call()?;
        self.calls.register += 1;
        let place = self.net.listeners.len();
        let at = match at {
            Endpoint::Tcp(address) if address.port() == 0 => {
                let port = u16::try_from(20_000 + place).map_err(|_| Errno::ADDRINUSE)?;
                Endpoint::Tcp(SocketAddr::new(address.ip(), port))
            }
            Endpoint::Tcp(_) | Endpoint::Unix(_) => at.clone(),
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => {
                let message = "this is a service for streams; use tcp:// or unix:";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        if self.net.listeners.iter().any(|listener| listener.token.is_some() && listener.at == at) {
            return Err(Errno::ADDRINUSE.into());
        }
        self.net.listeners.push(Listening {
            at: at.clone(),
            token: Some(token),
            backlog: options.backlog as usize,
            keep_alive: options.keep_alive,
            user_timeout: options.user_timeout,
            waiting: std::collections::VecDeque::new(),
            aborted: 0,
            broken: None,
            armed: true,
            edge: false,
            listed: false,
        });
        Ok((SimListener(place), at))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Peer)> {
        self.calls.accept += 1;
        self.call()?;
        if let Some(error) = self.accept_fault(listener.0) {
            #[allow(clippy::cast_sign_loss, reason = "an errno is positive")]
            let number = error.raw_os_error() as u64;
            self.net.trace.note(self.net.now, None, What::AcceptFailed, number);
            return Err(error.into());
        }
        let place = self.net.listeners[listener.0].waiting.pop_front().ok_or(Errno::AGAIN)?;
        if self.net.rng.chance(self.net.weather.aborted) {
            self.net.faults.aborted += 1;
            self.net.wires[place].lose();
            self.net.send_reset(place, Way::Down);
            return self.fail(place, What::AcceptFailed, Errno::CONNABORTED);
        }
        self.net.note(place, What::Accept, listener.0 as u64);
        self.net.open += 1;
        let wire = &mut self.net.wires[place];
        wire.stage = Stage::Accepted;
        wire.socket.open = true;
        Ok((SimStream(place), peer_of(wire.kind, place)))
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<SimStream> {
        self.calls.connect += 1;
        self.call()?;
        if to.is_datagram() {
            let message = "a stream connects to tcp:// or unix:";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        if self.net.descriptors.is_some_and(|limit| self.net.open >= limit) {
            self.net.faults.exhausted += 1;
            return Err(Errno::MFILE.into());
        }
        Ok(SimStream(self.net.dial(to)))
    }

    fn connected(&mut self, stream: &mut SimStream) -> io::Result<Option<Peer>> {
        self.calls.connect += 1;
        self.call()?;
        let wire = &mut self.net.wires[stream.0];
        if let Some(error) = wire.socket.error.take() {
            return Err(Errno::from_raw_os_error(error).into());
        }
        Ok((wire.stage == Stage::Accepted).then(|| peer_of(wire.kind, stream.0)))
    }

    fn close_listener(&mut self, listener: SimListener) {
        self.calls.close += 1;
        let listening = &mut self.net.listeners[listener.0];
        listening.token = None;
        for place in std::mem::take(&mut listening.waiting) {
            self.net.wires[place].lose();
            self.net.send_reset(place, Way::Down);
        }
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.calls.register += 1;
        self.call()?;
        self.net.note(stream.0, What::Register, 0);
        let wire = &mut self.net.wires[stream.0];
        wire.socket.token = Some(token);
        wire.socket.told_writable = true;
        wire.socket.read_armed = true;
        wire.socket.write_edge = true;
        if wire.is_readable() {
            self.net.read_edge(stream.0);
        }
        self.net.list(stream.0);
        Ok(())
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.calls.read += 1;
        self.net.hasty += u64::from(self.net.has_closed);
        self.call()?;
        let place = stream.0;
        let unread = self.net.wires[place].up.unread();
        if unread == 0 {
            let wire = &mut self.net.wires[place];
            if let Some(error) = wire.socket.error.take() {
                return self.fail(place, What::ReadFailed, Errno::from_raw_os_error(error));
            }
            if wire.is_hung_up() {
                self.net.note(place, What::ReadEnd, 0);
                return Ok(0);
            }
            wire.socket.read_armed = true;
            return self.fail(place, What::ReadFailed, Errno::AGAIN);
        }
        if self.blocks_anyway() {
            self.net.wires[place].socket.read_armed = true;
            let latency = self.net.latency();
            self.net.after(latency, Due::ReadEdge(place));
            return self.fail(place, What::ReadFailed, Errno::AGAIN);
        }
        let mut count = unread.min(into.len());
        if !SHORT && count > 1 && self.net.rng.chance(self.net.weather.short) {
            self.net.faults.short_reads += 1;
            count = self.net.rng.size(1, count - 1);
        }
        let wire = &mut self.net.wires[place];
        wire.up.take(&mut into[..count]);
        if SHORT && count < into.len() {
            wire.socket.read_armed = true;
        }
        self.net.note(place, What::Read, count as u64);
        self.net.trace.bytes(&into[..count]);
        self.net.moved.0 += count as u64;
        if self.net.wires[place].kind == Kind::Pipe {
            self.net.wake_end(place);
        } else {
            self.net.pump(place);
        }
        Ok(count)
    }

    fn write(&mut self, stream: &mut SimStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.write += 1;
        self.net.futile += u64::from(!self.net.wires[stream.0].socket.told_writable);
        self.call()?;
        let place = stream.0;
        let wire = &mut self.net.wires[place];
        if let Some(error) = wire.socket.error.take() {
            return self.fail(place, What::WriteFailed, Errno::from_raw_os_error(error));
        }
        if wire.socket.broken || wire.socket.fin_sent {
            return self.fail(place, What::WriteFailed, Errno::PIPE);
        }
        let room = wire.down.room();
        if room == 0 {
            wire.socket.write_armed = true;
            wire.socket.told_writable = false;
            return self.fail(place, What::WriteFailed, Errno::AGAIN);
        }
        if self.blocks_anyway() {
            let socket = &mut self.net.wires[place].socket;
            socket.write_armed = true;
            socket.told_writable = false;
            let latency = self.net.latency();
            self.net.after(latency, Due::WriteEdge(place));
            return self.fail(place, What::WriteFailed, Errno::AGAIN);
        }
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut count = offered.min(room);
        if !SHORT && count > 1 && self.net.rng.chance(self.net.weather.short) {
            self.net.faults.short_writes += 1;
            count = self.net.rng.size(1, count - 1);
        }
        let mut bytes = Vec::with_capacity(count);
        for piece in pieces {
            bytes.extend_from_slice(&piece[..piece.len().min(count - bytes.len())]);
        }
        if SHORT && count < offered {
            let socket = &mut self.net.wires[place].socket;
            socket.write_armed = true;
            socket.told_writable = false;
        }
        self.net.note(place, What::Write, count as u64);
        self.net.trace.bytes(&bytes);
        self.net.moved.1 += count as u64;
        if self.net.wires[place].kind == Kind::Pipe {
            let now = self.net.now;
            self.net.wires[place].down.send(now, bytes);
            self.net.wires[place].down.arrive(now);
            self.net.wake_end(place);
        } else if count > 0 {
            self.net.wires[place].client.written_to = Some(self.net.now);
            self.net.send_down(place, bytes);
        }
        Ok(count)
    }

    fn is_hung_up(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        self.calls.read += 1;
        self.call()?;
        if self.net.wires[stream.0].socket.broken { Err(Errno::CONNRESET.into()) } else { Ok(false) }
    }

    fn shutdown(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.calls.shutdown += 1;
        self.call()?;
        let place = stream.0;
        self.net.note(place, What::Shutdown, 0);
        let wire = &self.net.wires[place];
        if wire.kind == Kind::Pipe {
            return Err(Errno::NOTSOCK.into());
        }
        if wire.socket.broken {
            return Err(Errno::NOTCONN.into());
        }
        if !wire.socket.fin_sent {
            self.net.send_fin_down(place);
        }
        Ok(())
    }

    fn close(&mut self, stream: SimStream, how: Closing) {
        self.calls.close += 1;
        // Closing is never interrupted: the descriptor is gone in any case.
        let _ = self.call();
        self.net.open -= 1;
        let socket = &mut self.net.wires[stream.0].socket;
        socket.open = false;
        // One that was turned away was never reported of.
        self.net.has_closed |= socket.token.is_some();
        if self.net.wires[stream.0].kind == Kind::Pipe {
            self.net.close_pipe(stream.0);
        } else {
            self.let_go(stream.0, how);
        }
    }

    fn bind(&mut self, at: &Endpoint, _: &BindOptions, token: Token) -> io::Result<(SimSocket, Endpoint)> {
        self.call()?;
        self.calls.register += 1;
        let at = match at {
            Endpoint::Udp(address) if address.port() == 0 => {
                let port = u16::try_from(20_000 + self.net.mailboxes.len()).map_err(|_| Errno::ADDRINUSE)?;
                Endpoint::Udp(SocketAddr::new(address.ip(), port))
            }
            Endpoint::Udp(_) | Endpoint::UnixDatagram(_) => at.clone(),
            Endpoint::Tcp(_) | Endpoint::Unix(_) => {
                let message = "this is for datagrams; use udp:// or unixgram:";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        Ok((SimSocket(self.net.bind(at.clone(), token)?), at))
    }

    fn receive(&mut self, socket: &mut SimSocket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        self.calls.read += 1;
        self.call()?;
        let blocks = self.blocks_anyway();
        self.net.receive(socket.0, blocks, into, from)
    }

    fn send_to(&mut self, socket: &mut SimSocket, to: &Peer, data: &[u8]) -> io::Result<()> {
        self.calls.write += 1;
        self.call()?;
        let blocks = self.blocks_anyway();
        self.net.send_to(socket.0, blocks, to, data)
    }

    fn close_socket(&mut self, socket: SimSocket) {
        self.calls.close += 1;
        self.net.mailboxes[socket.0].token = None;
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<SimChild, SimStream>> {
        self.calls.child += 1;
        self.call()?;
        match self.net.spawn(command, token) {
            Ok((place, wires)) => Ok(Spawned {
                child: SimChild(place),
                pid: u32::try_from(place + 1).unwrap_or(u32::MAX),
                pipes: wires.map(|wire| wire.map(SimStream)),
                has_events: !self.net.processes()[place].silent,
            }),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(0).unsigned_abs();
                self.net.trace.note(self.net.now, None, What::SpawnFailed, u64::from(number));
                Err(error)
            }
        }
    }

    fn fate(&mut self, child: &mut SimChild) -> io::Result<Fate> {
        self.calls.child += 1;
        self.call()?;
        self.net.trace.note(self.net.now, None, What::LooksAt, child.0 as u64);
        Ok(self.net.processes()[child.0].fate())
    }

    fn unread(&mut self, pipe: &mut SimStream) -> io::Result<usize> {
        self.calls.child += 1;
        self.call()?;
        Ok(self.net.wires[pipe.0].up.unread())
    }

    fn signal(&mut self, child: &mut SimChild, signal: Signal) -> io::Result<()> {
        self.calls.child += 1;
        self.call()?;
        self.net.signal(child.0, signal);
        Ok(())
    }

    fn reap(&mut self, child: SimChild) -> Option<ExitStatus> {
        self.calls.child += 1;
        // A wait that is interrupted goes on.
        let _ = self.call();
        self.net.reap(child.0)
    }

    fn max_streams(&self) -> Option<usize> {
        self.net.descriptors
    }

    fn calls(&self) -> SystemCalls {
        self.calls
    }
}
