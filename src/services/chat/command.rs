//! What a line says.

/// The answer to `/help`.
pub(super) const HELP: &str = "* /nick NEW, /who, /msg NAME TEXT, /quit [TEXT], /help\n";

/// What is said to a `/msg` without a name, or without a text.
pub(super) const USAGE_OF_MSG: &str = "! usage: /msg NAME TEXT\n";

/// A line, cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Nothing, or only spaces.
    Nothing,
    /// To everybody else.
    Say(&'a str),
    /// A name that is wished for, good or not.
    Nick(&'a str),
    Who,
    Msg {
        to: &'a str,
        text: &'a str,
    },
    /// A `/msg` that lacks something.
    BadMsg,
    /// With a last word, if there is one.
    Quit(Option<&'a str>),
    Help,
    /// The word with its slash.
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
