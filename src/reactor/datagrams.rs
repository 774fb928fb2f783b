//! Datagrams: binding sockets, and their part of phases 3, 6 and 7.

use std::io;

use super::listeners::Single;
use super::{Reactor, Service};
use crate::close::CloseReason;
use crate::core::NO_CONNECTION;
use crate::datagram::{DatagramHandler, SocketError};
use crate::driver::{BindOptions, Driver};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::id::SocketId;
use crate::io::Io;
use crate::limits::Limits;
use crate::service::{Datagrams, ErasedHandler, ServeDatagrams, Taken, via};
use crate::socket::NO_SOCKET;

/// So many failures to receive in a row are no pending errors of something
/// sent earlier, of which a socket holds one: it is the socket that fails.
const FAILURES: usize = 16;

/// What receiving once came to.
enum Received {
    Datagram,
    Failure,
    /// Nothing more, for now.
    Nothing,
}

impl<D: Driver> Reactor<D> {
    /// Adds a service of datagrams alone. A handler that serves streams as
    /// well is given to [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_datagram<S: DatagramHandler>(&mut self, handler: S, limits: Limits) -> Result<Service<S>> {
        self.add_service(Box::new(Datagrams::new(handler)), limits)
    }

    /// Binds a datagram socket for a service, with [`BindOptions::default`].
    ///
    /// # Errors
    ///
    /// As [`bind_with`](Self::bind_with).
    pub fn bind<S: DatagramHandler>(&mut self, service: &Service<S>, at: &Endpoint) -> Result<SocketId> {
        self.bind_with(service, at, &BindOptions::default())
    }

    /// Binds a datagram socket (UDP or Unix) for a service: its datagrams are
    /// handed over from the next turn on. A service may have any number of
    /// sockets, and listeners beside them if its handler is a
    /// [`StreamHandler`](crate::StreamHandler) too.
    ///
    /// What is at the path of a Unix socket is dealt with as for
    /// [`listen_with`](Self::listen_with).
    ///
    /// # Errors
    ///
    /// [`Error::Bind`](crate::Error::Bind) with the system's reason: the
    /// address is in use, not permitted, not there, or a stream endpoint.
    /// [`Error::Full`](crate::Error::Full) at
    /// [`Config::max_sockets`](crate::Config::max_sockets).
    /// [`Error::ForeignService`](crate::Error::ForeignService).
    pub fn bind_with<S: DatagramHandler>(
        &mut self,
        service: &Service<S>,
        at: &Endpoint,
        options: &BindOptions,
    ) -> Result<SocketId> {
        let index = self.index_of(service)?;
        let core = &mut self.core;
        let limit = core.config.max_sockets;
        let driver = &mut self.driver;
        let id =
            self.datagram_sockets.open(driver, &mut core.datagrams, limit, index, via::<S>(), at, options)?;
        let longest = core.services[index as usize].limits.max_datagram;
        self.datagram_sockets.make_room(longest);
        Ok(id)
    }

    /// Closes a datagram socket. All that waits to be sent is offered to the
    /// system once more, in order, until it has no room; what it does not take
    /// is dropped and counted, and no handler is told. `false` if it was
    /// closed already.
    pub fn close_socket(&mut self, socket: SocketId) -> bool {
        self.offer_once_more(socket);
        let core = &mut self.core;
        let Some(state) = core.datagrams.table.remove(socket.0) else { return false };
        core.stats.datagrams_unsent += state.waiting() as u64;
        if let Some(timer) = state.stalled {
            core.timers.remove(timer);
        }
        if let Some(port) = self.datagram_sockets.take(socket) {
            self.driver.close_socket(port.socket);
        }
        self.resume_accepting();
        true
    }

    /// Something waits to be sent on a socket.
    pub(super) fn is_sending(&self, socket: SocketId) -> bool {
        self.core.datagrams.table.get(socket.0).is_some_and(|socket| socket.has_waiting())
    }

    pub(super) fn socket_local(&self, socket: SocketId) -> Option<&Endpoint> {
        self.core.datagrams.table.get(socket.0)?;
        self.datagram_sockets.get(socket).map(|port| &port.local)
    }

    /// Phase 3, of datagrams. What comes onto the list meanwhile is for the
    /// next turn.
    pub(super) fn receive_ready(&mut self) {
        let listed = self.core.datagrams.to_receive.len();
        for place in 0..listed {
            // For `handle_request` one request is enough.
            if !self.listeners.takes_more() {
                self.core.datagrams.held = true;
                self.core.datagrams.to_receive.drain(..place);
                return;
            }
            let id = self.core.datagrams.to_receive[place];
            self.core.datagrams.receives_now(id);
            self.receive_share(id);
        }
        self.core.datagrams.to_receive.drain(..listed);
    }

    /// Lets receiving go on that [`handle_request`](Self::handle_request) held.
    pub(super) fn release_sockets(&mut self) {
        let core = &mut self.core;
        core.datagrams.held = false;
        core.listed |= core.datagrams.has_listed();
    }

    /// Receives from one socket until nothing more is there, or its share of
    /// the turn is spent.
    fn receive_share(&mut self, id: SocketId) {
        let core = &mut self.core;
        let Some(socket) = core.datagrams.get_mut(id).filter(|socket| socket.readable) else { return };
        let share = core.services[socket.service as usize].limits.datagrams_per_turn;
        let mut failures = 0;
        for _ in 0..share {
            match self.receive_once(id) {
                Received::Datagram => failures = 0,
                Received::Failure => failures += 1,
                Received::Nothing => return,
            }
            if failures == FAILURES {
                let core = &mut self.core;
                if let Some(more) = core.rates.sockets.allows(core.now()) {
                    log::error!(
                        "socket {id}: receiving fails again and again; it waits for the next event{more}"
                    );
                }
                if let Some(socket) = core.datagrams.get_mut(id) {
                    socket.readable = false;
                }
                return;
            }
            if !self.listeners.takes_more() {
                break;
            }
        }
        self.core.receive_later(id);
    }

    /// Receives one datagram and hands it over.
    fn receive_once(&mut self, id: SocketId) -> Received {
        let Self { driver, datagram_sockets, core, callbacks, .. } = self;
        let Some(socket) = core.datagrams.get_mut(id) else { return Received::Nothing };
        let service = socket.service;
        let longest = core.services[service as usize].limits.max_datagram;
        let Some((port, read_buffer, from)) = datagram_sockets.read_buffer(id) else {
            return Received::Nothing;
        };
        let len = match driver.receive(&mut port.socket, &mut read_buffer[..longest], from) {
            Ok(len) => len,
            Err(error) => return self.not_received(id, &error),
        };
        if !port.from_own && driver.is_own(from) {
            core.stats.datagrams_from_own += 1;
            return Received::Datagram;
        }
        if len > longest {
            core.stats.datagrams_too_long += 1;
            let from = from.clone();
            self.tell(id, &SocketError::TooLong { from: &from, len });
            return Received::Datagram;
        }
        core.stats.datagrams_in += 1;
        core.stats.bytes_in += len as u64;
        core.datagrams.current = id;
        let via = port.via;
        let outcome = callbacks.run(core, service, NO_CONNECTION, |handler, io| {
            via.datagram(handler, io, id, from, &read_buffer[..len])
        });
        core.datagrams.current = NO_SOCKET;
        let delivered = match outcome {
            Ok(Taken::HandedOver) => true,
            Ok(Taken::Refused) => {
                core.stats.datagrams_refused += 1;
                false
            }
            Err(why) => {
                if !matches!(why, CloseReason::Panicked(_)) {
                    log::debug!("{}: a datagram from {from} {why}", callbacks.name(service));
                }
                true
            }
        };
        self.after_callback(service, NO_CONNECTION, "datagram");
        if self.listeners.single == Some(Single::Awaited) {
            self.listeners.single = Some(if delivered { Single::Answered(id) } else { Single::Refused });
        }
        self.send_waiting(id);
        Received::Datagram
    }

    /// A receive that gave nothing.
    #[cold]
    fn not_received(&mut self, id: SocketId, error: &io::Error) -> Received {
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                if let Some(socket) = self.core.datagrams.get_mut(id) {
                    socket.readable = false;
                }
                Received::Nothing
            }
            io::ErrorKind::Interrupted => {
                self.core.receive_later(id);
                Received::Nothing
            }
            _ => {
                self.core.stats.receive_errors += 1;
                self.tell(id, &SocketError::Receive(error));
                Received::Failure
            }
        }
    }

    /// Phase 6, of datagrams.
    pub(super) fn send_queued(&mut self) {
        let listed = self.core.datagrams.to_send.len();
        for place in 0..listed {
            let id = self.core.datagrams.to_send[place];
            self.core.datagrams.sends_now(id);
            self.send_waiting(id);
        }
        self.core.datagrams.to_send.drain(..listed);
    }

    /// Sends what waits on one socket, as much as the system takes and its
    /// share of the turn allows.
    pub(super) fn send_waiting(&mut self, id: SocketId) {
        loop {
            let Self { driver, datagram_sockets, core, .. } = self;
            let Some(socket) = core.datagrams.get_mut(id) else { return };
            if !socket.has_waiting() {
                return;
            }
            if !socket.writable {
                // An edge, or the end of patience, brings us back.
                return core.watch_stall(id);
            }
            let share = core.services[socket.service as usize].limits.datagrams_per_turn;
            if !socket.may_send(core.stats.turns, share) {
                return core.send_later(id);
            }
            let (Some(outgoing), Some(port)) = (socket.first(), datagram_sockets.get_mut(id)) else { return };
            match driver.send_to(&mut port.socket, &outgoing.to, &outgoing.data) {
                Ok(()) => {
                    core.stats.datagrams_out += 1;
                    core.stats.bytes_out += outgoing.data.len() as u64;
                    core.took_one(id);
                    self.drop_first(id, None);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return core.send_later(id),
                Err(error) => self.drop_first(id, Some(&error)),
            }
        }
    }

    /// Offers all that waits on a socket which closes: what the system said of
    /// it before may be over, and no share of a turn counts any more.
    fn offer_once_more(&mut self, id: SocketId) {
        let Self { driver, datagram_sockets, core, .. } = self;
        let Some(port) = datagram_sockets.get_mut(id) else { return };
        let mut interruptions = 0;
        while let Some(outgoing) = core.datagrams.get_mut(id).and_then(|socket| socket.first()) {
            match driver.send_to(&mut port.socket, &outgoing.to, &outgoing.data) {
                Ok(()) => {
                    core.stats.datagrams_out += 1;
                    core.stats.bytes_out += outgoing.data.len() as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted && interruptions < FAILURES => {
                    interruptions += 1;
                    continue;
                }
                Err(_) => core.stats.datagrams_unsent += 1,
            }
            interruptions = 0;
            core.datagrams.take_first(id);
        }
    }

    /// The first that waits has left, or is lost.
    fn drop_first(&mut self, id: SocketId, error: Option<&io::Error>) {
        let core = &mut self.core;
        let Some(outgoing) = core.datagrams.take_first(id) else { return };
        core.after_sending(id);
        if let Some(error) = error {
            core.stats.datagrams_unsent += 1;
            self.tell(id, &SocketError::Send { to: &outgoing.to, len: outgoing.data.len(), error });
        }
        self.core.datagrams.reuse(outgoing);
    }

    /// The system has taken nothing for too long: unless it takes some when
    /// asked once more, what waits is lost.
    pub(super) fn give_up_sending(&mut self, id: SocketId) {
        let Some(socket) = self.core.datagrams.get_mut(id) else { return };
        socket.stalled = None;
        socket.writable = true;
        self.send_waiting(id);
        let Some(socket) = self.core.datagrams.get_mut(id) else { return };
        if socket.writable || !socket.has_waiting() {
            return;
        }
        // It is asked again for what comes next, whether or not it has told.
        socket.writable = true;
        for _ in 0..socket.waiting() {
            self.drop_first(id, Some(&io::ErrorKind::TimedOut.into()));
        }
    }

    fn tell(&mut self, id: SocketId, error: &SocketError<'_>) {
        self.with_socket(id, "error", |via, serve, io| via.error(serve, io, id, error));
    }

    /// Phase 7, of datagrams.
    pub(super) fn tell_drained_sockets(&mut self) {
        let listed = self.core.datagrams.to_drain.len();
        for place in 0..listed {
            let id = self.core.datagrams.to_drain[place];
            self.core.datagrams.drained_now(id);
            self.with_socket(id, "drained", |via, serve, io| via.drained(serve, io, id));
        }
        self.core.datagrams.to_drain.drain(..listed);
    }

    /// Runs a callback of a socket; what it sends is on the list.
    fn with_socket(
        &mut self,
        id: SocketId,
        what: &'static str,
        callback: impl FnOnce(&dyn ServeDatagrams, &mut dyn ErasedHandler, &mut Io<'_>),
    ) {
        let Some(socket) = self.core.datagrams.get_mut(id) else { return };
        let service = socket.service;
        let Some(via) = self.datagram_sockets.get(id).map(|port| port.via) else { return };
        self.with_service(service, what, |handler, io| callback(via, handler, io));
    }

    // Shutdown

    /// What has arrived is to be answered; its event may still be on its way.
    pub(super) fn drain_sockets(&mut self) {
        let core = &mut self.core;
        for key in core.datagrams.table.keys() {
            if let Some(socket) = core.datagrams.table.get_mut(key) {
                socket.readable = true;
            }
            core.receive_later(SocketId(key));
        }
    }

    /// Closes the sockets on which nothing more has been found and nothing
    /// waits; all of them, if `at_once`.
    pub(super) fn close_sockets(&mut self, at_once: bool) {
        let sockets = &self.core.datagrams.table;
        let quiet: Vec<SocketId> = sockets
            .iter()
            .filter(|(_, socket)| at_once || !socket.readable && !socket.has_waiting())
            .map(|(key, _)| SocketId(key))
            .collect();
        for id in quiet {
            self.close_socket(id);
        }
    }
}
