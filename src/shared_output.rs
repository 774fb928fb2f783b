//! Shared output: one copy of each short broadcast for all its receivers, until
//! the flush.

/// Shared output takes at most this many bytes. A broadcast beyond that is copied
/// for each receiver.
const MAX: usize = 1 << 20;

/// Shared output of so many bytes waits for no more.
const GATHER: usize = 64 << 10;

/// Shared output that has grown beyond this many bytes is not kept.
const KEEP: usize = 256 << 10;

/// Short broadcasts, one behind the other, from one flush to the next.
///
/// A connection that gets all of them from some point on has a [`Span`] in its
/// queue and no copy, so the system is given the same bytes for each receiver,
/// from the cache. The flush copies into its queue what a connection did not take
/// ([`OutQueue::detach`](crate::buffer::OutQueue::detach)), so shared output waits
/// for no connection. The flush clears it; so does a broadcast of which no queue
/// has a part.
#[derive(Debug)]
pub(crate) struct SharedOutput {
    bytes: Vec<u8>,
    /// Some queue may have a part of it.
    is_needed: bool,
}

/// A part of shared output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    from: u32,
    to: u32,
}

impl Span {
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

impl SharedOutput {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), is_needed: false }
    }

    /// Takes a message in. `None` if it is empty, or there is no room for it.
    pub(crate) fn add(&mut self, message: &[u8]) -> Option<Span> {
        let from = self.bytes.len();
        if message.is_empty() || message.len() > MAX - from {
            return None;
        }
        self.bytes.extend_from_slice(message);
        #[allow(clippy::cast_possible_truncation, reason = "MAX fits")]
        Some(Span { from: from as u32, to: self.bytes.len() as u32 })
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
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.from as usize..span.to as usize]
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

    /// Whether it has something, and so little that writing more of it at once is worth
    /// more than writing it now.
    pub(crate) fn is_short(&self) -> bool {
        (1..GATHER).contains(&self.bytes.len())
    }

    /// Whether what it has may wait for another turn, and more come behind it.
    pub(crate) fn may_wait(&self) -> bool {
        self.bytes.len() < GATHER
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// It holds this part, for the checks of the simulation.
    #[cfg(feature = "sim")]
    pub(crate) fn holds(&self, span: Span) -> bool {
        span.is_empty() || span.from < span.to && span.to as usize <= self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_every_message_has_one_span_and_who_missed_one_has_not() {
        let mut shared = SharedOutput::new();
        let [a, b, c] = [b"one\n", b"two\n", b"six\n"].map(|line| shared.add(line).expect("it is short"));
        let mut all = Span::default();
        assert!(all.extend(a) && all.extend(b) && all.extend(c));
        assert_eq!((shared.bytes(all), all.len()), (&b"one\ntwo\nsix\n"[..], 12));
        let mut late = Span::default();
        assert!(late.extend(b) && late.extend(c));
        assert_eq!(shared.bytes(late), b"two\nsix\n");
        let mut gap = Span::default();
        assert!(gap.extend(a) && !gap.extend(c));
        assert_eq!(shared.bytes(gap), b"one\n");
    }

    #[test]
    fn what_is_taken_off_is_gone_and_an_empty_span_begins_anywhere() {
        let mut shared = SharedOutput::new();
        let mut span = shared.add(b"hello").expect("it is short");
        span.advance(2);
        assert_eq!(shared.bytes(span), b"llo");
        span.advance(3);
        assert!(span.is_empty());
        shared.clear();
        let again = shared.add(b"again").expect("it is short");
        assert!(span.extend(again));
        assert_eq!(shared.bytes(span), b"again");
    }

    #[test]
    fn a_message_for_nobody_is_not_kept_and_one_for_somebody_is() {
        let mut shared = SharedOutput::new();
        shared.add(b"for nobody").expect("it is short");
        shared.clear_unless_needed();
        assert_eq!(shared.bytes.len(), 0);
        let line = shared.add(b"for somebody").expect("it is short");
        shared.need();
        shared.add(b"for nobody").expect("it is short");
        shared.clear_unless_needed();
        assert_eq!(shared.bytes(line), b"for somebody");
        shared.clear();
        shared.clear_unless_needed();
        assert_eq!(shared.bytes.len(), 0);
    }

    #[test]
    fn a_burst_is_bounded_and_one_that_was_large_is_not_kept() {
        let mut shared = SharedOutput::new();
        assert_eq!((shared.add(b""), shared.add(&vec![0; MAX + 1])), (None, None));
        let line = [b'x'; 1000];
        while shared.add(&line).is_some() {}
        assert!(shared.bytes.len() <= MAX && shared.bytes.len() + line.len() > MAX);
        shared.clear();
        assert_eq!(shared.bytes.capacity(), 0);
        assert!(shared.add(&line).is_some());
    }
}
