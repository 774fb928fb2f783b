//! `SimDriver`: a network in memory with a clock of its own, determined by a
//! seed.
//!
//! [`SimDriver`] is a [`Driver`]: the reactor and the handlers that run over it
//! are the ones that run over the real system. It uses no thread, no socket and
//! no real time: an idle day passes in a jump, and one number, the seed,
//! determines a run, so that a failure repeats.
//!
//! ```
//! use std::time::Duration;
//! use serve_forever::driver::sim::{Script, SimDriver, Conditions};
//! use serve_forever::{Config, Endpoint, Reactor, services::Upper};
//!
//! let driver = SimDriver::<false>::new(7, Conditions::calm());
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
//! The simulation behaves like a kernel with edge-triggered readiness: it
//! reports an edge once, in any order and perhaps late; a hang-up may come with
//! data in one event; buffers are bounded; a segment is cut anywhere and
//! delayed; a socket that is closed with unread input resets its peer, and so
//! does data that arrives for a closed one; a reset may destroy what was not
//! read yet; a datagram may be lost, doubled or overtaken; a child waits while
//! its pipe is full, dies of SIGPIPE or of a signal to its group, or ignores
//! the signal, and may leave a grandchild behind that holds its pipes; its exit
//! and the end of its pipes come in any order. [`Conditions`] sets how often
//! each event happens, [`Script`] what a client does, and [`Program`] what a
//! child process of a handler does. An [`Actor`] is a client that answers.
//!
//! Not simulated: the file system (a Unix path is just a name), congestion,
//! urgent data.

mod act;
mod actor;
mod actors;
mod children;
mod client_layer;
mod clients;
mod conditions;
mod datagram_actor;
mod datagram_socket;
mod datagrams;
mod describe;
mod events;
mod half_pipe;
#[cfg(feature = "workers")]
mod jobs;
mod listeners;
mod network;
mod process;
mod program;
mod rng;
mod script;
mod server;
mod steps;
mod trace;
mod traffic;
mod wire;
#[cfg(feature = "workers")]
mod workers;

use std::io::{self, IoSlice};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub use self::act::{Act, ClientId, Cut, Pace};
pub use self::actor::{Actor, ActorIo, End};
pub use self::conditions::{Conditions, Faults};
pub use self::datagram_actor::{DatagramActor, DatagramActorIo};
pub use self::network::Network;
pub use self::process::Process;
pub use self::program::{Grandchild, Program};
pub use self::rng::{Odds, Rng};
pub use self::script::Script;
pub use self::trace::{Entry, Trace, What};
pub use self::wire::Client;

use self::network::nanos;
use super::{BindOptions, Closing, Driver, Event, ListenOptions, Moment, Spawned, Token};
use crate::endpoint::Endpoint;
use crate::origin::Peer;
use crate::process::{Command, Fate, Signal};
use crate::stats::SystemCalls;

/// A [`Driver`] over a simulated [`Network`].
///
/// `SHORT` is its [`Driver::SHORT_MEANS_BLOCKED`]: the loop takes another
/// branch in each case, so a test of all branches runs both. With `false`,
/// reads and writes may be short without a reason.
///
/// # When nothing will ever happen
///
/// A [`wait`](Driver::wait) without a time-out would never end once no client
/// will act again. It fails instead, with
/// [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut), and so does the turn.
#[derive(Debug)]
pub struct SimDriver<const SHORT: bool = false> {
    net: Network,
    epoch: Instant,
    woken: Arc<Flag>,
    calls: SystemCalls,
    /// True if a wait had something ahead since the last one without a time-out
    /// that found nothing.
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

/// The flag that a waker sets.
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
    /// Makes a network without listeners and clients.
    #[must_use]
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            net: Network::new(seed, conditions),
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

    /// The network, to read.
    #[must_use]
    pub const fn net(&self) -> &Network {
        &self.net
    }

    /// The network, to let its clients act.
    pub const fn net_mut(&mut self) -> &mut Network {
        &mut self.net
    }

    /// Whether an event will report a connection's input, and its room, without
    /// any further call.
    #[must_use]
    pub fn will_tell(&self, stream: &SimStream) -> WillTell {
        let socket = &self.net.wires[stream.0].socket;
        WillTell {
            input: socket.read_armed || socket.read_edge,
            room: socket.write_armed || socket.write_edge,
        }
    }
}

