//! `Histogram`: how many durations there were of which length.

use std::time::Duration;

/// The number of buckets: every duration below 292 years has one.
const BUCKETS: usize = 64;

/// Counts of durations, in buckets that double: 0 ns, 1 ns, up to 3 ns, up to 7 ns and
/// so on.
///
/// To count one is four instructions and no allocation: [`Stats`](crate::Stats) has
/// one of all callbacks and one of all turns.
///
/// ```
/// use serve_forever::{Config, Reactor};
///
/// let reactor = Reactor::new(Config::default())?;
/// let turns = reactor.stats().turn_times;
/// for (at_most, count) in turns.buckets().filter(|(_, count)| *count > 0) {
///     println!("{count} turns took {at_most:?} or less, and more than half of that");
/// }
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket `n` counts what is shorter than `2^n` nanoseconds, and fits no bucket
    /// before it.
    counts: [u64; BUCKETS],
    /// All durations together, in nanoseconds.
    nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], nanos: 0 }
    }
}

impl Histogram {
    /// Counts a duration.
    #[inline(always)]
    pub(crate) const fn count_nanos(&mut self, nanos: u64) {
        // The number of its bits.
        let bucket = (nanos << 1 | 1).ilog2();
        self.counts[bucket as usize] += 1;
        self.nanos = self.nanos.wrapping_add(nanos);
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together. It wraps around after 584 years.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The buckets, the shortest first: the longest duration that each counts, and
    /// how many there were. A bucket counts what is longer than the bound of the one
    /// before.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (Duration, u64)> {
        self.counts.iter().enumerate().map(|(power, count)| (Duration::from_nanos((1 << power) - 1), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds of the buckets that have counted something.
    fn found(histogram: &Histogram) -> Vec<(u128, u64)> {
        let filled = histogram.buckets().filter(|(_, count)| *count > 0);
        filled.map(|(bound, count)| (bound.as_nanos(), count)).collect()
    }

    #[test]
    fn each_duration_is_in_the_first_bucket_that_is_long_enough() {
        for nanos in (0..5000_u64).chain([(1 << 40) - 1, 1 << 40, (1 << 62) + 1]) {
            let mut histogram = Histogram::default();
            histogram.count_nanos(nanos);
            let bound = (nanos + 1).next_power_of_two() - 1;
            assert_eq!(found(&histogram), [(u128::from(bound), 1)], "{nanos}");
            assert_eq!((histogram.count(), histogram.sum()), (1, Duration::from_nanos(nanos)));
        }
    }

    #[test]
    fn counts_and_sums_grow() {
        let mut histogram = Histogram::default();
        for nanos in [0, 1, 1, 3, 4, 5, 1000] {
            histogram.count_nanos(nanos);
        }
        assert_eq!(found(&histogram), [(0, 1), (1, 2), (3, 1), (7, 2), (1023, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (7, Duration::from_nanos(1014)));
    }
}
