//! Handshakes of layers: takes their steps, opens the sessions of connections whose
//! layer is ready, and logs those that fail.

use super::Reactor;
use super::layered::{Shaken, shake_hands};
use super::transfer::Wire;
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::core::List;
use crate::driver::Driver;
use crate::id::ConnId;
use crate::life::Flags;
use crate::origin::Origin;

impl<D: Driver> Reactor<D> {
    /// Takes a step of a connection's handshake, unless this turn has had its share
    /// of them.
    #[cold]
    pub(super) fn handshake(&mut self, id: ConnId) {
        let Self { driver, core, streams, .. } = self;
        if !core.layers.has_steps(core.stats.turns, core.config.handshakes_per_turn) {
            return core.handshake_later(id);
        }
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        let Some(socket) = streams.get_mut(id.0) else { return };
        let mut wire = Wire { driver, socket, stats: &mut core.stats, now: core.moment };
        let outcome = shake_hands(&mut wire, conn, &mut core.layers, id.0);
        if conn.has(Flags::WIRE_PENDING) {
            core.list(id, List::Flush);
        }
        match outcome {
            Ok(Shaken::Ready) => self.layer_ready(id),
            Ok(Shaken::Again) => self.core.handshake_later(id),
            Ok(Shaken::Blocked) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.core.handshake_later(id),
            Err(error) => self.core.broken(id, error),
        }
    }

    /// Opens the session of a connection whose layer is ready, or lets a session go
    /// on that has begun the layer.
    fn layer_ready(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        core.stats.handshakes += 1;
        core.layers.completed(id.0);
        conn.unset(Flags::HANDSHAKING);
        conn.stalled_since = core.moment;
        if conn.life.is_connecting() {
            let origin = core.layers.get_mut(id.0).and_then(|layered| layered.origin.take());
            if let Some(origin) = origin {
                self.established(id, &origin);
                if let Some(layered) = self.core.layers.get_mut(id.0) {
                    layered.origin = Some(origin);
                }
            }
            self.uncrowd();
            return;
        }
        // The layer may hold plaintext, of which no event tells.
        conn.set(Flags::READABLE);
        conn.awaits_since = core.moment;
        conn.frame_since = core.moment;
        core.watch_deadlines(id);
        core.list(id, List::Flush);
        core.list(id, List::Read);
        if self.core.is_live(id) {
            self.with_session(id, "layer_ready", |handler, io, session| handler.layer_ready(io, session));
        }
    }

    /// Begins the handshake of an outbound connection that has just been made, or
    /// opens its session if it has no layer.
    pub(super) fn connected(&mut self, id: ConnId, origin: Origin) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        // The one event may also have meant input, and the end right behind it.
        conn.set(Flags::WRITABLE.union(Flags::READABLE).union(Flags::HANGUP));
        if !conn.has(Flags::HANDSHAKING) {
            return self.established(id, &origin);
        }
        if let Some(layered) = core.layers.get_mut(id.0) {
            layered.origin = Some(Box::new(origin));
        }
        self.handshake(id);
    }

    /// Opens the session of a connection that was being made.
    fn established(&mut self, id: ConnId, origin: &Origin) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return };
        core.stats.connected += u64::from(conn.life.is_unanswered());
        conn.life.establish();
        // With a layer, it may hold plaintext, of which no event tells.
        conn.set(Flags::READABLE);
        conn.last_activity = core.moment;
        conn.awaits_since = core.moment;
        conn.stalled_since = core.moment;
        self.open(id, origin);
        // Output and a FIN queued before can leave now.
        self.core.list(id, List::Flush);
        self.core.list(id, List::Read);
        self.core.check_empty_queue(id);
    }

    /// Lets listeners go on that wait for a handshake to end.
    pub(super) fn uncrowd(&mut self) {
        let Self { core, listeners, .. } = self;
        if core.layers.under_way < core.config.max_handshakes {
            listeners.uncrowd(&mut core.pending);
        }
    }

    /// Logs that a layer has failed: a handshake, for whatever reason, or later by an
    /// error of its own. Errors of the system are not the layer's.
    #[cold]
    pub(super) fn log_failed_layer(&mut self, id: ConnId) {
        let core = &mut self.core;
        let Some(conn) = core.conns.get(id.0) else { return };
        let Some(why) = conn.why.as_deref() else { return };
        let is_handshake = conn.has(Flags::HANDSHAKING);
        if is_handshake {
            core.stats.handshake_failures += 1;
        }
        if !is_handshake && !is_of_layer(why) || is_unasked(conn, why) {
            return;
        }
        let now = core.now();
        let Some(layered) = core.layers.get_mut(id.0) else { return };
        let Some(more) = core.rates.layers.allows(now) else { return };
        let name = layered.layer.name();
        let what = if is_handshake { "handshake" } else { "connection" };
        match &layered.origin {
            Some(origin) => log::info!("{name} {what} with {}: {why}{more}", origin.peer()),
            None => log::info!("{name} {what} of connection {id}: {why}{more}"),
        }
    }
}

/// True for an error that the layer has made, and not the system.
fn is_of_layer(why: &CloseReason) -> bool {
    matches!(why, CloseReason::Io(error) if error.raw_os_error().is_none() && error.get_ref().is_some())
}

/// True where nobody has to be told: the reactor has shut down, or the handler has
/// ended a connection that it had asked for.
const fn is_unasked(conn: &Conn, why: &CloseReason) -> bool {
    matches!(why, CloseReason::Shutdown | CloseReason::Closed | CloseReason::Aborted)
        || conn.life.is_unanswered()
}
