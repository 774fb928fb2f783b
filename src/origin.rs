//! Peers and origins: the address at the other end of a connection, and how the
//! connection was made.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::endpoint::Endpoint;
use crate::id::{ChildId, ListenerId};
use crate::printable::write_path;
use crate::process::Pipe;

/// The address of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// A Unix socket with a path in the file system.
    Unix(PathBuf),
    /// A Unix socket with a name in the abstract namespace (Linux; unix(7)):
    /// the name, without its leading NUL.
    Abstract(Vec<u8>),
    /// A Unix socket without a name, as clients usually have. Datagrams cannot
    /// be sent to it.
    Unnamed,
    /// No socket at all: a pipe, a terminal, a file.
    Pipe,
}

impl fmt::Display for Address {
    /// `127.0.0.1:7000`, `unix:/path`, `unix:@name`, `unix`, or `pipe`. The
    /// peer chooses paths and names, so characters that do not print are
    /// escaped ([`Printable`](crate::Printable)).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => {
                f.write_str("unix:")?;
                write_path(path, f)
            }
            Self::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Self::Unnamed => f.write_str("unix"),
            Self::Pipe => f.write_str("pipe"),
        }
    }
}

/// The process at the other end of a Unix socket, as it was when it
/// connected (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The process id; `None` if the process has none in our PID namespace
    /// (pid_namespaces(7)), such as a process outside of the container. The
    /// process may have ended since and its id been reused: do not base a
    /// permission on it.
    pub pid: Option<u32>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

/// The other end of a connection, or the sender or receiver of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Peer {
    /// Its address.
    pub address: Address,
    /// Its process, user and group: on Unix sockets, where the system reports
    /// them.
    pub credentials: Option<Credentials>,
    /// The local address that a datagram was sent to, if the socket is bound to
    /// an unspecified address (`0.0.0.0`, `[::]`) and so has several; on Linux.
    /// [`Io::send_to`](crate::Io::send_to) to this peer then sends from there,
    /// as the peer expects. For a broadcast it is the address that received it;
    /// for a multicast it is the group, from which nothing is sent.
    pub asked: Option<SocketAddr>,
}

impl Peer {
    /// A peer at an IP address.
    #[must_use]
    pub const fn inet(address: SocketAddr) -> Self {
        Self { address: Address::Inet(address), credentials: None, asked: None }
    }

    /// A peer on a Unix socket.
    #[must_use]
    pub fn unix(path: Option<PathBuf>, credentials: Option<Credentials>) -> Self {
        Self { address: path.map_or(Address::Unnamed, Address::Unix), credentials, asked: None }
    }

    /// The other end of a pipe, a terminal or a file.
    #[must_use]
    pub const fn pipe() -> Self {
        Self { address: Address::Pipe, credentials: None, asked: None }
    }

    /// Makes this peer equal to `other`, reusing its own buffer.
    pub(crate) fn assign(&mut self, other: &Self) {
        self.credentials = other.credentials;
        self.asked = other.asked;
        match (&mut self.address, &other.address) {
            (Address::Unix(mine), Address::Unix(theirs)) => mine.clone_from(theirs),
            (Address::Abstract(mine), Address::Abstract(theirs)) => mine.clone_from(theirs),
            (mine, theirs) => *mine = theirs.clone(),
        }
    }

    /// Makes this the peer of an abstract name, reusing its own buffer.
    pub(crate) fn assign_abstract(&mut self, name: &[u8]) {
        self.credentials = None;
        self.asked = None;
        if let Address::Abstract(mine) = &mut self.address {
            mine.clear();
            mine.extend_from_slice(name);
        } else {
            self.address = Address::Abstract(name.to_vec());
        }
    }

    /// Makes this the peer at a path, reusing its own buffer.
    pub(crate) fn assign_path(&mut self, path: &[u8]) {
        self.credentials = None;
        self.asked = None;
        let path = OsStr::from_bytes(path);
        if let Address::Unix(mine) = &mut self.address {
            let mine = mine.as_mut_os_string();
            mine.clear();
            mine.push(path);
        } else {
            self.address = Address::Unix(path.into());
        }
    }
}

impl fmt::Display for Peer {
    /// The address alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The way a connection was made, for
/// [`StreamHandler::open`](crate::StreamHandler::open).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Origin {
    /// A client connected to a listener.
    Accepted {
        /// The listener.
        listener: ListenerId,
        /// The endpoint that it listens on.
        local: Endpoint,
        /// The client.
        peer: Peer,
    },
    /// The handler connected to a listener elsewhere
    /// ([`Io::connect`](crate::Io::connect)).
    Connected {
        /// The tag given to `connect`.
        tag: u64,
        /// The peer that was connected to.
        peer: Peer,
    },
    /// The program made the connection and gave it to the reactor.
    Adopted {
        /// The other end.
        peer: Peer,
        /// The directions that carry bytes.
        side: Side,
    },
    /// One of the standard streams of a child process.
    Pipe {
        /// The child.
        child: ChildId,
        /// The tag given to [`Io::spawn`](crate::Io::spawn).
        tag: u64,
        /// The stream of the child.
        pipe: Pipe,
        /// Always [`Peer::pipe`].
        peer: Peer,
    },
}

/// The directions in which a connection carries bytes, as its handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Both ways, as on a socket.
    Both,
    /// Input alone: writing answers [`Sent::Gone`](crate::Sent::Gone), and the
    /// connection ends with its input.
    Input,
    /// Output alone.
    Output,
}

impl Origin {
    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        match self {
            Self::Accepted { peer, .. }
            | Self::Connected { peer, .. }
            | Self::Adopted { peer, .. }
            | Self::Pipe { peer, .. } => peer,
        }
    }
}
