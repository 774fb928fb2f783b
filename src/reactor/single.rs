//! `Reactor::handle_request`: takes turns until one request is served.

use std::time::Duration;

use super::Reactor;
use super::listeners::Single;
use crate::driver::Driver;
use crate::error::Result;
use crate::moment::Moment;

/// The outcome of [`Reactor::handle_request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// One connection was accepted and served until it was closed; or one
    /// datagram was delivered, and what its handler sent has left.
    Served,
    /// One connection was accepted and refused: by `verify`, by a failing
    /// `open`, or at `max_connections`; or `verify` refused one datagram.
    Refused,
    /// No connection and no datagram came in time.
    TimedOut,
    /// A shutdown was requested meanwhile, and is complete.
    Shutdown,
}

impl<D: Driver> Reactor<D> {
    /// Accepts one connection and serves it until it is closed, or receives one
    /// datagram, whichever comes first. Meanwhile the reactor serves its open
    /// connections, but accepts no further one and receives no further
    /// datagram. Returns earlier if nothing has come within `timeout`; `None`
    /// waits without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::System`](crate::Error::System) if waiting for events fails.
    pub fn handle_request(&mut self, timeout: Option<Duration>) -> Result<Handled> {
        let began = self.driver.now();
        self.listeners.single = Some(Single::Awaited);
        let outcome = self.serve_single(began, timeout);
        self.listeners.single = None;
        self.release_sockets();
        outcome
    }

    fn serve_single(&mut self, began: Moment, timeout: Option<Duration>) -> Result<Handled> {
        loop {
            let left = match self.listeners.single {
                Some(Single::Served(id)) if !self.core.conns.contains(id.0) => {
                    return Ok(Handled::Served);
                }
                Some(Single::Answered(id)) if !self.is_sending(id) => return Ok(Handled::Served),
                Some(Single::Refused) => return Ok(Handled::Refused),
                Some(Single::Awaited) => {
                    let waited = self.driver.now().since(began);
                    timeout.map(|timeout| timeout.saturating_sub(waited))
                }
                _ => None,
            };
            let interruptions = self.interruptions;
            let turn = self.turn(left)?;
            if turn.finished {
                return Ok(Handled::Shutdown);
            }
            // Only a turn that began after the time was over has seen every
            // client that connected in time.
            let has_looked = self.interruptions == interruptions && !self.has_events();
            let is_over = left == Some(Duration::ZERO) && has_looked;
            if is_over && self.listeners.single == Some(Single::Awaited) {
                return Ok(Handled::TimedOut);
            }
        }
    }
}
