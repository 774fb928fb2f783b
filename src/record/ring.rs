//! `Ring`: the last entries of a recording in segments, within a buffer of fixed size.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::Duration;

use super::digest::Digest;
use super::encode::{put_call, put_outcome};
use super::entry::{Call, Failure, Number, Outcome, Payload};
use super::short::{self, EVENT};
use crate::driver::Moment;

/// The segments of a ring: each is a run of entries of this part of it, or one long entry.
const SEGMENTS: usize = 16;

/// The bytes that are copied at once. The copy of the C library uses `rep movsb` for some
/// KiB and more, which took 50 to 70 µs for 32 KiB on an AMD EPYC where its destination was
/// 1 to 16 bytes behind its source within a page, and 0.8 µs elsewhere; in parts of this
/// length it took 0.6 to 1 µs everywhere.
const COPIED: usize = 1024;

/// A run of entries that can be read without those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<B = Vec<u8>> {
    /// The number of segments before this one, since the recording began.
    pub(super) number: u64,
    /// The number of waits before it.
    pub(super) waits: u64,
    /// The last time before it, in nanoseconds.
    pub(super) clock: u64,
    /// Its entries.
    pub(super) bytes: B,
}

impl<B> Segment<B> {
    /// The segment with its entries in another form.
    pub(super) const fn with<C>(&self, bytes: C) -> Segment<C> {
        Segment { number: self.number, waits: self.waits, clock: self.clock, bytes }
    }
}

