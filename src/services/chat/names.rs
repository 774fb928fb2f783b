//! `Names`: the names of a room and their holders, compared without regard to
//! case.

use std::collections::{BTreeSet, HashMap};

use crate::services::text::{is_blank, is_ignorable};

/// The longest name, in characters.
const LONGEST: usize = 32;

/// The names of a room, each with its holder.
///
/// Invariant: `free` holds the unused guest numbers below `next`, so it is
/// never larger than the room once was.
#[derive(Debug)]
pub(super) struct Names {
    /// The holders, by the [`key`] of their names.
    holders: HashMap<String, u64>,
    next: u64,
    free: BTreeSet<u64>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { holders: HashMap::new(), next: 1, free: BTreeSet::new() }
    }

    /// Whether a text may be a name.
    pub(super) fn is_good(name: &str) -> bool {
        // Some letters are invisible.
        let is_seen = |letter: char| !is_blank(letter) && !is_ignorable(letter);
        let good = |letter: char| letter.is_alphanumeric() && is_seen(letter) || matches!(letter, '_' | '-');
        (1..=LONGEST).contains(&name.chars().take(LONGEST + 1).count()) && name.chars().all(good)
    }

    /// The holder of a name, without regard to case.
    pub(super) fn holder(&self, name: &str) -> Option<u64> {
        self.holders.get(&key(name)).copied()
    }

    /// The first unused name of `guest1`, `guest2`, ….
    pub(super) fn guest(&mut self) -> String {
        if let Some(number) = self.free.first() {
            return guest(*number);
        }
        // Members may have chosen such names.
        while self.holders.contains_key(&guest(self.next)) {
            self.next += 1;
        }
        guest(self.next)
    }

    /// The first unused name of those behind this one, a guest's.
    #[cfg(feature = "bus")]
    pub(super) fn guest_behind(&self, name: &str) -> String {
        let mut number = guest_number(name).unwrap_or_default() + 1;
        while self.holders.contains_key(&guest(number)) {
            number += 1;
        }
        guest(number)
    }

    /// Gives a name, which must be free, to `holder`.
    pub(super) fn take(&mut self, name: &str, holder: u64) {
        let key = key(name);
        if let Some(number) = guest_number(&key) {
            self.free.remove(&number);
        }
        self.holders.insert(key, holder);
    }

    /// Frees a name.
    pub(super) fn release(&mut self, name: &str) {
        let key = key(name);
        self.holders.remove(&key);
        let Some(number) = guest_number(&key).filter(|number| *number < self.next) else { return };
        self.free.insert(number);
        while self.free.last().is_some_and(|last| last + 1 == self.next) {
            self.free.pop_last();
            self.next -= 1;
        }
    }
}

/// The key that equal names share: names that differ in case alone, by full
/// case folding (Unicode, 3.13, definition D144), and with the feature
/// `unicode` also compatible names (NFKC, Unicode Standard Annex 15).
pub(super) fn key(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii()) {
        return name.to_ascii_lowercase();
    }
    // The result of folding need not be composed.
    compose(&fold(&compose(name)))
}

/// Full case folding, by the standard library's tables: ß has only the upper
/// case SS, ẞ has the lower case ß, and Σ has two lower cases. It equates a few
/// more names than the standard: the dotless ı of Turkish is an i.
fn fold(name: &str) -> String {
    let small = name.chars().flat_map(char::to_lowercase);
    small.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(feature = "unicode")]
fn compose(name: &str) -> String {
    unicode_normalization::UnicodeNormalization::nfkc(name).collect()
}

#[cfg(not(feature = "unicode"))]
fn compose(name: &str) -> String {
    name.into()
}

fn guest(number: u64) -> String {
    format!("guest{number}")
}

