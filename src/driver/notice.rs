//! `Notice`: facts about the loop that no driver call shows.

use std::time::Duration;

use crate::incident::Incident;

/// A fact about the loop that no call of a [`Driver`](super::Driver) shows, for
/// [`Driver::notice`](super::Driver::notice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// [`serve_forever`](crate::Reactor::serve_forever) begins.
    Serving,
    /// A [turn](crate::Reactor::turn) begins that waits for at most so long.
    Turn(
        /// The `max_wait` of the turn.
        Option<Duration>,
    ),
    /// [`Reactor::shutdown`](crate::Reactor::shutdown) is called, with this deadline.
    Shutdown(
        /// The time that the shutdown may take.
        Duration,
    ),
    /// The loop takes what other threads have left for it.
    Calls {
        /// The calls of handles, and the results of workers.
        count: usize,
        /// The deadline of a shutdown that a handle has asked for.
        shutdown: Option<Duration>,
    },
    /// A callback did not end as it should: the first one of a turn, at the end of
    /// that turn.
    Incident(Incident),
}
