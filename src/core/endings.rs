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
            self.services[conn.service as usize].stats.connections -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::close::Deadline;
    use crate::core::ServiceState;
    use crate::limits::{Config, Limits};
    use crate::moment::Moment;
    use crate::service_stats::ServiceStats;

    /// A core with one live connection.
    fn core() -> (Core, ConnId) {
        let mut core = Core::new(Config::default(), 1, Instant::now(), Moment::ZERO);
        core.services.push(ServiceState { limits: Limits::default(), stats: ServiceStats::default() });
        let id = core.admit(0);
        (core, id)
    }

    fn overflow() -> CloseReason {
        CloseReason::Overflow { message: 2, queued: 0, hard_mark: 1 }
    }

    /// The phase of a connection, and whether its socket is to be reset.
    fn state(core: &Core, id: ConnId) -> (Phase, bool) {
        let conn = core.conns.get(id.0).expect("it is not freed yet");
        (conn.phase(), conn.has(Flags::RESETS))
    }

    #[test]
    fn an_end_at_once_is_a_reset_unless_the_system_has_broken_the_connection() {
        let stalled = CloseReason::TimedOut(Deadline::WriteStall);
        for why in [CloseReason::Aborted, overflow(), CloseReason::Panicked(String::new()), stalled] {
            let (mut core, id) = core();
            core.end(id, why);
            assert_eq!(state(&core, id), (Phase::Dead, true));
            assert_eq!(core.to_reap.iter().collect::<Vec<_>>(), [id]);
        }
        let (mut core, id) = core();
        core.broken(id, io::ErrorKind::BrokenPipe.into());
        assert_eq!(state(&core, id), (Phase::Dead, false));
    }

    #[test]
    fn an_end_in_order_writes_first_and_the_first_reason_stands() {
        let (mut core, id) = core();
        core.end(id, CloseReason::Closed);
        assert_eq!(state(&core, id), (Phase::Closing, false));
        assert_eq!(core.to_flush.iter().collect::<Vec<_>>(), [id]);
        core.end(id, CloseReason::Finished);
        let why =
            |core: &Core| core.conns.get(id.0).and_then(|conn| conn.why.as_ref().map(ToString::to_string));
        assert_eq!(why(&core), Some(CloseReason::Closed.to_string()));
        core.end(id, CloseReason::Aborted);
        assert_eq!(state(&core, id), (Phase::Dead, true));
        assert_eq!(why(&core), Some(CloseReason::Aborted.to_string()), "only an end at once replaces it");
        core.end(id, overflow());
        assert_eq!(why(&core), Some(CloseReason::Aborted.to_string()), "what is dead has ended");
    }

    #[test]
    fn a_shutdown_resets_only_what_it_cuts_short() {
        let (mut core, id) = core();
        core.fail(id, CloseReason::Shutdown);
        assert_eq!(state(&core, id), (Phase::Dead, false), "nothing was queued");
        let (mut core, id) = self::core();
        let _ = core.send(id, &bytes::Bytes::from_static(b"on its way"));
        core.fail(id, CloseReason::Shutdown);
        assert_eq!(state(&core, id), (Phase::Dead, true));
    }

    #[test]
    fn what_lingers_has_lost_nothing_however_it_ends() {
        let (mut core, id) = core();
        core.end(id, CloseReason::Closed);
        let conn = core.conns.get_mut(id.0).expect("it is there");
        conn.life.send_fin();
        conn.life.linger();
        core.broken(id, io::ErrorKind::ConnectionReset.into());
        assert_eq!(state(&core, id), (Phase::Dead, false));
        let why = core.conns.get(id.0).and_then(|conn| conn.why.as_ref().map(ToString::to_string));
        assert_eq!(why, Some(CloseReason::Closed.to_string()), "how the peer leaves is its own affair");
    }
}
