//! Outbound connections by name: looks a name up on a worker, tries its addresses as
//! RFC 8305 says, and keeps the first connection that is established.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::attempts::Race;
use super::{Reactor, Service};
use crate::close::CloseReason;
use crate::core::{Alarm, Purpose};
use crate::driver::{Closing, Driver, Token};
use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::handler::StreamHandler;
use crate::id::ConnId;
use crate::io::ConnectOptions;
use crate::layer::ContainedLayer;
use crate::names::{LookUp, Resolved, in_order_of_attempts};
use crate::origin::Peer;
use crate::workers::Outcome;

/// The time after which the next address is tried beside those under way: the
/// "Connection Attempt Delay" of RFC 8305, section 5.
const STAGGER: Duration = Duration::from_millis(250);

impl<D: Driver> Reactor<D> {
    /// Connects to a host by name, as [`Io::connect_name`](crate::Io::connect_name) does
    /// from a callback.
    ///
    /// # Errors
    ///
    /// As [`Io::connect_name`](crate::Io::connect_name);
    /// [`Error::ForeignService`](crate::Error::ForeignService).
    pub fn connect_name<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        name: &str,
        tag: u64,
    ) -> Result<ConnId> {
        self.connect_name_with(service, name, tag, ConnectOptions::default())
    }

    /// The same with options, as
    /// [`Io::connect_name_with`](crate::Io::connect_name_with) does from a callback.
    ///
    /// # Errors
    ///
    /// As [`connect_name`](Self::connect_name).
    pub fn connect_name_with<S: StreamHandler>(
        &mut self,
        service: &Service<S>,
        name: &str,
        tag: u64,
        options: ConnectOptions,
    ) -> Result<ConnId> {
        let index = self.index_of(service)?;
        self.read_clock();
        self.core.connect_name(index, name, tag, options.layer.map(ContainedLayer::new))
    }

    /// Begins the attempts of a connection whose lookup has ended.
    pub(super) fn take_addresses(&mut self, id: ConnId, name: LookUp, outcome: Outcome) {
        if !self.core.is_connecting(id) {
            return;
        }
        let service = self.core.conns.get(id.0).map_or(0, |conn| conn.service);
        if let Err(error) = self.takes_connections(service) {
            return self.core.fail(id, CloseReason::Io(error));
        }
        let failed = |kind, reason: &dyn std::fmt::Display| {
            io::Error::new(kind, format!("cannot look up {}: {reason}", name.host))
        };
        let resolved = match outcome.map(|value| value.downcast::<Resolved>()) {
            Ok(Ok(resolved)) => *resolved,
            Ok(Err(_)) => unreachable!("a lookup has addresses for its result"),
            Err(error) => Err(io::Error::other(error)),
        };
        let untried = match resolved {
            Ok(addresses) => in_order_of_attempts(addresses),
            Err(error) => return self.core.fail(id, CloseReason::Io(failed(error.kind(), &error))),
        };
        if untried.is_empty() {
            let error = failed(io::ErrorKind::NotFound, &"the name has no address");
            return self.core.fail(id, CloseReason::Io(error));
        }
        let race = Race { name, untried, under_way: Vec::new(), failed: Vec::new(), timer: None };
        self.attempts.by_connection.insert(id, race);
        self.try_next_address(id);
    }

    /// Tries the next address of a connection beside those under way, and sets the timer
    /// for the one behind it. Fails the connection if no address is left.
    pub(super) fn try_next_address(&mut self, id: ConnId) {
        let Some(race) = self.attempts.by_connection.get_mut(&id) else { return };
        if let Some(timer) = race.timer.take() {
            self.core.timers.remove(timer);
        }
        while let Some(address) = race.untried.pop_front() {
            match begin(&mut self.driver, address, Token::connection(id)) {
                Ok(stream) => {
                    race.under_way.push((address, stream));
                    if !race.untried.is_empty() {
                        let at = self.core.moment.plus(STAGGER);
                        let alarm = Alarm::once(Purpose::NextAddress(id));
                        race.timer = Some(self.core.timers.insert(at, alarm));
                    }
                    return;
                }
                Err(error) => race.failed.push((address, error)),
            }
        }
        if race.under_way.is_empty()
            && let Some(race) = self.attempts.by_connection.remove(&id)
        {
            self.core.fail(id, CloseReason::Io(race.into_error()));
        }
    }

    /// Looks at the attempts of a connection, one of which an event may be about. The
    /// first that is established becomes the connection's stream, and the others are
    /// closed.
    pub(super) fn look_at_attempts(&mut self, id: ConnId) -> Option<Peer> {
        let race = self.attempts.by_connection.get_mut(&id)?;
        let mut place = 0;
        let mut has_failed = false;
        while let Some((_, stream)) = race.under_way.get_mut(place) {
            match self.driver.connected(stream) {
                Ok(None) => place += 1,
                Ok(Some(peer)) => {
                    let (_, winner) = race.under_way.swap_remove(place);
                    self.end_attempts(id);
                    self.streams.insert(id.0, winner);
                    return Some(peer);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    // The next turn asks again.
                    self.core.to_establish.push(id, &mut self.core.pending);
                    place += 1;
                }
                Err(error) => {
                    let (address, stream) = race.under_way.swap_remove(place);
                    race.failed.push((address, error));
                    self.attempts.ended.push(stream);
                    self.core.pending.raise();
                    has_failed = true;
                }
            }
        }
        if has_failed {
            self.try_next_address(id);
        }
        None
    }

    /// Ends all attempts of a connection.
    pub(super) fn end_attempts(&mut self, id: ConnId) {
        let Some(race) = self.attempts.by_connection.remove(&id) else { return };
        if let Some(timer) = race.timer {
            self.core.timers.remove(timer);
        }
        self.attempts.ended.extend(race.under_way.into_iter().map(|(_, stream)| stream));
        self.core.pending.raise();
    }

    /// Closes the sockets of attempts that have ended.
    pub(super) fn close_attempts(&mut self) {
        if self.attempts.ended.is_empty() {
            return;
        }
        for stream in self.attempts.ended.drain(..) {
            self.driver.close(stream, Closing::InOrder);
        }
        // Their descriptors may be what a listener waits for.
        self.listeners.resume(&mut self.core.timers);
    }

    /// Adds the addresses that were tried to the error of a connection that was not
    /// established.
    pub(super) fn explain_attempts(&self, id: ConnId, error: io::Error) -> io::Error {
        match self.attempts.by_connection.get(&id) {
            Some(race) => io::Error::new(error.kind(), format!("{error}: {}", race.report())),
            None => error,
        }
    }
}

/// Begins to connect to an address, and registers the socket.
fn begin<D: Driver>(driver: &mut D, address: SocketAddr, token: Token) -> io::Result<D::Stream> {
    let endpoint = Endpoint::from(address);
    // After EINTR nothing has begun: the call is repeated.
    let mut stream = again_if_interrupted(|| driver.connect(&endpoint))?;
    match again_if_interrupted(|| driver.register(&mut stream, token)) {
        Ok(()) => Ok(stream),
        Err(error) => {
            driver.close(stream, Closing::InOrder);
            Err(error)
        }
    }
}

fn again_if_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
