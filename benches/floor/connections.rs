//! The common beginning of the bare loops on mio: a poll, a listener, a slab.

use std::io;
use std::net::TcpListener;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

/// The listener's token; a connection has its place in the slab.
pub(super) const LISTENER: Token = Token(usize::MAX);

/// The one read buffer.
pub(super) const BUFFER: usize = 64 << 10;

/// Events taken at once.
const EVENTS: usize = 1024;

/// The poll, the listener and every connection.
pub(super) struct Bare<C> {
    pub(super) poll: Poll,
    listener: mio::net::TcpListener,
    pub(super) connections: Slab<C>,
}

impl<C> Bare<C> {
    pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, connections: Slab::new() })
    }

    pub(super) fn events() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Accepts everybody who waits. A connection is registered once, for both
    /// directions, and never again.
    pub(super) fn accept(&mut self, connection: impl Fn(TcpStream) -> C) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    let entry = self.connections.vacant_entry();
                    let both = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut stream, Token(entry.key()), both)?;
                    entry.insert(connection(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The outcome of one call, with a full or an empty socket for no bytes.
pub(super) fn unless_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
