//! `Ring`: the last entries of a recording in segments, within a bound of bytes.

use std::collections::VecDeque;
use std::time::Duration;

use super::digest::Digest;
use super::encode::{put_call, put_outcome};
use super::entry::{Call, Failure, Number, Outcome, Payload};
use super::short::{self, EVENT};
use crate::driver::Moment;

/// The segments that a full ring has at least.
const SEGMENTS: usize = 16;

/// The most bytes of an entry without its payload.
const SHORT: usize = 512;

/// The room that a buffer has behind the length at which it is full: for the last entry,
/// unless that is a long one.
const SLACK: usize = 4 * SHORT;

/// The bytes of a payload that are copied at once. A copy of 32 KiB took 1 or 6 µs where it
/// was measured, depending on where in a page its ends are; in parts it took 1 µs always.
const COPIED: usize = 1024;

/// A run of entries that can be read without those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of segments before this one, since the recording began.
    pub(super) number: u64,
    /// The number of waits before it.
    pub(super) waits: u64,
    /// The last time before it, in nanoseconds.
    pub(super) clock: u64,
    /// Its entries.
    pub(super) bytes: Vec<u8>,
}

/// See the module. A full segment stays as it is until it is the oldest and there is no
/// room for it; then its buffer serves for another one.
#[derive(Debug)]
pub(super) struct Ring {
    /// The most bytes of all segments.
    capacity: usize,
    /// The length from which a segment counts as full.
    full_at: usize,
    full: VecDeque<Segment>,
    current: Segment,
    /// The bytes of the full segments.
    held: usize,
    /// Buffers of segments that were given up.
    spare: Vec<Vec<u8>>,
    waits: u64,
    clock: u64,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        let full_at = capacity / SEGMENTS;
        let current = Segment { number: 0, waits: 0, clock: 0, bytes: Vec::with_capacity(full_at + SLACK) };
        let (full, spare) = (VecDeque::new(), Vec::new());
        Self { capacity, full_at, full, current, held: 0, spare, waits: 0, clock: 0 }
    }

    /// The longest payload that is kept: a quarter of the ring.
    pub(super) const fn longest_payload(&self) -> usize {
        self.capacity / 4
    }

    /// The waits so far.
    pub(super) const fn waits(&self) -> u64 {
        self.waits
    }

    /// Adds an entry in its general form.
    #[inline(never)]
    pub(super) fn add(&mut self, call: &Call<'_>, outcome: &Outcome<'_>) {
        self.reserve(SHORT + long_part(outcome));
        put_call(&mut self.current.bytes, call);
        put_outcome(&mut self.current.bytes, &mut self.clock, outcome);
        self.added();
    }

    /// Adds a reading of the clock.
    #[inline(always)]
    pub(super) fn add_time(&mut self, now: Moment) {
        // A driver's time never goes backwards.
        match short::time(now.as_nanos().wrapping_sub(self.clock)) {
            Some(form) => {
                self.clock = now.as_nanos();
                self.append(form);
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
        const { assert!(N <= SLACK) };
        self.current.bytes.extend_from_slice(&form);
        self.added();
    }

    /// Adds a short form, and bytes behind it.
    #[inline]
    fn append_before<const N: usize>(&mut self, form: [u8; N], rest: &[u8]) {
        self.reserve(N + rest.len());
        self.current.bytes.extend_from_slice(&form);
        for part in rest.chunks(COPIED) {
            self.current.bytes.extend_from_slice(part);
        }
        self.added();
    }

    /// Makes room for so many bytes, no more than it ever needs for them: a buffer that
    /// doubles would exceed the bound.
    #[inline]
    fn reserve(&mut self, need: usize) {
        let bytes = &mut self.current.bytes;
        if bytes.capacity() - bytes.len() < need {
            bytes.reserve_exact(self.full_at + need - bytes.len());
        }
    }

    /// Looks whether the segment is full.
    #[inline(always)]
    fn added(&mut self) {
        if self.current.bytes.len() >= self.full_at {
            self.turn_over();
        }
    }

    /// Adds a wait, with its events in their [short forms](short::event).
    #[inline]
    pub(super) fn add_wait(&mut self, timeout: Option<Duration>, events: &[u8], reported_all: bool) {
        self.waits += 1;
        self.append_before(short::wait(timeout, events.len() / EVENT, reported_all), events);
    }

    /// Adds a wait that has failed.
    pub(super) fn add_failed_wait(&mut self, timeout: Option<Duration>, failure: Failure) {
        self.waits += 1;
        self.add(&Call::Wait { timeout }, &Outcome::Failed(failure));
    }

    /// Begins another segment.
    #[cold]
    fn turn_over(&mut self) {
        let room = self.capacity - self.full_at;
        self.held += self.current.bytes.len();
        let number = self.current.number + 1;
        let next = Segment { number, waits: self.waits, clock: self.clock, bytes: Vec::new() };
        self.full.push_back(std::mem::replace(&mut self.current, next));
        while self.held > room
            && let Some(oldest) = self.full.pop_front()
        {
            self.held -= oldest.bytes.len();
            let mut buffer = oldest.bytes;
            buffer.clear();
            // A long payload may have made it longer than it is to be.
            buffer.shrink_to(2 * self.full_at);
            self.spare.push(buffer);
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.reserve_exact(self.full_at + SLACK);
        self.current.bytes = buffer;
    }

    /// The segments, the oldest first.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> + Clone {
        self.full.iter().chain([&self.current])
    }

    /// The bytes of all segments.
    pub(super) fn len(&self) -> usize {
        self.held + self.current.bytes.len()
    }
}

/// The bytes of what may be long in an entry.
#[inline]
fn long_part(outcome: &Outcome<'_>) -> usize {
    match outcome {
        Outcome::Input(Payload::Kept(bytes)) | Outcome::Datagram { data: Payload::Kept(bytes), .. } => {
            bytes.len()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let long = vec![7; ring.longest_payload()];
        for _ in 0..10 {
            let payload = Payload::Kept((&long).into());
            ring.add(&Call::Read { stream: Number(1), space: 1 }, &Outcome::Input(payload));
            assert!(ring.len() <= 16 << 10, "{}", ring.len());
        }
        // The room of a segment, and of one such entry.
        let most = (16 << 10) / SEGMENTS + SHORT + ring.longest_payload();
        assert!(ring.segments().all(|segment| segment.bytes.capacity() <= most));
    }
}
