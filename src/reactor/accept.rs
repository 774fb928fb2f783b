//! Phase 2: accepts connections, up to each listener's share of the turn, and
//! opens their sessions.

use std::io;

use super::Reactor;
use super::listeners::Single;
use crate::conn::{Conn, NO_SESSION};
use crate::core::NO_CONNECTION;
use crate::driver::{Closing, Driver};
use crate::id::{ConnId, ListenerId};
use crate::layer::LayerFactory;
use crate::life::Flags;
use crate::origin::{Origin, Peer};
use crate::printable::Printable;

/// The meaning of an accept(2) error for its listener.
enum Verdict {
    /// The backlog is empty.
    Empty,
    /// One connection is lost, or a signal interrupted the call: accept the
    /// next.
    Next,
    /// As `Next`, but every further accept may fail in the same way.
    Network,
    /// The system has no descriptor or no memory for another connection.
    Exhausted,
    /// The listening socket will never work again.
    Broken,
}

impl Verdict {
    fn of(error: &io::Error) -> Self {
        use rustix::io::Errno;
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::Empty;
        }
        if error.kind() == io::ErrorKind::Interrupted {
            return Self::Next;
        }
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Self::Exhausted,
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT) => Self::Broken,
            Some(Errno::CONNABORTED | Errno::PROTO) => Self::Next,
            // accept(2) passes network errors on, to be treated "like EAGAIN by
            // retrying", and EPERM comes from a firewall. EOPNOTSUPP could also
            // mean a datagram socket, but every listener here is a stream
            // socket.
            Some(
                Errno::PERM
                | Errno::OPNOTSUPP
                | Errno::TIMEDOUT
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH,
            ) => Self::Network,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Some(Errno::NONET) => Self::Network,
            // An unknown error may repeat at once; a pause keeps the loop from
            // spinning on it.
            _ => Self::Exhausted,
        }
    }
}

impl<D: Driver> Reactor<D> {
    /// Runs phase 2. A listener with connections left after its share of the
    /// turn continues in the next turn.
    #[inline]
    pub(super) fn accept(&mut self) {
        if self.listeners.can_accept() {
            self.accept_ready();
        }
    }

    #[inline(never)]
    fn accept_ready(&mut self) {
        self.tell_system_calls();
        let share = self.core.config.accepts_per_turn;
        let mut batch = self.listeners.ready.batch();
        while let Some(id) = self.listeners.ready.take(&mut batch) {
            self.accept_from(id, share);
            if self.listeners.is_ready(id) {
                self.listeners.ready.keep(&mut batch);
            }
        }
        // So none starves when there is room for a few connections only.
        self.listeners.ready.rotate();
    }

    /// Accepts up to `share` connections of one listener.
    pub(super) fn accept_from(&mut self, id: ListenerId, share: usize) {
        let mut failures = 0;
        for _ in 0..share {
            if self.listeners.paused.is_some() || !self.listeners.takes_more() {
                return;
            }
            let is_full = self.core.layers.under_way >= self.core.config.max_handshakes;
            if is_full && self.listeners.crowd(id) {
                return;
            }
            let Some(listener) = self.listeners.table.get_mut(id.0).filter(|listener| listener.ready) else {
                return;
            };
            let service = listener.service;
            let Some(socket) = &mut listener.socket else { return };
            let error = match self.driver.accept(socket) {
                Ok((stream, peer)) => {
                    self.receive(id, service, stream, peer);
                    continue;
                }
                Err(error) => error,
            };
            let verdict = Verdict::of(&error);
            match verdict {
                Verdict::Empty => {
                    listener.ready = false;
                    self.listeners.pause_logged = false;
                    return;
                }
                Verdict::Next | Verdict::Network => {
                    self.core.stats.accept_errors += 1;
                    log::debug!("listener {id}: a connection was lost before it was accepted: {error}");
                    failures += usize::from(matches!(verdict, Verdict::Network));
                    if failures == share {
                        // A pause keeps the loop from spinning on the error.
                        return self.listeners.pause(&mut self.core, &error);
                    }
                }
                Verdict::Exhausted => return self.listeners.pause(&mut self.core, &error),
                Verdict::Broken => return self.lose_listener(id, error),
            }
        }
    }

    /// Admits or refuses an accepted connection.
    fn receive(&mut self, listener: ListenerId, service: u16, stream: D::Stream, peer: Peer) {
        let outcome = self.try_receive(listener, service, stream, peer);
        if self.listeners.single.is_some() {
            self.listeners.single = Some(outcome.map_or(Single::Refused, Single::Served));
        }
    }

    fn try_receive(
        &mut self,
        listener: ListenerId,
        service: u16,
        stream: D::Stream,
        peer: Peer,
    ) -> Option<ConnId> {
        if let Err(error) = self.core.room_for(service) {
            self.core.stats.refused_full += 1;
            self.core.services[service as usize].stats.refused_full += 1;
            log::debug!("{peer} is turned away: {error}");
            self.driver.close(stream, Closing::InOrder);
            return None;
        }
        let verified = self
            .callbacks
            .run(&mut self.core, service, NO_CONNECTION, |handler, _| Ok(handler.verify(&peer)));
        self.after_callback(service, NO_CONNECTION, "verify");
        if !verified.unwrap_or(false) {
            self.core.stats.refused_by_handler += 1;
            self.core.services[service as usize].stats.refused_by_handler += 1;
            self.driver.close(stream, Closing::InOrder);
            return None;
        }
        let local = self.listeners.local(listener)?.clone();
        let layer = match self.listeners.layer(listener).map(LayerFactory::make) {
            None => None,
            Some(Ok(layer)) => Some(layer),
            Some(Err(error)) => {
                self.refuse_layer(stream, &peer, &error);
                return None;
            }
        };
        let origin = Origin::Accepted { listener, local, peer };
        let admitted = match layer {
            None => self.admit(service, stream, &origin),
            Some(layer) => self.admit_layered(service, stream, origin, layer),
        };
        match admitted {
            Ok(id) => {
                self.core.stats.accepted += 1;
                self.core.services[service as usize].stats.accepted += 1;
                self.is_served(id).then_some(id)
            }
            Err(error) => {
                self.listeners.pause(&mut self.core, &error);
                None
            }
        }
    }

    /// True when a connection has a session, or may have one after its handshake.
    fn is_served(&self, id: ConnId) -> bool {
        let is_served = |conn: &Conn| conn.session != NO_SESSION || conn.has(Flags::HANDSHAKING);
        self.core.conns.get(id.0).is_some_and(is_served)
    }

    #[cold]
    fn refuse_layer(&mut self, stream: D::Stream, peer: &Peer, error: &io::Error) {
        let core = &mut self.core;
        core.stats.handshake_failures += 1;
        if let Some(more) = core.rates.layers.allows(core.now()) {
            log::error!("{peer} is turned away, for its layer cannot be made: {}{more}", Printable(error));
        }
        self.driver.close(stream, Closing::InOrder);
    }

    /// Accepts the clients that have connected already, up to the backlog, and
    /// closes every listener.
    pub(super) fn close_listeners(&mut self) {
        for id in self.listeners.ids() {
            let Some(listener) = self.listeners.table.get_mut(id.0) else { continue };
            // A client may have connected whose event is not reported yet.
            listener.ready = true;
            let share = listener.options.backlog as usize;
            self.accept_from(id, share);
            self.listeners.close(&mut self.driver, id);
        }
        self.listeners.watch_failed(&mut self.core.timers);
    }
}
