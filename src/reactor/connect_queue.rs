//! `ConnectQueue`: outbound connections to Unix sockets whose backlog is full,
//! to be tried again by a timer.
//!
//! connect(2) on a Unix socket whose backlog is full returns EAGAIN, and no
//! event reports that it has room: the reactor has to try again.

use std::time::Duration;

use crate::core::{Alarm, Purpose};
use crate::id::{ConnId, Key};
use crate::moment::Moment;
use crate::timers::Timers;

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
    wait: Duration,
}

impl ConnectQueue {
    /// Sets the timer to try again, after twice the last wait, if a connection waits.
    pub(super) fn watch(&mut self, timers: &mut Timers<Alarm>, now: Moment) {
        if self.waiting.is_empty() {
            self.wait = Duration::ZERO;
        } else if self.timer.is_none() {
            self.wait = (self.wait * 2).clamp(SOON, SELDOM);
            self.timer = Some(timers.insert(now.plus(self.wait), Alarm::once(Purpose::Connect)));
        }
    }

    /// Takes the connections that wait, to be tried now.
    pub(super) fn take(&mut self, timers: &mut Timers<Alarm>) -> Vec<ConnId> {
        if let Some(timer) = self.timer.take() {
            timers.remove(timer);
        }
        std::mem::take(&mut self.waiting)
    }
}
