//! `Slots`: values beside a table, by the slots of its keys.
//!
//! The core has the state of a connection, a socket or a child in a table; the loop
//! owns what the driver made for it, under the same slot. A value is taken out before
//! its key is freed, so that no later key of the slot finds it.

use crate::id::Key;

#[derive(Debug)]
pub(crate) struct Slots<T> {
    values: Vec<Option<T>>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// Puts in the value of a key that has none.
    pub(crate) fn insert(&mut self, key: Key, value: T) {
        let slot = key.slot as usize;
        if slot >= self.values.len() {
            self.values.resize_with(slot + 1, || None);
        }
        debug_assert!(self.values[slot].is_none(), "the last value was taken out");
        self.values[slot] = Some(value);
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.values.get(key.slot as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.values.get_mut(key.slot as usize)?.as_mut()
    }

    pub(crate) fn take(&mut self, key: Key) -> Option<T> {
        self.values.get_mut(key.slot as usize)?.take()
    }

    /// Takes all values out.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.values).into_iter().flatten()
    }

    /// The values, in the order of their slots.
    #[cfg(feature = "sim")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    /// How many keys have a value.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn count(&self) -> usize {
        self.values.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Table;

    #[test]
    fn a_value_is_found_by_its_key_until_it_is_taken() {
        let (mut table, mut slots) = (Table::new(), Slots::new());
        let [first, second, third] = [(); 3].map(|()| table.insert(()));
        slots.insert(third, "third");
        assert!(slots.get(first).is_none() && slots.get_mut(second).is_none() && slots.take(first).is_none());
        slots.insert(first, "first");
        assert_eq!((slots.get(first), slots.get(third), slots.count()), (Some(&"first"), Some(&"third"), 2));
        assert_eq!((slots.take(third), slots.take(third)), (Some("third"), None));
        table.remove(third);
        let again = table.insert(());
        assert_eq!((again.slot, slots.get(again)), (third.slot, None));
        slots.insert(again, "again");
        assert_eq!(slots.take_all().collect::<Vec<_>>(), ["first", "again"]);
        assert_eq!((slots.get(first), slots.count()), (None, 0));
    }
}
