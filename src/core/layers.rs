//! Layers in the core: begins one on an open connection, and lists handshakes.

use std::io;

use super::{Core, List};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::layer::ContainedLayer;
use crate::layers::Layered;
use crate::life::{Flags, Input};

impl Core {
    /// Puts a layer between the socket and the handler of an open connection. What
    /// was written before leaves as it is; what is written from now on, and what is
    /// read, goes through the layer. False if the connection cannot have one.
    pub(crate) fn start_layer(&mut self, id: ConnId, layer: ContainedLayer) -> bool {
        let direct = if id == self.current { self.direct.len() } else { 0 };
        let now = self.moment;
        let Some(conn) = self.conns.get_mut(id.0) else { return false };
        let has_both_halves = conn.life.takes_output() && conn.life.input() == Input::Open;
        if !conn.is_live() || !has_both_halves || conn.has(Flags::LAYERED.union(Flags::PIPE)) {
            return false;
        }
        self.direct.revoke();
        let clear = conn.queued() + direct;
        conn.set(Flags::LAYERED.union(Flags::HANDSHAKING));
        // The layer may have to speak first.
        conn.set(Flags::READABLE);
        if clear > 0 {
            conn.set(Flags::WIRE_PENDING);
        }
        conn.awaits_since = now;
        let left = conn.leftover.as_ref().map_or(0, |left| left.len());
        self.layers.insert(id.0, Layered::new(layer, clear));
        self.watch_deadlines(id);
        self.list(id, List::Read);
        if left > 0 {
            self.refuse_cleartext(id, left);
        }
        true
    }

    /// Ends a connection on which cleartext came before the handshake of its layer.
    /// It is nobody's: somebody on the way may have put it there, to have it taken
    /// for what came through the layer (RFC 3207, 5).
    #[cold]
    pub(super) fn refuse_cleartext(&mut self, id: ConnId, bytes: usize) {
        let text = format!("{bytes} bytes of cleartext came before the handshake that Io::start_layer began");
        self.fail(id, CloseReason::Io(io::Error::new(io::ErrorKind::InvalidData, text)));
    }

    /// Takes the next step of a handshake in the next turn.
    pub(crate) fn handshake_later(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        conn.set(Flags::READABLE);
        if conn.life.is_connecting() {
            self.to_establish.push(id, &mut self.pending);
        } else {
            self.list(id, List::Read);
        }
    }
}
