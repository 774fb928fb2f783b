//! What other threads leave for the loop, and how it is woken for that.

use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;
use std::time::Duration;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// What other threads leave for the loop: calls, and the wish to shut down.
///
/// A caller leaves its call first and rings then; the loop takes the flag down
/// first and the calls then, both under the lock. So whoever comes too late for
/// the calls finds the flag down, and rings again.
pub(crate) struct Inbox<C> {
    state: Mutex<State<C>>,
    /// Whether there are any, for the loop to see without the lock, and
    /// whether the loop has been woken for them.
    waiting: AtomicBool,
    waker: Waker,
    max_calls: usize,
}

struct State<C> {
    calls: VecDeque<C>,
    shutdown: Option<Duration>,
    /// The reactor is gone.
    closed: bool,
}

impl<C> Inbox<C> {
    pub(crate) fn new(waker: Waker, max_calls: usize) -> Self {
        let state = State { calls: VecDeque::new(), shutdown: None, closed: false };
        Self { state: Mutex::new(state), waiting: AtomicBool::new(false), waker, max_calls }
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Swaps the waiting calls for an empty queue, and tells whether a
    /// shutdown is wished, and how soon.
    pub(crate) fn take(&self, calls: &mut VecDeque<C>) -> Option<Duration> {
        let mut state = self.lock();
        self.waiting.store(false, Ordering::Release);
        std::mem::swap(&mut state.calls, calls);
        state.shutdown.take()
    }

    /// Refuses everything from now on.
    pub(crate) fn close(&self) {
        let calls = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.calls)
        };
        // Not under the lock: what a call holds may use a handle as it drops.
        drop(calls);
    }

    /// Leaves a call, and wakes the loop if need be.
    pub(crate) fn call(&self, call: C) -> Result<(), Refused> {
        // On refusal `call` drops when the lock, which is younger, is gone.
        {
            let mut state = self.lock();
            if state.closed {
                return Err(Refused::Gone);
            }
            if state.calls.len() >= self.max_calls {
                return Err(Refused::Full);
            }
            state.calls.push_back(call);
        }
        self.wake();
        Ok(())
    }

    /// Leaves a wish; of several, the soonest counts.
    pub(crate) fn shutdown(&self, deadline: Duration) {
        {
            let mut state = self.lock();
            state.shutdown = Some(state.shutdown.map_or(deadline, |earlier| earlier.min(deadline)));
        }
        self.wake();
    }

    /// One wake for all that is left until the loop looks.
    fn wake(&self) {
        if !self.waiting.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Nothing under the lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> fmt::Debug for Inbox<C> {
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
