//! Nonblocking client streams over TCP and Unix sockets, as one type.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::endpoint::Endpoint;

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
            Endpoint::Tcp { host, port } => {
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

/// A connection of either family, established or pending.
#[derive(Debug)]
pub(super) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Begins connection number `index`. Once it is writable, [`Stream::finish`]
    /// returns the result.
    pub(super) fn start(address: &Address, index: usize) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => match source(address, index) {
                Some(source) => connect_from(source, *address).map(Self::Tcp),
                None => TcpStream::connect(*address).map(Self::Tcp),
            },
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }

    /// The result of connecting; `WouldBlock` while it is pending.
    pub(super) fn finish(&self) -> io::Result<()> {
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

    /// Turns Nagle's algorithm off (tcp(7), `TCP_NODELAY`); Unix sockets have none.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Writes once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    /// Registers it for both directions, until it is dropped.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let source: &mut dyn Source = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        };
        registry.register(source, token, Interest::READABLE | Interest::WRITABLE)
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
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
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
