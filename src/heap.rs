//! `Heap`: moments in order, which reports to its owner the position of each.

use crate::moment::Moment;

/// An entry of the heap: its order, and the slot of its owner.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Moment,
    /// Orders equal moments by when they were set (unless 2^32 were set between
    /// two).
    sequence: u32,
    slot: u32,
}

impl Entry {
    fn before(self, other: Self) -> bool {
        (self.at, self.sequence) < (other.at, other.sequence)
    }
}

/// A 4-ary heap of moments, at most one for each slot of its owner's table.
/// Setting, moving and removing a moment is O(log n); reading the next is O(1).
/// The owner keeps the position of each slot's moment; every change reports it
/// to `moved` as `(slot, position)`.
#[derive(Debug)]
pub(crate) struct Heap {
    entries: Vec<Entry>,
    sequence: u32,
    /// The moment of the first entry, cached because every turn reads it twice.
    next: Moment,
}

const ARITY: usize = 4;

impl Heap {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), sequence: 0, next: Moment::NEVER }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The next moment; `Moment::NEVER` without one.
    #[inline]
    pub(crate) const fn next(&self) -> Moment {
        self.next
    }

    fn note_next(&mut self) {
        self.next = self.entries.first().map_or(Moment::NEVER, |entry| entry.at);
    }

    /// The slot of the next moment, and the moment.
    pub(crate) fn first(&self) -> Option<(u32, Moment)> {
        self.entries.first().map(|entry| (entry.slot, entry.at))
    }

    /// The moment at a position.
    pub(crate) fn at(&self, position: u32) -> Moment {
        self.entries[position as usize].at
    }

    /// Inserts the moment of a slot that has none.
    pub(crate) fn push(&mut self, at: Moment, slot: u32, mut moved: impl FnMut(u32, u32)) {
        let entry = self.entry(at, slot);
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, &mut moved);
        self.note_next();
    }

    /// Changes the moment at a position.
    pub(crate) fn reset(&mut self, position: u32, at: Moment, mut moved: impl FnMut(u32, u32)) {
        let position = position as usize;
        self.entries[position] = self.entry(at, self.entries[position].slot);
        let position = self.sift_up(position, &mut moved);
        self.sift_down(position, &mut moved);
        self.note_next();
    }

    /// Removes the moment at a position, without a report for its slot.
    pub(crate) fn remove(&mut self, position: u32, mut moved: impl FnMut(u32, u32)) {
        let position = position as usize;
        self.entries.swap_remove(position);
        if position < self.entries.len() {
            let position = self.sift_up(position, &mut moved);
            self.sift_down(position, &mut moved);
        }
        self.note_next();
    }

    const fn entry(&mut self, at: Moment, slot: u32) -> Entry {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Entry { at, sequence, slot }
    }

    fn sift_up(&mut self, mut position: usize, moved: &mut impl FnMut(u32, u32)) -> usize {
        let entry = self.entries[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if !entry.before(self.entries[parent]) {
                break;
            }
            self.place(position, self.entries[parent], moved);
            position = parent;
        }
        self.place(position, entry, moved);
        position
    }

    fn sift_down(&mut self, mut position: usize, moved: &mut impl FnMut(u32, u32)) {
        let entry = self.entries[position];
        loop {
            let first = position * ARITY + 1;
            let last = (first + ARITY).min(self.entries.len());
            let earlier = |a: usize, b: usize| {
                if self.entries[b].before(self.entries[a]) { b } else { a }
            };
            let Some(least) = (first..last).reduce(earlier) else { break };
            if !self.entries[least].before(entry) {
                break;
            }
            self.place(position, self.entries[least], moved);
            position = least;
        }
        self.place(position, entry, moved);
    }

    fn place(&mut self, position: usize, entry: Entry, moved: &mut impl FnMut(u32, u32)) {
        self.entries[position] = entry;
        #[allow(clippy::cast_possible_truncation, reason = "no more entries than slots, which are u32")]
        moved(entry.slot, position as u32);
    }
}
