//! The steps around a callback: flushes or ends its connection, and names a slow
//! callback in a warning.

use std::time::Duration;

use super::Reactor;
use crate::close::CloseReason;
use crate::conn::{Conn, NO_SESSION};
use crate::core::{NO_CONNECTION, limits_of};
use crate::driver::Driver;
use crate::error::{BoxError, Result};
use crate::histogram::Histogram;
use crate::id::ConnId;
use crate::incident::IncidentKind;
use crate::io::Io;
use crate::life::Flags;
use crate::moment::Moment;
use crate::service::ErasedHandler;

impl<D: Driver> Reactor<D> {
    /// Runs a callback of a connection that has a session; ends the
    /// connection if it fails. `None`: it has no session, or it failed.
    pub(super) fn with_session<R>(
        &mut self,
        id: ConnId,
        what: &'static str,
        callback: impl FnOnce(&mut dyn ErasedHandler, &mut Io<'_>, u32) -> Result<R, BoxError>,
    ) -> Option<R> {
        let conn = self.core.conns.get(id.0)?;
        let (service, session) = (conn.service, conn.session);
        if session == NO_SESSION {
            return None;
        }
        let outcome =
            self.callbacks.run(&mut self.core, service, id, |handler, io| callback(handler, io, session));
        self.after_callback(service, id, what);
        let value = outcome.map_err(|why| self.end(id, why)).ok();
        self.flush_or_defer(id);
        value
    }

    /// Ends a connection for a reason; its handler has a last word where the reason
    /// leaves it one. The caller flushes. True if the handler has written one.
    #[cold]
    pub(super) fn end(&mut self, id: ConnId, why: CloseReason) -> bool {
        let can_speak = |conn: &Conn| {
            conn.is_live()
                && conn.session != NO_SESSION
                && conn.life.takes_output()
                && !conn.has(Flags::HANDSHAKING)
        };
        let has_word = why.leaves_a_word() && self.core.conns.get(id.0).is_some_and(can_speak);
        self.core.end(id, why);
        has_word && self.take_last_word(id)
    }

    /// Calls `last_word` for a connection that has just begun to close. True if it has
    /// written something.
    fn take_last_word(&mut self, id: ConnId) -> bool {
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return false };
        let (service, session) = (conn.service, conn.session);
        let Some(why) = conn.why.take() else { return false };
        let before = conn.queued() + core.direct.len();
        core.last_word_up_to = Some(before + limits_of(&core.services, &core.own_limits, id, conn).last_word);
        let outcome = self.callbacks.run(core, service, id, |handler, io| {
            handler.last_word(io, session, &why);
            Ok(())
        });
        let core = &mut self.core;
        core.last_word_up_to = None;
        let Some(conn) = core.conns.get_mut(id.0) else { return false };
        let has_written = conn.queued() + core.direct.len() > before;
        // It has another reason if the handler has aborted it.
        conn.why.get_or_insert(why);
        if let Err(panicked) = outcome {
            core.end(id, panicked);
        }
        self.after_callback(service, id, "last_word");
        has_written
    }

    /// Runs a callback that belongs to no connection.
    pub(super) fn with_service(
        &mut self,
        service: u16,
        what: &'static str,
        callback: impl FnOnce(&mut dyn ErasedHandler, &mut Io<'_>),
    ) {
        // Its panic is counted and logged, and ends nothing.
        let _ = self.callbacks.run(&mut self.core, service, NO_CONNECTION, |handler, io| {
            callback(handler, io);
            Ok(())
        });
        self.after_callback(service, NO_CONNECTION, what);
    }

    /// Flushes what a callback wrote to its own connection: at once, or in phase 6 if
    /// a message has gone from one connection to another in this turn. True if there
    /// may be more to read.
    #[inline(never)]
    pub(super) fn flush_or_defer(&mut self, id: ConnId) -> bool {
        let core = &mut self.core;
        core.direct.revoke();
        if !core.direct.is_empty()
            && let Some(readable) = self.write_direct(id)
        {
            return readable;
        }
        let core = &mut self.core;
        let Some(conn) = core.conns.get_mut(id.0) else { return false };
        if conn.has(Flags::DIRTY) {
            if core.cross_writes {
                core.list_answer(id);
            } else {
                self.flush(id);
            }
            return true;
        }
        conn.has(Flags::READABLE)
    }

    /// Logs why a connection has ended: as a warning where that is a limit that its
    /// handler could have kept, or an error of the handler, for both look like a
    /// network that loses data.
    pub(super) fn log_end(&mut self, service: u16, id: ConnId, why: &CloseReason) {
        let (now, rates) = (self.core.now(), &mut self.core.rates);
        let rate = match why {
            CloseReason::Overflow { .. } => &mut rates.overflows,
            CloseReason::InputTooLong { .. } => &mut rates.long_inputs,
            CloseReason::Failed(_) => &mut rates.failures,
            CloseReason::File(_) => &mut rates.files,
            _ => return log::debug!("connection {id} closed: {why}"),
        };
        if let Some(more) = rate.allows(now) {
            let name = self.core.name(service);
            log::warn!("{name}: connection {id} closed: {why}{more}");
        }
    }

    /// Warns of the callback that has just returned if it was slow.
    #[inline]
    pub(super) fn after_callback(&mut self, service: u16, current: ConnId, what: &'static str) {
        let times = &mut self.core.stats.callback_times;
        if let Some(took) = slow(&self.driver, &mut self.clock, self.slow_after, times) {
            self.warn_of_slow(service, current, what, took);
        }
    }

    /// Warns of a callback that took so long.
    #[cold]
    pub(super) fn warn_of_slow(&mut self, service: u16, current: ConnId, what: &'static str, took: Duration) {
        self.core.stats.slow += 1;
        self.core.services[service as usize].stats.slow += 1;
        self.core.note_incident(IncidentKind::Slow(took), current);
        // Activity of other connections in the rest of this turn is stamped with the
        // time at which the slow callback returned.
        self.core.moment = self.clock;
        let core = &mut self.core;
        let Some(more) = core.rates.slow.allows(core.now()) else { return };
        let name = self.core.name(service);
        if current == NO_CONNECTION {
            log::warn!("{name}: `{what}` took {took:?}; everybody else waited{more}");
        } else {
            log::warn!("{name}: `{what}` of connection {current} took {took:?}; everybody else waited{more}");
        }
    }
}

/// How long the callback took that has just returned, if it kept everybody waiting
/// for as many nanoseconds as `limit`. `clock` is when it began, and the time from
/// now on. Counts the callback among the `times`.
#[inline(always)]
pub(super) fn slow<D: Driver>(
    driver: &D,
    clock: &mut Moment,
    limit: Option<u64>,
    times: &mut Histogram,
) -> Option<Duration> {
    let limit = limit?;
    let began = std::mem::replace(clock, driver.now());
    // A driver's time never goes backwards, so this never wraps.
    let took = clock.as_nanos().wrapping_sub(began.as_nanos());
    times.count_nanos(took);
    (took >= limit).then(|| Duration::from_nanos(took))
}
