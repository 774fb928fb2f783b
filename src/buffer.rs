//! `OutQueue`: the queued output of one connection, and `Pool`, from which its
//! buffers come.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::contain::discard;
use crate::shared_output::{SharedOutput, Span};

/// The size from which bytes that many queues share are queued by reference.
/// Smaller messages are copied into the buffer that is being filled: a copy of
/// so few bytes costs less than a reference, and they leave as one piece
/// (`cargo bench --bench parts -- queue` compares both at each size).
pub(crate) const SHARE_FROM: usize = 1024;

/// A buffer takes further messages until it holds this many bytes.
const FILL_TO: usize = 16 << 10;

/// A queue whose buffer has more room than this is not kept for reuse.
const KEEP_UP_TO: usize = 64 << 10;

/// The room that a new buffer starts with.
const SMALLEST: usize = 256;

/// The most pieces of one vectored write.
pub(crate) const PIECES: usize = 32;

#[derive(Debug)]
enum Segment {
    Copied(Vec<u8>),
    /// Bytes that other queues may share.
    Shared(Shared),
    /// Bytes that are still in a file.
    File(FilePart),
}

/// A part of a file that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    file: Arc<File>,
    range: Range<u64>,
}

impl FilePart {
    pub(crate) const fn new(file: Arc<File>, range: Range<u64>) -> Self {
        Self { file, range }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The place of the first byte that is to be sent.
    pub(crate) const fn offset(&self) -> u64 {
        self.range.start
    }

    /// How many bytes are to be sent.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(usize::MAX)
    }
}

/// Shared bytes, whose owner ([`Bytes::from_owner`]) may be dropped with them.
#[derive(Debug)]
struct Shared(Bytes);

impl Drop for Shared {
    fn drop(&mut self) {
        discard("what owned shared bytes", std::mem::take(&mut self.0));
    }
}

impl Segment {
    /// The bytes, if they are in memory.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Copied(bytes) => Some(bytes),
            Self::Shared(bytes) => Some(&bytes.0),
            Self::File(_) => None,
        }
    }

    #[cfg(feature = "sim")]
    fn len(&self) -> usize {
        match self {
            Self::File(part) => part.len(),
            _ => self.bytes().map_or(0, <[u8]>::len),
        }
    }
}

/// The output queue of one connection, in order: the rest of `front`, then
/// `more`, then a `span` of the shared output. A queue of small messages is
/// `front` alone; a queue of small broadcasts is the span alone.
///
/// The span ends with the flush that ends the shared output. Before anything
/// else is queued behind it, [`detach`](Self::detach) copies it.
///
/// Invariant: `len` is the sum of all of it, `in_files` the sum of what is in
/// files, and no segment of `more` is empty.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    len: usize,
    front: Vec<u8>,
    /// The number of bytes of `front` that are written.
    written: usize,
    more: VecDeque<Segment>,
    span: Span,
    /// The number of bytes that are in files, and not in memory.
    in_files: usize,
    /// The number of segments that are parts of files.
    files: usize,
}

impl OutQueue {
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The number of bytes that are in memory.
    #[inline]
    pub(crate) const fn in_memory(&self) -> usize {
        self.len - self.in_files
    }

    /// The number of parts of files.
    #[inline]
    pub(crate) const fn files(&self) -> usize {
        self.files
    }

    /// Appends a part of a file, which is not empty.
    pub(crate) fn push_file(&mut self, part: FilePart) {
        debug_assert!(part.len() > 0, "no segment is empty");
        debug_assert!(self.span.is_empty(), "a span is the end of a queue");
        self.len += part.len();
        self.in_files += part.len();
        self.files += 1;
        self.more.push_back(Segment::File(part));
    }

    /// The part of a file that is next, if the next bytes are in a file.
    #[inline]
    pub(crate) fn next_file(&self) -> Option<&FilePart> {
        match self.more.front() {
            Some(Segment::File(part)) if self.written == self.front.len() => Some(part),
            _ => None,
        }
    }