/// The number of a guest name; `None` for any other name, such as `guest007`.
fn guest_number(key: &str) -> Option<u64> {
    let number = key.strip_prefix("guest")?.parse().ok()?;
    (guest(number) == key).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_1_to_32_letters_digits_and_two_marks_of_any_script() {
        let longest = "ü".repeat(32);
        for good in ["a", "B-52", "_", "-", "Ольга", "李小龍", "٣", "ñandú_2", &longest] {
            assert!(Names::is_good(good), "{good}");
        }
        let too_long = "ü".repeat(33);
        for bad in ["", " ", "a b", "a.b", "a/b", "a\tb", "\u{200b}", "🦀", "<a>", "a\u{fffd}", &too_long] {
            assert!(!Names::is_good(bad), "{bad:?}");
        }
    }

    #[test]
    fn names_are_told_apart_without_regard_to_case() {
        let mut names = Names::new();
        names.take("Ольга", 1);
        assert_eq!(names.holder("ОЛЬГА"), Some(1));
        assert_eq!(names.holder("Олга"), None);
        names.release("ольга");
        assert_eq!(names.holder("Ольга"), None);
    }

    #[test]
    fn names_that_differ_in_case_alone_are_one_by_full_case_folding() {
        let same = [
            ["STRASSE", "straße"],
            ["STRAẞE", "Straße"],
            ["ΟΔΟΣ", "οδοσ"],
            ["ΟΔΟΣ", "οδος"],
            ["ﬁn", "FIN"],
            ["ŉ", "ʼN"],
            ["ᾳ", "ΑΙ"],
            ["Ꭰ", "ꭰ"],
            ["ϐ", "Β"],
            ["\u{212a}", "k"],
        ];
        for [one, other] in same {
            assert_eq!(key(one), key(other), "{one} and {other}");
        }
        for [one, other] in [["a", "а"], ["o", "0"], ["é", "e"], ["ß", "s"], ["guest1", "guest١"]] {
            assert_ne!(key(one), key(other), "{one} and {other}");
        }
    }

    #[cfg(feature = "unicode")]
    #[test]
    fn names_that_are_compatible_are_one() {
        for [one, other] in
            [["ｇｕｅｓｔ１", "guest1"], ["𝐚𝐝𝐦𝐢𝐧", "Admin"], ["²", "2"], ["Å", "å"], ["ｶﾞ", "ガ"]]
        {
            assert_eq!(key(one), key(other), "{one} and {other}");
        }
        let mut names = Names::new();
        names.take("ｇｕｅｓｔ１", 1);
        assert_eq!(names.guest(), "guest2");
    }

    /// Letter by letter against a crate with tables of its own.
    #[test]
    fn names_are_the_same_where_unicode_says_so() {
        let good = |letter: &char| Names::is_good(letter.encode_utf8(&mut [0; 4]));
        for letter in ('\0'..=char::MAX).filter(good) {
            let name = letter.to_string();
            let folded = caseless::default_case_fold_str(&name);
            assert_eq!(key(&name), key(&folded), "{letter:?} and {folded:?}");
            assert_eq!(key(&key(&name)), key(&name), "{letter:?}");
            assert_eq!(key(&name.to_uppercase()), key(&name.to_lowercase()), "{letter:?}");
        }
    }

    #[test]
    fn a_name_shows_something() {
        for unseen in ["\u{3164}", "\u{115f}", "\u{1160}", "\u{ffa0}", "a\u{3164}", "a\u{200d}b"] {
            assert!(!Names::is_good(unseen), "{unseen:?}");
        }
    }

    #[test]
    fn guest_names_that_only_look_like_one_are_no_matter() {
        let mut names = Names::new();
        for other in ["guest", "guest01", "guest+1", "guest0", "guest99999999999999999999"] {
            names.take(other, 9);
        }
        assert_eq!(names.guest(), "guest1");
        names.take("GUEST1", 1);
        assert_eq!(names.guest(), "guest2");
    }

    proptest! {
        #[test]
        fn properties_the_guest_is_always_the_smallest_that_is_free(
            steps in proptest::collection::vec((0..3_u8, 1..12_u64), 0..200),
        ) {
            let mut names = Names::new();
            let mut model = BTreeMap::new();
            for (step, number) in steps {
                let name = match step {
                    0 => names.guest(),
                    _ => guest(number),
                };
                if step < 2 {
                    model.entry(name).or_insert_with_key(|name| {
                        names.take(name, number);
                        number
                    });
                } else if model.remove(&name).is_some() {
                    names.release(&name);
                }
                let smallest = (1..).map(guest).find(|guest| !model.contains_key(guest));
                prop_assert_eq!(Some(names.guest()), smallest);
                prop_assert!(names.free.len() as u64 <= names.next);
                prop_assert!(model.iter().all(|(name, holder)| names.holder(name) == Some(*holder)));
            }
            for name in model.keys() {
                names.release(name);
            }
            prop_assert_eq!(names.free.len(), 0);
        }
    }
}
