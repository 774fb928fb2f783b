//! What the loop needs from an operating system.
//!
//! The loop itself opens no socket and reads no clock: it asks a [`Driver`].
//! [`MioDriver`] is the real one. Another one makes the same loop and the
//! same handlers run over something else, such as a network in memory under
//! a clock of its own.

mod bound;
mod child;
mod datagram;
mod descriptor;
mod listener;
mod mio;
mod options;
mod pktinfo;
#[cfg(feature = "sim")]
pub mod sim;
mod source;
mod stream;
mod unix;
mod unix_path;
mod waker;

use std::io::{self, IoSlice};
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

pub use self::child::MioChild;
pub use self::datagram::MioSocket;
pub use self::listener::MioListener;
pub use self::mio::MioDriver;
pub use self::options::{BindOptions, KeepAlive, ListenOptions, Multicast};
pub use self::stream::MioStream;
pub use crate::moment::Moment;

use crate::endpoint::Endpoint;
use crate::id::{ChildId, ConnId, Key, ListenerId, SocketId};
use crate::origin::Peer;
use crate::process::{Command, Fate, Signal};
use crate::stats::SystemCalls;

/// Names a socket to the driver, and its events to the loop: 64 bits, never
/// the same for two sockets of one reactor, not even one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// What a [`Token`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Connection(ConnId),
    Listener(ListenerId),
    Socket(SocketId),
    Child(ChildId),
}

/// The bit of a packed id that sets listeners apart: the topmost of the slot.
const LISTENER: u64 = 1 << 31;

/// The bit that sets datagram sockets apart: the next one. Both: a child.
const SOCKET: u64 = 1 << 30;

impl Token {
    pub(crate) const fn connection(id: ConnId) -> Self {
        Self(id.0.to_bits())
    }

    pub(crate) const fn listener(id: ListenerId) -> Self {
        Self(id.0.to_bits() | LISTENER)
    }

    pub(crate) const fn socket(id: SocketId) -> Self {
        Self(id.0.to_bits() | SOCKET)
    }

    pub(crate) const fn child(id: ChildId) -> Self {
        Self(id.0.to_bits() | LISTENER | SOCKET)
    }

    #[inline]
    pub(crate) const fn target(self) -> Target {
        if self.0 & (LISTENER | SOCKET) == 0 {
            Target::Connection(ConnId(Key::from_bits(self.0)))
        } else if self.0 & LISTENER == 0 {
            Target::Socket(SocketId(Key::from_bits(self.0 & !SOCKET)))
        } else if self.0 & SOCKET != 0 {
            Target::Child(ChildId(Key::from_bits(self.0 & !(LISTENER | SOCKET))))
        } else {
            Target::Listener(ListenerId(Key::from_bits(self.0 & !LISTENER)))
        }
    }

    /// The token as a number; 0 is no token.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The token that [`to_bits`](Self::to_bits) gave this number for.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// What the system says of a socket. All of it is a hint: the loop believes
/// only what a read or a write then answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which socket.
    pub token: Token,
    /// There may be input, a connection to accept, the peer's FIN or an error.
    pub readable: bool,
    /// There may be room for output.
    pub writable: bool,
    /// There may be more behind what the next read finds, even if that fills
    /// less than its buffer: the end of the peer's side, an error, or what
    /// follows urgent data.
    pub hangup: bool,
}

/// How a stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The system delivers what it has accepted, then FIN.
    InOrder,
    /// The peer is to notice that something is missing: a reset, on TCP. There
    /// is none on a Unix socket, where it looks as [`InOrder`](Self::InOrder)
    /// does.
    Reset,
}

/// A child process that was started.
#[derive(Debug)]
pub struct Spawned<C, S> {
    /// The child.
    pub child: C,
    /// Its id in the system.
    pub pid: u32,
    /// Our ends of its pipes, in the order of file descriptors: standard
    /// input, output, error.
    pub pipes: [Option<S>; 3],
    /// An event tells that it has exited; if not, it has to be looked at from
    /// time to time.
    pub has_events: bool,
}