    /// Drops the first `count` bytes, which are of the file that is next.
    #[cold]
    fn advance_file(&mut self, count: usize) {
        let Some(Segment::File(part)) = self.more.front_mut() else { return };
        debug_assert!(count <= part.len(), "no more was written than was queued");
        self.len -= count;
        self.in_files -= count;
        part.range.start += count as u64;
        if part.len() == 0 {
            self.files -= 1;
            self.more.pop_front();
        }
    }

    /// Appends a part of the shared output, without a copy. False if the
    /// queue's span does not end where this part begins.
    #[inline]
    pub(crate) const fn refer(&mut self, piece: Span) -> bool {
        let is_next = self.span.extend(piece);
        if is_next {
            self.len += piece.len();
        }
        is_next
    }

    /// Copies the queue's span of the shared output into its own buffers.
    #[inline]
    pub(crate) fn detach(&mut self, shared: &SharedOutput) {
        if !self.span.is_empty() {
            self.copy_span(shared);
        }
    }

    #[inline(never)]
    fn copy_span(&mut self, shared: &SharedOutput) {
        let span = std::mem::take(&mut self.span);
        self.len -= span.len();
        // Buffers of the usual size are free as soon as they are written.
        for part in shared.bytes(span).chunks(FILL_TO) {
            self.push_copy(part);
        }
    }

    /// Appends a copy of `data`.
    #[inline]
    pub(crate) fn push_copy(&mut self, data: &[u8]) {
        debug_assert!(self.span.is_empty(), "a span is the end of a queue");
        self.len += data.len();
        if self.front.is_empty() && self.more.is_empty()
            || self.front.len() + data.len() <= FILL_TO && self.more.is_empty()
        {
            if self.front.capacity() == 0 {
                self.front.reserve(SMALLEST);
            }
            self.front.extend_from_slice(data);
        } else {
            self.push_more(data);
        }
    }

    fn push_more(&mut self, data: &[u8]) {
        match self.more.back_mut() {
            _ if data.is_empty() => {}
            Some(Segment::Copied(buffer)) if buffer.len() + data.len() <= FILL_TO => {
                buffer.extend_from_slice(data);
            }
            _ => {
                let mut buffer = Vec::with_capacity(data.len().max(SMALLEST));
                buffer.extend_from_slice(data);
                self.more.push_back(Segment::Copied(buffer));
            }
        }
    }

    /// Appends `data`: by reference from a given size on, else as a copy.
    #[inline]
    pub(crate) fn push_shared(&mut self, data: &Bytes, from: usize) {
        if data.len() < from {
            self.push_copy(data);
        } else {
            self.push_reference(data.clone());
        }
    }

    /// Appends `data`, which is not empty, by reference, whatever its size.
    pub(crate) fn push_reference(&mut self, data: Bytes) {
        debug_assert!(!data.is_empty(), "no segment is empty");
        debug_assert!(self.span.is_empty(), "a span is the end of a queue");
        self.len += data.len();
        self.more.push_back(Segment::Shared(Shared(data)));
    }

    /// The whole queue, if it is one piece.
    #[inline]
    pub(crate) fn only_piece<'a>(&'a self, shared: &'a SharedOutput) -> Option<&'a [u8]> {
        if self.span.len() == self.len {
            Some(shared.bytes(self.span))
        } else if self.more.is_empty() && self.span.is_empty() {
            Some(&self.front[self.written..])
        } else {
            None
        }
    }

