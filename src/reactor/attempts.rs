//! `Attempts`: the sockets of outbound connections by name that try their addresses.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use crate::endpoint::Endpoint;
use crate::id::{ConnId, Key};
use crate::names::LookUp;

/// The attempts of all connections that have the addresses of their names.
#[derive(Debug)]
pub(super) struct Attempts<S> {
    pub(super) by_connection: BTreeMap<ConnId, Race<S>>,
    /// Sockets of attempts that have ended, to be closed in phase 7: until then an event of
    /// this turn may be about them.
    pub(super) ended: Vec<S>,
}

/// The attempts of one connection. All their sockets are registered under the token of
/// the connection.
#[derive(Debug)]
pub(super) struct Race<S> {
    pub(super) name: LookUp,
    pub(super) untried: VecDeque<SocketAddr>,
    pub(super) under_way: Vec<(SocketAddr, S)>,
    pub(super) failed: Vec<(SocketAddr, io::Error)>,
    /// The timer of the next attempt.
    pub(super) timer: Option<Key>,
}

impl<S> Attempts<S> {
    pub(super) const fn new() -> Self {
        Self { by_connection: BTreeMap::new(), ended: Vec::new() }
    }

    /// The number of pending timers.
    #[cfg(feature = "sim")]
    pub(super) fn timers(&self) -> usize {
        self.by_connection.values().filter(|race| race.timer.is_some()).count()
    }

    /// The number of open sockets.
    #[cfg(feature = "sim")]
    pub(super) fn sockets(&self) -> usize {
        let under_way: usize = self.by_connection.values().map(|race| race.under_way.len()).sum();
        under_way + self.ended.len()
    }

    pub(super) fn contains(&self, id: ConnId) -> bool {
        self.by_connection.contains_key(&id)
    }
}

impl<S> Race<S> {
    /// Every address that was tried, with its fate.
    pub(super) fn report(&self) -> String {
        let mut text = format!("{}:{}", self.name.host, self.name.port);
        let mut separator = ": ";
        for (address, error) in &self.failed {
            let _ = write!(text, "{separator}{}: {error}", Endpoint::from(*address));
            separator = "; ";
        }
        for (address, _) in &self.under_way {
            let _ = write!(text, "{separator}{}: no answer yet", Endpoint::from(*address));
            separator = "; ";
        }
        text
    }

    /// The error of a connection none of whose addresses can be reached: of the kind of
    /// the last one.
    pub(super) fn into_error(self) -> io::Error {
        let kind = self.failed.last().map_or(io::ErrorKind::NotFound, |(_, error)| error.kind());
        io::Error::new(kind, self.report())
    }
}
