//! `MioDriver`: the operating system through mio. Only this file names mio's
//! `Poll`.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::bound::Bound;
use super::child::MioChild;
use super::datagram::MioSocket;
use super::listener::MioListener;
use super::source::IS_USED_UP;
use super::stream::MioStream;
use super::waker::{self, Bell};
use super::{
    Adopt, BindOptions, Closing, Driver, Event, FileError, FileSent, ListenOptions, Moment, Spawned, Token,
};
use crate::endpoint::Endpoint;
use crate::limits::MOST_EVENTS;
use crate::origin::{Peer, Side};
use crate::process::{Command, Fate, Signal};
use crate::stats::SystemCalls;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a token is 64 bits wide, and so must be mio's, which is a usize");

/// mio's token of the waker; tokens of sockets are never 0.
const WAKER: mio::Token = mio::Token(0);

/// The driver of the operating system, through mio: epoll on Linux and Android,
/// kqueue on the BSDs and macOS, and poll(2) where there is neither or mio is
/// built with `--cfg mio_unsupported_force_poll_poll`.
pub struct MioDriver {
    poll: Poll,
    events: Events,
    /// The waker where mio's own may lose a wake.
    bell: Option<Bell>,
    bound: Bound,
    calls: SystemCalls,
    epoch: Instant,
    epoch_nanos: u64,
    /// The id of the process that made the driver; a fork of it shares the
    /// sockets.
    maker: u32,
}

impl fmt::Debug for MioDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MioDriver")
            .field("poll", &self.poll)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// mio's poll(2) has no descriptor to offer.
#[cfg(not(any(
    mio_unsupported_force_poll_poll,
    target_os = "aix",
    target_os = "cygwin",
    target_os = "haiku",
    target_os = "hurd",
    target_os = "nto",
)))]
impl std::os::fd::AsFd for MioDriver {
    /// The descriptor of epoll or kqueue: readable while there are events.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl MioDriver {
    /// Makes a driver that takes up to `events_per_wait` events at once.
    ///
    /// # Errors
    ///
    /// The system's error, if it has no descriptor for the poll; `InvalidInput`
    /// for 0 events, or for more than 1,048,576.
    pub fn new(events_per_wait: usize) -> io::Result<Self> {
        if !(1..=MOST_EVENTS).contains(&events_per_wait) {
            let message = format!("events_per_wait is {events_per_wait}; give 1 to {MOST_EVENTS}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(events_per_wait),
            bell: None,
            bound: Bound::default(),
            calls: SystemCalls::default(),
            epoch: Instant::now(),
            epoch_nanos: monotonic(),
            maker: std::process::id(),
        })
    }
}

impl Adopt for MioDriver {
    fn adopt(&mut self, socket: OwnedFd) -> io::Result<(MioStream, Peer)> {
        MioStream::adopt(socket)
    }

    fn adopt_one_way(&mut self, descriptor: OwnedFd, side: Side) -> io::Result<MioStream> {
        MioStream::adopt_one_way(descriptor, side)
    }

    fn adopt_listener(&mut self, socket: OwnedFd, token: Token) -> io::Result<(MioListener, Endpoint)> {
        let (mut listener, local) = MioListener::adopt(socket)?;
        self.calls.register += 1;
        listener.register(self.poll.registry(), mio_token(token))?;
        Ok((listener, local))
    }
}

impl Driver for MioDriver {
    type Listener = MioListener;
    type Stream = MioStream;
    type Socket = MioSocket;
    type Child = MioChild;

    // Over poll(2) mio watches a socket again only after a call that returned
    // `WouldBlock`.
    const SHORT_MEANS_BLOCKED: bool = cfg!(all(
        any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"),
        not(mio_unsupported_force_poll_poll)
    ));

    fn epoch(&self) -> Instant {
        self.epoch
    }

    #[inline]
    fn now(&self) -> Moment {
        // The clock never goes backwards, so this never wraps.
        Moment::from_nanos(monotonic().wrapping_sub(self.epoch_nanos))
    }

