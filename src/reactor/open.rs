//! Opening: registers the stream of a connection with the driver, and opens its
//! session. Accepted, outbound and adopted connections all come through here, and so
//! do the pipes of children.

use std::io;

use super::Reactor;
use crate::close::CloseReason;
use crate::core::List;
use crate::driver::{Closing, Driver, Token};
use crate::id::ConnId;
use crate::layer::ContainedLayer;
use crate::life::{Flags, Input};
use crate::origin::Origin;

impl<D: Driver> Reactor<D> {
    /// Makes a connection of a stream, registers it and opens its session.
    pub(super) fn admit(&mut self, service: u16, stream: D::Stream, origin: &Origin) -> io::Result<ConnId> {
        let id = self.core.admit(service);
        if let Err(error) = self.register(id, stream) {
            self.core.free(id);
            return Err(error);
        }
        self.open(id, origin);
        Ok(id)
    }

    /// Makes a connection of a stream, and registers it: its session is opened when
    /// its layer is ready.
    pub(super) fn admit_layered(
        &mut self,
        service: u16,
        stream: D::Stream,
        origin: Origin,
        layer: ContainedLayer,
    ) -> io::Result<ConnId> {
        let id = self.core.admit_layered(service, layer, origin);
        if let Err(error) = self.register(id, stream) {
            self.core.free(id);
            return Err(error);
        }
        self.core.watch_deadlines(id);
        // The layer may have to speak first.
        self.core.handshake_later(id);
        Ok(id)
    }

    /// Registers a connection's stream with the driver, so that its events are
    /// reported.
    pub(super) fn register(&mut self, id: ConnId, mut stream: D::Stream) -> io::Result<()> {
        let registered = loop {
            match self.driver.register(&mut stream, Token::connection(id)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        if let Err(error) = registered {
            self.driver.close(stream, Closing::InOrder);
            return Err(error);
        }
        self.streams.insert(id.0, stream);
        Ok(())
    }

    /// Opens the session of a connection.
    pub(super) fn open(&mut self, id: ConnId, origin: &Origin) {
        let Some(conn) = self.core.conns.get(id.0) else { return };
        let service = conn.service;
        let outcome = self.callbacks.run(&mut self.core, service, id, |handler, io| handler.open(io, origin));
        self.after_callback(service, id, "open");
        match outcome {
            Ok(session) => {
                if let Some(conn) = self.core.conns.get_mut(id.0) {
                    conn.session = session;
                }
            }
            Err(why) => {
                self.log_refusal(id, origin, &why);
                self.core.end(id, why);
            }
        }
        // A refused connection needs its deadlines too: its peer may take no
        // output.
        self.core.watch_deadlines(id);
        self.flush_or_defer(id);
    }

    /// Logs why a handler has refused a connection: as a warning, if that is its error.
    #[cold]
    fn log_refusal(&mut self, id: ConnId, origin: &Origin, why: &CloseReason) {
        let (now, peer) = (self.core.now(), origin.peer());
        if !matches!(why, CloseReason::Failed(_)) {
            log::debug!("{peer}: connection {id} is refused: {why}");
        } else if let Some(more) = self.core.rates.failures.allows(now) {
            log::warn!("{peer}: connection {id} is refused: {why}{more}");
        }
    }

    /// Opens the session of a pipe, a terminal or a file. It may have input
    /// that no event reports, for a file is always ready; and more input may
    /// follow a short read, until a read returns `WouldBlock`.
    pub(super) fn open_one_way(&mut self, id: ConnId, origin: &Origin) {
        if let Some(conn) = self.core.conns.get_mut(id.0) {
            conn.life.establish();
            if conn.life.input() == Input::Done {
                conn.set(Flags::WRITABLE);
            } else {
                conn.set(Flags::READABLE.union(Flags::HANGUP));
            }
        }
        self.open(id, origin);
        self.core.list(id, List::Flush);
        self.core.list(id, List::Read);
        self.core.check_empty_queue(id);
    }
}
