//! The contract for datagrams: what a service on UDP or Unix datagram sockets
//! is made of.

use std::{fmt, io};

use crate::error::BoxError;
use crate::id::{SocketId, TimerId};
use crate::io::Io;
use crate::origin::Peer;

/// A service on datagram sockets: UDP and Unix datagram.
///
/// There are no connections, and so no sessions: what is to be remembered of
/// a sender is the handler's to keep, and to bound. All methods but
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
/// with one value: it is given to [`Reactor::add`](crate::Reactor::add), and
/// then listens and binds on as many endpoints as one likes. What belongs to
/// the service and to no socket (`tick`, `shutting_down`) is then called on its
/// `StreamHandler` alone.
///
/// # Errors and panics
///
/// A socket outlives every error: nothing that a peer sends, that a callback
/// returns, or that the system says of one datagram closes it. An `Err` from
/// `datagram` is counted ([`Stats::failed`](crate::Stats::failed)) and
/// logged, and so is a panic in any callback
/// ([`Stats::panicked`](crate::Stats::panicked)); what it had sent before is
/// sent, for each datagram is whole in itself.
pub trait DatagramHandler: 'static {
    /// Is this datagram to be handed over? One that is refused is counted
    /// ([`Stats::datagrams_refused`](crate::Stats::datagrams_refused)), and
    /// nothing is sent.
    fn verify(&mut self, on: SocketId, from: &Peer, data: &[u8]) -> bool {
        let _ = (on, from, data);
        true
    }

    /// A datagram has come: all of it, and nothing but it; it may be empty.
    ///
    /// On a wildcard (`0.0.0.0`, `[::]`) the sender comes with the address of
    /// ours that it has asked ([`Peer::asked`]): what is sent to it, now or
    /// later, comes from there.
    ///
    /// A sender on a Unix socket that is bound to nothing has no address
    /// ([`Address::Unnamed`](crate::Address::Unnamed)) and cannot be answered.
    /// On UDP anybody may have written any address as the sender's: who
    /// answers with more than was asked is an amplifier. What comes from one of
    /// our own sockets, or claims to, is not handed over
    /// ([`BindOptions::from_own`](crate::BindOptions::from_own)); that two
    /// servers are made to answer each other, only what is answered can
    /// prevent.
    ///
    /// A sender on a Unix socket chooses the path that an answer goes to, with
    /// the rights of this process: [`verify`](Self::verify) may refuse it, and
    /// [`BindOptions::send_in`](crate::BindOptions::send_in) holds answers to
    /// one directory.
    ///
    /// # Errors
    ///
    /// Any error is counted and logged; the socket stays.
    fn datagram(&mut self, io: &mut Io<'_>, on: SocketId, from: &Peer, data: &[u8]) -> Result<(), BoxError>;

    /// The send queue of a socket, which had answered
    /// [`Sent::Full`](crate::Sent::Full) or [`Sent::Dropped`](crate::Sent::Dropped),
    /// has fallen to its low mark. Called once for each such crossing.
    fn drained(&mut self, io: &mut Io<'_>, on: SocketId) {
        let _ = (io, on);
    }

    /// Something went wrong with one datagram, or the system reports an error
    /// of the socket. The socket stays, and all else goes on.
    fn error(&mut self, io: &mut Io<'_>, on: SocketId, error: &SocketError<'_>) {
        let _ = io;
        log::debug!("socket {on}: {error}");
    }

    /// A timer is due that was set in a callback of this service. (Not called
    /// on a type that was added as a [`StreamHandler`](crate::StreamHandler).)
    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = (io, timer);
    }

    /// A shutdown has begun: what has arrived is still handed over, what is
    /// queued is still sent, and then the sockets close. (Not called on a type
    /// that was added as a [`StreamHandler`](crate::StreamHandler).)
    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }
}

/// What went wrong on a datagram socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketError<'a> {
    /// A datagram came that is longer than
    /// [`Limits::max_datagram`](crate::Limits::max_datagram). It is lost:
    /// nobody is to take a part for the whole.
    TooLong {
        /// Who sent it.
        from: &'a Peer,
        /// Its length in bytes, where the system tells; else a byte more than
        /// the limit.
        len: usize,
    },
    /// Receiving reported this. Where nothing else is said, as on UDP, it is
    /// about something sent earlier: an ICMP error, `ECONNREFUSED` say.
    /// (Linux tells an unconnected socket of none.)
    Receive(&'a io::Error),
    /// A datagram that was queued is lost: the system refused it. It is too
    /// long for the protocol or the path (`EMSGSIZE`), there is no room in the
    /// system or at a Unix receiver (`ENOBUFS`), nobody is there
    /// (`ECONNREFUSED`, `ENOENT`), or none of the queue has left for
    /// [`Limits::write_stall`](crate::Limits::write_stall) (`TimedOut`).
    Send {
        /// Whom it was for.
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
