//! Who is at the other end, and how the connection came to be.

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
    /// A Unix socket with a name that is no path, in the abstract namespace
    /// (Linux; unix(7)): the name, without the NUL in front of it.
    Abstract(Vec<u8>),
    /// A Unix socket without a name, as clients usually have. Datagrams cannot
    /// be sent to it.
    Unnamed,
    /// No socket at all: a pipe, a terminal, a file.
    Pipe,
}

impl fmt::Display for Address {
    /// `127.0.0.1:7000`, `unix:/path`, `unix:@name`, `unix`, or `pipe`. Paths
    /// and names are the peer's to choose: what does not print is escaped
    /// ([`Printable`](crate::Printable)).
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
    /// The process; `None` if it has no number in our PID namespace
    /// (pid_namespaces(7)), as one outside of the container has none. It may
    /// have ended since and its number been given to another: do not base a
    /// permission on it.
    pub pid: Option<u32>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Peer {
    /// Its address.
    pub address: Address,
    /// Who runs it: on Unix sockets, where the system tells.
    pub credentials: Option<Credentials>,
    /// Which address of ours a datagram was sent to, if the socket is bound to
    /// an unspecified one (`0.0.0.0`, `[::]`) and so has several; on Linux.
    /// [`Io::send_to`](crate::Io::send_to) this peer then sends from there, as
    /// who asks it expects. Of a broadcast it is the address that received it;
    /// of a multicast it is the group, from which nothing is sent.
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

    /// Makes it equal to `other`, in the buffer that it has.
    pub(crate) fn assign(&mut self, other: &Self) {
        self.credentials = other.credentials;
        self.asked = other.asked;
        match (&mut self.address, &other.address) {
            (Address::Unix(mine), Address::Unix(theirs)) => mine.clone_from(theirs),
            (Address::Abstract(mine), Address::Abstract(theirs)) => mine.clone_from(theirs),
            (mine, theirs) => *mine = theirs.clone(),
        }
    }

    /// Makes it the peer of this abstract name, in the buffer that it has.
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

    /// Makes it the peer at this path, in the buffer that it has.
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

/// How a connection came to be, for [`StreamHandler::open`](crate::StreamHandler::open).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Origin {
    /// A client connected to a listener.
    Accepted {
        /// Which listener.
        listener: ListenerId,
        /// Where it listens.
        local: Endpoint,
        /// Who connected.
        peer: Peer,
    },
    /// We connected to a listener of somebody else's.
    Connected {
        /// What [`Io::connect`](crate::Io::connect) was told.
        tag: u64,
        /// Whom we connected to.
        peer: Peer,
    },
    /// The program made it and gave it to the reactor.
    Adopted {
        /// Who is at the other end.
        peer: Peer,
        /// Which way bytes go.
        side: Side,
    },
    /// One of the standard streams of a child process.
    Pipe {
        /// Which child.
        child: ChildId,
        /// What [`Io::spawn`](crate::Io::spawn) was told.
        tag: u64,
        /// Which of its streams.
        pipe: Pipe,
        /// Who is at the other end: no more than that it is a pipe.
        peer: Peer,
    },
}

/// Which way the bytes of a connection go, as its handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Both ways, as on a socket.
    Both,
    /// It has input and takes no output: writing answers
    /// [`Sent::Gone`](crate::Sent::Gone), and it ends with its input.
    Input,
    /// It takes output and has no input.
    Output,
}

impl Origin {
    /// Who is at the other end.
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
