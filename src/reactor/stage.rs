//! The only place from which callbacks are called.

use std::any::Any;
use std::panic::resume_unwind;

use crate::close::CloseReason;
use crate::contain::{caught, discard, message};
use crate::core::{Core, NOBODY, ServiceState};
use crate::error::{BoxError, Error, Result};
use crate::id::ConnId;
use crate::io::Io;
use crate::limits::Limits;
use crate::printable::Printable;
use crate::service::Serve;

/// The services, and the core that their callbacks act on.
pub(super) struct Stage {
    pub(super) core: Core,
    services: Vec<Box<dyn Serve>>,
}

impl Stage {
    pub(super) fn new(core: Core) -> Self {
        Self { core, services: Vec::new() }
    }

    pub(super) fn add(&mut self, service: Box<dyn Serve>, limits: Limits) -> Result<u16> {
        let limit = usize::from(u16::MAX);
        let full = Error::Full { what: "services", limit };
        let index = u16::try_from(self.services.len()).ok().filter(|index| *index < u16::MAX).ok_or(full)?;
        self.services.push(service);
        let check_period = limits.check_period();
        self.core.services.push(ServiceState { limits, check_period, connections: 0 });
        Ok(index)
    }

    pub(super) const fn count(&self) -> usize {
        self.services.len()
    }

    pub(super) fn handler(&mut self, service: u16) -> &mut dyn Any {
        self.services[service as usize].handler()
    }

    pub(super) fn handler_ref(&self, service: u16) -> &dyn Any {
        self.services[service as usize].handler_ref()
    }

    pub(super) fn takes_connections(&self, service: u16) -> bool {
        self.services[service as usize].takes_connections()
    }

    pub(super) fn name(&self, service: u16) -> &'static str {
        self.services[service as usize].name()
    }

    /// Runs one callback of a service: for the connection `here`, or for none.
    /// What it fails with, or panics with, comes back as the reason to end
    /// that connection.
    #[inline(always)]
    pub(super) fn run<R>(
        &mut self,
        service: u16,
        here: ConnId,
        callback: impl FnOnce(&mut dyn Serve, &mut Io<'_>) -> Result<R, BoxError>,
    ) -> Result<R, CloseReason> {
        let Self { core, services } = self;
        core.here = here;
        let catches = core.config.catch_panics;
        let serve = &mut *services[service as usize];
        let io = &mut Io::new(core, service);
        let outcome = caught(|| callback(serve, io));
        core.here = NOBODY;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failure(error)),
            Err(payload) if catches => Err(self.panic(service, here, payload)),
            Err(payload) => {
                // The next callback finds an empty hand, whoever runs it.
                core.hand.empty();
                resume_unwind(payload)
            }
        }
    }

    #[cold]
    fn failure(&mut self, error: BoxError) -> CloseReason {
        self.core.stats.failed += 1;
        CloseReason::Failed(error)
    }

    #[cold]
    fn panic(&mut self, service: u16, here: ConnId, payload: Box<dyn Any + Send>) -> CloseReason {
        self.core.stats.panicked += 1;
        let text = message(payload);
        let Some(more) = self.core.rates.panics.allows(self.core.now()) else {
            return CloseReason::Panicked(text);
        };
        let (name, said) = (self.name(service), Printable(&text));
        if here == NOBODY {
            log::error!("{name}: a callback panicked: {said}{more}");
        } else {
            log::error!("{name}: a callback of connection {here} panicked: {said}{more}");
        }
        CloseReason::Panicked(text)
    }
}

impl Drop for Stage {
    /// Drops the handlers one by one: each with its own panic, if it has one.
    fn drop(&mut self) {
        for service in self.services.drain(..) {
            discard("a handler", service);
        }
    }
}
