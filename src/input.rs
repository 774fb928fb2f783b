//! Bytes on their way into a handler: one buffer for the whole reactor.

use bytes::{Buf, BytesMut};

/// Where reads go, and the buffer that a handler is shown.
///
/// A read lands in `landing`, which is initialised once and never again; its
/// bytes are then appended to the [`BytesMut`] that the handler sees. That
/// copy is what it costs to have neither `unsafe` nor a clearing of the
/// buffer for each read; it stays within the cache. A handler may trade that
/// buffer for another one ([`Io::write_buf`](crate::Io::write_buf)).
#[derive(Debug)]
pub(crate) struct Input {
    landing: BytesMut,
    /// How many bytes of it the last read has filled.
    count: usize,
    shown: BytesMut,
}

/// The size of a page, near enough: see [`Input::new`].
const PAGE: usize = 4096;

impl Input {
    /// One that hands over buffers of this size, one of which is at `other` now.
    pub(crate) fn new(size: usize, other: usize) -> Self {
        let shown = BytesMut::with_capacity(size);
        let mut landing = BytesMut::zeroed(size + PAGE);
        // Some processors (AMD with FSRM) copy some twenty times slower where
        // the target lies less than 64 bytes behind the source modulo a page,
        // and that is how an allocator lays out two buffers of this size. So
        // they are a part of a page apart.
        let start = landing.as_ptr().addr();
        let place = |part| shown.as_ptr().addr().wrapping_sub(start).wrapping_add(part) % PAGE;
        let is_apart = |place: &usize| other.wrapping_sub(start + place) % PAGE >= PAGE / 8;
        let place = [PAGE / 2, PAGE / 4].map(place).into_iter().find(is_apart).unwrap_or_default();
        landing.advance(place);
        landing.truncate(size);
        Self { landing, count: 0, shown }
    }

    /// The room for a read of at most `budget` bytes.
    #[inline]
    pub(crate) fn room(&mut self, budget: usize) -> &mut [u8] {
        let size = self.landing.len().min(budget);
        &mut self.landing[..size]
    }

    /// The read has left so many bytes in [`room`](Self::room). None of them is
    /// shown yet.
    #[inline]
    pub(crate) fn land(&mut self, count: usize) {
        self.count = count;
        self.shown.clear();
    }

    /// What the last read has left.
    #[inline]
    pub(crate) fn landed(&self) -> &[u8] {
        &self.landing[..self.count]
    }

    /// Shows that to a handler, but for the first bytes.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[inline]
    pub(crate) fn show_from(&mut self, first: usize) -> &mut BytesMut {
        self.shown.extend_from_slice(&self.landing[first..self.count]);
        &mut self.shown
    }

    /// Shows what a connection has kept, and what has landed behind it; returns
    /// how many bytes that are. The buffers are exchanged, until
    /// [`take_back`](Self::take_back).
    pub(crate) fn lend(&mut self, kept: &mut BytesMut) -> usize {
        kept.extend_from_slice(self.landed());
        self.count = 0;
        std::mem::swap(&mut self.shown, kept);
        self.shown.len()
    }

    /// Gives back what is left of what was [lent](Self::lend).
    pub(crate) const fn take_back(&mut self, kept: &mut BytesMut) {
        std::mem::swap(&mut self.shown, kept);
    }

    /// True when the handler has taken all that it was shown.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.shown.is_empty()
    }

    /// Copies what the handler left untaken, so that the buffer is free for
    /// the next connection; `None` if it took everything.
    #[inline]
    pub(crate) fn leftover(&mut self) -> Option<Box<BytesMut>> {
        if self.shown.is_empty() {
            return None;
        }
        let kept = Box::new(BytesMut::from(&self.shown[..]));
        self.shown.clear();
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_kept_and_in_front_of_what_comes() {
        let mut input = Input::new(8, 0);
        input.room(100)[..3].copy_from_slice(b"abc");
        input.land(3);
        let _taken = input.show_from(0).split_to(1);
        assert!(!input.is_taken());
        let kept = input.leftover().expect("two bytes were left");
        assert!(input.is_taken());
        assert_eq!(input.room(2).len(), 2);
        input.room(2).copy_from_slice(b"de");
        input.land(2);
        let mut kept = *kept;
        assert_eq!(input.lend(&mut kept), 4);
        assert_eq!((input.landed(), &kept[..]), (&b""[..], &b""[..]));
        let _taken = input.show_from(0).split_to(3);
        input.take_back(&mut kept);
        assert_eq!((&kept[..], input.is_taken()), (&b"e"[..], true));
    }

    #[test]
    fn what_was_taken_as_it_landed_is_not_shown() {
        let mut input = Input::new(8, 0);
        input.room(100)[..3].copy_from_slice(b"abc");
        input.land(3);
        assert_eq!((input.landed(), input.is_taken()), (&b"abc"[..], true));
        assert_eq!(&input.show_from(2)[..], b"c");
        input.land(1);
        assert_eq!(&input.show_from(1)[..], b"");
    }

    #[test]
    fn taking_everything_leaves_nothing_behind_even_when_it_is_frozen() {
        let mut input = Input::new(8, 0);
        for round in 0..100_u8 {
            input.room(8).fill(round);
            input.land(8);
            let taken = input.show_from(0).split().freeze();
            assert!(input.leftover().is_none());
            assert_eq!(&taken[..], &[round; 8]);
        }
    }
}
