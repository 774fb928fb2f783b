//! Cleaning of untrusted text: removes from clients' lines what could harm or
//! deceive another terminal.

/// The number of consecutive spaces that are kept. More could push what follows
/// to the next line of a terminal, where it looks like another member's line.
const LONGEST_GAP: usize = 16;

/// The clean text of a line. Invalid UTF-8 becomes U+FFFD, as in
/// [`String::from_utf8_lossy`]. Control characters are dropped (C0, DEL and C1:
/// `Cc` of Unicode), so that no escape sequence passes, and so are characters
/// that change the order of what follows (U+202A to U+202E, U+2066 to U+2069).
/// Unicode's line ends (U+2028, U+2029) become spaces, and of more than 16
/// consecutive spaces of any kind the first 16 are kept.
pub(super) fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = String::with_capacity(text.len());
    let mut gap = 0;
    for letter in text.chars() {
        if letter.is_control() || turns_order(letter) {
            continue;
        }
        let letter = if matches!(letter, '\u{2028}' | '\u{2029}') { ' ' } else { letter };
        if is_blank(letter) {
            gap += 1;
        } else if !is_ignorable(letter) {
            gap = 0;
        }
        // Invisible characters do not change the length of a gap.
        if gap <= LONGEST_GAP || !is_blank(letter) {
            clean.push(letter);
        }
    }
    clean
}

/// [`clean`], with every line end as a space: for text of several lines that is
/// shown on one.
pub(super) fn one_line(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request).replace("\r\n", " ").replace(['\r', '\n'], " ");
    clean(text.as_bytes())
}

/// Whether a character takes room and shows nothing.
pub(super) const fn is_blank(letter: char) -> bool {
    // Unicode classifies fillers as letters, and U+2800 as a symbol.
    letter.is_whitespace() || matches!(letter, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
}

/// Whether a character takes no room and shows nothing
/// (`Default_Ignorable_Code_Point` of Unicode, except the fillers).
pub(super) const fn is_ignorable(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character can change the order in which what follows is shown, up
/// to the end of a line and beyond (Unicode Standard Annex 9, explicit
/// formatting).
const fn turns_order(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_dropped_and_nothing_else() {
        for letter in '\0'..=char::MAX {
            let controls = matches!(letter, '\0'..='\x1f' | '\x7f'..='\u{9f}');
            let turns = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let expected = match letter {
                _ if controls || turns => "ab".into(),
                '\u{2028}' | '\u{2029}' => "a b".into(),
                _ => format!("a{letter}b"),
            };
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

    #[test]
    fn of_spaces_in_a_row_sixteen_stay_of_whatever_kind() {
        let long = |unit: &str| clean(format!("a{}b", unit.repeat(70)).as_bytes());
        assert_eq!(clean(format!("a{}b", " ".repeat(16)).as_bytes()).len(), 18);
        for space in [" ", "\u{a0}", "\u{2003}", "\u{3000}", "\u{3164}", "\u{2800}"] {
            assert_eq!(long(space), format!("a{}b", space.repeat(16)), "{space:?}");
        }
        assert_eq!(long("\u{2028}"), format!("a{}b", " ".repeat(16)));
        assert_eq!(long(" \u{a0}"), format!("a{}b", " \u{a0}".repeat(8)));
        // Nor with something between them that is not seen.
        for unseen in ["\u{200b}", "\u{200d}", "\u{feff}", "\u{fe0f}", "\u{e0020}"] {
            let shown = long(&format!(" {unseen}"));
            assert_eq!(shown.matches(' ').count(), 16, "{unseen:?}");
        }
        assert_eq!(one_line("a\n".repeat(3).as_bytes()), "a a a ");
        assert_eq!(one_line(["a", &"\r\n".repeat(70), "b"].concat().as_bytes()).len(), 18);
    }
}
