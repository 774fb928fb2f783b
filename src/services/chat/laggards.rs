//! `Laggards`: members above their high marks, and those among them for which
//! the room pauses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::{ConnId, Io};

/// The period of checking whether the awaited members read.
const LOOK: Duration = Duration::from_millis(250);

/// Consecutive checks after which a member counts as not reading. Fewer would
/// be wrong, as a socket takes more only once the peer has read a good part of
/// the system's buffer. Checks are counted instead of time: while the process
/// is stopped, or the loop blocked, nothing is written, and no reader is at
/// fault.
const LOOKS: u8 = 4;

/// The bytes that a member has to read meanwhile; or a part of what waits for
/// it, if that is less.
const STEP: usize = 16 << 10;
const PART: usize = 16;

/// The time without pauses after a member was found not to read, so that such
/// members cost the room a tenth of its time at most.
const REST: Duration = Duration::from_secs(10);

/// A member above its high mark.
#[derive(Debug)]
struct Laggard {
    /// The bytes that waited when it had last read enough; `looks` counts the
    /// checks since, the last at `seen`.
    queued: usize,
    looks: u8,
    seen: Instant,
    is_awaited: bool,
}

impl Laggard {
    const fn awaited(now: Instant, queued: usize) -> Self {
        Self { queued, looks: 0, seen: now, is_awaited: true }
    }

    /// Checks again, with the bytes that wait now, or `None` if the member is
    /// gone. False if it does not read.
    fn look(&mut self, now: Instant, queued: Option<usize>) -> bool {
        match queued {
            Some(queued) if self.reads(queued) => {
                *self = Self { is_awaited: self.is_awaited, ..Self::awaited(now, queued) };
            }
            _ => (self.looks, self.seen) = (self.looks + 1, now),
        }
        queued.is_some() && self.looks < LOOKS
    }

    /// Whether the member has read enough, if this much waits now.
    fn reads(&self, queued: usize) -> bool {
        queued + (self.queued / PART).clamp(1, STEP) <= self.queued
    }
}

/// The members above their high marks.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    known: BTreeMap<ConnId, Laggard>,
    /// The number of awaited members.
    awaited: usize,
    /// The end of the time without pauses.
    rest: Option<Instant>,
}

impl Laggards {
    /// Whether the room pauses until a member has read.
    pub(super) const fn are_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Whether `full` members above their high marks are more than are known,
    /// after a message to all but `except`.
    pub(super) fn are_fewer_than(&self, full: usize, except: Option<ConnId>) -> bool {
        let left_out = except.is_some_and(|id| self.known.contains_key(&id));
        full > self.known.len() - usize::from(left_out)
    }

    /// Finds the members above their high marks.
    pub(super) fn find(&mut self, io: &Io<'_>, members: impl Iterator<Item = ConnId>) {
        let is_awaited = self.rest.is_none_or(|rest| io.now() >= rest);
        for id in members {
            if io.is_full(id) && !self.known.contains_key(&id) {
                let queued = io.queued(id).unwrap_or(0);
                self.known.insert(id, Laggard { is_awaited, ..Laggard::awaited(io.now(), queued) });
                self.awaited += usize::from(is_awaited);
            }
        }
    }

    /// Removes a member that has read, or is gone. True if the room has paused
    /// for it alone.
    pub(super) fn forget(&mut self, id: ConnId) -> bool {
        let was_awaited = self.known.remove(&id).is_some_and(|laggard| laggard.is_awaited);
        self.awaited -= usize::from(was_awaited);
        was_awaited && self.awaited == 0
    }

    /// Checks the awaited members, and stops waiting for those that do not
    /// read.
    pub(super) fn look(&mut self, io: &Io<'_>) {
        let now = io.now();
        let is_due = |laggard: &Laggard| laggard.is_awaited && now >= laggard.seen + LOOK;
        for (id, laggard) in self.known.iter_mut().filter(|(_, laggard)| is_due(laggard)) {
            if !laggard.look(now, io.queued(*id)) {
                laggard.is_awaited = false;
                self.awaited -= 1;
                self.rest = Some(now + REST);
            }
        }
    }

    /// The time until the next check, if a member is awaited.
    pub(super) fn next_look(&self, now: Instant) -> Option<Duration> {
        let seen = self.known.values().filter(|laggard| laggard.is_awaited).map(|laggard| laggard.seen);
        Some((seen.min()? + LOOK).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_read_is_to_take_16_kib_or_a_16th_of_what_waits() {
        let reads = |before, now| Laggard::awaited(Instant::now(), before).reads(now);
        assert!(reads(1 << 20, (1 << 20) - STEP) && !reads(1 << 20, (1 << 20) - STEP + 1));
        assert!(reads(1600, 1500) && !reads(1600, 1501));
        assert!(reads(1, 0) && !reads(1, 1));
        assert!(!reads(1600, 1 << 20), "more has come for it");
    }

    #[test]
    fn patience_is_counted_in_looks() {
        let start = Instant::now();
        let mut laggard = Laggard::awaited(start, 1600);
        assert!(laggard.look(start + 90 * LOOK, Some(1600)), "stopped meanwhile");
        assert!(laggard.look(start + 91 * LOOK, Some(1600)) && laggard.look(start + 92 * LOOK, Some(1501)));
        assert!(laggard.look(start + 93 * LOOK, Some(1500)), "it has read");
        for number in 1..LOOKS {
            assert!(laggard.look(start + (93 + u32::from(number)) * LOOK, Some(1500)));
        }
        assert!(!laggard.look(start + 97 * LOOK, Some(1500)));
        assert!(!Laggard::awaited(start, 1600).look(start + LOOK, None), "gone");
    }
}
