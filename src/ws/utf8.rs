//! `Utf8`: checks text that comes in pieces, as it comes.

/// A check of text that may be cut within a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Utf8 {
    /// The beginning of a character whose rest has not come.
    begun: [u8; 4],
    count: u8,
}

impl Utf8 {
    /// Checks the next piece. False as soon as no rest could make it text.
    pub(super) fn takes(&mut self, mut piece: &[u8]) -> bool {
        while self.count > 0 {
            let Some((byte, rest)) = piece.split_first() else { return true };
            self.begun[usize::from(self.count)] = *byte;
            self.count += 1;
            piece = rest;
            match std::str::from_utf8(&self.begun[..usize::from(self.count)]) {
                Ok(_) => self.count = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let begun = &piece[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.count = u8::try_from(begun.len()).unwrap_or(u8::MAX);
                true
            }
        }
    }

    /// Whether the text may end here.
    pub(super) const fn is_complete(self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_become_text_is_refused_at_once() {
        for (begun, wrong) in [
            (&b"\xce"[..], &b"a"[..]),
            (b"\xed", b"\xa0"),
            (b"\xf4", b"\x90"),
            (b"a", b"\xc0"),
            (b"\xf0\x9f\x92", b"\xff"),
        ] {
            let mut check = Utf8::default();
            assert!(check.takes(begun), "{begun:?}");
            assert!(!check.takes(wrong), "{begun:?} {wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn properties_pieces_are_judged_as_the_whole(
            text in proptest::collection::vec(prop_oneof![any::<char>().prop_map(|c| c.to_string().into_bytes()), proptest::collection::vec(any::<u8>(), 0..2)], 0..12),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5),
        ) {
            let bytes = text.concat();
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            ends.sort_unstable();
            let mut check = Utf8::default();
            let taken = ends.windows(2).all(|pair| check.takes(&bytes[pair[0]..pair[1]]));
            prop_assert_eq!(taken && check.is_complete(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
