//! `Driver`: the calls that the loop makes to an operating system, and
//! `MioDriver`, which makes them for real.
//!
//! The loop itself opens no socket and reads no clock: it asks a [`Driver`].
//! [`MioDriver`] asks the operating system. Another driver runs the same loop
//! and the same handlers over something else, such as a network in memory with
//! a clock of its own.

mod adopt;
mod bound;
mod child;
mod datagram;
mod descriptor;
mod listener;
mod mio;
mod notice;
mod options;
mod pktinfo;
#[cfg(feature = "sim")]
pub mod sim;
mod source;
mod stream;
mod unix;
mod unix_path;
mod waker;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::process::ExitStatus;
use std::task::Waker;
use std::time::{Duration, Instant};

pub use self::adopt::Adopt;
pub use self::child::MioChild;
pub use self::datagram::MioSocket;
pub use self::listener::MioListener;
pub use self::mio::MioDriver;
pub use self::notice::Notice;
pub use self::options::{BindOptions, KeepAlive, ListenOptions, Multicast};
pub use self::stream::MioStream;
pub use crate::incident::{Incident, IncidentKind};
pub use crate::moment::Moment;

use crate::endpoint::Endpoint;
use crate::id::{ChildId, ConnId, Key, ListenerId, SocketId};
use crate::origin::Peer;
use crate::process::{Command, Fate, Signal};
use crate::stats::SystemCalls;

/// The name of a socket for the driver, and of its events for the loop: 64
/// bits, never reused within one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// The object that a [`Token`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Connection(ConnId),
    Listener(ListenerId),
    Socket(SocketId),
    Child(ChildId),
}

/// The bit of a packed id that marks a listener: the topmost of the slot.
const LISTENER: u64 = 1 << 31;

/// The bit that marks a datagram socket: the next one. Both bits mark a child.
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

    /// The token as a number; never 0.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The token of a number from [`to_bits`](Self::to_bits).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The readiness of a socket, as the system reports it. All of it is a hint:
/// the loop relies only on the result of the read or write that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The socket.
    pub token: Token,
    /// The socket may have input, a connection to accept, the peer's FIN or an
    /// error.
    pub readable: bool,
    /// The socket may have room for output.
    pub writable: bool,
    /// More may follow the next read, even if that read fills less than its
    /// buffer: the end of the peer's side, an error, or bytes behind urgent
    /// data.
    pub hangup: bool,
}

/// The way to close a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The system delivers what it has accepted, then FIN.
    InOrder,
    /// The system sends a reset on TCP, so that the peer notices missing bytes.
    /// Unix sockets have no reset: there the close looks as
    /// [`InOrder`](Self::InOrder) does.
    Reset,
}

/// The outcome of [`Driver::send_file`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSent {
    /// The bytes that the system took. 0: the file ends at the offset.
    pub written: usize,
    /// The bytes that it was certainly offered. More than it took means that it
    /// has no more room, where [`Driver::SHORT_MEANS_BLOCKED`].
    pub offered: usize,
}

/// An error of [`Driver::send_file`], and whose it is.
#[derive(Debug)]
pub enum FileError {
    /// The stream cannot be written to, or not yet.
    Stream(io::Error),
    /// The file cannot be read.
    File(io::Error),
}

