//! `ChatSession`: what a chat knows of one connection.

use std::time::Instant;

use super::audience::Wire;
use super::floor::Said;
use super::pace::Pace;
use super::reach::Entry;
use crate::Io;
use crate::services::http_guard::HttpGuard;

/// One connection to a [`Chat`](super::Chat).
#[derive(Debug)]
pub struct ChatSession {
    /// The number of the member, until it leaves.
    pub(super) number: Option<u64>,
    pub(super) pace: Pace,
    /// True while the member has sent too many lines: paused until a timer is
    /// due.
    pub(super) waits: bool,
    /// True while the member's output is above its high mark: paused until it
    /// drains.
    pub(super) full: bool,
    pub(super) guard: HttpGuard,
    /// The member's place in the queue for the floor: paused until it is woken.
    pub(super) place: Option<u64>,
    /// The turn in which the member was woken and had the floor, and what it
    /// has sent in it.
    pub(super) turn: Option<Instant>,
    pub(super) said: Said,
}

impl ChatSession {
    pub(super) fn new(entry: Entry, wire: Wire) -> Self {
        Self {
            number: Some(entry.number),
            pace: Pace::default(),
            waits: false,
            full: entry.is_full,
            // No page can make a browser send HTTP over a WebSocket.
            guard: if wire == Wire::Lines { HttpGuard::Start } else { HttpGuard::Other },
            place: None,
            turn: None,
            said: Said::default(),
        }
    }

    /// Resumes the member, if nothing pauses it any more.
    pub(super) fn go_on(&self, io: &mut Io<'_>) {
        if !self.waits && !self.full && self.place.is_none() {
            io.resume(io.id());
        }
    }
}
