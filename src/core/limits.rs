//! Limits of connections: those of their service, or of one alone.

use super::{Core, ServiceState};
use crate::conn::Conn;
use crate::id::ConnId;
use crate::life::Flags;
use crate::limits::Limits;

/// The limits of the connections that have their own, by slot.
#[derive(Debug, Default)]
pub(crate) struct OwnLimits(Vec<Option<Box<Limits>>>);

impl OwnLimits {
    pub(super) fn set(&mut self, id: ConnId, limits: Option<Box<Limits>>) {
        let slot = id.0.slot as usize;
        if slot >= self.0.len() {
            self.0.resize_with(slot + 1, || None);
        }
        self.0[slot] = limits;
    }

    /// True when so many connections have limits of their own.
    #[cfg(feature = "sim")]
    pub(crate) fn are(&self, count: usize) -> bool {
        self.0.iter().flatten().count() == count
    }
}

/// The limits of a connection, to be looked up while another part of the core is
/// borrowed.
#[inline]
pub(crate) fn limits_of<'a>(
    services: &'a [ServiceState],
    own: &'a OwnLimits,
    id: ConnId,
    conn: &Conn,
) -> &'a Limits {
    let of_service = &services[conn.service as usize].limits;
    if conn.has(Flags::OWN_LIMITS) {
        own.0.get(id.0.slot as usize).and_then(Option::as_deref).unwrap_or(of_service)
    } else {
        of_service
    }
}

impl Core {
    /// The limits of a connection.
    #[inline]
    pub(crate) fn limits(&self, id: ConnId, conn: &Conn) -> &Limits {
        limits_of(&self.services, &self.own_limits, id, conn)
    }

    /// Drops the limits of a connection that is freed.
    pub(super) fn drop_limits(&mut self, id: ConnId, conn: &Conn) {
        if conn.has(Flags::OWN_LIMITS) {
            self.own_limits.set(id, None);
        }
    }
}
