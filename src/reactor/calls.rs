//! Phase 5: runs calls from handles, the ends of jobs, and calls between services.

use super::{Reactor, Service};
use crate::core::LocalCall;
use crate::driver::{Driver, Notice};
use crate::error::Result;
use crate::handle::Message;
use crate::io::Io;

/// # Calls between services
impl Io<'_> {
    /// Queues `f` to run with the handler of another service of this reactor, or of
    /// this one, and an [`Io`] of that service. `f` runs in phase 5 of this turn, or of
    /// the next turn if that phase is over; calls run in the order in which they were
    /// queued, and after those of [`Handle`](crate::Handle)s. Neither `f` nor the
    /// handler has to be `Send`. Ids of connections, groups and timers mean the same in
    /// all services.
    ///
    /// `f` runs as a callback that belongs to no connection: a panic is logged and ends
    /// nothing. At the end of a shutdown the reactor drops calls that have not run.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use serve_forever::{BoxError, Io, Origin, Service, StreamHandler};
    ///
    /// /// Counts the lines of all services.
    /// #[derive(Default)]
    /// struct Statistics {
    ///     lines: u64,
    /// }
    /// # impl StreamHandler for Statistics {
    /// #     type Session = ();
    /// #     fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> { Ok(()) }
    /// #     fn data(&mut self, _: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> { input.clear(); Ok(()) }
    /// # }
    ///
    /// struct Lines {
    ///     statistics: Service<Statistics>,
    /// }
    ///
    /// impl StreamHandler for Lines {
    ///     type Session = ();
    /// #   fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> { Ok(()) }
    ///
    ///     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
    ///         let lines = input.iter().filter(|byte| **byte == b'\n').count() as u64;
    ///         io.reply_buf(input);
    ///         io.call(&self.statistics, move |statistics, _| statistics.lines += lines)?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Full`](crate::Error::Full) when
    /// [`Config::max_calls`](crate::Config::max_calls) calls of services wait,
    /// [`Error::ForeignService`](crate::Error::ForeignService),
    /// [`Error::Over`](crate::Error::Over) at the end of a shutdown. `f` is dropped in
    /// each case.
    #[allow(clippy::missing_panics_doc, reason = "a service's key is made with the type of its handler")]
    pub fn call<S: 'static>(
        &mut self,
        service: &Service<S>,
        f: impl FnOnce(&mut S, &mut Io<'_>) + 'static,
    ) -> Result<()> {
        let core = self.core();
        let index = service.index_in(core)?;
        let call = LocalCall::new(move |handler, core| {
            let handler = handler.downcast_mut().expect("the key was given out with this type");
            f(handler, &mut Io::new(core, index));
        });
        core.call(index, call)
    }
}

impl<D: Driver> Reactor<D> {
    /// Runs phase 5 for messages of other threads. A call that a call queues waits for
    /// the next turn.
    #[inline]
    pub(super) fn run_calls(&mut self) {
        if self.inbox.is_waiting() {
            self.take_messages();
        }
    }

    #[inline(never)]
    fn take_messages(&mut self) {
        self.tell_system_calls();
        let mut messages = std::mem::take(&mut self.messages);
        let shutdown = self.inbox.take(&mut messages);
        self.driver.notice(Notice::Calls { count: messages.len(), shutdown });
        if let Some(deadline) = shutdown {
            self.request_shutdown(deadline);
        }
        for message in messages.drain(..) {
            match message {
                Message::Call(service, call) => {
                    self.core.stats.calls += 1;
                    self.with_service(service, "a call from a handle", |handler, io| {
                        call.run(handler.handler(), io);
                    });
                }
                #[cfg(feature = "workers")]
                Message::JobDone(job, outcome) => self.finish_job(job, outcome),
            }
        }
        self.messages = messages;
    }

    /// Runs phase 5 for calls between services: those that were queued when it began.
    #[cold]
    pub(super) fn run_local_calls(&mut self) {
        for _ in 0..self.core.calls.len() {
            let Some((service, call)) = self.core.calls.pop_front() else { return };
            self.core.stats.local_calls += 1;
            self.with_service(service, "a call of a service", |handler, io| {
                call.run(handler.handler(), io.core());
            });
        }
    }
}
