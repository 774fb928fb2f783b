//! Direct output: the bytes that a callback writes to its own connection.

use bytes::BytesMut;

/// A buffer that has grown beyond this many bytes, and beyond twice the read
/// buffer, is freed.
const KEEP: usize = 256 << 10;

/// Output of the connection whose callback runs. It leaves when the callback
/// returns; only what the system does not take is queued.
///
/// Before a callback the loop may *grant* it a number of bytes. The grant says:
/// the connection is live, nothing is queued for it, its high mark is further away
/// than that, and nothing else is pending for its output. A write within the grant
/// looks at no connection, and the loop looks at none afterwards if the grant still
/// holds. Everything that makes one of these facts untrue revokes the grant.
#[derive(Debug)]
pub(crate) struct DirectOutput {
    bytes: BytesMut,
    /// How many more bytes a write may add without a look at the connection; 0: the
    /// grant is revoked.
    granted: usize,
    /// The size of the read buffer: no smaller one is taken in trade.
    size: usize,
    /// The largest buffer that is kept.
    keep: usize,
}

impl DirectOutput {
    /// One that can trade its buffer for the read buffer.
    pub(crate) fn new(read_buffer: usize) -> Self {
        // Whoever grows a buffer at most doubles it.
        let bytes = BytesMut::with_capacity(read_buffer);
        Self { bytes, granted: 0, size: read_buffer, keep: KEEP.max(2 * read_buffer) }
    }

    /// Where its buffer is.
    pub(crate) fn address(&self) -> usize {
        self.bytes.as_ptr().addr()
    }

    #[inline]
    pub(crate) const fn grant(&mut self, bytes: usize) {
        self.granted = bytes;
    }

    #[inline]
    pub(crate) const fn revoke(&mut self) {
        self.granted = 0;
    }

    #[inline]
    pub(crate) const fn is_granted(&self) -> bool {
        self.granted > 0
    }

    /// Appends `data` if the grant is larger than that.
    #[inline]
    pub(crate) fn take(&mut self, data: &[u8]) -> bool {
        let takes = data.len() < self.granted;
        if takes {
            self.granted -= data.len();
            self.bytes.extend_from_slice(data);
        }
        takes
    }

    /// Exchanges its buffer for `data` if it is empty and the grant is larger than
    /// `data`. A buffer smaller than the read buffer is refused: the read buffer may
    /// be on the other side of the exchange, and it keeps its size.
    #[inline]
    pub(crate) fn take_all(&mut self, data: &mut BytesMut) -> bool {
        let is_worth_it = data.capacity() >= self.size;
        let takes = data.len() < self.granted && self.bytes.is_empty() && is_worth_it;
        if takes {
            self.granted -= data.len();
            std::mem::swap(&mut self.bytes, data);
        }
        takes
    }

    /// Appends `data`; the caller has looked at the connection.
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
    pub(crate) fn clear(&mut self) {
        self.granted = 0;
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
    fn a_buffer_that_has_grown_is_freed_and_one_of_the_usual_size_is_kept() {
        let mut direct = DirectOutput::new(SIZE);
        let place = direct.address();
        direct.push(&[b'x'; SIZE]);
        direct.clear();
        assert_eq!((direct.address(), direct.len()), (place, 0));
        for grown in [KEEP + 1, 10 * KEEP] {
            direct.push(&vec![b'x'; grown]);
            assert!(direct.bytes.capacity() > KEEP);
            direct.clear();
            assert_eq!((direct.bytes.capacity(), direct.len()), (SIZE, 0));
        }
        direct.grant(20 * KEEP);
        assert!(direct.take_all(&mut BytesMut::zeroed(10 * KEEP)));
        direct.clear();
        assert_eq!(direct.bytes.capacity(), SIZE, "nor what was taken in trade");
    }

    #[test]
    fn buffers_are_traded_unless_the_other_is_smaller_than_the_read_buffer() {
        let mut direct = DirectOutput::new(SIZE);
        let mut other = BytesMut::with_capacity(SIZE);
        other.extend_from_slice(b"hello");
        let (ours, theirs) = (direct.address(), other.as_ptr().addr());
        direct.grant(100);
        assert!(direct.take_all(&mut other));
        assert_eq!((direct.bytes(), direct.address(), other.as_ptr().addr()), (&b"hello"[..], theirs, ours));
        direct.clear();
        let mut small = BytesMut::with_capacity(SIZE - 1);
        small.extend_from_slice(b"hello");
        direct.grant(100);
        assert!(!direct.take_all(&mut small));
        direct.grant(6);
        assert!(direct.take_all(&mut other), "an empty one of full size");
    }
}