/// See the module. All entries are in one buffer, one behind the other, and none goes over
/// its end: an entry that does not fit in front of it begins at the first byte again. What
/// it overwrites are the oldest segments. So a ring allocates its buffer once.
#[derive(Debug)]
pub(super) struct Ring {
    buffer: Box<[u8]>,
    /// The length of a segment, unless it is one long entry.
    full_at: usize,
    /// The full segments by their places in the buffer, the oldest first.
    full: VecDeque<Segment<Range<usize>>>,
    /// The segment that is written, behind the last full one.
    current: Segment<Range<usize>>,
    /// The place up to which the current segment may go.
    limit: usize,
    /// An entry in its general form, before it is in the buffer.
    entry: Vec<u8>,
    waits: u64,
    clock: u64,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        let full_at = capacity / SEGMENTS;
        Self {
            buffer: vec![0; capacity].into(),
            full_at,
            // Of two segments in a row, the second begins with what was too long for the first.
            full: VecDeque::with_capacity(2 * SEGMENTS + 2),
            current: Segment { number: 0, waits: 0, clock: 0, bytes: 0..0 },
            limit: full_at,
            entry: Vec::new(),
            waits: 0,
            clock: 0,
        }
    }

    /// The longest payload that is kept: a quarter of the ring.
    pub(super) const fn longest_payload(&self) -> usize {
        self.buffer.len() / 4
    }

    /// The waits so far.
    pub(super) const fn waits(&self) -> u64 {
        self.waits
    }

    /// Adds an entry in its general form.
    #[inline(never)]
    pub(super) fn add(&mut self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let (mut entry, mut clock) = (mem::take(&mut self.entry), self.clock);
        entry.clear();
        put_call(&mut entry, call);
        put_outcome(&mut entry, &mut clock, outcome);
        copy_in_parts(self.room(entry.len()), &entry);
        (self.entry, self.clock) = (entry, clock);
    }

    /// Adds a reading of the clock.
    #[inline(always)]
    pub(super) fn add_time(&mut self, now: Moment) {
        // A driver's time never goes backwards.
        match short::time(now.as_nanos().wrapping_sub(self.clock)) {
            Some(form) => {
                self.append(form);
                self.clock = now.as_nanos();
            }
            None => self.add(&Call::Now, &Outcome::Time(now)),
        }
    }

    /// Adds a read.
    #[inline(always)]
    pub(super) fn add_read(&mut self, stream: Number, space: u64, input: Payload<'_>) {
        let short = match &input {
            Payload::Hashed(read) => short::read(stream, space, *read).map(|form| self.append(form)),
            Payload::Kept(bytes) => short::read_kept(stream, space, bytes.len() as u64)
                .map(|form| self.append_before(form, bytes)),
        };
        if short.is_none() {
            self.add(&Call::Read { stream, space }, &Outcome::Input(input));
        }
    }

    /// Adds a write.
    #[inline(always)]
    pub(super) fn add_write(&mut self, stream: Number, offered: u64, taken: Digest) {
        match short::write(stream, offered, taken) {
            Some(form) => self.append(form),
            None => self.add(&Call::Write { stream, offered }, &Outcome::Written(taken)),
        }
    }

    /// Adds a short form.
    #[inline(always)]
    fn append<const N: usize>(&mut self, form: [u8; N]) {
        self.room(N).copy_from_slice(&form);
    }

    /// Adds a short form, and bytes behind it.
    #[inline]
    fn append_before<const N: usize>(&mut self, form: [u8; N], rest: &[u8]) {
        let (to, behind) = self.room(N + rest.len()).split_at_mut(N);
        to.copy_from_slice(&form);
        copy_in_parts(behind, rest);
    }

    /// The place of the next entry, of this length. The clock and the waits are still those
    /// before it: it may be the first one of a segment.
    #[inline(always)]
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.limit - self.current.bytes.end < len {
            self.turn_over(len);
        }
        let start = self.current.bytes.end;
        self.current.bytes.end += len;
        &mut self.buffer[start..self.current.bytes.end]
    }

    /// Adds a wait, with its events in their [short forms](short::event).
    #[inline]
    pub(super) fn add_wait(&mut self, timeout: Option<Duration>, events: &[u8], reported_all: bool) {
        self.append_before(short::wait(timeout, events.len() / EVENT, reported_all), events);
        self.waits += 1;
    }

    /// Adds a wait that has failed.
    pub(super) fn add_failed_wait(&mut self, timeout: Option<Duration>, failure: Failure) {
        self.add(&Call::Wait { timeout }, &Outcome::Failed(failure));
        self.waits += 1;
    }

    /// Begins another segment, with an entry of this length.
    #[cold]
    fn turn_over(&mut self, first: usize) {
        if !self.current.bytes.is_empty() {
            let number = self.current.number + 1;
            let end = self.current.bytes.end;
            let next = Segment { number, waits: self.waits, clock: self.clock, bytes: end..end };
            self.full.push_back(mem::replace(&mut self.current, next));
        }
        let mut start = self.current.bytes.start;
        if self.buffer.len() < first {
            // It is longer than all that the ring was to hold.
            self.full.clear();
            self.buffer = vec![0; first].into();
            start = 0;
        } else if self.buffer.len() - start < first {
            self.give_up(start..self.buffer.len());
            start = 0;
        }
        self.limit = self.buffer.len().min(start + first.max(self.full_at));
        self.give_up(start..self.limit);
        self.current.bytes = start..start;
    }

    /// Gives up the segments that begin at these places: the oldest ones, if the places are
    /// behind the latest one.
    fn give_up(&mut self, places: Range<usize>) {
        while self.full.front().is_some_and(|oldest| places.contains(&oldest.bytes.start)) {
            self.full.pop_front();
        }
    }

    /// The segments, the oldest first.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<&[u8]>> + Clone {
        let all = self.full.iter().chain([&self.current]);
        all.map(|segment| segment.with(&self.buffer[segment.bytes.clone()]))
    }

    /// The bytes of all segments.
    pub(super) fn len(&self) -> usize {
        self.segments().map(|segment| segment.bytes.len()).sum()
    }
}

