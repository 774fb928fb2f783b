//! What a callback writes to its own connection.

/// A hand that has grown beyond this many bytes is not kept.
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
    bytes: Vec<u8>,
    /// How many more bytes it takes unseen; 0 when it is closed.
    open_for: usize,
}

impl Hand {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), open_for: 0 }
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

    /// Takes `data` in, if the hand is open for so much.
    #[inline]
    pub(crate) fn takes(&mut self, data: &[u8]) -> bool {
        let Some(left) = self.open_for.checked_sub(data.len()) else { return false };
        self.open_for = left;
        self.bytes.extend_from_slice(data);
        true
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
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was in it has left, or is dropped with its connection.
    #[inline]
    pub(crate) fn empty(&mut self) {
        self.open_for = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }
}
