//! `Room`: the members of a chat, in order of joining, and their names.

use std::collections::BTreeMap;

use super::names::Names;
use crate::ConnId;

/// The longest answer to `/who`, in bytes, without the number of members left
/// out: it has room for ten thousand guests, and one answer fits beneath the
/// hard mark of its member.
const WHO: usize = 256 << 10;

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ConnId,
    pub(super) name: String,
}

/// The members, by numbers that rise in the order of joining.
#[derive(Debug)]
pub(super) struct Room {
    members: BTreeMap<u64, Member>,
    next: u64,
    names: Names,
}

/// The reason for which a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoName {
    Bad,
    Taken,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { members: BTreeMap::new(), next: 0, names: Names::new() }
    }

    /// The members, in order of joining.
    pub(super) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn member(&self, number: u64) -> Option<&Member> {
        self.members.get(&number)
    }

    /// The member with a name.
    pub(super) fn find(&self, name: &str) -> Option<&Member> {
        self.member(self.names.holder(name)?)
    }

    /// The name for the next new member.
    pub(super) fn guest(&mut self) -> String {
        self.names.guest()
    }

    /// Adds a member with a free name, and returns its number.
    pub(super) fn enter(&mut self, id: ConnId, name: String) -> u64 {
        let number = self.next;
        self.next += 1;
        self.names.take(&name, number);
        self.members.insert(number, Member { id, name });
        number
    }

    /// Renames a member, and returns its old name; `None` if that was the same.
    pub(super) fn rename(&mut self, number: u64, name: &str) -> Result<Option<String>, NoName> {
        if !Names::is_good(name) {
            return Err(NoName::Bad);
        }
        if self.names.holder(name).is_some_and(|holder| holder != number) {
            return Err(NoName::Taken);
        }
        let Some(member) = self.members.get_mut(&number).filter(|member| member.name != name) else {
            return Ok(None);
        };
        self.names.release(&member.name);
        self.names.take(name, number);
        Ok(Some(std::mem::replace(&mut member.name, name.to_owned())))
    }

    /// Removes a member.
    pub(super) fn exit(&mut self, number: u64) -> Option<Member> {
        let member = self.members.remove(&number)?;
        self.names.release(&member.name);
        Some(member)
    }

    /// The answer to `/who`.
    pub(super) fn who(&self) -> String {
        who(self.members().map(|member| member.name.as_str()))
    }
}

/// The answer to `/who`.
pub(super) fn who<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    list(names, WHO)
}

/// The names in one line of at most `most` bytes; further names are only
/// counted.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>, most: usize) -> String {
    let count = names.len();
    let mut line = String::from("*");
    for (place, name) in names.enumerate() {
        if line.len() + ", ".len() + name.len() > most {
            line.push_str(&format!(", … and {} more", count - place));
            break;
        }
        line.push_str(if place == 0 { " " } else { ", " });
        line.push_str(name);
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_would_be_too_long_ends_with_how_many_more_there_are() {
        let names = ["ann", "bob", "eve"];
        let whole = list(names.into_iter(), 100);
        assert_eq!(whole, "* ann, bob, eve\n");
        assert_eq!(list(names.into_iter(), 15), whole);
        assert_eq!(list(names.into_iter(), 14), "* ann, bob, … and 1 more\n");
        assert_eq!(list(names.into_iter(), 9), "* ann, … and 2 more\n");
    }

    #[test]
    fn ten_thousand_guests_are_listed_and_ten_thousand_long_names_fit_beneath_the_hard_mark() {
        let guests: Vec<_> = (1..=10_000).map(|number| format!("guest{number}")).collect();
        let line = list(guests.iter().map(String::as_str), WHO);
        assert_eq!(line.matches("guest").count(), 10_000);
        let longest = "𝟗".repeat(32);
        let line = list(std::iter::repeat_n(longest.as_str(), 10_000), WHO);
        assert!(line.len() < WHO + 100, "{} bytes", line.len());
        assert!(line.ends_with(" more\n"));
    }
}
