//! The floor: how much the room says in one turn of the loop, and who is next
//! to say something.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::{BoxError, ConnId, Io, TimerId};

/// How many messages are queued for somebody in one turn: in a large room, time
/// runs out before bytes do.
const COPIES: usize = 100_000;

/// How many of those who wait are read again in one turn. Each costs a
/// callback, whether or not its turn comes.
const WOKEN: usize = 64;

/// What was said: bytes, and how often a message was queued for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    bytes: usize,
    copies: usize,
}

impl Said {
    const fn is_below(self, share: Self) -> bool {
        self.bytes < share.bytes && self.copies < share.copies
    }

    /// What was said since `earlier`.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, copies: self.copies - earlier.copies }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.copies += other.copies;
    }
}

/// What waits for its turn.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A member who is not read from meanwhile.
    Speaker(ConnId),
    /// The last line of a member whose input has ended, and its leaving.
    LastLine { number: u64, id: ConnId, line: BytesMut },
    /// That a member has left.
    Leaving(u64),
}

/// See the module.
///
/// Invariant: where somebody waits, `tick` is set.
#[derive(Debug)]
pub(super) struct Floor {
    /// What the room may say in a turn, the last line not counted.
    share: Said,
    /// The turn that is counted in, and what was said in it.
    turn: Option<Instant>,
    said: Said,
    /// By numbers that rise: first come, first served.
    queue: BTreeMap<u64, Waiting>,
    last_place: u64,
    /// What each of those may say who were woken for this turn.
    part: Said,
    tick: Option<TimerId>,
}

impl Floor {
    pub(super) const fn new(bytes: usize) -> Self {
        let share = Said { bytes, copies: COPIES };
        Self {
            share,
            turn: None,
            said: Said { bytes: 0, copies: 0 },
            queue: BTreeMap::new(),
            last_place: 0,
            part: share,
            tick: None,
        }
    }

    pub(super) const fn set_share(&mut self, bytes: usize) {
        self.share.bytes = bytes;
    }

    /// A message of so many bytes went to so many.
    pub(super) fn count(&mut self, now: Instant, bytes: usize, copies: usize) {
        self.said = self.said(now);
        self.turn = Some(now);
        self.said.add(Said { bytes, copies });
    }

    /// What was said in this turn.
    pub(super) fn said(&self, now: Instant) -> Said {
        if self.turn == Some(now) { self.said } else { Said::default() }
    }

    /// False if others need a turn to send what was said in this one.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.said(now).is_below(self.share)
    }

    /// Whether one who was woken for this turn, and has said so much in it, may
    /// say more before those who still wait.
    pub(super) const fn leaves_part(&self, said: Said) -> bool {
        said.is_below(self.part)
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts somebody at the end of those who wait; its place.
    ///
    /// # Errors
    ///
    /// There is no timer left for who would be the first.
    pub(super) fn queue(&mut self, io: &mut Io<'_>, waiting: Waiting) -> Result<u64, BoxError> {
        if self.tick.is_none() {
            self.tick = Some(io.tick_after(Duration::ZERO)?);
        }
        self.last_place += 1;
        self.queue.insert(self.last_place, waiting);
        Ok(self.last_place)
    }

    /// Something else waits in this place from now on.
    pub(super) fn replace(&mut self, place: u64, waiting: Waiting) {
        self.queue.insert(place, waiting);
    }

    pub(super) fn at(&self, place: u64) -> Option<&Waiting> {
        self.queue.get(&place)
    }

    pub(super) fn take(&mut self, place: u64) -> Option<Waiting> {
        self.queue.remove(&place)
    }

    /// The first place behind this one where somebody waits.
    pub(super) fn behind(&self, place: u64) -> Option<u64> {
        self.queue.range(place + 1..).next().map(|(place, _)| *place)
    }

    /// Whether so many who were woken are enough.
    pub(super) const fn are_enough(woken: usize) -> bool {
        woken >= WOKEN
    }

    /// So many were woken for the next turn, which they share.
    pub(super) const fn share_among(&mut self, woken: usize) {
        let woken = if woken == 0 { 1 } else { woken };
        self.part = Said { bytes: self.share.bytes / woken, copies: self.share.copies / woken };
    }

    /// Whether this is the timer of [`look_again`](Self::look_again); it is
    /// not set any more.
    pub(super) fn is_tick(&mut self, timer: TimerId) -> bool {
        self.tick.take_if(|tick| *tick == timer).is_some()
    }

    /// Sees to it that somebody looks again after this time, if anybody waits.
    pub(super) fn look_again(&mut self, io: &mut Io<'_>, after: Duration) {
        if let Some(tick) = self.tick.take() {
            io.cancel(tick);
        }
        if !self.queue.is_empty() {
            // In the place of the one that was taken back, or has just fired.
            self.tick = io.tick_after(after).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_turn_is_for_that_turn_and_for_the_room() {
        let start = Instant::now();
        let later = start + Duration::from_millis(1);
        let mut floor = Floor::new(1000);
        floor.count(start, 999, 5);
        assert!(floor.has_room(start));
        floor.count(start, 1, 5);
        assert!(!floor.has_room(start) && floor.has_room(later));
        floor.count(later, 1, COPIES);
        assert!(!floor.has_room(later));
        assert_eq!(floor.said(later), Said { bytes: 1, copies: COPIES });
    }

    #[test]
    fn who_is_woken_has_a_part_of_it_and_one_line_at_least() {
        let mut floor = Floor::new(1000);
        floor.share_among(0);
        assert!(floor.leaves_part(Said { bytes: 999, copies: 1 }));
        floor.share_among(10);
        assert!(floor.leaves_part(Said { bytes: 99, copies: 1 }));
        assert!(!floor.leaves_part(Said { bytes: 100, copies: 1 }));
        assert!(!floor.leaves_part(Said { bytes: 1, copies: COPIES / 10 }));
    }
}
