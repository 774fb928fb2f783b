//! Escaping of strangers' text for logs and terminals.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A value displayed on one line and without control sequences, for logs and
/// terminals.
///
/// Characters that do not print are escaped as in Rust's source, `\n` or
/// `\u{1b}`: controls (C0, DEL and C1), line and paragraph separators, spaces
/// but the ordinary one, and characters that are invisible or change the direction
/// of text (Unicode's category `Cf`). All others stay as they are. That includes the
/// backslash, so the original text cannot always be recovered.
///
/// [`Endpoint`](crate::Endpoint), [`Address`](crate::Address) and
/// [`Peer`](crate::Peer) display themselves this way: a client may give the path of
/// its Unix socket any byte but NUL.
///
/// ```
/// use serve_forever::Printable;
///
/// assert_eq!(Printable("a\nb \x1b[2J").to_string(), r"a\nb \u{1b}[2J");
/// assert_eq!(Printable("Grüße, C:\\").to_string(), "Grüße, C:\\");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<T>(
    /// The value to display.
    pub T,
);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes a path, with bytes that are not UTF-8 as `\xff`.
pub(crate) fn write_path(path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        Escaping(f).write_str(chunk.valid())?;
        write!(f, "{}", chunk.invalid().escape_ascii())?;
    }
    Ok(())
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(end) = rest.find(|letter| !prints(letter)) {
            self.0.write_str(&rest[..end])?;
            let mut letters = rest[end..].chars();
            let odd = letters.next().map(char::escape_debug).into_iter().flatten();
            odd.into_iter().try_for_each(|letter| self.0.write_char(letter))?;
            rest = letters.as_str();
        }
        self.0.write_str(rest)
    }
}

fn prints(letter: char) -> bool {
    if letter.is_ascii() {
        return !letter.is_ascii_control();
    }
    // `escape_debug` escapes a combining mark that stands first, so a letter goes
    // before it.
    let mut pair = [b'a', 0, 0, 0, 0];
    let len = 1 + letter.encode_utf8(&mut pair[1..]).len();
    str::from_utf8(&pair[..len]).is_ok_and(|pair| pair.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    struct Shown<'a>(&'a [u8]);

    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_path(Path::new(OsStr::from_bytes(self.0)), f)
        }
    }

    #[test]
    fn no_character_that_a_terminal_obeys_is_shown() {
        for letter in '\0'..=char::MAX {
            let shown = Printable(letter).to_string();
            let odd = letter.is_control()
                || letter.is_whitespace() && letter != ' '
                || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0001}'..='\u{e007f}');
            if odd {
                assert!(shown.starts_with('\\') && shown.is_ascii(), "{letter:?}: {shown}");
            } else if letter.is_alphanumeric() || letter.is_ascii() {
                assert_eq!(shown, letter.to_string());
            }
        }
    }

    #[test]
    fn ordinary_text_stays_as_it_is_in_whichever_normal_form() {
        for text in ["/run/a.sock", "it's \"here\"", "C:\\x", "日本語", "e\u{301}", "\u{301}", "नमस्ते", "🦀"]
        {
            assert_eq!(Printable(text).to_string(), text);
            assert_eq!(Shown(text.as_bytes()).to_string(), text);
        }
    }

    #[test]
    fn a_path_is_shown_byte_by_byte_where_it_is_no_text() {
        assert_eq!(Shown(b"/tmp/a\xff\x9b[2J\n\xe2\x82").to_string(), r"/tmp/a\xff\x9b[2J\n\xe2\x82");
        assert_eq!(Shown(b"a\xc2\x9bb\xe2\x80\xaec").to_string(), r"a\u{9b}b\u{202e}c");
    }

    #[test]
    fn pieces_are_escaped_as_the_whole_is() {
        let text = format!("{}{}", "a\n", "\x1bb");
        assert_eq!(Printable(format_args!("{}{}", "a\n", "\x1bb")).to_string(), Printable(text).to_string());
    }
}
