//! Who is called what.

use std::collections::{BTreeSet, HashMap};

/// The longest name, in characters.
const LONGEST: usize = 32;

/// The names of a room, each with its holder.
///
/// Invariant: of the guests below `next`, `free` has those that nobody is
/// called; so it is never larger than the room once was.
#[derive(Debug)]
pub(super) struct Names {
    /// By the name in small letters.
    holders: HashMap<String, u64>,
    next: u64,
    free: BTreeSet<u64>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { holders: HashMap::new(), next: 1, free: BTreeSet::new() }
    }

    /// Whether it may be a name at all.
    pub(super) fn is_good(name: &str) -> bool {
        let good = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
        (1..=LONGEST).contains(&name.chars().take(LONGEST + 1).count()) && name.chars().all(good)
    }

    /// Who is called so, without regard to case.
    pub(super) fn holder(&self, name: &str) -> Option<u64> {
        self.holders.get(&name.to_lowercase()).copied()
    }

    /// The first of `guest1`, `guest2`, … that nobody is called.
    pub(super) fn guest(&mut self) -> String {
        if let Some(number) = self.free.first() {
            return guest(*number);
        }
        // Some may have called themselves so.
        while self.holders.contains_key(&guest(self.next)) {
            self.next += 1;
        }
        guest(self.next)
    }

    /// `holder` is called so from now on, which nobody else is.
    pub(super) fn take(&mut self, name: &str, holder: u64) {
        let key = name.to_lowercase();
        if let Some(number) = guest_number(&key) {
            self.free.remove(&number);
        }
        self.holders.insert(key, holder);
    }

    /// Nobody is called so any more.
    pub(super) fn release(&mut self, name: &str) {
        let key = name.to_lowercase();
        self.holders.remove(&key);
        let Some(number) = guest_number(&key).filter(|number| *number < self.next) else { return };
        self.free.insert(number);
        while self.free.last().is_some_and(|last| last + 1 == self.next) {
            self.free.pop_last();
            self.next -= 1;
        }
    }
}

fn guest(number: u64) -> String {
    format!("guest{number}")
}

/// Which guest this is; `None` if it is another name, such as `guest007`.
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
    fn guest_names_that_only_look_like_one_are_no_matter() {
        let mut names = Names::new();
        for other in ["guest", "guest01", "guest+1", "guest0", "guest99999999999999999999", "guest１"] {
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
