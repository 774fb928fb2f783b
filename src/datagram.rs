//! `DatagramHandler`: the callbacks of a service on UDP or Unix datagram
//! sockets, and the errors that they report.

use std::{fmt, io};

use crate::error::BoxError;
use crate::id::{SocketId, TimerId};
use crate::io::Io;
use crate::origin::Peer;
#[cfg(feature = "workers")]
use crate::workers::JobDone;

/// A service on datagram sockets: UDP and Unix datagram.
///
/// A datagram has no connection, and so no session: a handler keeps, and
/// bounds, what it remembers of a sender. All methods but
/// [`datagram`](Self::datagram) have a default.
///
/// ```
/// use serve_forever::{BoxError, Config, DatagramHandler, Io, Limits, Peer, Reactor, SocketId};
///
/// /// Tells everybody how many have asked.
/// struct Counter(u64);
///
/// impl DatagramHandler for Counter {
///     fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, _: &[u8]) -> Result<(), BoxError> {
///         self.0 += 1;
///         let _ = io.send_to(on, from, self.0.to_string().as_bytes()); // a full queue loses it
///         Ok(())
///     }
/// }
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let counter = reactor.add_datagram(Counter(0), Limits::default())?;
/// let socket = reactor.bind(&counter, &"udp://127.0.0.1:0".parse()?)?;
/// println!("bound to {}", reactor.local(socket).expect("it was just made"));
/// # reactor.handle(&counter).shutdown(std::time::Duration::ZERO);
/// reactor.serve_forever()?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
///
/// # Streams and datagrams in one service
///
/// A type that is a [`StreamHandler`](crate::StreamHandler) too serves both
/// with one value: [`Reactor::add`](crate::Reactor::add) takes it, and its
/// service then listens and binds on any number of endpoints. The reactor calls
/// `tick` and `shutting_down`, which belong to the service and to no socket, on
/// its `StreamHandler` alone.
///
/// # Errors and panics
///
/// A socket outlives every error: nothing that a peer sends, that a callback
/// returns, or that the system says of one datagram closes it. An `Err` from
/// `datagram` is counted ([`Stats::failed`](crate::Stats::failed)) and logged,
/// and so is a panic in any callback
/// ([`Stats::panicked`](crate::Stats::panicked)). The reactor sends what the
/// callback had queued before, for each datagram is whole in itself.
pub trait DatagramHandler: 'static {
    /// Begins the service: [`Reactor::add_datagram`](crate::Reactor::add_datagram)
    /// calls this once, before anything else happens to the handler. (The reactor
    /// does not call this on a type that was added as a
    /// [`StreamHandler`](crate::StreamHandler).)
    ///
    /// # Errors
    ///
    /// Any error is that of `add_datagram`,
    /// [`Error::NotStarted`](crate::Error::NotStarted).
    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Decides whether the reactor delivers this datagram. `false` drops it,
    /// counts it
    /// ([`Stats::datagrams_refused`](crate::Stats::datagrams_refused)), and
    /// sends nothing. By default every datagram is delivered.
    fn verify(&mut self, on: SocketId, from: &Peer, data: &[u8]) -> bool {
        let _ = (on, from, data);
        true
    }

    /// Takes one whole datagram, which may be empty.
    ///
    /// On a wildcard (`0.0.0.0`, `[::]`), [`Peer::asked`] is the local address
    /// that the sender used: an answer to this peer, now or later, leaves from
    /// there.
    ///
    /// A sender on a Unix socket that is bound to nothing has no address
    /// ([`Address::Unnamed`](crate::Address::Unnamed)) and cannot be answered.
    /// On UDP the sender's address may be forged: a service that answers with
    /// more bytes than it was asked is an amplifier. The reactor does not
    /// deliver what comes from one of its own sockets, or claims to
    /// ([`BindOptions::from_own`](crate::BindOptions::from_own)). Only the
    /// choice of what is answered can prevent that two servers are made to
    /// answer each other.
    ///
    /// A sender on a Unix socket chooses the path that an answer goes to, with
    /// the rights of this process: [`verify`](Self::verify) may refuse it, and
    /// [`BindOptions::send_in`](crate::BindOptions::send_in) holds answers to
    /// one directory.
    ///
    /// # Errors
    ///
    /// Any error is counted and logged; the socket lives on.
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError>;

    /// Resumes sending: the send queue of a socket had answered
    /// [`Sent::Full`](crate::Sent::Full) or
    /// [`Sent::Dropped`](crate::Sent::Dropped) and has fallen to its low mark.
    /// The reactor calls this once for each such crossing.
    fn drained(&mut self, io: &mut Io<'_>, on: SocketId) {
        let _ = (io, on);
    }

    /// Learns of an error: of one datagram, or of the socket as the system
    /// reports it. The socket lives on. The default logs the error at level
    /// debug.
    fn error(&mut self, io: &mut Io<'_>, on: SocketId, error: &SocketError<'_>) {
        let _ = io;
        log::debug!("socket {on}: {error}");
    }

    /// Receives the end of a job of
    /// [`Io::offload_tick`](crate::Io::offload_tick): the default calls the job's `done`. (The
    /// reactor does not call this on a type that was added as a
    /// [`StreamHandler`](crate::StreamHandler).)
    ///
    /// # Errors
    ///
    /// The reactor logs an error.
    #[cfg(feature = "workers")]
    fn job_done(&mut self, io: &mut Io<'_>, done: JobDone) -> Result<(), BoxError>
    where
        Self: Sized,
    {
        done.run(self, io, None::<&mut ()>)
    }

    /// Handles a timer that a callback of this service set, and that is due.
    /// (The reactor does not call this on a type that was added as a
    /// [`StreamHandler`](crate::StreamHandler).)
    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = (io, timer);
    }

    /// Learns that a shutdown has begun: the reactor still delivers what has
    /// arrived and sends what is queued, and then closes the sockets. (The
    /// reactor does not call this on a type that was added as a
    /// [`StreamHandler`](crate::StreamHandler).)
    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }
}

