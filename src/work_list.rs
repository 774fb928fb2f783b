//! `WorkList` and `WorkQueue`: the work of one phase of the turn, in the order in which it
//! was listed.
//!
//! A phase walks what was on its list when it began. Whatever the callbacks add
//! meanwhile stays for the next turn, so that every phase comes to an end:
//!
//! ```text
//! let mut batch = list.batch();
//! while let Some(item) = list.take(&mut batch) {
//!     // may push onto the list
//! }
//! ```

use std::fmt;

/// Whether the loop has work that no event brings: [`WorkList::push`] sets it,
/// and the next wait does not block while it is set. One byte, so that a turn
/// without any work asks once.
#[derive(Debug)]
pub(crate) struct Pending(u8);

impl Pending {
    const LISTED: u8 = 1;
    const RARE: u8 = 2;

    /// The first turn looks for rare work.
    pub(crate) const fn new() -> Self {
        Self(Self::RARE)
    }

    /// True when something was pushed onto a list since the last
    /// [`clear`](Self::clear).
    #[inline]
    pub(crate) const fn is_listed(&self) -> bool {
        self.0 & Self::LISTED != 0
    }

    /// True when this turn has to look at more than the lists of what to read
    /// and what to flush.
    #[inline]
    pub(crate) const fn is_rare(&self) -> bool {
        self.0 & Self::RARE != 0
    }

    /// True when either is.
    #[inline]
    pub(crate) const fn is_any(&self) -> bool {
        self.0 != 0
    }

    /// Has the next turn come at once, for work that is on no list.
    pub(crate) const fn raise(&mut self) {
        self.0 |= Self::LISTED;
    }

    /// Has the turn look for rare work.
    pub(crate) const fn raise_rare(&mut self) {
        self.0 |= Self::RARE;
    }

    /// Forgets what was pushed: the phases have walked their lists.
    pub(crate) const fn clear(&mut self) {
        self.0 &= !Self::LISTED;
    }

    /// Forgets the rare work: its phases have walked their lists.
    pub(crate) const fn clear_rare(&mut self) {
        self.0 &= !Self::RARE;
    }
}

/// A mark on something that may be on a list: whether it is.
pub(crate) trait Mark {
    /// Sets the mark. False if it was set: the thing is on the list already.
    fn enter(self) -> bool;
}

impl Mark for &mut bool {
    #[inline]
    fn enter(self) -> bool {
        !std::mem::replace(self, true)
    }
}

/// The work of one phase. `RARE`: the phase is passed over in a turn without rare
/// work ([`Pending::is_rare`]).
pub(crate) struct WorkList<T, const RARE: bool = false> {
    items: Vec<T>,
}

/// The work of a phase that few turns have.
pub(crate) type RareList<T> = WorkList<T, true>;

/// The walk of a phase through its list: what was listed when it began.
#[derive(Debug)]
pub(crate) struct Batch {
    /// How many items at the front of the list were kept.
    kept: usize,
    /// How many items were taken.
    taken: usize,
    end: usize,
}

impl<T: Copy, const RARE: bool> WorkList<T, RARE> {
    pub(crate) const fn new() -> Self {
        Self { items: Vec::new() }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.items.iter().copied()
    }

    /// Lists an item for the next walk, and keeps the next wait from blocking.
    #[inline]
    pub(crate) fn push(&mut self, item: T, pending: &mut Pending) {
        pending.raise();
        self.note(item, pending);
    }

    /// Lists an item, unless its mark says that it is listed.
    #[inline]
    pub(crate) fn push_once(&mut self, item: T, mark: impl Mark, pending: &mut Pending) {
        if mark.enter() {
            self.push(item, pending);
        }
    }

    /// Lists an item that an event has named. Only for phase 1: the turn itself
    /// goes on to walk the list, so the next wait may block.
    #[inline(always)]
    pub(crate) fn note(&mut self, item: T, pending: &mut Pending) {
        if RARE {
            pending.raise_rare();
        }
        self.items.push(item);
    }

