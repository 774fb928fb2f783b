//! `Floor`: bounds what the room sends in one turn of the loop, and queues
//! members for the next turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::{BoxError, ConnId, Io, TimerId};

/// The most messages queued for members in one turn: in a large room, time is
/// scarcer than bytes.
const COPIES: usize = 100_000;

/// The most waiting members resumed in one turn. Each costs a callback, whether
/// or not it gets the floor.
const WOKEN: usize = 64;

/// An amount sent: bytes, and messages queued for members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    bytes: usize,
    copies: usize,
}

impl Said {
    const fn is_below(self, share: Self) -> bool {
        self.bytes < share.bytes && self.copies < share.copies
    }

    /// The amount sent since `earlier`.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self { bytes: self.bytes - earlier.bytes, copies: self.copies - earlier.copies }
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.copies += other.copies;
    }
}

/// An entry of the queue for the floor.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A member, which is paused meanwhile.
    Speaker(ConnId),
    /// The last line of a member whose input has ended, followed by its
    /// leaving.
    LastLine { number: u64, id: ConnId, line: BytesMut },
    /// The announcement that a member has left.
    Leaving(u64),
    /// The lines of a bus.
    #[cfg(feature = "bus")]
    Lines,
}

/// The share of the room in each turn, and the queue for it.
///
/// Invariant: `tick` is set while `queue` is not empty.
#[derive(Debug)]
pub(super) struct Floor {
    /// What the room may send in a turn, without its last line.
    share: Said,
    /// The current turn, and what was sent in it.
    turn: Option<Instant>,
    said: Said,
    /// Entries by rising numbers: first come, first served.
    queue: BTreeMap<u64, Waiting>,
    last_place: u64,
    /// What each member that was woken for this turn may send in it.
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

    /// Counts a message of `bytes` bytes to `copies` members.
    pub(super) fn count(&mut self, now: Instant, bytes: usize, copies: usize) {
        self.said = self.said(now);
        self.turn = Some(now);
        self.said.add(Said { bytes, copies });
    }

    /// What was sent in this turn.
    pub(super) fn said(&self, now: Instant) -> Said {
        if self.turn == Some(now) { self.said } else { Said::default() }
    }

    /// False if the share of this turn is spent.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.said(now).is_below(self.share)
    }

    /// Whether a member that was woken for this turn, and has sent this much in
    /// it, may send more before those that still wait.
    pub(super) const fn leaves_part(&self, said: Said) -> bool {
        said.is_below(self.part)
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends an entry to the queue, and returns its place.
    ///
    /// # Errors
    ///
    /// No timer is left for the first entry.
    pub(super) fn queue(&mut self, io: &mut Io<'_>, waiting: Waiting) -> Result<u64, BoxError> {
        if self.tick.is_none() {
            self.tick = Some(io.tick_after(Duration::ZERO)?);
        }
        self.last_place += 1;
        self.queue.insert(self.last_place, waiting);
        Ok(self.last_place)
    }

    /// Replaces the entry in a place.
    pub(super) fn replace(&mut self, place: u64, waiting: Waiting) {
        self.queue.insert(place, waiting);
    }

    pub(super) fn at(&self, place: u64) -> Option<&Waiting> {
        self.queue.get(&place)
    }

    pub(super) fn take(&mut self, place: u64) -> Option<Waiting> {
        self.queue.remove(&place)
    }

    /// The next occupied place behind this one.
    pub(super) fn behind(&self, place: u64) -> Option<u64> {
        self.queue.range(place + 1..).next().map(|(place, _)| *place)
    }

    /// Whether this many woken members are enough for one turn.
    pub(super) const fn are_enough(woken: usize) -> bool {
        woken >= WOKEN
    }

    /// Divides the share of the next turn among the woken members.
    pub(super) const fn share_among(&mut self, woken: usize) {
        let woken = if woken == 0 { 1 } else { woken };
        self.part = Said { bytes: self.share.bytes / woken, copies: self.share.copies / woken };
    }

    /// Whether this is the timer of [`look_again`](Self::look_again), which
    /// then is no longer set.
    pub(super) fn is_tick(&mut self, timer: TimerId) -> bool {
        self.tick.take_if(|tick| *tick == timer).is_some()
    }

    /// Sets the timer to serve the queue again after this time, if the queue is
    /// not empty.
    pub(super) fn look_again(&mut self, io: &mut Io<'_>, after: Duration) {
        if let Some(tick) = self.tick.take() {
            io.cancel(tick);
        }
        if !self.queue.is_empty() {
            // It takes the slot of the timer that was cancelled, or has just
            // fired.
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
