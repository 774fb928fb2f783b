//! The way into a reactor from outside its loop, from any thread.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::contain::discard;
pub use crate::inbox::Refused;
use crate::io::Io;

type Run = dyn FnOnce(&mut dyn Any, &mut Io<'_>) + Send;

/// A call that waits for its turn; dropped without it, it harms nobody.
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

/// Calls that wait, each with its service.
pub(crate) type Calls = VecDeque<(u16, Call)>;

/// What handles leave for the loop.
pub(crate) type Inbox = crate::inbox::Inbox<(u16, Call)>;

/// Reaches a service in its reactor from any thread, the serving one
/// included; before, during and after the loop.
///
/// It never blocks: a call is left for the loop, which is woken if need be
/// (once for all that is left meanwhile), and runs it in its next turn.
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
    /// `Send` and `Sync` whatever `S` is: it stays on the loop's thread.
    handler: PhantomData<fn(&mut S)>,
}

impl<S: 'static> Handle<S> {
    pub(crate) const fn new(inbox: Arc<Inbox>, service: u16) -> Self {
        Self { inbox, service, handler: PhantomData }
    }

    /// Leaves `f` to be run on the loop's thread, with the service and the
    /// door to its connections. Calls run in the order they were left.
    ///
    /// Not promised: that it ever runs. If the reactor is dropped before its
    /// next turn, `f` is dropped.
    ///
    /// # Errors
    ///
    /// [`Refused::Full`] when [`Config::max_calls`](crate::Config::max_calls)
    /// wait, [`Refused::Gone`] when the reactor is gone; `f` is dropped.
    #[allow(clippy::missing_panics_doc, reason = "a handle is made with the type of its service")]
    pub fn call(&self, f: impl FnOnce(&mut S, &mut Io<'_>) + Send + 'static) -> Result<(), Refused> {
        let call = move |handler: &mut dyn Any, io: &mut Io<'_>| {
            f(handler.downcast_mut().expect("the reactor made this handle for a service of this type"), io);
        };
        self.inbox.call((self.service, Call(Some(Box::new(call)))))
    }

    /// Asks for a shutdown: listeners close, what is under way is finished
    /// within `deadline`, the rest is dropped, and the loop ends. Asked more
    /// than once, the soonest counts; asked before the loop begins, the loop
    /// ends as soon as it has begun. Does not wait for any of it.
    pub fn shutdown(&self, deadline: Duration) {
        self.inbox.shutdown(deadline);
    }
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox), service: self.service, handler: PhantomData }
    }
}

impl<S> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("service", &self.service).finish_non_exhaustive()
    }
}