    /// The same, unless the item's mark says that it is listed.
    #[inline(always)]
    pub(crate) fn note_once(&mut self, item: T, mark: impl Mark, pending: &mut Pending) {
        if mark.enter() {
            self.note(item, pending);
        }
    }

    /// Begins a walk through what is listed now.
    #[inline]
    pub(crate) const fn batch(&self) -> Batch {
        Batch { kept: 0, taken: 0, end: self.items.len() }
    }

    /// Takes the next item of the walk. `None` is its end.
    #[inline(always)]
    pub(crate) fn take(&mut self, batch: &mut Batch) -> Option<T> {
        if batch.taken == batch.end {
            self.stop(batch);
            return None;
        }
        let item = self.items[batch.taken];
        batch.taken += 1;
        Some(item)
    }

    /// Leaves the item that was taken last on the list, before what was added
    /// meanwhile.
    pub(crate) fn keep(&mut self, batch: &mut Batch) {
        debug_assert!(batch.kept < batch.taken, "an item was taken");
        self.items.swap(batch.kept, batch.taken - 1);
        batch.kept += 1;
    }

    /// Has a walk go on through what was added since it began.
    pub(crate) const fn extend(&self, batch: &mut Batch) {
        batch.end = self.items.len();
    }

    /// Ends a walk before its end: what was not taken stays on the list.
    #[inline(always)]
    pub(crate) fn stop(&mut self, batch: &mut Batch) {
        if batch.kept == 0 && batch.taken == self.items.len() {
            self.items.clear();
        } else {
            self.items.drain(batch.kept..batch.taken);
        }
        *batch = Batch { kept: 0, taken: 0, end: 0 };
    }

    /// Moves the first item behind all others, so that each is first in its turn.
    pub(crate) fn rotate(&mut self) {
        if self.items.len() > 1 {
            self.items.rotate_left(1);
        }
    }
}

/// The work of a phase that does only a part of it in one turn: taking from its front
/// moves nothing of what stays.
#[derive(Debug)]
pub(crate) struct WorkQueue<T> {
    /// What is done in the next turn, however much there is.
    urgent: Vec<T>,
    /// What was listed first; the items before `taken` are gone.
    front: Vec<T>,
    taken: usize,
    /// What was listed since `front` was begun.
    back: Vec<T>,
}

impl<T: Copy> WorkQueue<T> {
    pub(crate) const fn new() -> Self {
        Self { urgent: Vec::new(), front: Vec::new(), taken: 0, back: Vec::new() }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.urgent.len() + self.front.len() - self.taken + self.back.len()
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.urgent.iter().chain(&self.front[self.taken..]).chain(&self.back).copied()
    }

    /// Lists an item, unless its mark says that it is listed, and keeps the next wait
    /// from blocking.
    #[inline]
    pub(crate) fn push_once(&mut self, item: T, mark: impl Mark, pending: &mut Pending) {
        if mark.enter() {
            pending.raise();
            self.back.push(item);
        }
    }

    /// Lists an item as urgent, unless its mark says that it is listed.
    #[inline]
    pub(crate) fn push_urgent(&mut self, item: T, mark: impl Mark, pending: &mut Pending) {
        if mark.enter() {
            pending.raise();
            self.urgent.push(item);
        }
    }

    /// Takes all urgent items. [`give_back`](Self::give_back) keeps their buffer.
    #[inline]
    pub(crate) fn take_urgent(&mut self) -> Vec<T> {
        std::mem::take(&mut self.urgent)
    }

    /// Puts the buffer of the urgent items back, of which none was listed meanwhile.
    pub(crate) fn give_back(&mut self, mut items: Vec<T>) {
        debug_assert!(self.urgent.is_empty(), "only callbacks list urgent items");
        items.clear();
        self.urgent = items;
    }

