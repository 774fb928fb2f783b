//! `Pace`: bounds the lines of one member in a second.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The lines of a member in the current second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The beginning of the current second; `lines` counts the lines in it.
    second: Option<Instant>,
    lines: u32,
    /// True if the member was over the limit in this second.
    over: bool,
    /// True once the member was told to slow down, until it keeps to the limit
    /// for a second.
    told: bool,
}

impl Pace {
    /// Counts a line.
    pub(super) const fn count_line(&mut self) {
        self.lines = self.lines.saturating_add(1);
    }

    /// The time until one more line is within the limit; `None` if it is now.
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

    /// Notes a line that came too soon. True if the member is to be told to
    /// slow down, which happens once until it has.
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
}
