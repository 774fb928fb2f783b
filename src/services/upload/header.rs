//! `Header`: parses the header of a file, `post|SIZE|NAME`.

use bytes::BytesMut;

use super::refusal::Refusal;
use crate::services::framing::{Framing, LineTooLong};

/// The longest header, in bytes, with its line end.
pub(super) const MAX_HEADER: usize = 1024;

/// The longest name, in bytes, as in the usual file systems.
const MAX_NAME: usize = 255;

/// The size and the name of a file, as its client announces them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) size: u64,
    pub(super) name: String,
}

impl Header {
    /// Takes the next header off `input`; `None` if it is incomplete.
    pub(super) fn next(framing: Framing, input: &mut BytesMut) -> Result<Option<Self>, Refusal> {
        Self::take(framing, input, Framing::next)
    }

    /// Takes the last header off `input`, behind which nothing follows.
    pub(super) fn last(framing: Framing, input: &mut BytesMut) -> Result<Option<Self>, Refusal> {
        Self::take(framing, input, Framing::last)
    }

    fn take(
        framing: Framing,
        input: &mut BytesMut,
        text: impl FnOnce(Framing, &mut BytesMut) -> Result<Option<BytesMut>, LineTooLong>,
    ) -> Result<Option<Self>, Refusal> {
        let too_long = match framing {
            Framing::Lines => {
                let has_end = input.iter().take(MAX_HEADER).any(|byte| *byte == b'\n');
                !has_end && input.len() >= MAX_HEADER
            }
            Framing::Chunk => input.len() > MAX_HEADER,
        };
        if too_long {
            return Err(Refusal::BadHeader);
        }
        match text(framing, input) {
            Ok(Some(text)) => Self::parse(&text).map(Some),
            Ok(None) => Ok(None),
            Err(_) => Err(Refusal::BadHeader),
        }
    }

    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let rest = text.strip_prefix(b"post|").ok_or(Refusal::BadHeader)?;
        // The name may hold further bars.
        let bar = rest.iter().position(|byte| *byte == b'|').ok_or(Refusal::BadHeader)?;
        let size = parse_size(&rest[..bar]).ok_or(Refusal::BadHeader)?;
        let name = std::str::from_utf8(&rest[bar + 1..]).map_err(|_| Refusal::BadName)?;
        if !is_file_name(name) {
            return Err(Refusal::BadName);
        }
        Ok(Self { size, name: name.into() })
    }
}

/// Parses digits alone: no sign, no space.
fn parse_size(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a name stands for a file in this directory.
fn is_file_name(name: &str) -> bool {
    let leads_away = |char: char| matches!(char, '/' | '\\') || char.is_control();
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && !name.contains(leads_away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_header(text: &[u8], size: u64, name: &str) {
        let header = Header::parse(text).expect("a good header");
        assert_eq!(header, Header { size, name: name.into() });
    }

    #[track_caller]
    fn assert_refused(text: impl AsRef<[u8]>, reason: &str) {
        let text = text.as_ref();
        let refusal = Header::parse(text).expect_err("it is to be refused");
        assert_eq!(refusal.to_string(), reason, "{}", text.escape_ascii());
    }

    #[test]
    fn a_size_and_a_name_are_read() {
        assert_header(b"post|0|a", 0, "a");
        assert_header(b"post|18446744073709551615|a", u64::MAX, "a");
        assert_header("post|007|Schöne Grüße.txt".as_bytes(), 7, "Schöne Grüße.txt");
        assert_header(b"post|1|a|b||c|", 1, "a|b||c|");
        assert_header(b"post|1||", 1, "|");
        for name in ["...", ".hidden", " ", "-rf", "~", "a:b", "*", &"é".repeat(127), &"x".repeat(255)] {
            assert_header(format!("post|1|{name}").as_bytes(), 1, name);
        }
    }

    #[test]
    fn anything_but_a_header_is_told_from_a_bad_name() {
        for text in ["", "post", "post|", "post|1", "post|a|b", "post||b", "get|1|a", "POST|1|a", " post|1|a"]
        {
            assert_refused(text, "bad header");
        }
        let thirty = "9".repeat(30);
        for size in ["-1", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "٣", "18446744073709551616", &thirty] {
            assert_refused(format!("post|{size}|a"), "bad header");
        }
        assert_refused(b"post|\xff|a", "bad header");
    }

    #[test]
    fn a_name_stays_in_its_directory() {
        for name in [
            "",
            ".",
            "..",
            "/",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a/",
            "a\\b",
            "..\\b",
            "a\0b",
            "a\tb",
            "\x1b[2J",
            "a\x7f",
            "a\u{85}b",
            &"x".repeat(256),
            &"é".repeat(128),
        ] {
            assert_refused(format!("post|1|{name}"), "bad name");
        }
        assert_refused(b"post|1|a\xff", "bad name");
        assert_refused(b"post|1|\xc3", "bad name");
    }

    #[test]
    fn a_header_is_taken_when_it_is_whole_and_the_data_stays() {
        let mut input = BytesMut::from("post|3|a");
        assert_eq!(Header::next(Framing::Lines, &mut input).expect("nothing wrong"), None);
        input.extend_from_slice(b"\r\nabc");
        let header = Header::next(Framing::Lines, &mut input).expect("nothing wrong");
        assert_eq!((header.expect("it is whole").size, &input[..]), (3, &b"abc"[..]));
        let header = Header::last(Framing::Lines, &mut BytesMut::from("post|0|z"));
        assert_eq!(header.expect("nothing wrong").expect("nothing more will come").name, "z");
        let header = Header::next(Framing::Chunk, &mut BytesMut::from("post|3|a \r\n"));
        assert_eq!(header.expect("nothing wrong").expect("it is whole").name, "a");
    }

    #[test]
    fn the_longest_header_has_its_line_end_in_it() {
        let padded = |len: usize, end: &str| {
            let zeros = "0".repeat(len - "post|1|a".len() - end.len());
            BytesMut::from(&*format!("post|{zeros}1|a{end}"))
        };
        for (framing, end) in [(Framing::Lines, "\n"), (Framing::Lines, "\r\n"), (Framing::Chunk, "")] {
            let whole = Header::next(framing, &mut padded(MAX_HEADER, end));
            assert_eq!(whole.expect("not too long").expect("whole").size, 1);
            assert!(Header::next(framing, &mut padded(MAX_HEADER + 1, end)).is_err());
        }
        let endless = &mut padded(MAX_HEADER, "");
        assert!(Header::next(Framing::Lines, endless).is_err(), "its end would be one too many");
    }
}