/// Of what an event will come of a connection without any further call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WillTell {
    /// When there is input.
    pub input: bool,
    /// When there is room.
    pub room: bool,
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
        self.net.call()?;
        let until = timeout.map(|timeout| self.net.now.saturating_add(nanos(timeout)));
        let mut reported = 0;
        #[cfg(feature = "workers")]
        self.net.begin_jobs();
        loop {
            reported += self.net.report_edges(&mut report);
            if self.net.left_behind == 0 {
                reported += self.net.report_noise(&mut report);
            }
            if self.woken.0.swap(false, Ordering::AcqRel) || reported > 0 {
                break;
            }
            let due = self.net.next_due().filter(|due| until.is_none_or(|until| *due <= until));
            match (due, until) {
                (Some(due), _) => {
                    self.net.nap(due);
                    if self.net.may_stop() {
                        return Err(Errno::INTR.into());
                    }
                }
                (None, Some(until)) => {
                    let late = if timeout == Some(Duration::ZERO) {
                        Duration::ZERO
                    } else {
                        self.net.conditions.overshoot
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
                // The last act of the last client has caused no event.
                (None, None) if std::mem::take(&mut self.stirred) => break,
                (None, None) => {
                    let message = "nothing will ever happen any more: no client is going to do anything";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
            }
        }
        self.net.trace.note(self.net.now, None, What::Wait, reported);
        // The wait has polled before the stop, and returns only now: later
        // events come behind those that it has left.
        let left_behind = self.net.left_behind;
        self.net.may_stop();
        self.net.left_behind = left_behind;
        Ok(usize::try_from(reported).unwrap_or(usize::MAX))
    }

    fn reported_all(&self) -> bool {
        self.net.left_behind == 0
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(SimListener, Endpoint)> {
        self.net.call()?;
        self.calls.register += 1;
        let (place, local) = self.net.listen(at, options, token)?;
        Ok((SimListener(place), local))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, Peer)> {
        self.calls.accept += 1;
        let (place, peer) = self.net.accept(listener.0)?;
        Ok((SimStream(place), peer))
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<SimStream> {
        self.calls.connect += 1;
        self.net.call()?;
        if to.is_datagram() {
            let message = format!("{to} is for datagrams; connect to tcp:// or unix:");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        if self.net.descriptors.is_some_and(|limit| self.net.open >= limit) {
            self.net.faults.exhausted += 1;
            return Err(Errno::MFILE.into());
        }
        if self.net.is_crowded(to) {
            return Err(Errno::AGAIN.into());
        }
        Ok(SimStream(self.net.dial(to)))
    }

    fn connected(&mut self, stream: &mut SimStream) -> io::Result<Option<Peer>> {
        self.calls.connect += 1;
        self.net.connected(stream.0)
    }

    fn close_listener(&mut self, listener: SimListener) {
        self.calls.close += 1;
        self.net.close_listener(listener.0);
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.calls.register += 1;
        self.net.register(stream.0, token)
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.calls.read += 1;
        self.net.read(stream.0, SHORT, into)
    }

    fn write(&mut self, stream: &mut SimStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.write += 1;
        self.net.write(stream.0, SHORT, pieces)
    }

    fn is_hung_up(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        self.calls.read += 1;
        self.net.is_hung_up(stream.0)
    }

    fn shutdown(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.calls.shutdown += 1;
        self.net.shutdown(stream.0)
    }

    fn close(&mut self, stream: SimStream, how: Closing) {
        self.calls.close += 1;
        self.net.close(stream.0, how);
    }

    fn bind(&mut self, at: &Endpoint, _: &BindOptions, token: Token) -> io::Result<(SimSocket, Endpoint)> {
        self.net.call()?;
        self.calls.register += 1;
        let (place, local) = self.net.bind(at, token)?;
        Ok((SimSocket(place), local))
    }

    fn receive(&mut self, socket: &mut SimSocket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        self.calls.read += 1;
        self.net.call()?;
        let blocks = self.net.blocks_anyway();
        self.net.receive(socket.0, blocks, into, from)
    }

    fn is_own(&mut self, peer: &Peer) -> bool {
        self.net.is_own(peer)
    }

    fn send_to(&mut self, socket: &mut SimSocket, to: &Peer, data: &[u8]) -> io::Result<()> {
        self.calls.write += 1;
        self.net.call()?;
        let blocks = self.net.blocks_anyway();
        self.net.send_to(socket.0, blocks, to, data)
    }

    fn close_socket(&mut self, socket: SimSocket) {
        self.calls.close += 1;
        self.net.datagram_sockets[socket.0].token = None;
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<SimChild, SimStream>> {
        self.calls.child += 1;
        self.net.call()?;
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
        self.net.call()?;
        self.net.trace.note(self.net.now, None, What::LooksAt, child.0 as u64);
        Ok(self.net.processes()[child.0].fate())
    }

    fn unread(&mut self, pipe: &mut SimStream) -> io::Result<usize> {
        self.calls.child += 1;
        self.net.call()?;
        Ok(self.net.wires[pipe.0].up.unread())
    }

    fn signal(&mut self, child: &mut SimChild, signal: Signal) -> io::Result<()> {
        self.calls.child += 1;
        self.net.call()?;
        self.net.signal(child.0, signal);
        Ok(())
    }

    fn reap(&mut self, child: SimChild, within: Duration) -> Option<ExitStatus> {
        self.calls.child += 1;
        // An interrupted wait goes on.
        let _ = self.net.call();
        self.net.reap(child.0, within)
    }

    fn max_streams(&self) -> Option<usize> {
        self.net.descriptors
    }

    fn calls(&self) -> SystemCalls {
        self.calls
    }
}
