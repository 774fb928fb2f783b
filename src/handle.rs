//! The way into a reactor from outside its loop, from any thread.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::contain::discard;
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
pub(crate) struct Inbox {
    letters: Mutex<Letters>,
    /// Whether there are any, for the loop to see without the lock, and
    /// whether the loop has been woken for them.
    waiting: AtomicBool,
    waker: Waker,
    max_calls: usize,
}

#[derive(Default)]
struct Letters {
    calls: Calls,
    shutdown: Option<Duration>,
    /// The reactor is gone.
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(waker: Waker, max_calls: usize) -> Self {
        Self { letters: Mutex::default(), waiting: AtomicBool::new(false), waker, max_calls }
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Swaps the waiting calls for an empty queue, and tells whether a
    /// shutdown is wished, and how soon.
    pub(crate) fn take(&self, calls: &mut Calls) -> Option<Duration> {
        let mut letters = self.lock();
        self.waiting.store(false, Ordering::Release);
        std::mem::swap(&mut letters.calls, calls);
        letters.shutdown.take()
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        let calls = {
            let mut letters = self.lock();
            letters.closed = true;
            std::mem::take(&mut letters.calls)
        };
        // Not under the lock: what a call holds may use a handle as it drops.
        drop(calls);
    }

    fn call(&self, service: u16, call: Call) -> Result<(), Refused> {
        // On refusal `call` drops when the lock, which is younger, is gone.
        {
            let mut letters = self.lock();
            if letters.closed {
                return Err(Refused::Gone);
            }
            if letters.calls.len() >= self.max_calls {
                return Err(Refused::Full);
            }
            letters.calls.push_back((service, call));
        }
        self.wake();
        Ok(())
    }

    fn shutdown(&self, deadline: Duration) {
        {
            let mut letters = self.lock();
            letters.shutdown = Some(letters.shutdown.map_or(deadline, |earlier| earlier.min(deadline)));
        }
        self.wake();
    }

    /// One wake for all that is left until the loop looks.
    fn wake(&self) {
        if !self.waiting.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        // Nothing under the lock can leave it half done.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.is_waiting()).finish_non_exhaustive()
    }
}

/// Why a call was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// [`Config::max_calls`](crate::Config::max_calls) calls wait already: the
    /// loop does not keep up, or does not run. Try again later.
    Full,
    /// The reactor is gone.
    Gone,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many calls wait for the reactor already",
            Self::Gone => "the reactor is gone",
        })
    }
}

impl std::error::Error for Refused {}

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
        self.inbox.call(self.service, Call(Some(Box::new(call))))
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