    /// Takes the item that was listed first, of those that are not urgent.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<T> {
        if self.taken == self.front.len() {
            self.front.clear();
            self.taken = 0;
            std::mem::swap(&mut self.front, &mut self.back);
        }
        let item = self.front.get(self.taken).copied()?;
        self.taken += 1;
        Some(item)
    }
}

impl<T: PartialEq, const RARE: bool> WorkList<T, RARE> {
    pub(crate) fn contains(&self, item: &T) -> bool {
        self.items.contains(item)
    }
}

impl<T: fmt::Debug, const RARE: bool> fmt::Debug for WorkList<T, RARE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks a list to its end.
    fn walk<const RARE: bool>(list: &mut WorkList<u32, RARE>) -> Vec<u32> {
        let mut batch = list.batch();
        let walked = std::iter::from_fn(|| list.take(&mut batch)).collect();
        assert_eq!(list.take(&mut batch), None, "a walk ends once");
        walked
    }

    #[test]
    fn a_walk_is_of_what_was_listed_when_it_began() {
        let (mut list, mut pending) = (WorkList::<u32>::new(), Pending::new());
        list.push(1, &mut pending);
        list.push(2, &mut pending);
        let mut batch = list.batch();
        let mut walked = Vec::new();
        while let Some(item) = list.take(&mut batch) {
            walked.push(item);
            list.push(item + 10, &mut pending);
        }
        assert_eq!(walked, [1, 2]);
        assert_eq!(walk(&mut list), [11, 12]);
        assert!(list.is_empty());
    }

    #[test]
    fn a_push_is_pending_and_what_an_event_named_is_not() {
        let (mut list, mut rare) = (WorkList::<u32>::new(), RareList::<u32>::new());
        let mut pending = Pending::new();
        assert!(pending.is_rare() && !pending.is_listed(), "the first turn looks everywhere");
        pending.clear_rare();
        list.note(1, &mut pending);
        assert!(!pending.is_any(), "this turn walks it");
        rare.note(1, &mut pending);
        assert!(pending.is_rare() && !pending.is_listed());
        pending.clear_rare();
        list.push(2, &mut pending);
        assert!(pending.is_listed() && !pending.is_rare());
        pending.clear();
        rare.push(2, &mut pending);
        assert!(pending.is_listed() && pending.is_rare());
        pending.clear();
        assert!(pending.is_any());
    }

    #[test]
    fn what_is_marked_is_listed_once() {
        let (mut list, mut pending) = (WorkList::<u32>::new(), Pending::new());
        let mut mark = false;
        list.push_once(1, &mut mark, &mut pending);
        list.push_once(1, &mut mark, &mut pending);
        list.note_once(1, &mut mark, &mut pending);
        assert!(mark);
        assert_eq!(walk(&mut list), [1]);
    }

    #[test]
    fn a_walk_that_stops_leaves_the_rest_and_what_was_kept() {
        let (mut list, mut pending) = (WorkList::<u32>::new(), Pending::new());
        (1..=5).for_each(|item| list.push(item, &mut pending));
        let mut batch = list.batch();
        assert_eq!(list.take(&mut batch), Some(1));
        assert_eq!(list.take(&mut batch), Some(2));
        list.keep(&mut batch);
        assert_eq!(list.take(&mut batch), Some(3));
        list.push(6, &mut pending);
        list.stop(&mut batch);
        assert_eq!(walk(&mut list), [2, 4, 5, 6]);
    }

    #[test]
    fn a_queue_lists_once_and_gives_in_order_what_one_asks_for() {
        let (mut list, mut pending) = (WorkQueue::<u32>::new(), Pending::new());
        pending.clear_rare();
        let mut mark = false;
        list.push_once(1, &mut mark, &mut pending);
        list.push_once(1, &mut mark, &mut pending);
        assert!(pending.is_listed() && !pending.is_rare());
        list.push_once(2, &mut false, &mut pending);
        assert_eq!(list.take(), Some(1));
        list.push_once(1, &mut false, &mut pending);
        assert_eq!((list.len(), list.is_empty(), list.iter().collect()), (2, false, vec![2, 1]));
        assert_eq!([list.take(), list.take(), list.take()], [Some(2), Some(1), None]);
        assert!(list.is_empty());
    }

    #[test]
    fn urgent_items_of_a_queue_are_taken_by_themselves() {
        let (mut list, mut pending) = (WorkQueue::<u32>::new(), Pending::new());
        list.push_once(1, &mut false, &mut pending);
        pending.clear();
        let mut mark = false;
        list.push_urgent(2, &mut mark, &mut pending);
        list.push_once(2, &mut mark, &mut pending);
        list.push_urgent(3, &mut false, &mut pending);
        assert!(pending.is_listed());
        assert_eq!((list.len(), list.iter().collect()), (3, vec![2, 3, 1]));
        assert_eq!(list.take(), Some(1));
        assert!(!list.is_empty(), "urgent items are left");
        let urgent = list.take_urgent();
        assert_eq!(urgent, [2, 3]);
        list.give_back(urgent);
        assert!(list.is_empty() && list.take_urgent().is_empty());
    }

    #[test]
    fn a_walk_can_go_on_through_what_it_has_added() {
        let (mut list, mut pending) = (WorkList::<u32>::new(), Pending::new());
        list.push(3, &mut pending);
        let mut batch = list.batch();
        let mut walked = Vec::new();
        while let Some(item) = list.take(&mut batch) {
            walked.push(item);
            if item > 0 {
                list.push(item - 1, &mut pending);
            }
            list.extend(&mut batch);
        }
        assert_eq!(walked, [3, 2, 1, 0]);
        assert!(list.is_empty());
    }

    #[test]
    fn a_rotation_makes_the_second_the_first() {
        let (mut list, mut pending) = (WorkList::<u32>::new(), Pending::new());
        list.rotate();
        (1..=3).for_each(|item| list.push(item, &mut pending));
        list.rotate();
        assert_eq!(list.iter().collect::<Vec<_>>(), [2, 3, 1]);
        assert!(list.contains(&1) && !list.contains(&4));
        assert_eq!(format!("{list:?}"), "[2, 3, 1]");
    }
}

