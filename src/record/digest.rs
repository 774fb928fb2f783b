//! `Digest`: the length and the hash of bytes, and `Payloads`: whether a recording keeps
//! more of them than that.

use std::fmt;
use std::hash::Hasher as _;
use std::io::IoSlice;
use std::ops::Range;

use twox_hash::XxHash3_64;
use twox_hash::xxhash3_64::{RawHasher, SecretBuffer};

use crate::process::Command;

/// The bytes at the beginning, and as many at the end, of a long message whose digest is
/// a [sample](Digest::sample).
const END: usize = 512;

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
    /// The digest of some bytes.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, hash: XxHash3_64::oneshot(bytes) }
    }

    /// The digest of some bytes as a recording without payloads has it: of more than
    /// 1,024 bytes, the hash is that of the first 512 and the last 512, one behind the
    /// other.
    #[must_use]
    #[inline]
    pub fn sample(bytes: &[u8]) -> Self {
        Payloads::Hashed.digest(bytes)
    }

    /// The digest of a command's program and arguments, which may be secret.
    #[must_use]
    pub fn of_command(command: &Command) -> Self {
        Self::of(format!("{command:?}").as_bytes())
    }

    /// The digest of the first `len` bytes of some pieces.
    #[must_use]
    #[inline]
    pub fn of_pieces(pieces: &[IoSlice<'_>], len: usize) -> Self {
        Payloads::Kept.digest_of_pieces(pieces, len)
    }
}

impl Payloads {
    /// The digest of bytes that such a recording does not keep. Where a replay compares
    /// it, it is of all of them.
    #[inline]
    pub(super) fn digest(self, bytes: &[u8]) -> Digest {
        if self == Self::Kept || bytes.len() <= 2 * END {
            Digest::of(bytes)
        } else {
            self.digest_of_many(&[IoSlice::new(bytes)], bytes.len())
        }
    }

    /// The same of the first `len` bytes of some pieces.
    #[inline]
    pub(super) fn digest_of_pieces(self, pieces: &[IoSlice<'_>], len: usize) -> Digest {
        match pieces.first() {
            Some(first) if first.len() >= len => self.digest(&first[..len]),
            _ => self.digest_of_many(pieces, len),
        }
    }

    #[inline(never)]
    fn digest_of_many(self, pieces: &[IoSlice<'_>], len: usize) -> Digest {
        let len = len.min(pieces.iter().map(|piece| piece.len()).sum());
        let mut ends = [0; 2 * END];
        let hash = if len <= 2 * END {
            gather(parts(pieces, 0..len), &mut ends);
            XxHash3_64::oneshot(&ends[..len])
        } else if self == Self::Hashed {
            gather(parts(pieces, 0..END), &mut ends[..END]);
            gather(parts(pieces, len - END..len), &mut ends[END..]);
            XxHash3_64::oneshot(&ends)
        } else {
            let mut hasher = RawHasher::new(SecretBuffer::default());
            parts(pieces, 0..len).for_each(|part| hasher.write(part));
            hasher.finish()
        };
        Digest { len: len as u64, hash }
    }
}

/// The parts of the pieces that are in a range of all their bytes.
fn parts<'a>(pieces: &'a [IoSlice<'_>], range: Range<usize>) -> impl Iterator<Item = &'a [u8]> {
    let mut before = 0;
    pieces.iter().map(move |piece| {
        let [from, to] = [range.start, range.end].map(|at| at.saturating_sub(before).min(piece.len()));
        before += piece.len();
        &piece[from..to]
    })
}

/// Copies parts into a buffer, one behind the other.
fn gather<'a>(parts: impl Iterator<Item = &'a [u8]>, into: &mut [u8]) {
    let mut at = 0;
    for part in parts {
        into[at..at + part.len()].copy_from_slice(part);
        at += part.len();
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
    fn the_digest_of_pieces_is_that_of_their_bytes() {
        let bytes: Vec<u8> = (0..5000_u32).map(|number| (number * 7 % 251) as u8).collect();
        for cuts in [&[][..], &[1], &[0, 511, 512, 513], &[1023, 1024], &[700, 700, 2100, 4999]] {
            let pieces = pieces(&bytes, cuts);
            for len in [0, 1, 511, 512, 1023, 1024, 1025, 1536, 4096, 5000] {
                let (whole, shown) = (&bytes[..len], (cuts, len));
                assert_eq!(Digest::of_pieces(&pieces, len), Digest::of(whole), "{shown:?}");
                assert_eq!(
                    Payloads::Hashed.digest_of_pieces(&pieces, len),
                    Digest::sample(whole),
                    "{shown:?}"
                );
            }
            assert_eq!(Digest::of_pieces(&pieces, 6000), Digest::of(&bytes), "there are no more");
        }
    }

    #[test]
    fn a_sample_is_of_the_length_and_both_ends() {
        let bytes = vec![b'x'; 4000];
        let sample = Digest::sample(&bytes);
        assert_eq!(sample, Digest { len: 4000, ..Digest::of(&bytes[..1024]) });
        for (place, is_seen) in
            [(0, true), (511, true), (512, false), (3487, false), (3488, true), (3999, true)]
        {
            let mut other = bytes.clone();
            other[place] = b'y';
            assert_eq!(Digest::sample(&other) != sample, is_seen, "{place}");
            assert_ne!(Digest::of(&other), Digest::of(&bytes), "{place}");
        }
        assert_eq!(Digest::sample(&bytes[..1024]), Digest::of(&bytes[..1024]), "a short one is whole");
    }
}
