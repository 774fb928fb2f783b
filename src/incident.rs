//! `Incident`: a callback that did not end as it should.

use std::time::Duration;

use crate::id::ConnId;

/// A callback that failed, panicked or was slow, as a driver is told of it
/// ([`Notice::Incident`](crate::driver::Notice::Incident)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The fault of the callback.
    pub kind: IncidentKind,
    /// The connection that the callback belonged to; `None` for the callback of a
    /// service, such as `verify` or `tick`.
    pub connection: Option<ConnId>,
}

/// The fault of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IncidentKind {
    /// It returned an error.
    Failed,
    /// It panicked, and [`Config::catch_panics`](crate::Config::catch_panics) is on.
    Panicked,
    /// It took this long, which is
    /// [`Config::slow_callback`](crate::Config::slow_callback) or more.
    Slow(Duration),
}
