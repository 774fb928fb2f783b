//! Ends of connections: half-close, an end in order, an end at once, and
//! freeing the id.

use std::io;

use super::{Core, List};
use crate::close::CloseReason;
use crate::conn::Conn;
use crate::id::ConnId;
use crate::life::{Flags, Input, Phase};

impl Core {
    /// Half-closes: our FIN follows what is queued.
    pub(crate) fn finish(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        if conn.life.finish() {
            self.mark_dirty(id);
        }
    }

    /// Ends a connection for a reason: in order if the reason allows it, else
    /// at once. The first reason counts, unless a later one cuts short an end
    /// in order.
    pub(crate) fn end(&mut self, id: ConnId, why: CloseReason) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        match conn.phase() {
            Phase::Live if why.is_in_order() => self.close_in_order(id, why),
            Phase::Closing | Phase::Lingering | Phase::Dead if why.is_in_order() => {}
            _ => self.fail(id, why),
        }
    }

    fn close_in_order(&mut self, id: ConnId, why: CloseReason) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        conn.life.close();
        // What is queued gets a full idle period to leave: an idle deadline
        // missed just now would cut it short.
        conn.last_activity = self.moment;
        conn.why = Some(Box::new(why));
        conn.forget_input();
        conn.unset(Flags::PAUSED.union(Flags::HELD).union(Flags::RESUMED));
        let unread = conn.has(Flags::READABLE) && conn.life.input() == Input::Open;
        self.mark_dirty(id);
        if unread {
            self.list(id, List::Read);
        }
    }

    /// Ends a connection at once; what is queued is dropped.
    pub(crate) fn fail(&mut self, id: ConnId, why: CloseReason) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        let cut_short =
            conn.phase() != Phase::Lingering && (conn.out.is_some() || !matches!(why, CloseReason::Shutdown));
        if !conn.life.die() {
            return;
        }
        self.direct.revoke();
        let broken = matches!(why, CloseReason::Io(_));
        if cut_short && !broken {
            conn.set(Flags::RESETS);
        }
        conn.forget_input();
        conn.why = Some(Box::new(why));
        self.list(id, List::Reap);
    }

    /// Ends a connection of which the system reported an error.
    pub(crate) fn broken(&mut self, id: ConnId, error: io::Error) {
        match self.conns.get(id.0).map(Conn::phase) {
            // All output is written and `close` was called: how the peer leaves is its
            // own affair.
            Some(Phase::Lingering) => self.mark_dead(id),
            Some(_) => self.fail(id, CloseReason::Io(error)),
            None => {}
        }
    }

    /// Marks a connection dead that has ended in order: both FINs are through,
    /// or the wait for the peer's is over.
    pub(crate) fn mark_dead(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        self.direct.revoke();
        conn.life.die();
        self.list(id, List::Reap);
    }

    /// Frees a connection's id, with its queue, timers and memberships. Its
    /// socket and session must be gone already.
    pub(crate) fn free(&mut self, id: ConnId) {
        self.leave_all(id);
        self.schedule_check(id, None);
        let Some(mut conn) = self.conns.remove(id.0) else { return };
        if conn.has(Flags::LAYERED) {
            self.layers.remove(id.0);
        }
        self.drop_limits(id, &conn);
        conn.release_queue(&mut self.pool);
        self.own -= usize::from(conn.is_own());
        let is_pipe = conn.child().is_some();
        for timer in conn.extras.into_iter().flat_map(|extras| extras.timers) {
            self.timers.remove(timer);
            self.handler_timers -= 1;
        }
        if is_pipe {
            self.pipes -= 1;
        } else {
            self.services[conn.service as usize].connections -= 1;
        }
    }
}
