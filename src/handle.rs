//! `Handle`: calls a service in its reactor, and shuts the reactor down, from
//! any thread.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::contain::discard;
#[cfg(feature = "workers")]
use crate::id::Key;
pub use crate::inbox::Refused;
use crate::io::Io;
#[cfg(feature = "workers")]
use crate::workers::{Completions, Outcome};

type Run = dyn FnOnce(&mut dyn Any, &mut Io<'_>) + Send;

/// A call that waits for the loop. Dropping it unrun contains a panic of what
/// it owns.
pub(crate) struct Call(Option<Box<Run>>);

impl Call {
    pub(crate) fn run(mut self, handler: &mut dyn Any, io: &mut Io<'_>) {
        if let Some(run) = self.0.take() {
            run(handler, io);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            discard("a call that was not run", run);
        }
    }
}

/// A message of another thread.
pub(crate) enum Message {
    /// A call of the service with this index.
    Call(u16, Call),
    /// The outcome of a job.
    #[cfg(feature = "workers")]
    JobDone(Key, Outcome),
}

/// Waiting messages, in order.
pub(crate) type Messages = VecDeque<Message>;

/// The inbox that handles and workers fill and the loop empties.
pub(crate) type Inbox = crate::inbox::Inbox<Message>;

#[cfg(feature = "workers")]
impl Completions for Inbox {
    fn complete(&self, job: Key, outcome: Outcome) {
        if let Err(unwanted) = Self::complete(self, Message::JobDone(job, outcome)) {
            discard("the result of a job", unwanted);
        }
    }
}

/// The way to a service in its reactor from any thread, the loop's own
/// included; before, during and after the loop.
///
/// [`call`](Self::call) never blocks: it queues a call for the loop and wakes the
/// loop if need be (once for all calls that are queued meanwhile), and the loop
/// runs the call in its next turn. [`ask`](Self::ask) waits for the value of such
/// a call.
///
/// ```
/// use serve_forever::{Config, Limits, Reactor, services::Echo};
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let service = reactor.add(Echo::new(), Limits::default())?;
/// let handle = reactor.handle(&service);
/// std::thread::spawn(move || {
///     handle.call(|_echo, io| println!("{} connections", io.connections())).expect("it runs");
///     handle.shutdown(std::time::Duration::from_secs(1));
/// });
/// reactor.serve_forever()?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
pub struct Handle<S> {
    inbox: Arc<Inbox>,
    service: u16,
    /// The thread of the loop, which made the reactor and this handle.
    serving: ThreadId,
    /// `Send` and `Sync` whatever `S` is, for the handler never leaves the
    /// loop's thread.
    handler: PhantomData<fn(&mut S)>,
}

impl<S: 'static> Handle<S> {
    /// Makes a handle, on the thread of the reactor.
    pub(crate) fn new(inbox: Arc<Inbox>, service: u16) -> Self {
        Self { inbox, service, serving: thread::current().id(), handler: PhantomData }
    }

    /// Queues `f` to run on the loop's thread, with the handler and an [`Io`]
    /// to its connections. Calls run in the order in which they were queued.
    ///
    /// Not promised: that `f` ever runs. If the reactor is dropped before its
    /// next turn, `f` is dropped.
    ///
    /// # Errors
    ///
    /// [`Refused::Full`] when [`Config::max_calls`](crate::Config::max_calls)
    /// calls wait, [`Refused::Gone`] when the reactor is gone. `f` is dropped
    /// in both cases.
    #[allow(clippy::missing_panics_doc, reason = "a handle is made with the type of its service")]
    pub fn call(&self, f: impl FnOnce(&mut S, &mut Io<'_>) + Send + 'static) -> Result<(), Refused> {
        let call = move |handler: &mut dyn Any, io: &mut Io<'_>| {
            f(handler.downcast_mut().expect("the reactor made this handle for a service of this type"), io);
        };
        self.inbox.call(Message::Call(self.service, Call(Some(Box::new(call)))))
    }

    /// Runs `f` as [`call`](Self::call) does, and waits for its value, for at
    /// most `within`. For threads other than the loop's: a test, a metrics
    /// endpoint, the rest of a program.
    ///
    /// ```
    /// use std::time::Duration;
    /// use serve_forever::{AskError, Config, Limits, Reactor, services::Echo};
    ///
    /// const SOON: Duration = Duration::from_secs(60);
    /// let mut reactor = Reactor::new(Config::default())?;
    /// let service = reactor.add(Echo::new(), Limits::default())?;
    /// let handle = reactor.handle(&service);
    /// let here = handle.ask(SOON, |_echo, io| io.connections());
    /// assert_eq!(here, Err(AskError::ServingThread), "it would wait for itself");
    /// let thread = std::thread::spawn(move || {
    ///     let connections = handle.ask(SOON, |_echo, io| io.connections());
    ///     handle.shutdown(Duration::from_secs(1));
    ///     connections
    /// });
    /// reactor.serve_forever()?;
    /// assert_eq!(thread.join().expect("no panic"), Ok(0));
    /// # Ok::<(), serve_forever::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AskError::Refused`] as for `call`, [`AskError::ServingThread`] on the
    /// thread of the loop, [`AskError::TimedOut`] after `within`: `f` may still
    /// run, and its value is dropped. [`AskError::Unanswered`] if `f` panics, or
    /// the reactor is dropped before `f` has run.
    pub fn ask<R: Send + 'static>(
        &self,
        within: Duration,
        f: impl FnOnce(&mut S, &mut Io<'_>) -> R + Send + 'static,
    ) -> Result<R, AskError> {
        if thread::current().id() == self.serving {
            return Err(AskError::ServingThread);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.call(move |handler, io| {
            // An asker whose time was over is gone, and so is the receiver.
            let _ = answer.send(f(handler, io));
        })?;
        answered.recv_timeout(within).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => AskError::TimedOut,
            mpsc::RecvTimeoutError::Disconnected => AskError::Unanswered,
        })
    }

    /// Begins a shutdown: the reactor closes its listeners, finishes what is
    /// under way within `deadline`, drops the rest, and ends its loop. Of
    /// several deadlines the soonest counts. A shutdown requested before the
    /// loop begins ends the loop as soon as it has begun. Returns at once,
    /// before any of this is done.
    pub fn shutdown(&self, deadline: Duration) {
        self.inbox.shutdown(deadline);
    }
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        let Self { inbox, service, serving, handler } = self;
        Self { inbox: Arc::clone(inbox), service: *service, serving: *serving, handler: *handler }
    }
}

impl<S> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("service", &self.service).finish_non_exhaustive()
    }
}

/// The reason for which [`Handle::ask`] has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AskError {
    /// The call was not queued.
    Refused(Refused),
    /// It was asked on the thread of the loop, which would wait for itself.
    ServingThread,
    /// The call had not returned in time.
    TimedOut,
    /// The call has panicked, or was dropped with the reactor.
    Unanswered,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::ServingThread => f.write_str(
                "asked on the thread of the reactor, which would wait for itself; \
                 use Reactor::get between turns, or Handle::call",
            ),
            Self::TimedOut => f.write_str("the reactor has not answered in time"),
            Self::Unanswered => f.write_str("the call panicked, or the reactor was dropped before it ran"),
        }
    }
}

impl std::error::Error for AskError {}

impl From<Refused> for AskError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
