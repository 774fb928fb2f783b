//! Bytes on their way into a handler: one buffer for the whole reactor.

use bytes::{Buf, Bytes, BytesMut};

/// Where reads go, and the buffer that a handler is shown.
///
/// A read lands in `read_buffer`, which is initialised once and never again; its
/// bytes are then appended to the [`BytesMut`] that the handler sees. That
/// copy is what it costs to have neither `unsafe` nor a clearing of the
/// buffer for each read; it stays within the cache. A handler may trade that
/// buffer for another one ([`Io::write_buf`](crate::Io::write_buf)).
///
/// What a handler splits off is a view, which keeps the whole buffer: of 64 KiB
/// for nine bytes, if all reads went into one buffer. So that buffer is *away*
/// for as long as somebody holds a part of it, and until it is back each read
/// is shown in a buffer of its own size. A part keeps no more than what came
/// with it, but for one buffer of the whole reactor.
#[derive(Debug)]
pub(crate) struct Input {
    read_buffer: BytesMut,
    /// How many bytes of it the last read has filled.
    count: usize,
    /// Of full size, unless another one is away.
    shown: BytesMut,
    /// What is left of the full-sized buffer while somebody holds a part of it.
    away: Option<Bytes>,
}

/// The size of a page, near enough: see [`Input::new`].
const PAGE: usize = 4096;

/// A buffer that a handler has grown beyond this many bytes, and beyond twice
/// its size, is not kept.
const KEEP: usize = 256 << 10;

impl Input {
    /// One that hands over buffers of this size, one of which is at `other` now.
    pub(crate) fn new(size: usize, other: usize) -> Self {
        let shown = BytesMut::with_capacity(size);
        let mut read_buffer = BytesMut::zeroed(size + PAGE);
        // Some processors (AMD with FSRM) copy some twenty times slower where
        // the target lies less than 64 bytes behind the source modulo a page,
        // and that is how an allocator lays out two buffers of this size. So
        // they are a part of a page apart.
        let start = read_buffer.as_ptr().addr();
        let place = |part| shown.as_ptr().addr().wrapping_sub(start).wrapping_add(part) % PAGE;
        let is_apart = |place: &usize| other.wrapping_sub(start + place) % PAGE >= PAGE / 8;
        let place = [PAGE / 2, PAGE / 4].map(place).into_iter().find(is_apart).unwrap_or_default();
        read_buffer.advance(place);
        read_buffer.truncate(size);
        Self { read_buffer, count: 0, shown, away: None }
    }

    /// The room for a read of at most `budget` bytes.
    #[inline]
    pub(crate) fn spare(&mut self, budget: usize) -> &mut [u8] {
        let size = self.read_buffer.len().min(budget);
        &mut self.read_buffer[..size]
    }

    /// The read has left so many bytes in [`spare`](Self::spare). None of them is
    /// shown yet.
    #[inline]
    pub(crate) fn filled(&mut self, count: usize) {
        self.count = count;
        self.shown.clear();
    }

    /// What the last read has left.
    #[inline]
    pub(crate) fn unread(&self) -> &[u8] {
        &self.read_buffer[..self.count]
    }

    /// Shows that to a handler, but for the first bytes.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[inline]
    pub(crate) fn show_from(&mut self, first: usize) -> &mut BytesMut {
        if !self.is_whole() {
            return self.show_apart(first);
        }
        self.shown.extend_from_slice(&self.read_buffer[first..self.count]);
        &mut self.shown
    }

    /// The buffer that is shown is of full size, and not of much more.
    #[inline]
    fn is_whole(&self) -> bool {
        let size = self.read_buffer.len();
        self.shown.capacity().wrapping_sub(size) <= KEEP.max(size)
    }

    /// The same where a part of the buffer was split off, or a handler has put
    /// another one in its place.
    #[inline(never)]
    fn show_apart(&mut self, first: usize) -> &mut BytesMut {
        // To a buffer that was lent nothing is added.
        if first < self.count {
            let is_back = self.comes_back();
            let new = &self.read_buffer[first..self.count];
            if is_back {
                self.shown.extend_from_slice(new);
            } else {
                self.shown = BytesMut::from(new);
            }
        }
        &mut self.shown
    }

    /// Makes what is shown a buffer of full size; false if somebody holds a part
    /// of it, which then is away.
    fn comes_back(&mut self) -> bool {
        if self.away.as_ref().is_some_and(|away| !away.is_unique()) {
            return false;
        }
        if let Some(away) = self.away.take() {
            self.shown = away.try_into_mut().unwrap_or_default();
        }
        let size = self.read_buffer.len();
        if self.shown.try_reclaim(size) && self.is_whole() {
            return true;
        }
        // One that was never allocated, which a handler has left for it.
        let is_none = self.shown.as_ptr() == BytesMut::new().as_ptr();
        let rest = std::mem::take(&mut self.shown).freeze();
        let is_back = is_none || rest.is_unique();
        if is_back {
            self.shown.reserve(size);
        } else {
            self.away = Some(rest);
        }
        is_back
    }

