//! Failed listeners: closes and reports them, and makes them again in phase 4.

use std::io;
use std::time::Duration;

use super::Reactor;
use super::listeners::{Failed, Maker};
use crate::core::RunState;
use crate::driver::{Driver, Token};
use crate::error::Error;
use crate::id::ListenerId;
use crate::limits::SHUTDOWN_DEADLINE;

/// The longest wait between two attempts.
const SELDOM: Duration = Duration::from_secs(5);

impl<D: Driver> Reactor<D> {
    /// Closes a listener whose accept has failed for good, and schedules the
    /// first attempt to make it again.
    #[cold]
    pub(super) fn lose_listener(&mut self, id: ListenerId, error: io::Error) {
        let core = &self.core;
        let (now, wait) = (core.moment, core.config.accept_retry);
        let is_wished = core.config.listen_again.is_some() && self.state == RunState::Running;
        let Some(listener) = self.listeners.table.get_mut(id.0) else { return };
        // Closing removes its file in the file system too.
        if let Some(socket) = listener.socket.take() {
            self.driver.close_listener(socket);
        }
        listener.ready = false;
        let service = listener.service;
        if !is_wished || listener.maker == Maker::Program {
            return self.give_up_listening(id, error);
        }
        if let Some(at) = &listener.local {
            log::warn!("{at}: the listener failed, and is made again in {wait:?}: {error}");
        }
        listener.failed = Some(Failed { since: now, next: now.plus(wait), wait });
        self.listeners.watch_failed(&mut self.core.timers);
        self.with_service(service, "listener_failed", |handler, io| handler.listener_failed(io, id, &error));
    }

    /// Tries to make each failed listener again whose attempt is due.
    #[cold]
    pub(super) fn listen_again(&mut self) {
        let now = self.core.moment;
        for id in self.listeners.ids() {
            let listener = self.listeners.table.get(id.0);
            if listener.and_then(|listener| listener.failed.as_ref()).is_some_and(|failed| failed.next <= now)
            {
                self.try_to_listen(id);
            }
        }
        self.listeners.watch_failed(&mut self.core.timers);
    }

    fn try_to_listen(&mut self, id: ListenerId) {
        let core = &self.core;
        let now = core.moment;
        let Some(listener) = self.listeners.table.get_mut(id.0) else { return };
        let (Some(failed), Some(at)) = (&mut listener.failed, &mut listener.local) else { return };
        let outcome = loop {
            match self.driver.listen(at, &listener.options, Token::listener(id)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Ok((socket, local)) => {
                log::info!("{local}: listening again");
                *at = local;
                listener.socket = Some(socket);
                listener.failed = None;
            }
            Err(error) => {
                let until = core.config.listen_again.map_or(now, |time| failed.since.plus(time));
                if now >= until {
                    return self.give_up_listening(id, error);
                }
                failed.wait = failed.wait.saturating_mul(2).min(SELDOM);
                failed.next = now.plus(failed.wait).min(until);
                log::debug!("{at}: not listening again yet: {error}");
            }
        }
    }

    /// Closes a listener for good. After the last one `serve_forever` shuts
    /// down, unless `listen_again` is `None`, which leaves that to the owner.
    fn give_up_listening(&mut self, id: ListenerId, error: io::Error) {
        let Some(listener) = self.listeners.table.remove(id.0) else { return };
        let endpoint = listener.local.map(|at| at.to_string()).unwrap_or_default();
        log::error!("{endpoint}: the listener is given up: {error}");
        let service = listener.service;
        self.with_service(service, "listener_failed", |handler, io| handler.listener_failed(io, id, &error));
        let core = &mut self.core;
        let is_last = self.listeners.is_empty() && core.datagrams.table.is_empty();
        if is_last && self.serves_forever && core.config.listen_again.is_some() {
            core.request(RunState::ShuttingDown(core.moment.plus(SHUTDOWN_DEADLINE)));
            self.lost = Some(Error::Listen { endpoint, source: error });
        }
    }
}
