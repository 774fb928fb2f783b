//! Messages to many: one copy for all of them, until they have left.

/// A burst takes no more than this many bytes. What comes then is copied for
/// each who gets it.
const MAX: usize = 1 << 20;

/// A burst that has grown beyond this many bytes is not kept.
const KEEP: usize = 256 << 10;

/// Short messages that go to several connections, one behind the other, from
/// one flush to the next. Who gets all of a burst, or all of it from some point
/// on, has a [`Stretch`] of it in its queue and no copy, and the system is given
/// the same bytes again and again, from the cache. What a connection does not
/// take at the flush is copied into its queue, so that a burst waits for nobody.
///
/// It is cleared by whoever empties the queues: at the flush, and at once if no
/// queue has a part of it.
#[derive(Debug)]
pub(crate) struct Burst {
    bytes: Vec<u8>,
    /// Some queue may have a part of it.
    is_needed: bool,
}

/// A part of a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    from: u32,
    to: u32,
}

impl Stretch {
    #[inline]
    pub(crate) const fn len(self) -> usize {
        (self.to - self.from) as usize
    }

    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// Adds what lies right behind it; an empty one becomes that. False if
    /// something lies between them.
    #[inline]
    pub(crate) const fn extend(&mut self, by: Self) -> bool {
        if self.to != by.from {
            if !self.is_empty() {
                return false;
            }
            self.from = by.from;
        }
        self.to = by.to;
        true
    }

    /// Takes the first `count` bytes off.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "no more is taken off than is there");
        #[allow(clippy::cast_possible_truncation, reason = "it is no more than the length, which fits")]
        let count = count as u32;
        self.from += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl Burst {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), is_needed: false }
    }

    /// Takes a message in. `None` if it is empty, or there is no room for it.
    pub(crate) fn add(&mut self, message: &[u8]) -> Option<Stretch> {
        let from = self.bytes.len();
        if message.is_empty() || message.len() > MAX - from {
            return None;
        }
        self.bytes.extend_from_slice(message);
        #[allow(clippy::cast_possible_truncation, reason = "MAX fits")]
        Some(Stretch { from: from as u32, to: self.bytes.len() as u32 })
    }

    /// A queue has a part of it, until the flush.
    #[inline]
    pub(crate) const fn need(&mut self) {
        self.is_needed = true;
    }

    /// After a message for which there may have been nobody.
    #[inline]
    pub(crate) fn clear_unless_needed(&mut self) {
        if !self.is_needed {
            self.clear();
        }
    }

    /// The bytes of a part of it.
    #[inline]
    pub(crate) fn bytes(&self, stretch: Stretch) -> &[u8] {
        &self.bytes[stretch.from as usize..stretch.to as usize]
    }

    /// Everybody has what there was.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.is_needed = false;
        self.bytes.clear();
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// It holds this part, for the checks of the simulation.
    #[cfg(feature = "sim")]
    pub(crate) fn holds(&self, stretch: Stretch) -> bool {
        stretch.is_empty() || stretch.from < stretch.to && stretch.to as usize <= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_every_message_has_one_stretch_and_who_missed_one_has_not() {
        let mut burst = Burst::new();
        let [a, b, c] = [b"one\n", b"two\n", b"six\n"].map(|line| burst.add(line).expect("it is short"));
        let mut all = Stretch::default();
        assert!(all.extend(a) && all.extend(b) && all.extend(c));
        assert_eq!((burst.bytes(all), all.len()), (&b"one\ntwo\nsix\n"[..], 12));
        let mut late = Stretch::default();
        assert!(late.extend(b) && late.extend(c));
        assert_eq!(burst.bytes(late), b"two\nsix\n");
        let mut gap = Stretch::default();
        assert!(gap.extend(a) && !gap.extend(c));
        assert_eq!(burst.bytes(gap), b"one\n");
    }

    #[test]
    fn what_is_taken_off_is_gone_and_an_empty_stretch_begins_anywhere() {
        let mut burst = Burst::new();
        let mut stretch = burst.add(b"hello").expect("it is short");
        stretch.advance(2);
        assert_eq!(burst.bytes(stretch), b"llo");
        stretch.advance(3);
        assert!(stretch.is_empty());
        burst.clear();
        let again = burst.add(b"again").expect("it is short");
        assert!(stretch.extend(again));
        assert_eq!(burst.bytes(stretch), b"again");
    }

    #[test]
    fn a_message_for_nobody_is_not_kept_and_one_for_somebody_is() {
        let mut burst = Burst::new();
        burst.add(b"for nobody").expect("it is short");
        burst.clear_unless_needed();
        assert_eq!(burst.bytes.len(), 0);
        let line = burst.add(b"for somebody").expect("it is short");
        burst.need();
        burst.add(b"for nobody").expect("it is short");
        burst.clear_unless_needed();
        assert_eq!(burst.bytes(line), b"for somebody");
        burst.clear();
        burst.clear_unless_needed();
        assert_eq!(burst.bytes.len(), 0);
    }

    #[test]
    fn a_burst_is_bounded_and_one_that_was_large_is_not_kept() {
        let mut burst = Burst::new();
        assert_eq!((burst.add(b""), burst.add(&vec![0; MAX + 1])), (None, None));
        let line = [b'x'; 1000];
        while burst.add(&line).is_some() {}
        assert!(burst.bytes.len() <= MAX && burst.bytes.len() + line.len() > MAX);
        burst.clear();
        assert_eq!(burst.bytes.capacity(), 0);
        assert!(burst.add(&line).is_some());
    }
}
