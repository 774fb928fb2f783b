//! `Readings`: the clock as the loop has read it since the last other call.

use std::cell::Cell;

use crate::driver::Moment;

/// The most readings that are kept between two other calls; of more, the first ones and
/// the last one. The loop makes one for each callback without output; more can come of a
/// program that asks [`Reactor::next_timeout`](crate::Reactor::next_timeout) again and
/// again.
const MOST: usize = 65_536;

/// See the module. A driver's clock is read through a shared reference, so they are in
/// cells; one after the other, for there is hardly ever more than one.
#[derive(Default)]
pub(super) struct Readings {
    last: Cell<Option<Moment>>,
    /// Those before the last one.
    earlier: Cell<Vec<Moment>>,
}

impl Readings {
    /// Adds a reading.
    #[inline]
    pub(super) fn add(&self, now: Moment) {
        if let Some(before) = self.last.replace(Some(now)) {
            self.add_earlier(before);
        }
    }

    #[cold]
    fn add_earlier(&self, reading: Moment) {
        let mut earlier = self.earlier.take();
        if earlier.len() < MOST - 1 {
            earlier.push(reading);
        }
        self.earlier.set(earlier);
    }

    /// Takes all of them out, in order.
    #[inline(always)]
    pub(super) fn take(&mut self, mut each: impl FnMut(Moment)) {
        let Some(last) = self.last.take() else { return };
        if !self.earlier.get_mut().is_empty() {
            self.take_earlier(&mut each);
        }
        each(last);
    }

    #[cold]
    fn take_earlier(&mut self, each: &mut impl FnMut(Moment)) {
        self.earlier.get_mut().drain(..).for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(readings: &mut Readings) -> Vec<u64> {
        let mut taken = Vec::new();
        readings.take(|reading| taken.push(reading.as_nanos()));
        taken
    }

    #[test]
    fn they_come_out_once_and_in_order() {
        let mut readings = Readings::default();
        assert_eq!(taken(&mut readings), []);
        for count in [1, 2, 5] {
            (0..count).for_each(|nanos| readings.add(Moment::from_nanos(nanos)));
            assert_eq!(taken(&mut readings), (0..count).collect::<Vec<_>>());
            assert_eq!(taken(&mut readings), []);
        }
    }

    #[test]
    fn of_too_many_the_first_ones_and_the_last_one_are_kept() {
        let mut readings = Readings::default();
        (0..100_000).for_each(|nanos| readings.add(Moment::from_nanos(nanos)));
        let taken = taken(&mut readings);
        assert_eq!(taken.len(), MOST);
        assert_eq!(taken[..MOST - 1], (0..MOST as u64 - 1).collect::<Vec<_>>());
        assert_eq!(taken.last(), Some(&99_999));
    }
}
