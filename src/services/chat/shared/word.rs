//! `Word`: what the nodes of a shared chat tell each other, as bytes.

use std::borrow::Cow;

use crate::services::chat::local::{joined, left};
use crate::services::chat::names::Names;
use crate::services::text::clean;

/// The version of the form. What has another one is not read.
const VERSION: u8 = b'1';

/// What a member says or does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    Said { name: &'a str, text: Cow<'a, str> },
    Whispered { from: &'a str, to: &'a str, text: Cow<'a, str> },
    Joined { name: &'a str },
    Renamed { from: &'a str, to: &'a str },
    Left { name: &'a str, text: Option<Cow<'a, str>> },
    Announced { text: Cow<'a, str> },
}

impl<'a> Word<'a> {
    /// The bytes, for the member with this number on this node: version, kind, number,
    /// names and text, with a space between them. A name has no space.
    pub(super) fn write(&self, number: u64) -> Vec<u8> {
        let version = char::from(VERSION);
        let rest = match self {
            Self::Said { name, text } => format!("S {number} {name} {text}"),
            Self::Whispered { from, to, text } => format!("W {number} {from} {to} {text}"),
            Self::Joined { name } => format!("J {number} {name}"),
            Self::Renamed { from, to } => format!("R {number} {from} {to}"),
            Self::Left { name, text: None } => format!("L {number} {name}"),
            Self::Left { name, text: Some(text) } => format!("Q {number} {name} {text}"),
            Self::Announced { text } => format!("A {number} {text}"),
        };
        format!("{version}{rest}").into_bytes()
    }

    /// The line that members get, with its end.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Said { name, text } => format!("<{name}> {text}\n"),
            Self::Whispered { from, text, .. } => format!("[{from}] {text}\n"),
            Self::Joined { name } => joined(name),
            Self::Renamed { from, to } => format!("* {from} is now {to}\n"),
            Self::Left { name, text } => left(name, text.as_deref()),
            Self::Announced { text } => format!("* {text}\n"),
        }
    }

    /// Reads the bytes, whoever wrote them: names are such as members may have, and texts
    /// are cleaned. `None`: they are of another version, or none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(u64, Self)> {
        let mut fields = Fields(bytes.strip_prefix(&[VERSION])?);
        let kind = fields.next()?;
        let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let word = match kind {
            b"S" => Self::Said { name: fields.name()?, text: fields.text() },
            b"W" => Self::Whispered { from: fields.name()?, to: fields.name()?, text: fields.text() },
            b"J" => Self::Joined { name: fields.name()? },
            b"R" => Self::Renamed { from: fields.name()?, to: fields.name()? },
            b"L" => Self::Left { name: fields.name()?, text: None },
            b"Q" => Self::Left { name: fields.name()?, text: Some(fields.text()) },
            b"A" => Self::Announced { text: fields.text() },
            _ => return None,
        };
        Some((number, word))
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let space = self.0.iter().position(|byte| *byte == b' ');
        let end = space.unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(field)
    }

    fn name(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.next()?).ok().filter(|name| Names::is_good(name))
    }

    fn text(&self) -> Cow<'a, str> {
        clean(self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_read_as_they_were_written() {
        for word in [
            Word::Said { name: "ann", text: "  two  spaces  ".into() },
            Word::Whispered { from: "ann", to: "Ольга", text: "hi there".into() },
            Word::Joined { name: "guest1" },
            Word::Renamed { from: "guest1", to: "ann" },
            Word::Left { name: "ann", text: None },
            Word::Left { name: "ann", text: Some("so long".into()) },
            Word::Announced { text: "down at ten".into() },
        ] {
            assert_eq!(Word::read(&word.write(7)), Some((7, word.clone())), "{word:?}");
        }
    }

    #[test]
    fn texts_of_strangers_are_cleaned_and_names_of_strangers_are_names() {
        let word = Word::read(b"1S 7 ann \x1b[2Jone\ntwo\xff");
        assert_eq!(word, Some((7, Word::Said { name: "ann", text: "[2Jonetwo\u{fffd}".into() })));
        for none in [
            "",
            "1",
            "2S 7 ann text",
            "1S",
            "1S x ann text",
            "1S 7",
            "1S 7 a\u{1b}n text",
            "1S 7  text",
            "1R 7 ann",
            "1X 7 ann",
            "S 7 ann text",
        ] {
            assert_eq!(Word::read(none.as_bytes()), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn properties_any_bytes_are_read_as_something_that_harms_no_terminal(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..60),
            kind in proptest::sample::select(b"SWJRLQA".to_vec()),
        ) {
            let mut all = vec![VERSION, kind, b' ', b'1', b' '];
            all.append(&mut bytes);
            if let Some((number, word)) = Word::read(&all) {
                prop_assert_eq!(number, 1);
                let again = word.write(number);
                prop_assert!(!again.iter().any(u8::is_ascii_control));
                prop_assert_eq!(Word::read(&again), Some((number, word)));
            }
        }
    }
}
