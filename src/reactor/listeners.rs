//! `Listeners`: the table of listening sockets, the list of those that are
//! ready, and the pauses of accepting.

use std::time::Duration;
use std::{fmt, io};

use crate::core::{Alarm, Core, Purpose};
use crate::driver::{Driver, ListenOptions, Moment, Token};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::id::{ConnId, Key, ListenerId, SocketId, Table};
use crate::layer::LayerFactory;
use crate::timers::Timers;
use crate::work_list::{Pending, RareList};

/// One listener.
pub(super) struct Listener<L> {
    /// `None` while the listener is being opened, and while it has failed.
    pub(super) socket: Option<L>,
    pub(super) service: u16,
    /// `None` while the listener is being opened.
    pub(super) local: Option<Endpoint>,
    pub(super) maker: Maker,
    pub(super) options: Box<ListenOptions>,
    /// Set while the socket is closed and is to be made again.
    pub(super) failed: Option<Failed>,
    /// True until an accept finds the backlog empty.
    pub(super) ready: bool,
}

/// The maker of a listening socket. A failed one is made again by the reactor alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Reactor,
    /// The program, from which the reactor has adopted it.
    Program,
}

/// The schedule by which a failed listener is made again.
pub(super) struct Failed {
    pub(super) since: Moment,
    pub(super) next: Moment,
    /// The wait before the next attempt.
    pub(super) wait: Duration,
}

/// The progress of [`Reactor::handle_request`](crate::Reactor::handle_request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Single {
    /// No connection or datagram has come yet.
    Awaited,
    /// The one connection or datagram was refused.
    Refused,
    /// The one connection is being served; no other is accepted.
    Served(ConnId),
    /// The one datagram was delivered on this socket; what its handler sent
    /// there may still wait.
    Answered(SocketId),
}

/// All listeners of a reactor.
pub(super) struct Listeners<L> {
    pub(super) table: Table<Listener<L>>,
    /// The listeners that are ready.
    pub(super) ready: RareList<ListenerId>,
    /// The listeners that are ready, and wait for a handshake to end
    /// ([`Config::max_handshakes`](crate::Config::max_handshakes)).
    pub(super) crowded: Vec<ListenerId>,
    /// The timer that ends a pause; set while the system has no descriptors or
    /// memory for more connections.
    pub(super) paused: Option<Key>,
    /// The timer to make failed listeners again.
    pub(super) again: Option<Key>,
    /// True once a pause was logged, until a listener is found empty: one line
    /// covers all attempts in between.
    pub(super) pause_logged: bool,
    pub(super) single: Option<Single>,
}

impl<L> Listeners<L> {
    pub(super) const fn new() -> Self {
        Self {
            table: Table::new(),
            ready: RareList::new(),
            crowded: Vec::new(),
            paused: None,
            again: None,
            pause_logged: false,
            single: None,
        }
    }

    /// Inserts the listener that `make` returns for its token, with its local
    /// endpoint; `at` names it in an error.
    pub(super) fn open(
        &mut self,
        limit: usize,
        service: u16,
        (maker, options): (Maker, &ListenOptions),
        at: &dyn fmt::Display,
        make: impl FnOnce(Token) -> io::Result<(L, Endpoint)>,
    ) -> Result<ListenerId> {
        if self.table.len() >= limit {
            return Err(Error::Full { what: "listeners", field: Some("Config::max_listeners"), limit });
        }
        let key = self.table.insert(Listener {
            socket: None,
            service,
            local: None,
            maker,
            options: Box::new(options.clone()),
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

    /// Notes an event of a listener.
    pub(super) fn note(&mut self, id: ListenerId, pending: &mut Pending) {
        if let Some(listener) = self.table.get_mut(id.0)
            && listener.socket.is_some()
        {
            self.ready.note_once(id, &mut listener.ready, pending);
        }
    }

    /// True when a listener has connections to accept, and waits for nothing else.
    pub(super) fn is_ready(&self, id: ListenerId) -> bool {
        self.table.get(id.0).is_some_and(|listener| listener.ready) && !self.crowded.contains(&id)
    }

    /// The maker of layers for a listener's connections.
    pub(super) fn layer(&self, id: ListenerId) -> Option<&LayerFactory> {
        self.table.get(id.0)?.options.layer.as_ref()
    }

    /// Sets a listener aside whose connections have a layer, until
    /// [`uncrowd`](Self::uncrowd). False if they have none.
    pub(super) fn crowd(&mut self, id: ListenerId) -> bool {
        let has_layer = self.layer(id).is_some();
        if has_layer && !self.crowded.contains(&id) {
            self.crowded.push(id);
        }
        has_layer
    }

    /// Lists the listeners that were set aside as ready again.
    pub(super) fn uncrowd(&mut self, pending: &mut Pending) {
        for id in self.crowded.drain(..) {
            self.ready.push(id, pending);
        }
    }

    /// The moment of the first attempt to make a failed listener again.
    fn next_attempt(&self) -> Option<Moment> {
        self.table.iter().filter_map(|(_, listener)| Some(listener.failed.as_ref()?.next)).min()
    }

    /// Pauses accepting, for the system has no descriptor or no memory, and sets the
    /// timer to try again.
    #[cold]
    pub(super) fn pause(&mut self, core: &mut Core, error: &io::Error) {
        if self.paused.is_some() {
            return;
        }
        core.stats.accept_pauses += 1;
        if !std::mem::replace(&mut self.pause_logged, true)
            && let Some(more) = core.rates.accepts.allows(core.now())
        {
            log::error!(
                "accepting pauses, and is tried again when a connection closes and every {:?}: {error}{more}",
                core.config.accept_retry
            );
        }
        let retry = core.moment.plus(core.config.accept_retry);
        self.paused = Some(core.timers.insert(retry, Alarm::once(Purpose::Accept)));
    }

    /// Ends the pause of accepting: a descriptor was freed, or the retry is due.
    pub(super) fn resume(&mut self, timers: &mut Timers<Alarm>) {
        if let Some(timer) = self.paused.take() {
            timers.remove(timer);
        }
    }

    /// Sets the timer to the next attempt to make a listener again, if any has failed.
    pub(super) fn watch_failed(&mut self, timers: &mut Timers<Alarm>) {
        if let Some(timer) = self.again.take() {
            timers.remove(timer);
        }
        self.again = self.next_attempt().map(|at| timers.insert(at, Alarm::once(Purpose::Listen)));
    }

    /// True when a listener may have connections to accept, now or once accepting
    /// goes on.
    pub(super) const fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// True when phase 2 has a listener to accept from.
    pub(super) fn can_accept(&self) -> bool {
        !self.ready.is_empty() && self.paused.is_none() && self.takes_more()
    }

    pub(super) fn takes_more(&self) -> bool {
        matches!(self.single, None | Some(Single::Awaited))
    }
}
