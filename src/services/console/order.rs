//! `Order`: a parsed line of the operator.

/// A parsed line. Texts are unchanged, as they may be meant for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order<'a> {
    /// An empty line, or only spaces.
    Nothing,
    /// A text to one client.
    Tell(Target<'a>, &'a [u8]),
    /// A text to all clients.
    TellAll(&'a [u8]),
    /// A text to the client who spoke last.
    Answer(&'a [u8]),
    Who,
    Kick(Target<'a>),
    Quit,
    /// An unknown command, with its slash.
    Unknown(&'a [u8]),
    /// An incomplete command, with its correct form.
    Incomplete(&'static str),
}

/// The text behind `#`, which need not name a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a>(pub(super) &'a [u8]);

impl Target<'_> {
    pub(super) fn number(self) -> Option<u64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }
}

impl<'a> Order<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Self {
        if is_blank(line) {
            return Self::Nothing;
        }
        let end = line.iter().position(|byte| *byte == b' ');
        let (word, text) = end.map_or((line, &[][..]), |end| (&line[..end], &line[end + 1..]));
        match word {
            b"@all" if is_blank(text) => Self::Incomplete("@all TEXT"),
            b"@all" => Self::TellAll(text),
            b"/who" => Self::Who,
            b"/quit" => Self::Quit,
            b"/kick" => match text.trim_ascii() {
                b"" | b"#" => Self::Incomplete("/kick ID"),
                id => Self::Kick(Target(id.strip_prefix(b"#").unwrap_or(id))),
            },
            [b'/', ..] => Self::Unknown(word),
            [b'#', ..] if is_blank(text) => Self::Incomplete("#ID TEXT"),
            [b'#', id @ ..] => Self::Tell(Target(id), text),
            _ => Self::Answer(line),
        }
    }
}

/// Empty, or only spaces.
fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::Order::{self, Answer, Incomplete, Kick, Nothing, Quit, Tell, TellAll, Unknown, Who};
    use super::Target;

    #[test]
    fn lines_mean_what_the_protocol_says() {
        let expected = [
            ("", Nothing),
            ("  ", Nothing),
            ("#12 hi", Tell(Target(b"12"), b"hi")),
            ("#x  hi ", Tell(Target(b"x"), b" hi ")),
            ("# hi", Tell(Target(b""), b"hi")),
            ("#12", Incomplete("#ID TEXT")),
            ("#12  ", Incomplete("#ID TEXT")),
            ("@all hi all", TellAll(b"hi all")),
            ("@all", Incomplete("@all TEXT")),
            ("@all ", Incomplete("@all TEXT")),
            ("@allan hi", Answer(b"@allan hi")),
            (" #12 hi", Answer(b" #12 hi")),
            ("hi there", Answer(b"hi there")),
            ("/who", Who),
            ("/kick 12", Kick(Target(b"12"))),
            ("/kick  #12 ", Kick(Target(b"12"))),
            ("/kick", Incomplete("/kick ID")),
            ("/kick #", Incomplete("/kick ID")),
            ("/quit", Quit),
            ("/quite", Unknown(b"/quite")),
            ("/ ", Unknown(b"/")),
        ];
        for (line, order) in expected {
            assert_eq!(Order::parse(line.as_bytes()), order, "{line:?}");
        }
    }

    #[test]
    fn a_target_is_a_number_or_nobody() {
        let numbers =
            ["7", "07", "", "-1", "x", "99999999999999999999"].map(|id| Target(id.as_bytes()).number());
        assert_eq!(numbers, [Some(7), Some(7), None, None, None, None]);
        assert_eq!(Target(b"\xff").number(), None);
    }
}
