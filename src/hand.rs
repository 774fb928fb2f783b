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
    /// The largest buffer that is kept.
    keep: usize,
}

impl Hand {
    /// One that can trade its buffer for the read buffer.
    pub(crate) fn new(read_buffer: usize) -> Self {
        // Whoever grows a buffer at most doubles it.
        Self { bytes: BytesMut::with_capacity(read_buffer), open_for: 0, keep: KEEP.max(2 * read_buffer) }
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
    /// the two trade their buffers. Not if the other's is much the smaller: its
    /// owner would have a large one from then on, and the hand a small one, or a
    /// small view of somebody else's.
    #[inline]
    pub(crate) fn takes_all(&mut self, data: &mut BytesMut) -> bool {
        let is_worth_it = data.capacity() >= self.bytes.capacity() / 2;
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
            self.bytes = BytesMut::new();
        }
    }
}
