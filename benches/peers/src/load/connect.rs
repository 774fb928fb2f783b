//! Connecting, from addresses enough that their ports never run out.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::patience;
use super::pattern::{Pattern, Place};
use crate::Result;

/// Each address of the loopback has ports of its own, some 28,000, and each of
/// them rests for a minute after its connection (TIME_WAIT): churn would run
/// out of those of one address in a second or two.
const ADDRESSES: usize = 250;

/// Makes connections to a server.
#[derive(Debug)]
pub(super) struct Connector {
    server: SocketAddr,
    made: usize,
    narrow: bool,
}

/// Bytes in a segment, and in the receive buffer, of a narrow connection. The
/// kernel makes more of both, and the server's send buffer follows from the
/// segments (tcp(7)).
const NARROW: u32 = 1024;

impl Connector {
    pub(super) const fn new(server: SocketAddr) -> Self {
        Self { server, made: 0, narrow: false }
    }

    /// Connections into which next to nothing fits until it is read, so that
    /// the rest has to stay with the server.
    pub(super) const fn narrow(self) -> Self {
        Self { narrow: true, ..self }
    }

    /// A connection that blocks, for a bounded time.
    pub(super) fn connect(&mut self) -> io::Result<TcpStream> {
        #[allow(clippy::cast_possible_truncation, reason = "there are 250")]
        let last = (self.made % ADDRESSES) as u8 + 1;
        self.made += 1;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 1, last], 0)).into())?;
        socket.set_tcp_nodelay(true)?;
        if self.narrow {
            socket.set_recv_buffer_size(NARROW as usize)?;
            socket.set_tcp_mss(NARROW)?;
        }
        // It bounds connect as well (socket(7)).
        socket.set_write_timeout(Some(patience::LIMIT))?;
        socket.set_read_timeout(Some(patience::LIMIT))?;
        socket.connect(&self.server.into())?;
        Ok(socket.into())
    }

    /// Connections that do not block, ready for a poll.
    pub(super) fn connect_many(&mut self, count: usize) -> io::Result<Vec<mio::net::TcpStream>> {
        let connect = |_| {
            let stream = self.connect()?;
            stream.set_nonblocking(true)?;
            Ok(mio::net::TcpStream::from_std(stream))
        };
        (0..count).map(connect).collect()
    }

    /// Connections that each have had one echo of 64 bytes and are silent.
    pub(super) fn connect_idle(&mut self, count: usize, pattern: &Pattern) -> Result<Vec<TcpStream>> {
        let mut idle = Vec::with_capacity(count);
        for place in 0..count {
            let mut stream = self.connect().map_err(|error| format!("idle connection {place}: {error}"))?;
            let message = pattern.piece(Place::of_connection(place), 64);
            let mut reply = [0; 64];
            stream.write_all(message)?;
            stream.read_exact(&mut reply).map_err(|error| format!("idle connection {place}: {error}"))?;
            if reply != message {
                return Err(format!("idle connection {place} got other bytes than it sent").into());
            }
            idle.push(stream);
        }
        Ok(idle)
    }
}

/// Whether connections are still there and have nothing to say.
pub(super) fn check_silent(connections: &[TcpStream]) -> Result<()> {
    for (place, stream) in connections.iter().enumerate() {
        stream.set_nonblocking(true)?;
        match super::unless_blocked((&*stream).read(&mut [0; 64])) {
            Ok(None) => {}
            Ok(Some(0)) => return Err(format!("idle connection {place} was closed").into()),
            Ok(Some(_)) => return Err(format!("idle connection {place} got what it did not ask for").into()),
            Err(error) => return Err(format!("idle connection {place}: {error}").into()),
        }
    }
    Ok(())
}
