//! `Command`: a parsed line of a member.

/// The answer to `/help`.
pub(super) const HELP: &str = "* /nick NEW, /who, /msg NAME TEXT, /quit [TEXT], /help\n";

/// The answer to a `/msg` without a name, or without a text.
pub(super) const USAGE_OF_MSG: &str = "! usage: /msg NAME TEXT\n";

/// A parsed, clean line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// An empty line, or only spaces.
    Nothing,
    /// A text to all other members.
    Say(&'a str),
    /// A requested name, valid or not.
    Nick(&'a str),
    Who,
    Msg {
        to: &'a str,
        text: &'a str,
    },
    /// A `/msg` without a name or a text.
    BadMsg,
    /// A `/quit`, with its text, if it has one.
    Quit(Option<&'a str>),
    Help,
    /// An unknown command, with its slash.
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    pub(super) fn parse(line: &'a str) -> Self {
        if is_blank(line) {
            return Self::Nothing;
        }
        if !line.starts_with('/') {
            return Self::Say(line);
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "/nick" => Self::Nick(rest.trim_matches(' ')),
            "/who" => Self::Who,
            "/msg" => match rest.trim_start_matches(' ').split_once(' ') {
                Some((to, text)) if !is_blank(text) => Self::Msg { to, text },
                _ => Self::BadMsg,
            },
            "/quit" => Self::Quit((!is_blank(rest)).then_some(rest)),
            "/help" => Self::Help,
            _ => Self::Unknown(word),
        }
    }
}

/// Empty, or only spaces.
fn is_blank(text: &str) -> bool {
    text.trim_matches(' ').is_empty()
}

#[cfg(test)]
mod tests {
    use super::Command::{self, BadMsg, Help, Msg, Nick, Nothing, Quit, Say, Unknown, Who};

    #[test]
    fn lines_mean_what_the_protocol_says() {
        let expected = [
            ("", Nothing),
            ("   ", Nothing),
            ("  two  spaces  ", Say("  two  spaces  ")),
            (" /who", Say(" /who")),
            ("\u{a0}", Say("\u{a0}")),
            ("/nick new", Nick("new")),
            ("/nick   new ", Nick("new")),
            ("/nick", Nick("")),
            ("/nick two words", Nick("two words")),
            ("/who", Who),
            ("/who is there", Who),
            ("/WHO", Unknown("/WHO")),
            ("/msg ann hi", Msg { to: "ann", text: "hi" }),
            ("/msg  ann  hi ", Msg { to: "ann", text: " hi " }),
            ("/msg", BadMsg),
            ("/msg ", BadMsg),
            ("/msg ann", BadMsg),
            ("/msg ann   ", BadMsg),
            ("/quit", Quit(None)),
            ("/quit  ", Quit(None)),
            ("/quit so long", Quit(Some("so long"))),
            ("/help", Help),
            ("/help me", Help),
            ("/", Unknown("/")),
            ("/ who", Unknown("/")),
            ("/shout out loud", Unknown("/shout")),
            ("//", Unknown("//")),
        ];
        for (line, command) in expected {
            assert_eq!(Command::parse(line), command, "{line:?}");
        }
    }
}
