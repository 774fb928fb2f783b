//! What a callback writes to its own connection.

use bytes::BytesMut;

/// A hand that has grown beyond this many bytes, and beyond the read buffer, is
/// not kept.
const KEEP: usize = 256 << 10;

/// Output of the connection whose callback runs: it leaves from here when the
/// callback returns, and only what the system does not take is queued.
///
/// Before the callback the loop may *open* the hand, for so many bytes: that is
/// its word that the connection is live and has a high mark so far away, that
/// nothing is queued and nothing else is to be done about its output. Then a
/// write needs no look at the connection, and neither has the loop to look at
/// it afterwards, if the hand is open still. Whatever makes that word untrue
/// closes the hand.
#[derive(Debug)]
pub(crate) struct Hand {
    bytes: BytesMut,
    /// How many more bytes it takes unseen; 0 when it is closed.
    open_for: usize,
    /// The size of the read buffer: no smaller one is taken in trade.
    size: usize,
    /// The largest buffer that is kept.
    keep: usize,
}

impl Hand {
    /// One that can trade its buffer for the read buffer.
    pub(crate) fn new(read_buffer: usize) -> Self {
        // Whoever grows a buffer at most doubles it.
        let bytes = BytesMut::with_capacity(read_buffer);
        Self { bytes, open_for: 0, size: read_buffer, keep: KEEP.max(2 * read_buffer) }
    }

    /// Where its buffer is.
    pub(crate) fn address(&self) -> usize {
        self.bytes.as_ptr().addr()
    }

    #[inline]
    pub(crate) const fn open(&mut self, bytes: usize) {
        self.open_for = bytes;
    }

    #[inline]
    pub(crate) const fn close(&mut self) {
        self.open_for = 0;
    }

    #[inline]
    pub(crate) const fn is_open(&self) -> bool {
        self.open_for > 0
    }

    /// Takes `data` in, if the hand is open for more than that.
    #[inline]
    pub(crate) fn takes(&mut self, data: &[u8]) -> bool {
        let takes = data.len() < self.open_for;
        if takes {
            self.open_for -= data.len();
            self.bytes.extend_from_slice(data);
        }
        takes
    }

    /// Takes all of `data` in, if the hand is open for more than that and empty:
    /// the two trade their buffers. Not if the other's is smaller than the read
    /// buffer: its owner, which may be that, would have a large one from then on,
    /// and the hand a small one, or a small view of somebody else's.
    #[inline]
    pub(crate) fn takes_all(&mut self, data: &mut BytesMut) -> bool {
        let is_worth_it = data.capacity() >= self.size;
        let takes = data.len() < self.open_for && self.bytes.is_empty() && is_worth_it;
        if takes {
            self.open_for -= data.len();
            std::mem::swap(&mut self.bytes, data);
        }
        takes
    }

    /// Takes `data` in, behind what is there, after a look at the connection.
    #[inline]
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was in it has left, or is dropped with its connection.
    #[inline]
    pub(crate) fn empty(&mut self) {
        self.open_for = 0;
        self.bytes.clear();
        if self.bytes.capacity() > self.keep {
            self.shrink();
        }
    }

    /// Out of line, so that nothing but the comparison is on the way of an echo.
    #[cold]
    #[inline(never)]
    fn shrink(&mut self) {
        self.bytes = BytesMut::with_capacity(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 << 10;

    #[test]
    fn a_hand_that_has_grown_is_not_kept_and_one_of_the_usual_size_is() {
        let mut hand = Hand::new(SIZE);
        let place = hand.address();
        hand.push(&[b'x'; SIZE]);
        hand.empty();
        assert_eq!((hand.address(), hand.len()), (place, 0));
        for grown in [KEEP + 1, 10 * KEEP] {
            hand.push(&vec![b'x'; grown]);
            assert!(hand.bytes.capacity() > KEEP);
            hand.empty();
            assert_eq!((hand.bytes.capacity(), hand.len()), (SIZE, 0));
        }
        hand.open(20 * KEEP);
        assert!(hand.takes_all(&mut BytesMut::zeroed(10 * KEEP)));
        hand.empty();
        assert_eq!(hand.bytes.capacity(), SIZE, "nor what was taken in trade");
    }

    #[test]
    fn buffers_are_traded_unless_the_other_is_smaller_than_the_read_buffer() {
        let mut hand = Hand::new(SIZE);
        let mut other = BytesMut::with_capacity(SIZE);
        other.extend_from_slice(b"hello");
        let (ours, theirs) = (hand.address(), other.as_ptr().addr());
        hand.open(100);
        assert!(hand.takes_all(&mut other));
        assert_eq!((hand.bytes(), hand.address(), other.as_ptr().addr()), (&b"hello"[..], theirs, ours));
        hand.empty();
        let mut small = BytesMut::with_capacity(SIZE - 1);
        small.extend_from_slice(b"hello");
        hand.open(100);
        assert!(!hand.takes_all(&mut small));
        hand.open(6);
        assert!(hand.takes_all(&mut other), "an empty one of full size");
    }
}
