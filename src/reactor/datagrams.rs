//! Datagrams: binds sockets, receives in phase 3, sends in phase 6, and reports
//! drained queues in phase 7.

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
use crate::socket::{NO_SOCKET, Socket};

/// The number of consecutive failures from which the socket itself counts as
/// failing: a socket holds one pending error of an earlier send, not many.
const FAILURES: usize = 16;

/// The outcome of one receive.
enum Received {
    Datagram,
    Failure,
    /// The socket is empty, or the receive was interrupted.
    Nothing,
}

impl<D: Driver> Reactor<D> {
    /// Adds a service of datagrams alone. Use [`add`](Self::add) for a handler
    /// that serves streams as well.
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

    /// Binds a datagram socket (UDP or Unix) for a service: the reactor
    /// delivers its datagrams from the next turn on. A service may have any
    /// number of sockets, and listeners beside them if its handler is a
    /// [`StreamHandler`](crate::StreamHandler) too.
    ///
    /// A file at the path of a Unix socket is treated as by
    /// [`listen_with`](Self::listen_with).
    ///
    /// # Errors
    ///
    /// [`Error::Bind`](crate::Error::Bind) with the system's reason: the
    /// address is in use, not permitted, not of this machine, or a stream
    /// endpoint. [`Error::Full`](crate::Error::Full) at
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

    /// Closes a datagram socket. Offers its queue to the system once more, in
    /// order, until the system has no room; drops and counts the rest, without
    /// a callback. `false` if the socket was closed already.
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
        self.listeners.resume(&mut self.core.timers);
        true
    }

    /// True while datagrams wait to be sent on a socket.
    pub(super) fn is_sending(&self, socket: SocketId) -> bool {
        self.core.datagrams.table.get(socket.0).is_some_and(|socket| socket.has_waiting())
    }

    /// Runs phase 3 for datagrams. Sockets that come onto the list meanwhile
    /// wait for the next turn.
    pub(super) fn receive_ready(&mut self) {
        let mut batch = self.core.datagrams.to_receive.batch();
        loop {
            // `handle_request` takes one request alone.
            if !self.listeners.takes_more() {
                self.core.datagrams.held = true;
                return self.core.datagrams.to_receive.stop(&mut batch);
            }
            let Some(id) = self.core.datagrams.to_receive.take(&mut batch) else { return };
            self.receive_share(id);
        }
    }

    /// Resumes the receiving that [`handle_request`](Self::handle_request) has
    /// held.
    pub(super) fn release_sockets(&mut self) {
        let core = &mut self.core;
        core.datagrams.held = false;
        if core.datagrams.has_listed() {
            core.pending.raise();
        }
    }

    /// Receives from one socket until it is empty, or its share of the turn is
    /// spent.
    fn receive_share(&mut self, id: SocketId) {
        let core = &mut self.core;
        let Some(socket) = core.datagrams.get_mut(id) else { return };
        socket.in_receive_list = false;
        if !socket.readable {
            return;
        }
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
        self.core.datagrams.list_to_receive(id, &mut self.core.pending);
    }

    /// Receives one datagram and delivers it.
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
                    log::debug!("{}: a datagram from {from} {why}", core.name(service));
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

    /// Handles a receive that failed.
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
                self.core.datagrams.list_to_receive(id, &mut self.core.pending);
                Received::Nothing
            }
            _ => {
                self.core.stats.receive_errors += 1;
                self.tell(id, &SocketError::Receive(error));
                Received::Failure
            }
        }
    }

    /// Runs phase 6 for datagrams.
    pub(super) fn send_queued(&mut self) {
        let mut batch = self.core.datagrams.to_send.batch();
        while let Some(id) = self.core.datagrams.to_send.take(&mut batch) {
            if let Some(socket) = self.core.datagrams.get_mut(id) {
                socket.in_send_list = false;
                self.send_waiting(id);
            }
        }
    }

    /// Sends the queue of one socket, as far as the system takes it and the
    /// socket's share of the turn allows.
    pub(super) fn send_waiting(&mut self, id: SocketId) {
        loop {
            let Self { driver, datagram_sockets, core, .. } = self;
            let Some(socket) = core.datagrams.get_mut(id) else { return };
            if !socket.has_waiting() {
                return;
            }
            if !socket.writable {
                // A writable edge, or the write-stall timer, leads back here.
                return core.watch_stall(id);
            }
            let share = core.services[socket.service as usize].limits.datagrams_per_turn;
            if !socket.may_send(core.stats.turns, share) {
                return core.datagrams.list_to_send(id, &mut core.pending);
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
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return core.datagrams.list_to_send(id, &mut core.pending);
                }
                Err(error) => self.drop_first(id, Some(&error)),
            }
        }
    }

    /// Offers the whole queue of a socket that closes: an earlier `WouldBlock`
    /// may be outdated, and the share of a turn no longer counts.
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

    /// Removes the first datagram of the queue, sent or lost.
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

    /// Drops the queue after a write stall, unless the system takes a datagram
    /// of it when asked once more.
    pub(super) fn give_up_sending(&mut self, id: SocketId) {
        let Some(socket) = self.core.datagrams.get_mut(id) else { return };
        socket.stalled = None;
        socket.writable = true;
        self.send_waiting(id);
        let Some(socket) = self.core.datagrams.get_mut(id) else { return };
        if socket.writable || !socket.has_waiting() {
            return;
        }
        // The next datagram is offered again, even without a writable edge.
        socket.writable = true;
        for _ in 0..socket.waiting() {
            self.drop_first(id, Some(&io::ErrorKind::TimedOut.into()));
        }
    }

    fn tell(&mut self, id: SocketId, error: &SocketError<'_>) {
        self.with_socket(id, "error", |via, serve, io| via.error(serve, io, id, error));
    }

    /// Runs phase 7 for datagrams.
    pub(super) fn tell_drained_sockets(&mut self) {
        let mut batch = self.core.datagrams.to_drain.batch();
        while let Some(id) = self.core.datagrams.to_drain.take(&mut batch) {
            if let Some(socket) = self.core.datagrams.get_mut(id) {
                socket.in_drain_list = false;
                self.with_socket(id, "drained", |via, serve, io| via.drained(serve, io, id));
            }
        }
    }

    /// Runs a callback of a socket; what the callback sends is put on the list
    /// to send.
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

    /// Marks every socket readable at a shutdown, so that what has arrived is
    /// answered: its event may not be reported yet.
    pub(super) fn drain_sockets(&mut self) {
        let core = &mut self.core;
        for key in core.datagrams.table.keys() {
            if let Some(socket) = core.datagrams.table.get_mut(key) {
                socket.readable = true;
            }
            core.datagrams.list_to_receive(SocketId(key), &mut core.pending);
        }
    }

    /// Closes the sockets that are empty and have nothing to send.
    pub(super) fn close_quiet_sockets(&mut self) {
        self.close_sockets(|socket| !socket.readable && !socket.has_waiting());
    }

    /// Closes every socket, whatever it has still to do.
    pub(super) fn close_all_sockets(&mut self) {
        self.close_sockets(|_| true);
    }

    fn close_sockets(&mut self, closes: impl Fn(&Socket) -> bool) {
        let sockets = self.core.datagrams.table.iter().filter(|(_, socket)| closes(socket));
        let ids: Vec<SocketId> = sockets.map(|(key, _)| SocketId(key)).collect();
        for id in ids {
            self.close_socket(id);
        }
    }
}
