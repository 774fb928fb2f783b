//! Outbound connections: begins them before phase 6, establishes them in phase
//! 2, and reports those that fail.

use std::io;

use super::{Reactor, Service};
use crate::close::{CloseReason, Deadline};
use crate::driver::Driver;
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::handler::StreamHandler;
use crate::id::ConnId;
use crate::io::ConnectOptions;
use crate::layer::ContainedLayer;
use crate::origin::{Origin, Peer};

impl<D: Driver> Reactor<D> {
    /// Connects to a listener elsewhere, as [`Io::connect`](crate::Io::connect)
    /// does from a callback. The next turn begins the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) at `max_connections`;
    /// [`Error::ForeignService`](crate::Error::ForeignService).
    pub fn connect<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        to: &Endpoint,
        tag: u64,
    ) -> Result<ConnId> {
        self.connect_with(service, to, tag, ConnectOptions::default())
    }

    /// The same with options, as [`Io::connect_with`](crate::Io::connect_with) does
    /// from a callback.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        to: &Endpoint,
        tag: u64,
        options: ConnectOptions,
    ) -> Result<ConnId> {
        let index = self.index_of(service)?;
        self.read_clock();
        self.core.connect(index, to.clone(), tag, options.layer.map(ContainedLayer::new))
    }

    /// Begins the connections that callbacks have asked for.
    #[cold]
    pub(super) fn begin_connecting(&mut self) {
        let mut batch = self.core.to_connect.batch();
        while let Some(id) = self.core.to_connect.take(&mut batch) {
            if !self.core.is_connecting(id) {
                continue;
            }
            let Some(conn) = self.core.conns.get_mut(id.0) else { continue };
            let Some(to) = conn.extras().to.take() else { continue };
            let service = conn.service;
            if let Err(error) = self.takes_connections(service) {
                self.core.fail(id, CloseReason::Io(error));
                continue;
            }
            // After EINTR nothing has begun: the call is repeated.
            let stream = loop {
                match self.driver.connect(&to) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => break outcome,
                }
            };
            match stream.and_then(|stream| self.register(id, stream)) {
                Ok(()) => self.core.watch_deadlines(id),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A queued connection has the same deadline as any other.
                    self.core.watch_deadlines(id);
                    if let Some(conn) = self.core.conns.get_mut(id.0) {
                        conn.extras().to = Some(to);
                    }
                    self.connect_queue.waiting.push(id);
                }
                Err(error) => self.core.fail(id, CloseReason::Io(error)),
            }
        }
        self.connect_queue.watch(&mut self.core.timers, self.core.moment);
    }

    /// Puts the queued connections back on the list, to be tried in this turn.
    #[cold]
    pub(super) fn connect_again(&mut self) {
        let core = &mut self.core;
        for id in self.connect_queue.take(&mut core.timers) {
            core.to_connect.push(id, &mut core.pending);
        }
    }

    /// Runs phase 2 for outbound connections: establishes or fails each that an
    /// event has named.
    #[cold]
    pub(super) fn establish(&mut self) {
        let mut batch = self.core.to_establish.batch();
        while let Some(id) = self.core.to_establish.take(&mut batch) {
            if !self.core.is_connecting(id) {
                continue;
            }
            #[cfg(feature = "workers")]
            if self.attempts.contains(id) {
                if let Some(peer) = self.look_at_attempts(id) {
                    self.open_connected(id, peer);
                }
                continue;
            }
            if self.core.layers.is_begun(id.0) {
                self.handshake(id);
                continue;
            }
            let Some(stream) = self.streams.get_mut(id.0) else { continue };
            match self.driver.connected(stream) {
                Ok(None) => {}
                Ok(Some(peer)) => self.open_connected(id, peer),
                // The next turn asks again.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.core.to_establish.push(id, &mut self.core.pending);
                }
                Err(error) => self.core.fail(id, CloseReason::Io(error)),
            }
        }
    }

    /// Goes on with an outbound connection that is established.
    fn open_connected(&mut self, id: ConnId, peer: Peer) {
        let Some(conn) = self.core.conns.get_mut(id.0) else { return };
        let tag = conn.extras().tag;
        self.connected(id, Origin::Connected { tag, peer });
    }

    /// Calls `connect_failed` for a connection that was not established.
    pub(super) fn tell_connect_failed(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        let (service, tag) = (conn.service, conn.extras().tag);
        let error = match conn.why.take().as_deref_mut() {
            Some(CloseReason::Io(error)) => std::mem::replace(error, io::ErrorKind::Other.into()),
            Some(CloseReason::TimedOut(Deadline::Connect)) => io::ErrorKind::TimedOut.into(),
            _ => io::ErrorKind::ConnectionAborted.into(),
        };
        #[cfg(feature = "workers")]
        let error = self.explain_attempts(id, error);
        let core = &mut self.core;
        core.stats.connect_failures += 1;
        // An error has no connection to end.
        let _ = self.callbacks.run(&mut self.core, service, id, |handler, io| {
            handler.connect_failed(io, tag, &error);
            Ok(())
        });
        self.after_callback(service, id, "connect_failed");
    }
}
