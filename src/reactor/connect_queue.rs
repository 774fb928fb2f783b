//! Connections that could not be begun yet, for want of room where they go.
//!
//! A Unix socket whose backlog is full says EAGAIN, and no event tells when
//! there is room (connect(2)): all that is left is to try again.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::id::{ConnId, Key};

/// How soon it is tried again at first.
const SOON: Duration = Duration::from_millis(1);

/// The most that is waited between two attempts.
const SELDOM: Duration = Duration::from_millis(100);

/// Who waits for room.
#[derive(Debug, Default)]
pub(super) struct ConnectQueue {
    pub(super) waiting: Vec<(ConnId, Endpoint)>,
    /// The timer to try again, while somebody waits.
    pub(super) timer: Option<Key>,
    /// How long the last one took; zero if nobody waited.
    pub(super) wait: Duration,
}

impl ConnectQueue {
    /// How long the next attempt is waited for.
    pub(super) fn wait_longer(&mut self) -> Duration {
        self.wait = (self.wait * 2).clamp(SOON, SELDOM);
        self.wait
    }
}