/// Reads a part of a file: 0 bytes at its end.
pub(crate) fn read_file(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(into, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// The bytes that [`Driver::send_file`] reads at once where it has to copy.
const FILE_PIECE: usize = 64 << 10;

/// A started child process.
#[derive(Debug)]
pub struct Spawned<C, S> {
    /// The child.
    pub child: C,
    /// Its process id.
    pub pid: u32,
    /// This process's ends of its pipes, in the order of file descriptors:
    /// standard input, output, error.
    pub pipes: [Option<S>; 3],
    /// True if an event will report its exit; if false, the loop polls the
    /// child.
    pub has_events: bool,
}

/// The calls that the loop makes to an operating system.
///
/// # What the loop relies on
///
/// - No call blocks, except [`wait`](Self::wait). A call that cannot proceed
///   yet returns `WouldBlock`; every call may return `Interrupted`.
/// - Readiness is **edge-triggered**: after registration, and after a call has
///   returned `WouldBlock`, the driver reports a change once. Events may be
///   spurious.
/// - [`wait`](Self::wait) reports no event of a stream that was closed before
///   it began.
/// - Events for which one [`wait`](Self::wait) had no room, the next ones
///   report before any later event, and at most once for each socket. So every
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

    /// True if a read that fills less than its buffer has emptied the socket,
    /// and a write that takes less than it was given has filled it, so that the
    /// loop needs no further call to get `WouldBlock` (epoll(7), "Questions and
    /// answers", 9). The loop does not rely on it where [`Event::hangup`] is
    /// set, nor when it reads a pipe, a terminal or a file.
    const SHORT_MEANS_BLOCKED: bool;

    /// The instant that [`now`](Self::now) counts from.
    fn epoch(&self) -> Instant;

    /// The current time. It never goes backwards.
    fn now(&self) -> Moment;

    /// Makes a waker that ends a [`wait`](Self::wait), from any thread. A wake
    /// between two waits makes the next one return at once.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn waker(&mut self) -> io::Result<Waker>;

    /// Waits for an event, a wake or the time-out, reports the events, and
    /// returns their number. `None` waits without a bound.
    ///
    /// # Errors
    ///
    /// The system's error. The loop takes `Interrupted` for no event, and draws
    /// no conclusion about what has happened.
    fn wait(&mut self, timeout: Option<Duration>, report: impl FnMut(Event)) -> io::Result<usize>;

    /// True if the last [`wait`](Self::wait) that was not interrupted has
    /// reported every event that had happened when it began; false if it may
    /// have had no room for all of them.
    fn reported_all(&self) -> bool;

    /// Listens on an endpoint, reports its events under `token`, and returns
    /// the actual endpoint: port 0 has become a real one.
    ///
    /// # Errors
    ///
    /// The system's error, or the reason for which the driver cannot listen on
    /// this endpoint.
    fn listen(
        &mut self,
        at: &Endpoint,
        options: &ListenOptions,
        token: Token,
    ) -> io::Result<(Self::Listener, Endpoint)>;

    /// Accepts one connection.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the backlog is empty; else the system's error.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, Peer)>;

    /// Begins to connect to a listener. When the stream, once registered, has
    /// an event, [`connected`](Self::connected) returns the outcome.
    ///
    /// # Errors
    ///
    /// The system's error, if it comes at once. `WouldBlock` if there is no
    /// room yet and no event would report room: the loop tries again.
    fn connect(&mut self, to: &Endpoint) -> io::Result<Self::Stream>;

    /// The peer of a stream that is being connected, once it is established;
    /// `None` before.
    ///
    /// # Errors
    ///
    /// The reason for which connecting has failed.
    fn connected(&mut self, stream: &mut Self::Stream) -> io::Result<Option<Peer>>;

    /// Closes a listening socket, and removes the file that it has made, if
    /// that is still the same file.
    fn close_listener(&mut self, listener: Self::Listener);

    /// Registers a stream, once, so that events of both directions are reported
    /// under `token`.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Reads into `into` and returns the number of bytes; 0 is the peer's FIN.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no input yet; else the system's error.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// Writes the pieces in order, as far as the system has room, and returns
    /// the number of bytes taken.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room yet; else the system's error.
    fn write(&mut self, stream: &mut Self::Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends up to `count` bytes of a file from `offset` on, as far as the system
    /// has room. The default reads a piece of the file and writes that.
    ///
    /// # Errors
    ///
    /// [`FileError::Stream`] as of [`write`](Self::write), [`FileError::File`] if
    /// the file cannot be read.
    fn send_file(
        &mut self,
        stream: &mut Self::Stream,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Result<FileSent, FileError> {
        let mut piece = vec![0; count.min(FILE_PIECE)];
        let read = read_file(file, offset, &mut piece).map_err(FileError::File)?;
        if read == 0 {
            return Ok(FileSent { written: 0, offered: 0 });
        }
        let written = self.write(stream, &[IoSlice::new(&piece[..read])]).map_err(FileError::Stream)?;
        if written == 0 {
            return Err(FileError::Stream(io::ErrorKind::WriteZero.into()));
        }
        Ok(FileSent { written, offered: read })
    }

    /// Whether the peer has closed both of its sides, so that no output can
    /// arrive (`POLLHUP`, poll(2)). Never consumes input.
    ///
    /// # Errors
    ///
    /// The error of a broken connection.
    fn is_hung_up(&mut self, stream: &mut Self::Stream) -> io::Result<bool>;

    /// Sends our FIN, behind what was written.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn shutdown(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Closes a stream.
    fn close(&mut self, stream: Self::Stream, how: Closing);

    /// Binds a datagram socket to an endpoint, reports its events of both
    /// directions under `token`, and returns the actual endpoint.
    ///
    /// # Errors
    ///
    /// The system's error, or the reason for which the driver cannot bind this
    /// endpoint.
    fn bind(
        &mut self,
        at: &Endpoint,
        options: &BindOptions,
        token: Token,
    ) -> io::Result<(Self::Socket, Endpoint)>;

    /// Receives one datagram into `into`, and its sender into `from`, whose
    /// buffer is reused; with the local address that the sender used
    /// ([`Peer::asked`]), if the socket has more than one. Returns the
    /// datagram's length. If `into` is too short, the rest is lost and the
    /// returned length exceeds that of `into` (by one at least, where the
    /// system does not report the length).
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the socket is empty; else the system's error, which
    /// concerns one datagram and not the socket.
    fn receive(&mut self, socket: &mut Self::Socket, into: &mut [u8], from: &mut Peer) -> io::Result<usize>;

    /// Whether a datagram sent to this peer arrives, or would arrive, at a
    /// datagram socket bound by this driver. The loop asks for each sender. The
    /// default is `false`.
    fn is_own(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        false
    }

    /// Sends one datagram, whole or not at all; from the local address
    /// `to.asked`, if the socket has more than one.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room yet **and an event will report
    /// room**; else the system's error, which concerns this datagram and not
    /// the socket: the loop drops the datagram and tries the next.
    fn send_to(&mut self, socket: &mut Self::Socket, to: &Peer, data: &[u8]) -> io::Result<()>;

    /// Closes a datagram socket, and removes the file that it has made, if that
    /// is still the same file.
    fn close_socket(&mut self, socket: Self::Socket);

    /// Starts a program, and reports its exit under `token` where the system
    /// can.
    ///
    /// # Errors
    ///
    /// The system's error: the program does not exist, or there is no room for
    /// another process.
    fn spawn(&mut self, command: &Command, token: Token) -> io::Result<Spawned<Self::Child, Self::Stream>>;

    /// Polls whether a child has exited, without reaping it, so that neither
    /// its process id nor its group's is reused.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn fate(&mut self, child: &mut Self::Child) -> io::Result<Fate>;

    /// The number of unread bytes in a pipe. The loop delivers that many after
    /// the child's exit, however long it takes. The default is 0: then the loop
    /// delivers what it can within the grace.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn unread(&mut self, pipe: &mut Self::Stream) -> io::Result<usize> {
        let _ = pipe;
        Ok(0)
    }

    /// Sends a signal to the process group that a child began with, and to the
    /// child itself if it has left that group. An empty group is not an error.
    ///
    /// # Errors
    ///
    /// The system's error.
    fn signal(&mut self, child: &mut Self::Child, signal: Signal) -> io::Result<()>;

    /// Reaps a child, waiting up to `within` for its exit, and returns its
    /// status. Afterwards the driver abandons it: a child may survive SIGKILL
    /// (it waits for a disk, or has become another user's), and the loop must
    /// not wait for ever.
    fn reap(&mut self, child: Self::Child, within: Duration) -> Option<ExitStatus>;

    /// The number of connections that the system allows the process, for the
    /// default of [`Config::max_connections`](crate::Config::max_connections);
    /// `None` without a limit.
    fn max_streams(&self) -> Option<usize>;

    /// The counts of system calls so far.
    fn calls(&self) -> SystemCalls;

    /// Told of what the loop does that no other call shows. The default ignores it:
    /// this is for drivers that record, log or count.
    fn notice(&mut self, notice: Notice) {
        let _ = notice;
    }
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
