//! Generational ids: a slot in a `Table`, and the generation of that slot.

use std::fmt;

use slab::Slab;

/// A slot and its generation, 64 bits in all.
///
/// Invariant: a table never returns the same key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// A key that no table returns: generations start at 1.
    pub(crate) const NOWHERE: Self = Self { slot: u32::MAX, generation: 0 };

    /// The key as one number; never 0 in its upper half for a key of a table.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    #[allow(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// An id is `Copy`, may be kept for any time, and is never reused: once
        /// its object is gone, using the id is an ordinary case with an
        /// ordinary answer, and never reaches the object that took its slot. An
        /// id is valid only in the reactor that made it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Key);

        impl Default for $name {
            /// An id that names nothing, and never will: for a field that is
            /// set later.
            fn default() -> Self {
                Self(Key::NOWHERE)
            }
        }

        impl fmt::Display for $name {
            /// `SLOT.GENERATION`, as in `7.1`: short, for logs.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// Names a connection.
    ConnId
}
id! {
    /// Names a timer.
    TimerId
}
id! {
    /// Names a group of connections.
    GroupId
}
id! {
    /// Names a listener.
    ListenerId
}
id! {
    /// Names a datagram socket.
    SocketId
}
id! {
    /// Names a child process.
    ChildId
}

/// The id of an object with a local endpoint, a listener or a datagram socket,
/// for [`Reactor::local`](crate::Reactor::local).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// A listener, from [`Reactor::listen`](crate::Reactor::listen).
    Listener(ListenerId),
    /// A datagram socket, from [`Reactor::bind`](crate::Reactor::bind).
    Socket(SocketId),
}

impl From<ListenerId> for Bound {
    fn from(id: ListenerId) -> Self {
        Self::Listener(id)
    }
}

impl From<SocketId> for Bound {
    fn from(id: SocketId) -> Self {
        Self::Socket(id)
    }
}

impl ConnId {
    /// The id as one number, to carry where a number fits: in the tag of
    /// [`Io::connect`](crate::Io::connect), for instance.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The id of a number from [`to_bits`](Self::to_bits). Any other number
    /// makes an id that names no connection, or an unintended one.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(Key::from_bits(bits))
    }
}

/// The value of one generation of a slot; `None` once the slot is retired.
#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A `Slab` whose keys are valid for one generation of a slot only.
///
/// A slot whose generation would wrap (after 2³² − 1 generations) is retired:
/// it remains taken for good, so that no key ever repeats.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Slab<Slot<T>>,
    /// The next generation of each slot; 0 for a retired slot.
    next: Vec<u32>,
    live: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Slab::new(), next: Vec::new(), live: 0 }
    }

    /// The number of values.
    pub(crate) const fn len(&self) -> usize {
        self.live
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Inserts `value` and returns its key.
    ///
    /// # Panics
    ///
    /// With 2³² − 1 slots in use, which is more than memory holds.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let entry = self.slots.vacant_entry();
        let index = entry.key();
        let slot = u32::try_from(index).expect("fewer than 2^32 slots fit in memory");
        if index == self.next.len() {
            self.next.push(1);
        }
        let generation = self.next[index];
        entry.insert(Slot { generation, value: Some(value) });
        self.live += 1;
        Key { slot, generation }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Removes a value and ends this generation of its slot.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let index = key.slot as usize;
        self.live -= 1;
        self.next[index] = self.next[index].wrapping_add(1);
        if self.next[index] == 0 { self.slots[index].value.take() } else { self.slots.remove(index).value }
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// The key of the value in `slot`.
    ///
    /// # Panics
    ///
    /// If `slot` is empty.
    pub(crate) fn current(&self, slot: u32) -> Key {
        Key { slot, generation: self.slots[slot as usize].generation }
    }

    /// The value in `slot`.
    ///
    /// # Panics
    ///
    /// If `slot` is empty.
    pub(crate) fn in_slot(&mut self, slot: u32) -> &mut T {
        self.slots[slot as usize].value.as_mut().expect("the caller knows the slot to be taken")
    }

    /// Every key and value, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            #[allow(clippy::cast_possible_truncation, reason = "insert checked that it fits")]
            Some((Key { slot: index as u32, generation: slot.generation }, value))
        })
    }

    /// Every value, by slot, to change it.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|(_, slot)| slot.value.as_mut())
    }

    /// Every key, by slot, collected, so that the table may change meanwhile.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_though_its_slot_lives_again() {
        let mut table = Table::new();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!((first.slot, table.len()), (second.slot, 1));
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
    }

    #[test]
    fn a_slot_whose_generation_would_wrap_is_retired() {
        let mut table = Table::new();
        let key = table.insert(0);
        table.remove(key);
        table.next[0] = u32::MAX;
        let last = table.insert(1);
        assert_eq!(last, Key { slot: 0, generation: u32::MAX });
        assert_eq!(table.remove(last), Some(1));
        assert_eq!((table.get(last), table.len()), (None, 0));
        assert_eq!(table.insert(2), Key { slot: 1, generation: 1 });
    }

    #[test]
    fn a_key_survives_its_packing_and_nowhere_is_in_no_table() {
        let key = Key { slot: 7, generation: u32::MAX };
        assert_eq!(Key::from_bits(key.to_bits()), key);
        let mut table = Table::new();
        for n in 0..10 {
            assert_ne!(table.insert(n), Key::NOWHERE);
        }
        assert_eq!(table.get(Key::NOWHERE), None);
        assert_eq!(table.keys().len(), 10);
    }
}

#[cfg(test)]
mod properties {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        /// Of the keys given out so far, whether or not they still live.
        Remove(Index),
        /// Brings a vacant slot to the end of its lives.
        Age(Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Insert),
            4 => any::<Index>().prop_map(Step::Remove),
            2 => any::<Index>().prop_map(Step::Age),
        ]
    }

    proptest! {
        /// Whatever the order of operations, a key finds what it was given
        /// out for or nothing, and no key is given out twice.
        #[test]
        fn no_two_lives_of_a_slot_are_confused(steps in prop::collection::vec(step(), 1..200)) {
            let mut table = Table::new();
            let mut given: Vec<Key> = Vec::new();
            let mut living = HashMap::new();
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert => {
                        let key = table.insert(value);
                        prop_assert!(!given.contains(&key) && key.generation > 0);
                        given.push(key);
                        living.insert(key, value);
                    }
                    Step::Remove(which) if !given.is_empty() => {
                        let key = *which.get(&given);
                        prop_assert_eq!(table.remove(key), living.remove(&key));
                    }
                    Step::Age(which) if !table.next.is_empty() => {
                        let slot = which.index(table.next.len());
                        if !table.slots.contains(slot) {
                            table.next[slot] = u32::MAX;
                        }
                    }
                    Step::Remove(_) | Step::Age(_) => {}
                }
                prop_assert_eq!(table.len(), living.len());
                for key in &given {
                    prop_assert_eq!(table.get(*key), living.get(key));
                }
            }
            prop_assert_eq!(table.keys().len(), living.len());
            prop_assert!(table.iter().all(|(key, value)| living.get(&key) == Some(value)));
        }
    }
}