/// An operating system, as far as the loop needs one.
///
/// # What the loop relies on
///
/// - Nothing blocks, but [`wait`](Self::wait). What cannot be done yet is
///   `WouldBlock`; `Interrupted` may come from every call.
/// - Readiness is **edge-triggered**: after registration, and after a call
///   has said `WouldBlock`, a change is reported once. Events may be spurious.
/// - Nothing is reported of a stream that was closed before the
///   [`wait`](Self::wait) began.
/// - What one [`wait`](Self::wait) had no room for, the next ones report before
///   anything that happens after it, and of each socket at most once. So every
///   socket has had its turn after as many events as there are sockets.
///
/// # Implementation
///
/// A wrong answer from a driver can make a connection fail or hang; it cannot
/// make the loop unsafe, or confuse one connection with another.
pub trait Driver {
    /// A socket that accepts connections.
    type Listener;
    /// A connected socket.
    type Stream;
    /// A datagram socket.
    type Socket;
    /// A child process.
    type Child;

    /// A read that fills less than its buffer has emptied the socket, and a
    /// write that takes less than it was given has filled it, so that neither
    /// needs another call to be told `WouldBlock` (epoll(7), "Questions and
    /// answers", 9). The loop does not rely on it where [`Event::hangup`] is
    /// set, nor in reading what is no socket.
    const SHORT_MEANS_BLOCKED: bool;

    /// Where [`now`](Self::now) is counted from.
    fn epoch(&self) -> Instant;

    /// The time. It never goes backwards.
    fn now(&self) -> Moment;

    /// Wakes a [`wait`](Self::wait), from any thread; one that has not begun
    /// yet returns at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn waker(&mut self) -> io::Result<Waker>;

    /// Waits until there is an event, a wake or the time-out is over, reports
    /// what there is, and tells how many events that were. `None` waits for as
    /// long as it takes.
    ///
    /// # Errors
    ///
    /// What the system says. `Interrupted` is taken for no event, and says
    /// nothing about what has happened.
    fn wait(&mut self, timeout: Option<Duration>, report: impl FnMut(Event)) -> io::Result<usize>;

    /// True if the last [`wait`](Self::wait) that was not interrupted has
    /// reported everything that had happened when it began; false if it may
    /// have had no room for that at once.
    fn reported_all(&self) -> bool;

