//! `Inbox`: queues calls and shutdown requests of other threads for the loop,
//! and wakes it.

use std::collections::VecDeque;
use std::fmt;
use std::task::Waker;
use std::time::Duration;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// The calls and the shutdown request that other threads have queued for the
/// loop.
///
/// A caller pushes its call first and sets `waiting` afterwards; the loop
/// clears `waiting` first and takes the calls afterwards, both under the lock.
/// So a caller that is too late for this round of calls finds the flag clear,
/// sets it, and wakes the loop again.
pub(crate) struct Inbox<C> {
    state: Mutex<State<C>>,
    /// True while something is queued and the loop has been woken for it. The
    /// loop reads it without the lock.
    waiting: AtomicBool,
    waker: Waker,
    max_calls: usize,
}

struct State<C> {
    calls: VecDeque<C>,
    /// Completions among them, which `max_calls` does not count.
    completions: usize,
    shutdown: Option<Duration>,
    /// The reactor is gone.
    closed: bool,
}

impl<C> Inbox<C> {
    pub(crate) fn new(waker: Waker, max_calls: usize) -> Self {
        let state = State { calls: VecDeque::new(), completions: 0, shutdown: None, closed: false };
        Self { state: Mutex::new(state), waiting: AtomicBool::new(false), waker, max_calls }
    }

    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Swaps the waiting calls for an empty queue, and returns the deadline of
    /// a requested shutdown.
    pub(crate) fn take(&self, calls: &mut VecDeque<C>) -> Option<Duration> {
        let mut state = self.lock();
        self.waiting.store(false, Ordering::Release);
        std::mem::swap(&mut state.calls, calls);
        state.completions = 0;
        state.shutdown.take()
    }

    /// Refuses every later call, and drops those that wait.
    pub(crate) fn close(&self) {
        let calls = {
            let mut state = self.lock();
            state.closed = true;
            state.completions = 0;
            std::mem::take(&mut state.calls)
        };
        // Not under the lock: what a call holds may use a handle as it drops.
        drop(calls);
    }

    /// Queues a call, and wakes the loop if need be.
    pub(crate) fn call(&self, call: C) -> Result<(), Refused> {
        // On refusal `call` drops after the lock guard, which is younger.
        {
            let mut state = self.lock();
            if state.closed {
                return Err(Refused::Gone);
            }
            if state.calls.len() - state.completions >= self.max_calls {
                return Err(Refused::Full);
            }
            state.calls.push_back(call);
        }
        self.wake();
        Ok(())
    }

    /// Queues what the loop has asked for, and so has counted already: a completion. It
    /// comes back if the reactor is gone.
    #[cfg_attr(not(feature = "workers"), allow(dead_code, reason = "jobs alone complete"))]
    pub(crate) fn complete(&self, completion: C) -> Result<(), C> {
        {
            let mut state = self.lock();
            if state.closed {
                return Err(completion);
            }
            state.calls.push_back(completion);
            state.completions += 1;
        }
        self.wake();
        Ok(())
    }

    /// Requests a shutdown; of several deadlines the soonest counts.
    pub(crate) fn shutdown(&self, deadline: Duration) {
        {
            let mut state = self.lock();
            state.shutdown = Some(state.shutdown.map_or(deadline, |earlier| earlier.min(deadline)));
        }
        self.wake();
    }

    /// Wakes the loop, once for all that is queued until the loop takes it.
    fn wake(&self) {
        if !self.waiting.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // No code under the lock can panic halfway, so a poisoned state is
        // consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> fmt::Debug for Inbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("waiting", &self.is_waiting()).finish_non_exhaustive()
    }
}

/// The reason for which a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// [`Config::max_calls`](crate::Config::max_calls) calls wait already: the
    /// loop is too slow, or is not running. Try again later.
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
