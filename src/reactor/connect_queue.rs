//! `ConnectQueue`: outbound connections to Unix sockets whose backlog is full,
//! to be tried again by a timer.
//!
//! connect(2) on a Unix socket whose backlog is full returns EAGAIN, and no
//! event reports that it has room: the reactor has to try again.

use std::time::Duration;

use crate::id::{ConnId, Key};

/// The wait before the first repeated attempt.
const SOON: Duration = Duration::from_millis(1);

/// The longest wait between two attempts.
const SELDOM: Duration = Duration::from_millis(100);

/// The connections that wait for room in a backlog.
#[derive(Debug, Default)]
pub(super) struct ConnectQueue {
    pub(super) waiting: Vec<ConnId>,
    /// The timer to try again; set while a connection waits.
    pub(super) timer: Option<Key>,
    /// The wait before the last attempt; zero if no connection waited.
    pub(super) wait: Duration,
}

impl ConnectQueue {
    /// Doubles the wait, within `SOON` and `SELDOM`, and returns it.
    pub(super) fn wait_longer(&mut self) -> Duration {
        self.wait = (self.wait * 2).clamp(SOON, SELDOM);
        self.wait
    }
}
