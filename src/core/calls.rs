//! Calls between services of one reactor, queued for phase 5.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;

use super::Core;
use crate::contain::discard;
use crate::error::{Error, Result};

type Run = dyn FnOnce(&mut dyn Any, &mut Core);

/// A call that a callback has queued. Dropping it unrun contains a panic of the
/// values that it owns.
pub(crate) struct LocalCall(Option<Box<Run>>);

impl LocalCall {
    pub(crate) fn new(run: impl FnOnce(&mut dyn Any, &mut Core) + 'static) -> Self {
        Self(Some(Box::new(run)))
    }

    /// Runs the call with the handler of its service.
    pub(crate) fn run(mut self, handler: &mut dyn Any, core: &mut Core) {
        if let Some(run) = self.0.take() {
            run(handler, core);
        }
    }
}

impl Drop for LocalCall {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            discard("a call that was not run", run);
        }
    }
}

impl fmt::Debug for LocalCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCall").finish_non_exhaustive()
    }
}

/// The queued calls, each with the index of its service.
pub(crate) type LocalCalls = VecDeque<(u16, LocalCall)>;

impl Core {
    /// Queues a call of a service.
    pub(crate) fn call(&mut self, service: u16, call: LocalCall) -> Result<()> {
        let limit = self.config.max_calls;
        if self.is_over {
            Err(Error::Over)
        } else if self.calls.len() >= limit {
            Err(Error::Full { what: "calls", field: Some("Config::max_calls"), limit })
        } else {
            self.calls.push_back((service, call));
            self.pending.raise();
            Ok(())
        }
    }
}
