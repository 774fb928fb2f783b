//! `Adopt`: a driver that takes over descriptors of the operating system.

use std::io;
use std::os::fd::OwnedFd;

use super::{Driver, Token};
use crate::endpoint::Endpoint;
use crate::origin::{Peer, Side};

/// A [`Driver`] over the operating system, which takes over descriptors that the
/// program made: [`MioDriver`](super::MioDriver), and drivers around it.
/// [`Reactor::adopt`](crate::Reactor::adopt) and its kin need one.
pub trait Adopt: Driver {
    /// Takes over a connected stream socket that the program made. The socket
    /// becomes non-blocking, for every process that shares its open file
    /// description.
    ///
    /// # Errors
    ///
    /// The system's error: `ENOTSOCK` if the descriptor is not a socket,
    /// `ENOTCONN` if it is not connected. `InvalidInput` if it is not a stream.
    fn adopt(&mut self, socket: OwnedFd) -> io::Result<(Self::Stream, Peer)>;

    /// Takes over one direction of a pipe, a terminal, a socket or a file. See
    /// [`Reactor::adopt_input`](crate::Reactor::adopt_input).
    ///
    /// # Errors
    ///
    /// The system's error; `InvalidInput` if the descriptor is a directory or a
    /// socket other than a connected stream, or has the other direction.
    fn adopt_one_way(&mut self, descriptor: OwnedFd, side: Side) -> io::Result<Self::Stream>;

    /// Takes over a listening stream socket that was made elsewhere, and
    /// reports its events under `token`. The socket becomes non-blocking.
    /// Closing it leaves its file in the file system.
    ///
    /// # Errors
    ///
    /// The system's error: `ENOTSOCK` if the descriptor is not a socket.
    /// `InvalidInput` if it does not listen, or not for TCP or Unix streams.
    fn adopt_listener(&mut self, socket: OwnedFd, token: Token) -> io::Result<(Self::Listener, Endpoint)>;
}