    fn waker(&mut self) -> io::Result<Waker> {
        self.calls.register += 1;
        if !IS_USED_UP {
            return waker::of_the_system(self.poll.registry(), WAKER);
        }
        let bell = match self.bell.take() {
            Some(bell) => bell,
            None => Bell::new(self.poll.registry(), WAKER)?,
        };
        Ok(self.bell.insert(bell).waker())
    }

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>, mut report: impl FnMut(Event)) -> io::Result<usize> {
        self.calls.wait += 1;
        self.poll.poll(&mut self.events, timeout)?;
        let mut reported = 0;
        for event in &self.events {
            if event.token() != WAKER {
                reported += 1;
                report(Event {
                    token: Token::from_bits(event.token().0 as u64),
                    readable: event.is_readable(),
                    // A full pipe without a reader is reported as an error
                    // alone.
                    writable: event.is_writable() || event.is_write_closed(),
                    hangup: event.is_read_closed() || event.is_error() || event.is_priority(),
                });
            } else if IS_USED_UP && let Some(bell) = &mut self.bell {
                bell.hear();
            }
        }
        Ok(reported)
    }

    fn reported_all(&self) -> bool {
        // A full list may have left events behind.
        self.events.iter().count() < self.events.capacity()
    }

    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(MioListener, Endpoint)> {
        let (mut listener, local) = MioListener::listen(at, options)?;
        listener.register(self.poll.registry(), mio_token(token))?;
        self.calls.register += 1;
        Ok((listener, local))
    }

    fn accept(&mut self, listener: &mut MioListener) -> io::Result<(MioStream, Peer)> {
        self.calls.accept += 1;
        listener.accept()
    }

    fn connect(&mut self, to: &Endpoint) -> io::Result<MioStream> {
        self.calls.connect += 1;
        MioStream::connect(to)
    }

    fn connected(&mut self, stream: &mut MioStream) -> io::Result<Option<Peer>> {
        self.calls.connect += 1;
        stream.connected()
    }

    fn close_listener(&mut self, listener: MioListener) {
        self.calls.close += 1;
        drop(listener);
    }

    fn register(&mut self, stream: &mut MioStream, token: Token) -> io::Result<()> {
        self.calls.register += 1;
        stream.register(self.poll.registry(), mio_token(token))
    }

    #[inline(always)]
    fn read(&mut self, stream: &mut MioStream, into: &mut [u8]) -> io::Result<usize> {
        self.calls.read += 1;
        stream.read(into)
    }

    #[inline(always)]
    fn write(&mut self, stream: &mut MioStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.calls.write += 1;
        stream.write(pieces)
    }

    fn send_file(
        &mut self,
        stream: &mut MioStream,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<FileSent, FileError> {
        self.calls.write += 1;
        stream.send_file(file, offset, count)
    }

    fn is_hung_up(&mut self, stream: &mut MioStream) -> io::Result<bool> {
        self.calls.read += 1;
        stream.is_hung_up()
    }

    fn shutdown(&mut self, stream: &mut MioStream) -> io::Result<()> {
        self.calls.shutdown += 1;
        stream.shutdown()
    }

    fn close(&mut self, stream: MioStream, how: Closing) {
        self.calls.close += 1;
        // A socket that a fork closes is still open in its maker, and a linger
        // time belongs to the socket: setting it here would turn the maker's
        // close in order into a reset.
        let is_fork = how == Closing::Reset && self.maker != std::process::id();
        stream.close(if is_fork { Closing::InOrder } else { how });
    }

    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(MioSocket, Endpoint)> {
        let (mut socket, local) = MioSocket::bind(at, options)?;
        socket.register(self.poll.registry(), mio_token(token))?;
        self.calls.register += 1;
        self.bound.add(socket.name());
        Ok((socket, local))
    }

    #[inline]
    fn receive(&mut self, socket: &mut MioSocket, into: &mut [u8], from: &mut Peer) -> io::Result<usize> {
        self.calls.read += 1;
        socket.receive(into, from)
    }

    #[inline]
    fn send_to(&mut self, socket: &mut MioSocket, to: &Peer, data: &[u8]) -> io::Result<()> {
        self.calls.write += 1;
        socket.send_to(to, data)
    }

    #[inline]
    fn is_own(&mut self, peer: &Peer) -> bool {
        self.bound.has(peer, &mut self.calls.read)
    }

    fn close_socket(&mut self, socket: MioSocket) {
        self.bound.remove(socket.name());
        self.calls.close += 1;
        drop(socket);
    }

    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<MioChild, MioStream>> {
        self.calls.child += 1;
        let (mut child, pipes) = MioChild::spawn(command)?;
        let has_events = child.register(self.poll.registry(), mio_token(token));
        self.calls.register += u64::from(has_events);
        let sides = [Side::Output, Side::Input, Side::Input];
        let mut pipes = pipes.into_iter().zip(sides).map(|(pipe, side)| Some(MioStream::pipe(pipe?, side)));
        let pipes = std::array::from_fn(|_| pipes.next().flatten());
        Ok(Spawned { pid: child.pid(), child, pipes, has_events })
    }

    fn fate(&mut self, child: &mut MioChild) -> io::Result<Fate> {
        self.calls.child += 1;
        child.fate()
    }

    fn unread(&mut self, pipe: &mut MioStream) -> io::Result<usize> {
        self.calls.child += 1;
        pipe.unread()
    }

    fn signal(&mut self, child: &mut MioChild, signal: Signal) -> io::Result<()> {
        self.calls.child += 1;
        child.signal(signal)
    }

    fn reap(&mut self, mut child: MioChild, within: Duration) -> Option<ExitStatus> {
        self.calls.child += 1;
        child.reap(within)
    }

    fn max_streams(&self) -> Option<usize> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        usize::try_from(limit).ok()
    }

    fn calls(&self) -> SystemCalls {
        self.calls
    }
}

/// An arbitrary instant, for a driver with a clock of its own: `Instant` has no
/// other constructor.
#[cfg(feature = "sim")]
pub(super) fn an_instant() -> Instant {
    Instant::now()
}

/// The monotonic clock in nanoseconds. `Instant` reads the same clock, but its
/// arithmetic costs more than the reading.
#[inline]
#[allow(clippy::cast_sign_loss, reason = "the clock begins at zero, at boot")]
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[allow(clippy::cast_possible_truncation, reason = "usize is 64 bits wide, as checked above")]
const fn mio_token(token: Token) -> mio::Token {
    mio::Token(token.to_bits() as usize)
}
