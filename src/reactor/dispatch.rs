//! The steps around a callback: flushes or ends its connection, and names a slow
//! callback in a warning.

use std::time::Duration;

use super::Reactor;
use crate::conn::NO_SESSION;
use crate::core::{List, NO_CONNECTION};
use crate::driver::Driver;
use crate::error::{BoxError, Result};
use crate::id::ConnId;
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
        let value = outcome.map_err(|why| self.core.end(id, why)).ok();
        self.flush_or_defer(id);
        value
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
                core.list(id, List::Flush);
            } else {
                self.flush(id);
            }
            return true;
        }
        conn.has(Flags::READABLE)
    }

    /// Warns of the callback that has just returned if it was slow.
    #[inline]
    pub(super) fn after_callback(&mut self, service: u16, current: ConnId, what: &'static str) {
        let took = took(&self.driver, &mut self.clock, self.slow_after);
        self.warn_if_slow(service, current, what, took);
    }

    /// The same when the time that it took is known, if it was too long.
    #[inline]
    pub(super) fn warn_if_slow(&mut self, service: u16, current: ConnId, what: &'static str, took: u64) {
        if took > 0 {
            self.warn_of_slow(service, current, what, Duration::from_nanos(took));
        }
    }

    #[cold]
    fn warn_of_slow(&mut self, service: u16, current: ConnId, what: &'static str, took: Duration) {
        self.core.stats.slow += 1;
        // Activity of other connections in the rest of this turn is stamped with the
        // time at which the slow callback returned.
        self.core.moment = self.clock;
        let core = &mut self.core;
        let Some(more) = core.rates.slow.allows(core.now()) else { return };
        let name = self.callbacks.name(service);
        if current == NO_CONNECTION {
            log::warn!("{name}: `{what}` took {took:?}; everybody else waited{more}");
        } else {
            log::warn!("{name}: `{what}` of connection {current} took {took:?}; everybody else waited{more}");
        }
    }
}

/// How many nanoseconds the callback took that has just returned, if it kept
/// everybody waiting for as many as `limit`; else 0. `clock` is when it began,
/// and the time from now on.
#[inline(always)]
pub(super) fn took<D: Driver>(driver: &D, clock: &mut Moment, limit: Option<u64>) -> u64 {
    let Some(limit) = limit else { return 0 };
    let began = std::mem::replace(clock, driver.now());
    // A driver's time never goes backwards, so this never wraps.
    let took = clock.as_nanos().wrapping_sub(began.as_nanos());
    if took >= limit { took } else { 0 }
}
