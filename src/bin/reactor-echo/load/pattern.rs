//! The byte pattern of the messages, and the check that it came back.

/// The pattern repeats after this many bytes.
///
/// A prime: no power of two is a multiple of it, so losing or repeating a
/// buffer, whatever its size, shifts the pattern instead of hiding in it.
const PERIOD: usize = 65_521;

/// The longest piece written, read or compared at once.
pub(super) const CHUNK: usize = 64 * 1024;

/// One endless pseudo-random stream of bytes, which every connection enters at
/// a place of its own.
///
/// A byte depends on its position in the stream and on the connection: a byte
/// lost, repeated or swapped shows, and so does a piece of another connection's
/// stream, except where both happen to be at the same place of the period, one
/// case in 65,521.
///
/// The table is longer than the period by a chunk, so every piece is one slice
/// of it: sending copies nothing and checking is one `memcmp`.
#[derive(Debug)]
pub(super) struct Pattern {
    /// `PERIOD + CHUNK` bytes.
    table: Box<[u8]>,
}

/// A place in the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    /// Where a connection enters; different for the first 65,521 of them.
    pub(super) fn of_connection(index: usize) -> Self {
        // Far from each other, so that neighbours do not follow one another by
        // a few bytes.
        const STRIDE: usize = 40_503;
        Self((index % PERIOD) * STRIDE % PERIOD)
    }

    /// Moves on by at most a chunk.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.0 = (self.0 + bytes) % PERIOD;
    }
}

/// Where a piece first differs from the pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The index in the piece.
    pub(super) at: usize,
    /// The byte that came.
    pub(super) found: u8,
    /// The byte that was sent.
    pub(super) expected: u8,
}

impl Pattern {
    pub(super) fn new() -> Self {
        // SplitMix64: short, and without the patterns of a plain counter. The
        // seed is fixed, so that a failure can be looked at twice.
        let mut state = 0x005E_47E4_F04E_7E44_u64;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)).to_le_bytes()[0]
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        let table = period.iter().copied().cycle().take(PERIOD + CHUNK);
        Self { table: table.collect() }
    }

    /// The next `len` bytes at `place`, cut to a chunk.
    pub(super) fn piece(&self, place: Place, len: u64) -> &[u8] {
        let len = usize::try_from(len).map_or(CHUNK, |len| len.min(CHUNK));
        &self.table[place.0..place.0 + len]
    }

    /// Compares at most a chunk of bytes with what stands at `place`.
    pub(super) fn check(&self, place: Place, bytes: &[u8]) -> Result<(), Mismatch> {
        let expected = self.piece(place, bytes.len() as u64);
        if bytes == expected {
            return Ok(());
        }
        let mut pairs = bytes.iter().zip(expected).enumerate();
        match pairs.find(|(_, (found, expected))| found != expected) {
            Some((at, (&found, &expected))) => Err(Mismatch { at, found, expected }),
            // Only a piece longer than a chunk differs in length alone.
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_continues_where_the_last_ended() {
        let pattern = Pattern::new();
        let mut place = Place::of_connection(7);
        let whole = pattern.piece(place, 1000).to_vec();
        let mut parts = Vec::new();
        for len in [1, 99, 400, 500] {
            parts.extend_from_slice(pattern.piece(place, len));
            place.advance(len as usize);
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn pieces_are_whole_at_the_end_of_the_period() {
        let pattern = Pattern::new();
        let mut last = Place(PERIOD - 1);
        assert_eq!(pattern.piece(last, u64::MAX).len(), CHUNK);
        let second = pattern.piece(last, 2)[1];
        last.advance(1);
        assert_eq!(pattern.piece(last, 1), [second]);
    }

    #[test]
    fn sees_a_changed_byte() {
        let pattern = Pattern::new();
        let place = Place::of_connection(0);
        let mut bytes = pattern.piece(place, 64).to_vec();
        assert_eq!(pattern.check(place, &bytes), Ok(()));
        let expected = bytes[63];
        bytes[63] ^= 1;
        assert_eq!(pattern.check(place, &bytes), Err(Mismatch { at: 63, found: expected ^ 1, expected }));
    }

    #[test]
    fn sees_every_shift_by_a_buffer() {
        let pattern = Pattern::new();
        let place = Place::of_connection(3);
        for shift in (0..=16).map(|power| 1_usize << power) {
            let mut shifted = place;
            shifted.advance(shift);
            let bytes = pattern.piece(shifted, 64);
            assert!(pattern.check(place, bytes).is_err(), "a shift by {shift}");
        }
    }

    #[test]
    fn sees_a_swap_of_connections() {
        let pattern = Pattern::new();
        let mut places: Vec<_> = (0..20_000).map(|k| Place::of_connection(k).0).collect();
        let bytes = pattern.piece(Place::of_connection(1), 16);
        assert!(pattern.check(Place::of_connection(2), bytes).is_err());
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 20_000);
    }
}