    /// Writes the first pieces to `into`, as many as fit and as make up at most
    /// `most` bytes, and returns their number. None of them is empty. What is in
    /// files, and what is behind it, is no piece.
    pub(crate) fn pieces<'a>(
        &'a self,
        shared: &'a SharedOutput,
        into: &mut [IoSlice<'a>; PIECES],
        mut most: usize,
    ) -> usize {
        let front = &self.front[self.written..];
        let front = Some(front).filter(|front| !front.is_empty());
        let span = Some(shared.bytes(self.span)).filter(|span| !span.is_empty() && self.files == 0);
        let all = front.into_iter().chain(self.more.iter().map_while(Segment::bytes)).chain(span);
        let mut count = 0;
        for (slot, piece) in into.iter_mut().zip(all) {
            if most == 0 {
                break;
            }
            *slot = IoSlice::new(&piece[..piece.len().min(most)]);
            most -= slot.len();
            count += 1;
        }
        count
    }

    /// Drops the first `count` bytes: the system has taken them.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.len, "no more was written than was queued");
        if self.next_file().is_some() {
            return self.advance_file(count);
        }
        self.len -= count;
        let front = self.front.len() - self.written;
        if count < front {
            self.written += count;
        } else {
            self.front.clear();
            self.written = 0;
            let count = count - front;
            if self.more.is_empty() {
                self.span.advance(count);
            } else {
                self.advance_more(count);
            }
        }
    }

    fn advance_more(&mut self, mut count: usize) {
        while let Some(segment) = self.more.front_mut() {
            let Some(left) = segment.bytes().map(<[u8]>::len) else {
                debug_assert_eq!(count, 0, "a file is no piece");
                return;
            };
            match segment {
                Segment::Shared(bytes) if count < left => {
                    bytes.0.advance(count);
                    return;
                }
                // The rest of the segment becomes `front`, which is empty.
                Segment::Copied(buffer) if count < left => {
                    self.front = std::mem::take(buffer);
                    self.written = count;
                    self.more.pop_front();
                    return;
                }
                _ => {
                    count -= left;
                    self.more.pop_front();
                }
            }
        }
        self.span.advance(count);
    }

    #[cold]
    fn clear(&mut self) {
        self.len = 0;
        self.in_files = 0;
        self.files = 0;
        self.written = 0;
        self.front.clear();
        self.more.clear();
        self.span = Span::default();
    }

    /// True when `len` equals the bytes held, for the checks of the simulation.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sound(&self, shared: &SharedOutput) -> bool {
        let more: usize = self.more.iter().map(Segment::len).sum();
        let held = self.front.len() - self.written + more + self.span.len();
        let is_full = self.more.iter().all(|segment| segment.len() > 0);
        let files = self.more.iter().filter(|segment| segment.bytes().is_none());
        let in_files = (files.clone().count(), files.map(Segment::len).sum());
        held == self.len && (self.files, self.in_files) == in_files && is_full && shared.holds(self.span)
    }

    /// True while the queue has a span of the shared output.
    #[cfg(feature = "sim")]
    pub(crate) const fn refers(&self) -> bool {
        !self.span.is_empty()
    }

    /// The bytes that an empty queue keeps allocated, approximately.
    fn room(&self) -> usize {
        size_of::<Self>() + self.front.capacity() + self.more.capacity() * size_of::<Segment>()
    }
}

/// Unused queues, up to a limit. They keep their buffers, so that a steady flow
/// of messages allocates nothing.
#[derive(Debug)]
#[allow(clippy::vec_box, reason = "a queue moves between the pool and its connection without being copied")]
pub(crate) struct Pool {
    queues: Vec<Box<OutQueue>>,
    /// The bytes that the queues keep allocated.
    room: usize,
    max_room: usize,
}