    /// Shows what a connection has kept, and what has landed behind it; returns
    /// how many bytes that are. The buffers are exchanged, until
    /// [`take_back`](Self::take_back).
    pub(crate) fn lend(&mut self, kept: &mut BytesMut) -> usize {
        kept.extend_from_slice(self.unread());
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
        input.spare(100)[..3].copy_from_slice(b"abc");
        input.filled(3);
        let _taken = input.show_from(0).split_to(1);
        assert!(!input.is_taken());
        let kept = input.leftover().expect("two bytes were left");
        assert!(input.is_taken());
        assert_eq!(input.spare(2).len(), 2);
        input.spare(2).copy_from_slice(b"de");
        input.filled(2);
        let mut kept = *kept;
        assert_eq!(input.lend(&mut kept), 4);
        assert_eq!((input.unread(), &kept[..]), (&b""[..], &b""[..]));
        let _taken = input.show_from(0).split_to(3);
        input.take_back(&mut kept);
        assert_eq!((&kept[..], input.is_taken()), (&b"e"[..], true));
    }

    #[test]
    fn what_was_taken_as_it_landed_is_not_shown() {
        let mut input = Input::new(8, 0);
        input.spare(100)[..3].copy_from_slice(b"abc");
        input.filled(3);
        assert_eq!((input.unread(), input.is_taken()), (&b"abc"[..], true));
        assert_eq!(&input.show_from(2)[..], b"c");
        input.filled(1);
        assert_eq!(&input.show_from(1)[..], b"");
    }

    /// Shows a read of this size, whatever is in it.
    fn show(input: &mut Input, count: usize) -> &mut BytesMut {
        input.filled(count);
        input.show_from(0)
    }

    #[test]
    fn a_part_that_is_held_keeps_no_more_than_came_with_it_but_for_one_buffer() {
        const SIZE: usize = 64 << 10;
        let mut input = Input::new(SIZE, 0);
        let first = show(&mut input, 9).split().freeze();
        let place = first.as_ptr();
        let mut held = Vec::new();
        for count in [9, SIZE / 2, 1, SIZE] {
            let shown = show(&mut input, count);
            assert_eq!((shown.len(), shown.capacity()), (count, count));
            held.push(shown.split_to(1));
            shown.clear();
        }
        // What was shown apart is no matter; the first one is.
        let shown = show(&mut input, 9);
        assert_eq!(shown.capacity(), 9);
        shown.clear();
        drop(first);
        let shown = show(&mut input, 9);
        assert_eq!((shown.as_ptr(), shown.capacity()), (place, SIZE), "it is back");
        drop(held);
    }

    #[test]
    fn what_is_split_off_and_dropped_leaves_the_buffer_where_it_is() {
        let mut input = Input::new(100, 0);
        let place = show(&mut input, 100).as_ptr();
        for count in 1..100 {
            let shown = show(&mut input, count);
            assert_eq!((shown.as_ptr(), shown.capacity()), (place, 100));
            drop(shown.split_to(count / 2));
            drop(shown.split());
        }
    }

    #[test]
    fn whatever_a_handler_leaves_in_its_place_the_next_is_of_full_size_and_not_much_more() {
        const SIZE: usize = 1000;
        let mut input = Input::new(SIZE, 0);
        let others = [
            BytesMut::new(),
            BytesMut::with_capacity(10),
            BytesMut::from(&b"its own"[..]).split_off(3),
            BytesMut::with_capacity(2 * KEEP),
        ];
        for other in others {
            *show(&mut input, 5) = other;
            let capacity = show(&mut input, 5).capacity();
            assert!((SIZE..=SIZE + KEEP).contains(&capacity), "{capacity}");
        }
        show(&mut input, 5).reserve(2 * KEEP);
        assert!(show(&mut input, 5).capacity() <= SIZE + KEEP, "room that was made is not kept");
        let held = std::mem::take(show(&mut input, 5));
        assert_eq!((&held[..], show(&mut input, 5).len()), (&[0; 5][..], 5));
    }

    #[test]
    fn taking_everything_leaves_nothing_behind_even_when_it_is_frozen() {
        let mut input = Input::new(8, 0);
        for round in 0..100_u8 {
            input.spare(8).fill(round);
            input.filled(8);
            let taken = input.show_from(0).split().freeze();
            assert!(input.leftover().is_none());
            assert_eq!(&taken[..], &[round; 8]);
        }
    }
}
