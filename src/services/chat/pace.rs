//! How much of one member's lines is taken, and when.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// What one member may say to others in one turn of the loop, in bytes: so
/// much fits beneath the hard mark of everybody who keeps up, many times.
const BYTES: usize = 64 << 10;

/// And how often that may be queued for somebody: in a large room, time runs
/// out before bytes do.
const COPIES: usize = 100_000;

/// How much a member has said.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the second began that is counted in, and the lines in it.
    second: Option<Instant>,
    lines: u32,
    /// It was over the limit in this second.
    over: bool,
    /// It was told so, and has not kept to it for a second since.
    told: bool,
    /// The turn that is counted in, and what was said in it.
    turn: Option<Instant>,
    bytes: usize,
    copies: usize,
}

impl Pace {
    /// A line has come.
    pub(super) const fn count_line(&mut self) {
        self.lines = self.lines.saturating_add(1);
    }

    /// A message of so many bytes went to so many.
    pub(super) fn count_message(&mut self, now: Instant, bytes: usize, copies: usize) {
        if self.turn != Some(now) {
            (self.turn, self.bytes, self.copies) = (Some(now), 0, 0);
        }
        self.bytes += bytes;
        self.copies += copies;
    }

    /// True if others need a turn to send what this member has said.
    pub(super) fn is_enough_for_now(&self, now: Instant) -> bool {
        self.turn == Some(now) && (self.bytes >= BYTES || self.copies >= COPIES)
    }

    /// Time until one more line is within the limit; `None`: it is.
    pub(super) fn too_soon(&mut self, now: Instant, per_second: NonZeroU32) -> Option<Duration> {
        let began = *self.second.get_or_insert(now);
        let gone = now.saturating_duration_since(began);
        if gone >= SECOND {
            (self.second, self.lines) = (Some(now), 0);
            self.told &= std::mem::take(&mut self.over);
            return None;
        }
        (self.lines >= per_second.get()).then(|| SECOND - gone)
    }

    /// One line more has come too soon. Whether to tell it to slow down: once,
    /// until it has.
    pub(super) const fn is_news(&mut self) -> bool {
        self.over = true;
        !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: NonZeroU32 = NonZeroU32::new(2).expect("two");

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// Whether a line is taken at this time.
    fn takes(pace: &mut Pace, now: Instant) -> bool {
        let takes = pace.too_soon(now, MOST).is_none();
        if takes {
            pace.count_line();
        }
        takes
    }

    #[test]
    fn so_many_lines_are_taken_in_a_second_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let taken = [0, 300, 600, 999, 1000, 1001, 1999, 2000].map(|at| takes(&mut pace, after(start, at)));
        assert_eq!(taken, [true, true, false, false, true, true, false, true]);
        assert_eq!(pace.too_soon(after(start, 2250), MOST), None);
        pace.count_line();
        assert_eq!(pace.too_soon(after(start, 2250), MOST), Some(Duration::from_millis(750)));
    }

    #[test]
    fn it_is_told_once_until_it_has_slowed_down() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for second in 0..3 {
            for _ in 0..2 {
                assert!(takes(&mut pace, after(start, second * 1000)));
            }
            assert!(!takes(&mut pace, after(start, second * 1000)));
            assert_eq!(pace.is_news(), second == 0, "second {second}");
        }
        assert!(takes(&mut pace, after(start, 3000)), "a second in which it keeps to it");
        for _ in 0..2 {
            assert!(takes(&mut pace, after(start, 4000)));
        }
        assert!(!takes(&mut pace, after(start, 4000)));
        assert!(pace.is_news());
    }

    #[test]
    fn the_share_of_a_turn_is_for_that_turn() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.count_message(start, BYTES - 1, 5);
        assert!(!pace.is_enough_for_now(start));
        pace.count_message(start, 1, 5);
        assert!(pace.is_enough_for_now(start));
        assert!(!pace.is_enough_for_now(after(start, 1)));
        pace.count_message(after(start, 1), 1, COPIES);
        assert!(pace.is_enough_for_now(after(start, 1)));
    }
}
