//! Phase 7: reports queues that drained and connections that closed, and frees
//! their ids.

use super::Reactor;
use crate::close::CloseReason;
use crate::conn::{Conn, NO_SESSION};
use crate::driver::{Closing, Driver};
use crate::id::ConnId;
use crate::life::Flags;

impl<D: Driver> Reactor<D> {
    /// Runs phase 7. Ids are freed here alone: until now an event or a work
    /// list of this turn could still name them.
    #[inline]
    pub(super) fn reap(&mut self) {
        if !self.core.to_drain.is_empty() {
            self.tell_drained();
        }
        if !self.core.datagrams.to_drain.is_empty() {
            self.tell_drained_sockets();
        }
        if !self.core.to_reap.is_empty() {
            self.reap_listed();
        }
        #[cfg(feature = "workers")]
        self.close_attempts();
        if !self.core.children.to_tell.is_empty() {
            self.tell_exits();
        }
    }

    fn reap_listed(&mut self) {
        // A connection that ends during this loop is for the next turn: a
        // handler that reopens in `close` what it ends would otherwise keep
        // this turn from its end. Once `is_over` is set no handler can begin
        // anything, so the loop may run to the end of the list.
        let mut batch = self.core.to_reap.batch();
        while let Some(id) = self.core.to_reap.take(&mut batch) {
            self.reap_one(id);
            if self.core.is_over {
                self.core.to_reap.extend(&mut batch);
            }
        }
    }

    fn tell_drained(&mut self) {
        let mut batch = self.core.to_drain.batch();
        while let Some(id) = self.core.to_drain.take(&mut batch) {
            if let Some(conn) = self.core.conns.get_mut(id.0) {
                conn.unset(Flags::DRAINED_PENDING);
                if conn.is_live() {
                    self.core.release(id);
                    self.with_session(id, "drained", |handler, io, session| handler.drained(io, session));
                }
            }
        }
    }

    fn reap_one(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id.0) else { return };
        conn.unset(Flags::IN_REAP_LIST);
        if conn.life.answer() {
            self.tell_connect_failed(id);
        }
        let ends_layer = self.core.conns.get(id.0).is_some_and(ends_layer);
        if self.core.conns.get(id.0).is_some_and(|conn| conn.has(Flags::LAYERED)) {
            self.log_failed_layer(id);
        }
        let Some(conn) = self.core.conns.get_mut(id.0) else { return };
        let service = conn.service;
        let session = std::mem::replace(&mut conn.session, NO_SESSION);
        if session != NO_SESSION {
            let why = conn.why.take().map_or(CloseReason::Finished, |why| *why);
            self.count(service, &why);
            self.log_end(service, id, &why);
            self.core.leave_all(id);
            // The connection ends even if `close` panics.
            let _ = self.callbacks.run(&mut self.core, service, id, |handler, io| {
                handler.close(io, session, &why);
                Ok(())
            });
            self.after_callback(service, id, "close");
        }
        #[cfg(feature = "workers")]
        self.core.cancel_jobs(id);
        if ends_layer {
            self.finish_layer(id);
        }
        let Some(conn) = self.core.conns.get(id.0) else { return };
        if conn.life.is_dead() {
            let how = if conn.has(Flags::RESETS) { Closing::Reset } else { Closing::InOrder };
            if let Some(socket) = self.streams.take(id.0) {
                self.driver.close(socket, how);
            }
            #[cfg(feature = "workers")]
            self.end_attempts(id);
            let Some(conn) = self.core.conns.get(id.0) else { return };
            let child = conn.child();
            self.core.free(id);
            self.listeners.resume(&mut self.core.timers);
            self.uncrowd();
            if let Some(child) = child {
                self.core.children.to_tell.push(child, &mut self.core.pending);
            }
        }
    }

    fn count(&mut self, service: u16, why: &CloseReason) {
        self.core.services[service as usize].stats.closed.count(why);
        let stats = &mut self.core.stats;
        stats.closed += 1;
        match why {
            CloseReason::TimedOut(_) => stats.timed_out += 1,
            CloseReason::Io(_) => stats.broken += 1,
            CloseReason::Overflow { .. } => stats.overflowed += 1,
            _ => {}
        }
    }
}

/// True for a quiet connection that a shutdown has closed at once: it has lost
/// nothing, and its peer sees that by the end of the layer.
fn ends_layer(conn: &Conn) -> bool {
    let is_shutdown = matches!(conn.why.as_deref(), Some(CloseReason::Shutdown));
    let is_layered = conn.has(Flags::LAYERED) && !conn.has(Flags::HANDSHAKING);
    is_layered && is_shutdown && conn.life.is_dead() && !conn.has(Flags::RESETS)
}
