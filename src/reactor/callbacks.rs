//! `Callbacks`: the handlers of all services, and the only calls of their
//! callbacks.

use std::any::Any;
use std::panic::resume_unwind;

use crate::close::CloseReason;
use crate::contain::{caught, discard, message};
use crate::core::{Core, NO_CONNECTION, ServiceState};
use crate::error::{BoxError, Error, Result};
use crate::id::ConnId;
use crate::incident::IncidentKind;
use crate::io::Io;
use crate::limits::Limits;
use crate::printable::Printable;
use crate::service::ErasedHandler;
use crate::service_stats::ServiceStats;

/// The handlers of the services, by index.
pub(super) struct Callbacks {
    services: Vec<Box<dyn ErasedHandler>>,
}

impl Callbacks {
    pub(super) const fn new() -> Self {
        Self { services: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        core: &mut Core,
        service: Box<dyn ErasedHandler>,
        limits: Limits,
    ) -> Result<u16> {
        let limit = usize::from(u16::MAX);
        let full = Error::Full { what: "services", field: None, limit };
        let index = u16::try_from(self.services.len()).ok().filter(|index| *index < u16::MAX).ok_or(full)?;
        core.services.push(ServiceState { limits, stats: ServiceStats::of(service.name()) });
        self.services.push(service);
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

    /// The name of a handler's type.
    pub(super) fn type_name(&self, service: u16) -> &'static str {
        self.services[service as usize].name()
    }

    /// Runs one callback of a service, for the connection `current` or for
    /// [`NO_CONNECTION`]. Returns the callback's error or panic as the reason
    /// to end that connection.
    #[inline(always)]
    pub(super) fn run<R>(
        &mut self,
        core: &mut Core,
        service: u16,
        current: ConnId,
        callback: impl FnOnce(&mut dyn ErasedHandler, &mut Io<'_>) -> Result<R, BoxError>,
    ) -> Result<R, CloseReason> {
        core.current = current;
        let handler = &mut *self.services[service as usize];
        let io = &mut Io::new(core, service);
        let outcome = caught(|| callback(handler, io));
        core.current = NO_CONNECTION;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failed(core, service, current, error)),
            Err(payload) if core.config.catch_panics => Err(panicked(core, service, current, payload)),
            Err(payload) => {
                // The next callback must not find output of this one.
                core.direct.clear();
                resume_unwind(payload)
            }
        }
    }
}

#[cold]
fn failed(core: &mut Core, service: u16, current: ConnId, error: BoxError) -> CloseReason {
    core.stats.failed += 1;
    core.services[service as usize].stats.failed += 1;
    core.note_incident(IncidentKind::Failed, current);
    CloseReason::Failed(error)
}

#[cold]
fn panicked(core: &mut Core, service: u16, current: ConnId, payload: Box<dyn Any + Send>) -> CloseReason {
    core.stats.panicked += 1;
    core.services[service as usize].stats.panicked += 1;
    core.note_incident(IncidentKind::Panicked, current);
    let text = message(payload);
    let Some(more) = core.rates.panics.allows(core.now()) else { return CloseReason::Panicked(text) };
    let (name, said) = (core.name(service), Printable(&text));
    if current == NO_CONNECTION {
        log::error!("{name}: a callback panicked: {said}{more}");
    } else {
        log::error!("{name}: a callback of connection {current} panicked: {said}{more}");
    }
    CloseReason::Panicked(text)
}

impl Drop for Callbacks {
    /// Drops the handlers one by one, so that a panic of one does not keep the
    /// next from its drop.
    fn drop(&mut self) {
        for service in self.services.drain(..) {
            discard("a handler", service);
        }
    }
}