    /// Listens on an endpoint, reports its events under `token`, and tells
    /// where it listens indeed: port 0 has become a real one.
    ///
    /// # Errors
    ///
    /// What the system says, or why this endpoint cannot be listened on.
    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Endpoint)>;

    /// Takes one connection that waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none does; else what the system says.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// Begins to connect to a listener. When the stream, once registered, has
    /// an event, [`connected`](Self::connected) says what became of it.
    ///
    /// # Errors
    ///
    /// What the system says, if it says so at once. `WouldBlock` where there is
    /// no room yet, and no event would tell of it: it is tried again.
    fn connect(&mut self, to: &Endpoint) -> io::Result<Self::Stream>;

    /// Whether a stream that is being connected has come about, and to whom;
    /// `None`: not yet.
    ///
    /// # Errors
    ///
    /// Why it has not and will not.
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<Option<Peer>>;

    /// Stops listening, and removes what listening has left in the file
    /// system if it is still ours.
    fn close_listener(&mut self, listener: Self::Listener);

    /// Reports the stream's events, of both directions, under `token`: the
    /// only registration it ever gets.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Reads; 0 is the peer's FIN.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing yet; else what the system says.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// Writes the pieces in order, or as much of them as there is room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room yet; else what the system says.
    fn write(&mut self, stream: &mut Self::Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether the peer has closed both of its sides, so that nothing which is
    /// written to it arrives (`POLLHUP`, poll(2)). Never consumes anything.
    ///
    /// # Errors
    ///
    /// Why the connection is broken, if it is.
    fn is_hung_up(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Sends our FIN behind what was written.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn shutdown(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Closes a stream.
    fn close(&mut self, stream: Self::Stream, how: Closing);

    /// Binds a datagram socket to an endpoint, reports its events, of both
    /// directions, under `token`, and tells where it is bound indeed.
    ///
    /// # Errors
    ///
    /// What the system says, or why this endpoint cannot be bound.
    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(Self::Socket, Endpoint)>;

    /// Receives one datagram into `into`, and who sent it into `from`, which
    /// holds an earlier sender, for its buffer; with the address that was asked
    /// ([`Peer::asked`]), if the socket has more than one. Returns the datagram's length:
    /// if `into` does not hold all of it, the rest is lost, and the length is
    /// more than that of `into` (by one at least, where the system does not
    /// tell).
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none yet; else what the system says, which
    /// concerns one datagram and not the socket.
    fn receive(&mut self, socket: &mut Self::Socket, into: &mut [u8], from: &mut Peer) -> io::Result<usize>;

    /// Whether what is sent to this peer comes to a datagram socket that is
    /// bound here, or would: asked of each sender. By default nobody is.
    fn is_own(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        false
    }

    /// Sends one datagram, whole or not at all; from the address that `to` has
    /// asked, if the socket has more than one.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room yet **and an event will tell when
    /// there is**; else what the system says, which concerns this datagram and
    /// not the socket: it is then lost, and the next one is tried.
    fn send_to(&mut self, socket: &mut Self::Socket, to: &Peer, data: &[u8]) -> io::Result<()>;

    /// Closes a datagram socket, and removes what binding has left in the file
    /// system if it is still ours.
    fn close_socket(&mut self, socket: Self::Socket);

    /// Starts a program, with its exit reported under `token`, if it can be.
    ///
    /// # Errors
    ///
    /// What the system says: there is no such program, or no room for another
    /// process.
    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<Self::Child, Self::Stream>>;

    /// Looks whether a child has exited. It stays unreaped, so that its number
    /// and that of its group are nobody else's.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn fate(&mut self, child: &mut Self::Child) -> io::Result<Fate>;

    /// How many bytes are in a pipe that were not read yet. What a child had
    /// written when it exited is handed over however long that takes; by
    /// default it is taken for nothing, and handed over within the grace.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn unread(&mut self, pipe: &mut Self::Stream) -> io::Result<usize> {
        let _ = pipe;
        Ok(0)
    }

    /// Sends a signal to the process group that a child began with, and to the
    /// child itself where it has left that. That nobody is left in it is no
    /// error.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn signal(&mut self, child: &mut Self::Child, signal: Signal) -> io::Result<()>;

    /// Reaps a child that has exited, or waits until it has for as long as
    /// `within`. Then it is let go of: a signal need not have ended it (it waits
    /// for a disk, or has become another user's), and nobody waits for ever.
    fn reap(&mut self, child: Self::Child, within: Duration) -> Option<ExitStatus>;

    /// How many connections the system allows the process, for the default of
    /// [`Config::max_connections`](crate::Config::max_connections); `None` if
    /// it sets no limit.
    fn max_streams(&self) -> Option<usize>;

    /// What was asked of the system so far.
    fn calls(&self) -> SystemCalls;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_connections_listeners_sockets_and_children_apart() {
        let key = Key { slot: 5, generation: u32::MAX };
        assert_eq!(Token::connection(ConnId(key)).target(), Target::Connection(ConnId(key)));
        assert_eq!(Token::listener(ListenerId(key)).target(), Target::Listener(ListenerId(key)));
        assert_eq!(Token::socket(SocketId(key)).target(), Target::Socket(SocketId(key)));
        assert_eq!(Token::child(ChildId(key)).target(), Target::Child(ChildId(key)));
        let token = Token::listener(ListenerId(key));
        assert_eq!(Token::from_bits(token.to_bits()), token);
    }
}
