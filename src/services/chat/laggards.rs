//! Members with much to read, and for which of them the room waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::{ConnId, Io};

/// How often the room looks whether those that it waits for read.
const LOOK: Duration = Duration::from_millis(250);

/// After how many looks in a row one is found not to read. Not sooner, as a
/// socket takes more only once a good part of what the system holds of it was
/// read. Looks are counted, and not time: while the process is stopped, or the
/// loop held up, nothing is written, and that is nobody's fault who reads.
const LOOKS: u8 = 4;

/// How much one has to read meanwhile, in bytes; or this part of what waits for
/// it, if that is less.
const STEP: usize = 16 << 10;
const PART: usize = 16;

/// For how long nobody more is waited for once somebody was found not to read,
/// so that such members cost the room a tenth of its time at most.
const REST: Duration = Duration::from_secs(10);

/// A member above its high mark.
#[derive(Debug)]
struct Laggard {
    /// What waited for it when it had last read enough, and how often it was
    /// looked at since, last at `seen`.
    queued: usize,
    looks: u8,
    seen: Instant,
    is_awaited: bool,
}

impl Laggard {
    const fn new(now: Instant, queued: usize, is_awaited: bool) -> Self {
        Self { queued, looks: 0, seen: now, is_awaited }
    }

    /// Looks again, when so much waits or it is gone. False if it does not read.
    fn look(&mut self, now: Instant, queued: Option<usize>) -> bool {
        match queued {
            Some(queued) if self.reads(queued) => *self = Self::new(now, queued, self.is_awaited),
            _ => (self.looks, self.seen) = (self.looks + 1, now),
        }
        queued.is_some() && self.looks < LOOKS
    }

    /// Whether it has read enough, if so much waits now.
    fn reads(&self, queued: usize) -> bool {
        queued + (self.queued / PART).clamp(1, STEP) <= self.queued
    }
}

/// The members above their high marks.
#[derive(Debug, Default)]
pub(super) struct Laggards {
    known: BTreeMap<ConnId, Laggard>,
    /// How many of them are waited for.
    awaited: usize,
    /// Until when nobody more is.
    rest: Option<Instant>,
}

impl Laggards {
    /// Whether the room says nothing until somebody has read.
    pub(super) const fn are_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Whether `full` members above their high marks are more than are known,
    /// when a message went to all but `except`.
    pub(super) fn are_fewer_than(&self, full: usize, except: Option<ConnId>) -> bool {
        let left_out = except.is_some_and(|id| self.known.contains_key(&id));
        full > self.known.len() - usize::from(left_out)
    }

    /// Looks who of these is above its high mark.
    pub(super) fn find(&mut self, io: &Io<'_>, members: impl Iterator<Item = ConnId>) {
        let is_awaited = self.rest.is_none_or(|rest| io.now() >= rest);
        for id in members {
            if io.is_full(id) && !self.known.contains_key(&id) {
                let queued = io.queued(id).unwrap_or(0);
                self.known.insert(id, Laggard::new(io.now(), queued, is_awaited));
                self.awaited += usize::from(is_awaited);
            }
        }
    }

    /// One has read, or is gone. True if the room has waited for it alone.
    pub(super) fn forget(&mut self, id: ConnId) -> bool {
        let was_awaited = self.known.remove(&id).is_some_and(|laggard| laggard.is_awaited);
        self.awaited -= usize::from(was_awaited);
        was_awaited && self.awaited == 0
    }

    /// Looks whether those who are waited for read, and waits no longer for
    /// who does not.
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

    /// Time until the next look, if anybody is waited for.
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
        let reads = |before, now| Laggard::new(Instant::now(), before, true).reads(now);
        assert!(reads(1 << 20, (1 << 20) - STEP) && !reads(1 << 20, (1 << 20) - STEP + 1));
        assert!(reads(1600, 1500) && !reads(1600, 1501));
        assert!(reads(1, 0) && !reads(1, 1));
        assert!(!reads(1600, 1 << 20), "more has come for it");
    }

    #[test]
    fn patience_is_counted_in_looks() {
        let start = Instant::now();
        let mut laggard = Laggard::new(start, 1600, true);
        assert!(laggard.look(start + 90 * LOOK, Some(1600)), "stopped meanwhile");
        assert!(laggard.look(start + 91 * LOOK, Some(1600)) && laggard.look(start + 92 * LOOK, Some(1501)));
        assert!(laggard.look(start + 93 * LOOK, Some(1500)), "it has read");
        for number in 1..LOOKS {
            assert!(laggard.look(start + (93 + u32::from(number)) * LOOK, Some(1500)));
        }
        assert!(!laggard.look(start + 97 * LOOK, Some(1500)));
        assert!(!Laggard::new(start, 1600, true).look(start + LOOK, None), "gone");
    }
}
