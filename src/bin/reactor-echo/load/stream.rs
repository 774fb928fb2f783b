//! Nonblocking client streams over TCP, TLS and Unix sockets, as one type.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Type};

use super::secure::Secure;
use crate::endpoint::Endpoint;
use crate::tls::Secured;

/// The number of connections from one loopback address.
///
/// Linux searches for a free local port among the even ports of its range first
/// (14,116 ports by default), one after the other. Once those are taken, each further
/// connection to the same server walks past all of them, and the last few thousand
/// take longer than all before.
const PER_SOURCE: usize = 10_000;

/// An address to connect to, with names resolved.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl Address {
    /// All addresses of an endpoint, at least one.
    pub(super) fn resolve(endpoint: &Endpoint) -> io::Result<Vec<Self>> {
        match endpoint {
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
                let mut addresses: Vec<_> = (host.as_str(), *port)
                    .to_socket_addrs()
                    .map_err(|error| io::Error::new(error.kind(), format!("cannot resolve {host}: {error}")))?
                    .collect();
                let mut seen = HashSet::new();
                addresses.retain(|address| seen.insert(*address));
                let addresses: Vec<_> = addresses.into_iter().map(Self::Tcp).collect();
                if addresses.is_empty() {
                    let message = format!("{host} resolves to no address");
                    return Err(io::Error::new(io::ErrorKind::NotFound, message));
                }
                Ok(addresses)
            }
            Endpoint::Unix(path) => Ok(vec![Self::Unix(path.clone())]),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A short read has emptied the socket, and a short write has filled it: on
/// Linux what comes next makes an event of its own (epoll(7), question 9). Over
/// poll(2) mio waits for it only once a call has said `WouldBlock`.
const SHORT_MEANS_BLOCKED: bool = cfg!(not(mio_unsupported_force_poll_poll));

/// A connection of either family, established or pending, with or without TLS.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    secure: Option<Box<Secure>>,
}

/// The socket of a connection.
#[derive(Debug)]
enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Begins connection number `index`. Once it is writable, [`Stream::finish`]
    /// returns the result.
    pub(super) fn start(address: &Address, index: usize, tls: Option<&Secured>) -> io::Result<Self> {
        let layer = tls.map(Secured::layer).transpose().map_err(io::Error::other)?;
        let socket = match address {
            Address::Tcp(address) => match source(address, index) {
                Some(source) => connect_from(source, *address).map(Socket::Tcp),
                None => TcpStream::connect(*address).map(Socket::Tcp),
            },
            Address::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
        };
        Ok(Self { socket: socket?, secure: layer.map(|layer| Box::new(Secure::new(layer))) })
    }

    /// The result of connecting, and of the handshake; `WouldBlock` while it is
    /// pending.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.socket.finish()?;
        match &mut self.secure {
            Some(secure) => secure.shake_hands(&mut self.socket),
            None => Ok(()),
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secure {
            Some(secure) => secure.read(&mut self.socket, buffer),
            None => self.socket.read(buffer),
        }
    }

    /// Writes once; without bytes, what waits for room.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.secure {
            Some(secure) => secure.write(&mut self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    /// Whether bytes that were written wait for room in the socket.
    pub(super) fn has_unwritten(&self) -> bool {
        self.secure.as_ref().is_some_and(|secure| secure.has_unwritten())
    }

    /// Whether another read may find something, without an event, after one that has
    /// filled this much of its buffer.
    pub(super) fn may_have_more(&self, filled: usize, buffer: usize) -> bool {
        // TLS returns a record at a time.
        !SHORT_MEANS_BLOCKED || filled == buffer || self.secure.is_some()
    }

    /// Whether another write may find room, without an event, after one that has taken
    /// this much of its bytes.
    pub(super) fn may_have_room(&self, taken: usize, bytes: usize) -> bool {
        match &self.secure {
            Some(secure) => !secure.has_unwritten(),
            None => !SHORT_MEANS_BLOCKED || taken == bytes,
        }
    }

    /// Turns Nagle's algorithm off (tcp(7), `TCP_NODELAY`); Unix sockets have none.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.set_nodelay(true),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Registers it for both directions, until it is dropped.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let source: &mut dyn Source = match &mut self.socket {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        };
        registry.register(source, token, Interest::READABLE | Interest::WRITABLE)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.end(&mut self.socket);
        }
    }
}

impl Socket {
    /// The result of connecting; `WouldBlock` while it is pending.
    fn finish(&self) -> io::Result<()> {
        let error = match self {
            Self::Tcp(stream) => stream.take_error()?,
            Self::Unix(stream) => stream.take_error()?,
        };
        if let Some(error) = error {
            return Err(error);
        }
        match self {
            Self::Tcp(stream) => stream.try_io(|| connected(stream.peer_addr())),
            Self::Unix(stream) => stream.try_io(|| connected(stream.peer_addr())),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `WouldBlock` if a socket is not connected yet (getpeername(2), `ENOTCONN`).
fn connected<A>(peer: io::Result<A>) -> io::Result<()> {
    match peer {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
        peer => peer.map(drop),
    }
}

/// The loopback address to connect from; `None` for the system's choice.
fn source(address: &SocketAddr, index: usize) -> Option<Ipv4Addr> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let number = u8::try_from(index / PER_SOURCE).ok()?;
    (address.ip().is_loopback() && number > 0).then(|| Ipv4Addr::new(127, 1, 0, number))
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A loopback interface may have fewer addresses; the system's choice works then.
    if let Err(error) = socket.bind(&SocketAddr::from((source, 0)).into()) {
        log::debug!("cannot connect from {source}: {error}");
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_connections_to_the_loopback_have_a_source() {
        let local = SocketAddr::from(([127, 0, 0, 1], 7));
        let remote = SocketAddr::from(([192, 0, 2, 1], 7));
        assert_eq!(source(&local, 0), None);
        assert_eq!(source(&local, PER_SOURCE - 1), None);
        let second = source(&local, PER_SOURCE);
        assert_eq!(second, Some(Ipv4Addr::new(127, 1, 0, 1)));
        assert_eq!(source(&remote, PER_SOURCE), None);
    }

    #[test]
    fn a_source_is_where_the_connection_comes_from() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let source = source(&address, PER_SOURCE).expect("a source");
        let _stream = connect_from(source, address).expect("a connection");
        let (_, peer) = listener.accept().expect("a connection");
        assert!(peer.ip().is_loopback());
    }
}
