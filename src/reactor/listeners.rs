//! What the reactor listens on.

use std::time::Duration;
use std::{fmt, io};

use crate::driver::{Driver, ListenOptions, Moment, Token};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::id::{ConnId, Key, ListenerId, SocketId, Table};

/// One listener.
pub(super) struct Listener<L> {
    /// `None` only while it is being opened.
    pub(super) socket: Option<L>,
    pub(super) service: u16,
    /// `None` only while it is being opened.
    pub(super) local: Option<Endpoint>,
    pub(super) backlog: u32,
    /// How it was made, and can be again; `None` of one that was adopted.
    pub(super) options: Option<Box<ListenOptions>>,
    /// It is closed, and is to be made again.
    pub(super) failed: Option<Failed>,
    /// There may be connections to accept: no accept has said otherwise since.
    pub(super) ready: bool,
}

/// When a listener that has failed is made again.
pub(super) struct Failed {
    pub(super) since: Moment,
    pub(super) next: Moment,
    /// How long the next attempt was waited for.
    pub(super) wait: Duration,
}

/// Whom [`Reactor::handle_request`](crate::Reactor::handle_request) waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Single {
    /// The one connection has not come yet.
    Awaited,
    /// It came and was turned away.
    Refused,
    /// It is being served; nobody else is accepted.
    Served(ConnId),
    /// A datagram came instead, and was handed over; what its handler sent on
    /// that socket may still wait.
    Answered(SocketId),
}

/// All listeners of a reactor.
pub(super) struct Listeners<L> {
    pub(super) table: Table<Listener<L>>,
    /// Those that are ready.
    pub(super) ready: Vec<ListenerId>,
    /// While the system has no descriptors or memory for more connections:
    /// the timer to try again.
    pub(super) paused: Option<Key>,
    /// While some have failed: the timer to make them again.
    pub(super) again: Option<Key>,
    /// That it pauses was logged, and no listener has been found empty since:
    /// once is enough for all the attempts in between.
    pub(super) pause_logged: bool,
    pub(super) single: Option<Single>,
}

impl<L> Listeners<L> {
    pub(super) const fn new() -> Self {
        Self {
            table: Table::new(),
            ready: Vec::new(),
            paused: None,
            again: None,
            pause_logged: false,
            single: None,
        }
    }

    /// Takes a listener in that `make` gives for its token, with where it
    /// listens; `at` names it in an error.
    pub(super) fn open(
        &mut self,
        limit: usize,
        service: u16,
        options: Option<&ListenOptions>,
        at: &dyn fmt::Display,
        make: impl FnOnce(Token) -> io::Result<(L, Endpoint)>,
    ) -> Result<ListenerId> {
        if self.table.len() >= limit {
            return Err(Error::Full { what: "listeners", limit });
        }
        let key = self.table.insert(Listener {
            socket: None,
            service,
            local: None,
            backlog: options.map_or_else(|| ListenOptions::default().backlog, |options| options.backlog),
            options: options.cloned().map(Box::new),
            failed: None,
            ready: false,
        });
        match make(Token::listener(ListenerId(key))) {
            Ok((socket, local)) => {
                if let Some(listener) = self.table.get_mut(key) {
                    listener.socket = Some(socket);
                    listener.local = Some(local);
                }
                Ok(ListenerId(key))
            }
            Err(source) => {
                self.table.remove(key);
                Err(Error::Listen { endpoint: at.to_string(), source })
            }
        }
    }

    pub(super) fn close<D: Driver<Listener = L>>(&mut self, driver: &mut D, id: ListenerId) -> bool {
        let Some(listener) = self.table.remove(id.0) else { return false };
        if let Some(socket) = listener.socket {
            driver.close_listener(socket);
        }
        true
    }

    pub(super) fn local(&self, id: ListenerId) -> Option<&Endpoint> {
        self.table.get(id.0)?.local.as_ref()
    }

    pub(super) fn ids(&self) -> Vec<ListenerId> {
        self.table.keys().into_iter().map(ListenerId).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// An event of a listener.
    pub(super) fn note(&mut self, id: ListenerId) {
        if let Some(listener) = self.table.get_mut(id.0)
            && !listener.ready
            && listener.socket.is_some()
        {
            listener.ready = true;
            self.ready.push(id);
        }
    }

    /// When the first of those that have failed is made again.
    pub(super) fn next_attempt(&self) -> Option<Moment> {
        self.table.iter().filter_map(|(_, listener)| Some(listener.failed.as_ref()?.next)).min()
    }

    /// True when accepting would do something now.
    pub(super) fn can_accept(&self) -> bool {
        !self.ready.is_empty() && self.paused.is_none() && self.takes_more()
    }

    pub(super) fn takes_more(&self) -> bool {
        matches!(self.single, None | Some(Single::Awaited))
    }
}
