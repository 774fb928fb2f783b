//! `Person`: what is listed of a member, for all nodes to see.

use crate::services::chat::names::{Names, key};

/// What the list of members says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person<'a> {
    /// Rises in the order of joining.
    pub(super) rank: u64,
    /// The number of the member on its node.
    pub(super) number: u64,
    /// How often it has changed its name.
    pub(super) renames: u32,
    pub(super) name: &'a str,
}

impl<'a> Person<'a> {
    pub(super) fn write(&self) -> String {
        let Self { rank, number, renames, name } = self;
        format!("1 {rank} {number} {renames} {name}")
    }

    /// Reads what is listed under a key; `None` if it is of another version, or none.
    pub(super) fn read(member: &str, value: &'a [u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.strip_prefix("1 ")?.splitn(4, ' ');
        let mut field = || fields.next();
        let (rank, number) = (field()?.parse().ok()?, field()?.parse().ok()?);
        let (renames, name) = (field()?.parse().ok()?, field()?);
        (Names::is_good(name) && key(name) == member).then_some(Self { rank, number, renames, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_read_as_it_was_written_under_the_key_of_its_name() {
        let person = Person { rank: u64::MAX, number: 3, renames: 1, name: "Straße" };
        let value = person.write();
        assert_eq!(Person::read(&key("STRASSE"), value.as_bytes()), Some(person));
        for (member, value) in [
            ("ann", "1 1 1 0 bob"),
            ("ann", "2 1 1 0 ann"),
            ("ann", "1 1 1 ann"),
            ("ann", "1 1 1 -1 ann"),
            ("a b", "1 1 1 0 a b"),
            ("ann", ""),
        ] {
            assert_eq!(Person::read(member, value.as_bytes()), None, "{value:?}");
        }
    }
}