#[cfg(test)]
mod properties {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// What is done with one item of a walk.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Drop,
        Keep,
        /// Its callback lists something else.
        Push,
        Stop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![4 => Just(Step::Drop), 2 => Just(Step::Keep), 3 => Just(Step::Push), 1 => Just(Step::Stop)]
    }

    proptest! {
        /// A list is a queue: walk after walk, each item is taken in the order in
        /// which it was listed, once unless it is kept, and none in the walk that
        /// listed it.
        #[test]
        fn a_list_is_a_queue(walks in prop::collection::vec(prop::collection::vec(step(), 0..20), 1..20)) {
            let (mut list, mut pending) = (WorkList::<usize>::new(), Pending::new());
            let mut model = VecDeque::new();
            let mut next = 0;
            let mut push = |list: &mut WorkList<usize>, model: &mut VecDeque<usize>| {
                list.push(next, &mut pending);
                model.push_back(next);
                next += 1;
            };
            for steps in walks {
                (0..5).for_each(|_| push(&mut list, &mut model));
                let (mut kept, mut left) = (Vec::new(), model.len());
                let mut batch = list.batch();
                for step in steps {
                    let item = list.take(&mut batch);
                    let expected = if left > 0 { model.pop_front() } else { None };
                    prop_assert_eq!(item, expected);
                    let Some(item) = item else { break };
                    left -= 1;
                    match step {
                        Step::Drop => {}
                        Step::Keep => {
                            list.keep(&mut batch);
                            kept.push(item);
                        }
                        Step::Push => push(&mut list, &mut model),
                        Step::Stop => break,
                    }
                }
                list.stop(&mut batch);
                kept.into_iter().rev().for_each(|item| model.push_front(item));
                prop_assert_eq!(list.iter().collect::<Vec<_>>(), Vec::from(model.clone()));
            }
        }
    }
}
