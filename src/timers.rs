//! `Timers`: a queue of values by moment, under generational keys, for timers
//! of handlers and of the loop.

use crate::heap::Heap;
use crate::id::{Key, Table};
use crate::moment::Moment;

#[derive(Debug)]
struct Timer<T> {
    /// The position of its moment in the heap.
    position: u32,
    value: T,
}

/// Values with a moment each, under generational keys. A cancelled timer frees
/// its memory at once.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: Heap,
    timers: Table<Timer<T>>,
}

impl<T> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: Heap::new(), timers: Table::new() }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Sets a timer.
    pub(crate) fn insert(&mut self, at: Moment, value: T) -> Key {
        let Self { heap, timers } = self;
        let key = timers.insert(Timer { position: 0, value });
        heap.push(at, key.slot, |slot, position| timers.in_slot(slot).position = position);
        key
    }

    /// Moves a timer to another moment; does nothing if it is gone.
    pub(crate) fn reschedule(&mut self, key: Key, at: Moment) {
        let Self { heap, timers } = self;
        let Some(timer) = timers.get(key) else { return };
        heap.reset(timer.position, at, |slot, position| timers.in_slot(slot).position = position);
    }

    /// Removes a timer; `None` if it is gone already.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let Self { heap, timers } = self;
        let timer = timers.remove(key)?;
        heap.remove(timer.position, |slot, position| timers.in_slot(slot).position = position);
        Some(timer.value)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.timers.get(key).map(|timer| &timer.value)
    }

    /// The moment of a timer.
    #[cfg(feature = "sim")]
    pub(crate) fn moment(&self, key: Key) -> Option<Moment> {
        self.timers.get(key).map(|timer| self.heap.at(timer.position))
    }

    /// The values of all timers.
    #[cfg(feature = "sim")]
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.timers.iter().map(|(_, timer)| &timer.value)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.timers.get_mut(key).map(|timer| &mut timer.value)
    }

    /// The moment of the next timer; `Moment::NEVER` without one.
    #[inline]
    pub(crate) const fn next(&self) -> Moment {
        self.heap.next()
    }

    /// The first timer that is due at `now`, with its moment; the timer remains
    /// set.
    pub(crate) fn due(&self, now: Moment) -> Option<(Key, Moment)> {
        let (slot, at) = self.heap.first().filter(|(_, at)| *at <= now)?;
        Some((self.timers.current(slot), at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fire<T: Clone>(timers: &mut Timers<T>, now: u64) -> Vec<T> {
        let mut fired = Vec::new();
        while let Some((key, _)) = timers.due(Moment(now)) {
            fired.extend(timers.remove(key));
        }
        fired
    }

    #[test]
    fn timers_fire_in_order_and_equal_ones_in_the_order_they_were_set() {
        let mut timers = Timers::new();
        for (at, name) in [(30, "c"), (10, "a1"), (20, "b"), (10, "a2"), (10, "a3")] {
            timers.insert(Moment(at), name);
        }
        assert_eq!(timers.next(), Moment(10));
        assert_eq!(fire(&mut timers, 9), [""; 0]);
        assert_eq!(fire(&mut timers, 20), ["a1", "a2", "a3", "b"]);
        assert_eq!(fire(&mut timers, 100), ["c"]);
        assert_eq!((timers.next(), timers.len()), (Moment::NEVER, 0));
    }

    #[test]
    fn a_cancelled_timer_leaves_nothing_and_a_moved_one_fires_once() {
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..100).map(|n| timers.insert(Moment(n), n)).collect();
        for key in keys.iter().step_by(2) {
            assert!(timers.remove(*key).is_some());
            assert!(timers.remove(*key).is_none());
        }
        timers.reschedule(keys[1], Moment(1000));
        timers.reschedule(keys[99], Moment(0));
        timers.reschedule(keys[0], Moment(0));
        assert_eq!(timers.len(), 50);
        let fired = fire(&mut timers, 1000);
        let expected: Vec<u64> =
            std::iter::once(99).chain((3..99).step_by(2)).chain(std::iter::once(1)).collect();
        assert_eq!(fired, expected);
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u64),
        /// Of the timers set so far, whether or not they are still there.
        Move(Index, u64),
        Cancel(Index),
        /// Takes what is due.
        Fire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few moments, so that many are equal.
        let moment = || 0..40_u64;
        prop_oneof![
            4 => moment().prop_map(Step::Set),
            3 => (any::<Index>(), moment()).prop_map(|(which, at)| Step::Move(which, at)),
            2 => any::<Index>().prop_map(Step::Cancel),
            1 => moment().prop_map(Step::Fire),
        ]
    }

    proptest! {
        /// The queue is a list sorted by moment, and by when each was set or
        /// moved last.
        #[test]
        fn timers_are_a_sorted_list(steps in prop::collection::vec(step(), 1..300)) {
            let mut timers = Timers::new();
            let mut keys: Vec<Key> = Vec::new();
            // (moment, number of the step, which key)
            let mut model: Vec<(u64, usize, usize)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Set(at) => {
                        model.push((at, number, keys.len()));
                        keys.push(timers.insert(Moment(at), keys.len()));
                    }
                    Step::Move(which, at) if !keys.is_empty() => {
                        let which = which.index(keys.len());
                        timers.reschedule(keys[which], Moment(at));
                        if let Some(entry) = model.iter_mut().find(|entry| entry.2 == which) {
                            *entry = (at, number, which);
                        }
                    }
                    Step::Cancel(which) if !keys.is_empty() => {
                        let which = which.index(keys.len());
                        let expected = model.iter().position(|entry| entry.2 == which);
                        prop_assert_eq!(timers.remove(keys[which]), expected.map(|at| model.remove(at).2));
                    }
                    Step::Fire(now) => {
                        model.sort_unstable();
                        while let Some((key, at)) = timers.due(Moment(now)) {
                            let (expected_at, _, which) = model.remove(0);
                            prop_assert_eq!((at, timers.remove(key)), (Moment(expected_at), Some(which)));
                        }
                        prop_assert!(model.first().is_none_or(|first| first.0 > now));
                    }
                    Step::Move(..) | Step::Cancel(_) => {}
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.next(), model.iter().min().map_or(Moment::NEVER, |first| Moment(first.0)));
            }
        }
    }
}
