//! Text from strangers, made fit for other people's terminals.

/// The text of a line: what is not UTF-8 becomes U+FFFD, as
/// [`String::from_utf8_lossy`] has it, and then control characters are dropped
/// (C0, DEL and C1: `Cc` of Unicode), so that no escape sequence passes.
pub(super) fn clean(line: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    text.retain(|letter| !letter.is_control());
    text
}

/// [`clean`], with every line end as a space: for what is shown on one line,
/// and may have come as several.
pub(super) fn one_line(request: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(request).replace("\r\n", " ").replace(['\r', '\n'], " ");
    text.retain(|letter| !letter.is_control());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_control_characters_are_dropped_and_nothing_else() {
        for letter in '\0'..=char::MAX {
            let dropped = matches!(letter, '\0'..='\x1f' | '\x7f'..='\u{9f}');
            let expected = if dropped { "ab".into() } else { format!("a{letter}b") };
            assert_eq!(clean(format!("a{letter}b").as_bytes()), expected, "{letter:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced_before_anything_is_dropped() {
        assert_eq!(clean(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(clean(b"a\x9bb"), "a\u{fffd}b", "a C1 character as a byte of its own is none");
        assert_eq!(clean(b"a\xc2\x9bb"), "ab");
        assert_eq!(clean(b"\xe2\x82"), "\u{fffd}", "a sequence that does not end");
        assert_eq!(clean(b"\xc3\0\xa9"), "\u{fffd}\u{fffd}", "no letter comes of what stood apart");
    }

    #[test]
    fn line_ends_become_spaces_one_for_each() {
        assert_eq!(one_line(b"one\r\ntwo\nthree\rfour\n\r\x1b\tfive"), "one two three four  five");
        assert_eq!(one_line(b"a\xff\0"), "a\u{fffd}");
    }
}
