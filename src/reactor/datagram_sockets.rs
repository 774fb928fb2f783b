//! `DatagramSockets`: the driver's datagram sockets by id, and the buffer that
//! they receive into.

use crate::driver::{BindOptions, Driver, Token};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::id::SocketId;
use crate::origin::Peer;
use crate::service::ServeDatagrams;
use crate::slots::Slots;
use crate::socket::{Socket, Sockets};

/// The driver's side of a socket; the core holds its queue and flags.
pub(super) struct Port<T> {
    pub(super) socket: T,
    pub(super) local: Endpoint,
    /// True if datagrams from the reactor's own sockets are delivered.
    pub(super) from_own: bool,
    /// The erased `DatagramHandler` calls of its service.
    pub(super) via: &'static dyn ServeDatagrams,
}

/// All datagram sockets of a reactor.
pub(super) struct DatagramSockets<T> {
    ports: Slots<Port<T>>,
    /// The buffer of one received datagram; empty until the first socket is
    /// bound.
    read_buffer: Vec<u8>,
    /// The sender of that datagram.
    from: Peer,
}

impl<T> DatagramSockets<T> {
    pub(super) fn new() -> Self {
        Self { ports: Slots::new(), read_buffer: Vec::new(), from: Peer::unix(None, None) }
    }

    #[allow(clippy::too_many_arguments, reason = "each is another part of the reactor")]
    pub(super) fn open<D: Driver<Socket = T>>(
        &mut self,
        driver: &mut D,
        sockets: &mut Sockets,
        limit: usize,
        service: u16,
        via: &'static dyn ServeDatagrams,
        at: &Endpoint,
        options: &BindOptions,
    ) -> Result<SocketId> {
        if sockets.table.len() >= limit {
            return Err(Error::Full { what: "datagram sockets", field: Some("Config::max_sockets"), limit });
        }
        let id = SocketId(sockets.table.insert(Socket::new(service)));
        match driver.bind(at, options, Token::socket(id)) {
            Ok((socket, local)) => {
                self.ports.insert(id.0, Port { socket, local, from_own: options.from_own, via });
                Ok(id)
            }
            Err(source) => {
                sockets.table.remove(id.0);
                Err(Error::Bind { endpoint: at.to_string(), source })
            }
        }
    }

    /// Grows the buffer to datagrams of this length.
    pub(super) fn make_room(&mut self, longest: usize) {
        if self.read_buffer.len() < longest {
            self.read_buffer.resize(longest, 0);
        }
    }

    /// The port of an open socket, the buffer to receive into, and the sender
    /// to overwrite.
    #[inline]
    pub(super) fn read_buffer(&mut self, id: SocketId) -> Option<(&mut Port<T>, &mut [u8], &mut Peer)> {
        let port = self.ports.get_mut(id.0)?;
        Some((port, &mut self.read_buffer, &mut self.from))
    }

    /// The port of an open socket.
    #[inline]
    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Port<T>> {
        self.ports.get_mut(id.0)
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&Port<T>> {
        self.ports.get(id.0)
    }

    pub(super) fn take(&mut self, id: SocketId) -> Option<Port<T>> {
        self.ports.take(id.0)
    }
}
