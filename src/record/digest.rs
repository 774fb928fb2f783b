//! `Digest`: the length and the hash of bytes, and `Payloads`: whether a recording keeps
//! more of them than that.

use std::fmt;
use std::io::IoSlice;

use twox_hash::XxHash3_64;

use crate::process::Command;

/// The bytes of a stretch of a [sample](Digest::sample).
const STRETCH: usize = 64;

/// The stretches of a sample.
const STRETCHES: usize = 8;

/// The bytes of a sample; a message that is not longer is hashed as it is.
const SAMPLE: usize = STRETCH * STRETCHES;

/// What a recording keeps of the bytes that come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Payloads {
    /// Their length and their hash. A dump holds no byte that anybody has sent, and
    /// cannot be replayed.
    #[default]
    Hashed,
    /// The bytes themselves, as clients have sent them: passwords and all. A dump can
    /// be replayed.
    Kept,
}

/// The length of some bytes, and their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The number of bytes.
    pub len: u64,
    /// Their hash: XXH3, 64 bits, seed 0. It is not cryptographic: who knows the length
    /// of a short secret can find the secret by trying.
    pub hash: u64,
}

impl Digest {
    /// The digest of some bytes, all of them.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, hash: XxHash3_64::oneshot(bytes) }
    }

    /// The digest of some bytes as a recording has it. Of more than 512 bytes, the hash is
    /// that of eight stretches of 64 bytes, one behind the other: the first begins with the
    /// first byte, the last ends with the last one, and the distance from each to the next
    /// is the same, but for one byte. So its cost does not grow with the length.
    ///
    /// Two messages of one length that differ between the stretches alone have the same
    /// digest.
    #[must_use]
    #[inline]
    pub fn sample(bytes: &[u8]) -> Self {
        if bytes.len() <= SAMPLE {
            return Self::of(bytes);
        }
        let mut sample = [0; SAMPLE];
        for (number, stretch) in sample.chunks_exact_mut(STRETCH).enumerate() {
            let start = start_of(number, bytes.len());
            stretch.copy_from_slice(&bytes[start..start + STRETCH]);
        }
        Self { len: bytes.len() as u64, ..Self::of(&sample) }
    }

    /// The [sample](Self::sample) of the first `len` bytes of some pieces, or of all of them
    /// if there are fewer.
    #[must_use]
    #[inline]
    pub fn sample_of_pieces(pieces: &[IoSlice<'_>], len: usize) -> Self {
        match pieces.first() {
            Some(first) if first.len() >= len => Self::sample(&first[..len]),
            _ => Self::sample_of_many(pieces, len),
        }
    }

    #[inline(never)]
    fn sample_of_many(pieces: &[IoSlice<'_>], len: usize) -> Self {
        let len = len.min(pieces.iter().map(|piece| piece.len()).sum());
        let mut sample = [0; SAMPLE];
        if len <= SAMPLE {
            copy_from(pieces, 0, &mut sample[..len]);
            return Self::of(&sample[..len]);
        }
        for (number, stretch) in sample.chunks_exact_mut(STRETCH).enumerate() {
            copy_from(pieces, start_of(number, len), stretch);
        }
        Self { len: len as u64, ..Self::of(&sample) }
    }

    /// The digest of a command's program and arguments, which may be secret.
    #[must_use]
    pub fn of_command(command: &Command) -> Self {
        Self::of(format!("{command:?}").as_bytes())
    }
}

/// The place of a stretch in a message that is longer than a sample.
#[inline]
const fn start_of(number: usize, len: usize) -> usize {
    number * (len - STRETCH) / (STRETCHES - 1)
}

/// Fills a buffer with the bytes of some pieces, from this one of all their bytes on.
fn copy_from(pieces: &[IoSlice<'_>], start: usize, mut into: &mut [u8]) {
    let mut skipped = start;
    for piece in pieces {
        let part = piece.get(skipped..).unwrap_or_default();
        skipped -= skipped.min(piece.len());
        let count = part.len().min(into.len());
        let (filled, rest) = into.split_at_mut(count);
        filled.copy_from_slice(&part[..count]);
        into = rest;
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes ({:016x})", self.len, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<IoSlice<'a>> {
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        starts.zip(ends).map(|(start, end)| IoSlice::new(&bytes[start..end])).collect()
    }

    #[test]
    fn the_sample_of_pieces_is_that_of_their_bytes() {
        let bytes: Vec<u8> = (0..5000_u32).map(|number| (number * 7 % 251) as u8).collect();
        for cuts in [&[][..], &[1], &[0, 511, 512, 513], &[63, 64, 65], &[700, 700, 2100, 4999]] {
            let pieces = pieces(&bytes, cuts);
            for len in [0, 1, 63, 64, 511, 512, 513, 1024, 1025, 1536, 4096, 5000] {
                let (sample, shown) = (Digest::sample(&bytes[..len]), (cuts, len));
                assert_eq!(Digest::sample_of_pieces(&pieces, len), sample, "{shown:?}");
                assert_eq!(sample.len, len as u64, "{shown:?}");
            }
            assert_eq!(Digest::sample_of_pieces(&pieces, 6000), Digest::sample(&bytes), "there are no more");
        }
    }

    #[test]
    fn a_sample_is_of_the_length_and_of_eight_stretches() {
        let bytes = vec![b'x'; 7 * 500 + 64];
        let sample = Digest::sample(&bytes);
        assert_eq!(sample, Digest { len: bytes.len() as u64, ..Digest::of(&bytes[..512]) });
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] = b'y';
            assert_eq!(Digest::sample(&other) != sample, place % 500 < 64, "{place}");
        }
        assert_eq!(Digest::sample(&bytes[..512]), Digest::of(&bytes[..512]), "a short one is whole");
        assert_ne!(Digest::sample(&bytes[..513]), Digest { len: 513, ..Digest::of(&bytes[..513]) });
    }

    #[test]
    fn a_byte_that_is_lost_or_doubled_changes_what_comes_behind_it() {
        let bytes: Vec<u8> = (0..4000_u32).map(|number| (number * number % 251) as u8).collect();
        let sample = Digest::sample(&bytes);
        for place in (0..4000).step_by(97) {
            let mut other = bytes.clone();
            other.remove(place);
            other.push(0);
            assert_ne!(Digest::sample(&other), sample, "{place}");
        }
    }
}