/// Copies bytes to a place of their length, in [parts](COPIED).
#[inline]
fn copy_in_parts(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.chunks_mut(COPIED).zip(from.chunks(COPIED)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Event, Token};
    use crate::record::decode;
    use crate::record::primitive::Reader;

    fn add_times(ring: &mut Ring, count: u64) {
        for nanos in 0..count {
            ring.add(&Call::Now, &Outcome::Time(Moment::from_nanos(nanos * 1000)));
        }
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_the_latest() {
        let mut ring = Ring::new(16 << 10);
        add_times(&mut ring, 100_000);
        let numbers: Vec<_> = ring.segments().map(|segment| segment.number).collect();
        assert!(ring.len() <= 16 << 10 && ring.len() > 14 << 10, "{}", ring.len());
        assert!(numbers[0] > 0 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        assert_eq!(ring.segments().map(|segment| segment.bytes.len()).sum::<usize>(), ring.len());
    }

    #[test]
    fn what_is_short_is_kept_from_its_beginning() {
        let mut ring = Ring::new(16 << 10);
        add_times(&mut ring, 2000);
        assert_eq!(ring.segments().next().map(|segment| (segment.number, segment.clock)), Some((0, 0)));
    }

    #[test]
    fn a_long_entry_leaves_room_for_itself_alone() {
        let mut ring = Ring::new(16 << 10);
        add_times(&mut ring, 4000);
        for len in [ring.longest_payload(), 1, 900, ring.longest_payload() - 100, 1025].repeat(10) {
            let long = vec![7; len];
            ring.add_read(Number(1), 1, Payload::Kept((&long).into()));
            assert!(ring.len() > (16 << 10) - 2 * ring.longest_payload() - (1 << 10), "{}", ring.len());
            check(&ring);
        }
        assert_eq!(ring.buffer.len(), 16 << 10);
        assert!(ring.full.len() < ring.full.capacity(), "{}", ring.full.len());
    }

    /// Looks whether the segments are whole, in order, and apart from each other.
    fn check(ring: &Ring) {
        let mut places: Vec<_> = ring.full.iter().chain([&ring.current]).collect();
        assert!(places.windows(2).all(|pair| pair[0].number + 1 == pair[1].number), "{places:?}");
        places.sort_by_key(|segment| segment.bytes.start);
        assert!(places.windows(2).all(|pair| pair[0].bytes.end <= pair[1].bytes.start), "{places:?}");
        let (mut waits, mut clock) = (None, None);
        for segment in ring.segments() {
            assert_eq!(*waits.get_or_insert(segment.waits), segment.waits);
            assert_eq!(*clock.get_or_insert(segment.clock), segment.clock);
            let mut reader = Reader { rest: segment.bytes };
            while !reader.rest.is_empty() {
                let clock = clock.as_mut().expect("it was set");
                let entry = decode::entry(&mut reader, clock).expect("an entry");
                *waits.as_mut().expect("it was set") += u64::from(matches!(entry.call, Call::Wait { .. }));
            }
        }
        assert_eq!((waits, clock), (Some(ring.waits), Some(ring.clock)));
    }

    #[test]
    fn segments_of_any_lengths_are_whole_and_know_what_was_before_them() {
        for longest in [40, 1000, 5000, 16 << 10] {
            let mut ring = Ring::new(64 << 10);
            let mut random = 1_u64;
            for turn in 0..3000_u64 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let long = vec![b'x'; (random >> 33) as usize % longest];
                // Some are too far from each other for a short form.
                ring.add_time(Moment::from_nanos(turn * (1 + (random >> 62)) * 3_000_000_000));
                ring.add_wait(None, &[], true);
                ring.add_read(Number(turn), longest as u64, Payload::Kept((&long).into()));
                ring.add_failed_wait(None, Failure::of(&std::io::Error::other("no")));
                if turn % 7 == 0 {
                    check(&ring);
                }
            }
            assert!(ring.segments().next().is_some_and(|oldest| oldest.number > 0));
            assert_eq!(ring.buffer.len(), 64 << 10);
            assert!(ring.full.len() < ring.full.capacity(), "{}", ring.full.len());
        }
    }

    #[test]
    fn an_entry_longer_than_the_ring_takes_it_for_itself() {
        let mut ring = Ring::new(16 << 10);
        add_times(&mut ring, 4000);
        let event = short::event(Event {
            token: Token::from_bits(7),
            readable: true,
            writable: false,
            hangup: false,
        });
        let events = event.repeat(4000);
        ring.add_wait(None, &events, true);
        check(&ring);
        assert_eq!((ring.len(), ring.waits()), (short::wait(None, 4000, true).len() + events.len(), 1));
        add_times(&mut ring, 4000);
        check(&ring);
    }
}