/// An error of a datagram socket, or of one datagram on it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketError<'a> {
    /// A received datagram is longer than
    /// [`Limits::max_datagram`](crate::Limits::max_datagram). It is lost, so
    /// that no handler takes a part for the whole.
    TooLong {
        /// Its sender.
        from: &'a Peer,
        /// Its length in bytes, where the system reports it; else the limit
        /// plus one.
        len: usize,
    },
    /// A receive failed with this error. On UDP it usually concerns a datagram
    /// sent earlier: an ICMP error, such as `ECONNREFUSED`. (Linux reports none
    /// to an unconnected socket.)
    Receive(&'a io::Error),
    /// The system refused a queued datagram, which is lost. It is too long for
    /// the protocol or the path (`EMSGSIZE`), the system or a Unix receiver has
    /// no room (`ENOBUFS`), the receiver does not exist (`ECONNREFUSED`,
    /// `ENOENT`), or no datagram of the queue has left for
    /// [`Limits::write_stall`](crate::Limits::write_stall) (`TimedOut`).
    Send {
        /// Its receiver.
        to: &'a Peer,
        /// Its length in bytes.
        len: usize,
        /// The system's reason.
        error: &'a io::Error,
    },
}

impl fmt::Display for SocketError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { from, len } => write!(f, "a datagram of {len} bytes from {from} is too long"),
            Self::Receive(error) => write!(f, "receiving: {error}"),
            Self::Send { to, len, error } => write!(f, "a datagram of {len} bytes to {to} is lost: {error}"),
        }
    }
}

impl std::error::Error for SocketError<'_> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong { .. } => None,
            Self::Receive(error) | Self::Send { error, .. } => Some(*error),
        }
    }
}