impl Pool {
    pub(crate) const fn new(max_room: usize) -> Self {
        Self { queues: Vec::new(), room: 0, max_room }
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Box<OutQueue> {
        let Some(queue) = self.queues.pop() else { return Box::default() };
        self.room -= queue.room();
        queue
    }

    #[inline]
    pub(crate) fn give(&mut self, mut queue: Box<OutQueue>) {
        if queue.len > 0 {
            queue.clear();
        }
        let room = queue.room();
        if room <= KEEP_UP_TO + FILL_TO && self.room + room <= self.max_room {
            self.room += room;
            self.queues.push(queue);
        }
    }

    /// True when `room` is right and within the limit.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sound(&self) -> bool {
        let room: usize = self.queues.iter().map(|queue| queue.room()).sum();
        room == self.room && room <= self.max_room && self.queues.iter().all(|queue| queue.len == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(queue: &OutQueue, shared: &SharedOutput) -> Vec<u8> {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = queue.pieces(shared, &mut pieces, usize::MAX);
        pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn many_small_messages_are_one_piece_and_a_large_shared_one_its_own() {
        let mut queue = OutQueue::default();
        for _ in 0..100 {
            queue.push_copy(b"0123456789");
        }
        queue.push_shared(&Bytes::from_static(b"small"), SHARE_FROM);
        let shared = SharedOutput::new();
        assert_eq!((queue.len(), queue.only_piece(&shared).map(<[u8]>::len)), (1005, Some(1005)));
        let large = Bytes::from(vec![b'x'; SHARE_FROM]);
        queue.push_shared(&large, SHARE_FROM);
        queue.push_copy(b"end");
        queue.push_copy(b"end");
        assert_eq!((queue.len(), queue.only_piece(&shared), queue.more.len()), (1011 + SHARE_FROM, None, 2));
        let Some(Segment::Shared(held)) = queue.more.front() else { panic!("not shared") };
        assert_eq!(held.0.as_ptr(), large.as_ptr(), "shared, not copied");
    }

    #[test]
    fn a_partial_write_at_every_offset_keeps_the_rest_in_order() {
        let big = Bytes::from(vec![b'y'; SHARE_FROM + 1]);
        let whole: Vec<u8> = [b"abc".as_slice(), &big, b"def", &big, b"ghi"].concat();
        for cut in 0..whole.len() {
            let mut queue = OutQueue::default();
            queue.push_copy(b"abc");
            queue.push_shared(&big, SHARE_FROM);
            queue.push_copy(b"def");
            queue.push_shared(&big, SHARE_FROM);
            queue.push_copy(b"gh");
            queue.advance(cut);
            queue.push_copy(b"i");
            assert_eq!(contents(&queue, &SharedOutput::new()), whole[cut..], "cut at {cut}");
        }
    }

    #[test]
    fn a_span_is_the_end_of_a_queue_until_it_is_detached() {
        let big = Bytes::from(vec![b'y'; SHARE_FROM]);
        let whole: Vec<u8> = [b"abc".as_slice(), &big, b"onetwo", b"end"].concat();
        for cut in 0..whole.len() - 3 {
            let mut shared = SharedOutput::new();
            let mut queue = OutQueue::default();
            queue.push_copy(b"abc");
            queue.push_shared(&big, SHARE_FROM);
            let [one, two, _, four] =
                [b"one", b"two", b"six", b"ten"].map(|line| shared.add(line).expect("it is short"));
            assert!(queue.refer(one) && queue.refer(two) && !queue.refer(four));
            assert_eq!(queue.len(), whole.len() - 3);
            queue.advance(cut);
            assert_eq!(contents(&queue, &shared), whole[cut..whole.len() - 3], "cut at {cut}");
            queue.detach(&shared);
            shared.clear();
            queue.push_copy(b"end");
            assert_eq!((contents(&queue, &shared), queue.len()), (whole[cut..].to_vec(), whole.len() - cut));
        }
    }

    #[test]
    fn a_queue_that_has_the_burst_alone_is_one_piece() {
        let mut shared = SharedOutput::new();
        let mut queue = OutQueue::default();
        let line = shared.add(b"line").expect("it is short");
        assert!(queue.refer(line));
        assert_eq!(queue.only_piece(&shared), Some(&b"line"[..]));
        queue.advance(1);
        assert_eq!(queue.only_piece(&shared), Some(&b"ine"[..]));
        queue.advance(3);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_queue_returns_with_its_buffer_and_the_pool_is_bounded() {
        let mut pool = Pool::new(1024);
        let mut queues: Vec<_> = (0..4).map(|_| pool.take()).collect();
        for queue in &mut queues {
            queue.push_copy(b"x");
        }
        for queue in queues {
            pool.give(queue);
        }
        assert!(!pool.queues.is_empty() && pool.room <= 1024, "{pool:?}");
        let queue = pool.take();
        assert_eq!((queue.len(), queue.front.capacity()), (0, SMALLEST));
        let mut pool = Pool::new(1 << 20);
        let mut queue = pool.take();
        queue.push_copy(&vec![0; 2 * KEEP_UP_TO]);
        pool.give(queue);
        assert!(pool.queues.is_empty(), "an outsized buffer is not hoarded");
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Copy(usize),
        Share(usize),
        /// To many; and whether there is something before it that is not for
        /// this queue.
        Refer {
            size: usize,
            gap: bool,
        },
        /// The end of a flush.
        Settle,
        /// A write that takes this part of what it is offered, in 255ths.
        Write(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Around both thresholds, and mostly small.
        let size = prop_oneof![4 => 0..64_usize, 2 => 0..2 * SHARE_FROM, 1 => 0..2 * FILL_TO];
        prop_oneof![
            size.clone().prop_map(Step::Copy),
            size.prop_map(Step::Share),
            (1..64_usize, any::<bool>()).prop_map(|(size, gap)| Step::Refer { size, gap }),
            Just(Step::Settle),
            any::<u8>().prop_map(Step::Write),
        ]
    }

    proptest! {
        /// A queue is a line of bytes, however they were put in and however
        /// little is taken at once; and its pool keeps to its limit.
        #[test]
        fn a_queue_gives_back_the_bytes_in_order(steps in prop::collection::vec(step(), 1..100)) {
            let mut pool = Pool::new(3 * FILL_TO);
            let mut queue = pool.take();
            let mut shared = SharedOutput::new();
            let mut model: Vec<u8> = Vec::new();
            let mut message = (0..=u8::MAX).cycle();
            for step in steps {
                match step {
                    Step::Copy(size) => {
                        let data: Vec<u8> = message.by_ref().take(size).collect();
                        queue.detach(&shared);
                        queue.push_copy(&data);
                        model.extend(data);
                    }
                    Step::Refer { size, gap } => {
                        if gap {
                            shared.add(b"not for this one");
                        }
                        let data: Vec<u8> = message.by_ref().take(size).collect();
                        let piece = shared.add(&data).expect("there is room for all of them");
                        if !queue.refer(piece) {
                            queue.detach(&shared);
                            prop_assert!(queue.refer(piece));
                        }
                        model.extend(data);
                    }
                    Step::Settle => {
                        queue.detach(&shared);
                        shared.clear();
                    }
                    Step::Share(size) => {
                        let data: Vec<u8> = message.by_ref().take(size).collect();
                        queue.detach(&shared);
                        queue.push_shared(&data.clone().into(), SHARE_FROM);
                        model.extend(data);
                    }
                    Step::Write(part) => {
                        let mut pieces = [IoSlice::new(&[]); PIECES];
                        let count = queue.pieces(&shared, &mut pieces, usize::MAX);
                        let offered: Vec<u8> =
                            pieces[..count].iter().flat_map(|piece| piece.iter().copied()).collect();
                        prop_assert!(pieces[..count].iter().all(|piece| !piece.is_empty()));
                        prop_assert!(model.starts_with(&offered));
                        prop_assert_eq!(count == 0, model.is_empty());
                        let only = queue.only_piece(&shared);
                        prop_assert!(only.is_none_or(|only| only == offered));
                        let written = offered.len() * usize::from(part) / 255;
                        queue.advance(written);
                        model.drain(..written);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            pool.give(queue);
            prop_assert_eq!(pool.room, pool.queues.iter().map(|queue| queue.room()).sum::<usize>());
            prop_assert!(pool.room <= pool.max_room);
            prop_assert_eq!(pool.take().len(), 0);
        }
    }
}
