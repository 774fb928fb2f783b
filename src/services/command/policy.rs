//! `Policy`, the commands that may be run, and the checks of clients: `Token`
//! and the local machine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use subtle::ConstantTimeEq;

use crate::process;
use crate::{Address, Endpoint, Peer};

/// The commands that may be run.
#[derive(Clone, Debug)]
pub(super) enum Policy {
    /// A line whose first word is exactly one of these.
    Allow(BTreeSet<Vec<u8>>),
    /// Any line, by `/bin/sh -c`.
    Shell,
}

/// The reason for which a line is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// It is not allowed.
    Refused(String),
    /// It cannot be understood.
    Failed(String),
}

impl Policy {
    /// The command of a line, if it is allowed.
    pub(super) fn program(&self, line: &[u8]) -> Result<process::Command, Denial> {
        let allowed = match self {
            // Arguments are NUL-terminated strings, so none can hold a NUL.
            _ if line.contains(&0) => return Err(Denial::Failed("there is a NUL in the line".into())),
            Self::Shell => return Ok(process::Command::shell(OsStr::from_bytes(line))),
            Self::Allow(allowed) => allowed,
        };
        let Some(words) = shlex::bytes::split(line) else {
            return Err(Denial::Failed("a quote is not closed, or nothing follows a backslash".into()));
        };
        let Some((program, arguments)) = words.split_first() else {
            return Err(Denial::Refused("there is no command in the line".into()));
        };
        if !allowed.contains(program) {
            return Err(Denial::Refused(format!("`{}` is not allowed", program.escape_ascii())));
        }
        let arguments = arguments.iter().map(|argument| OsStr::from_bytes(argument));
        Ok(process::Command::new(OsStr::from_bytes(program)).args(arguments))
    }
}

/// The secret that a client's first request has to equal.
#[derive(Clone)]
pub(super) struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Makes a token; `None` if it is empty, as an empty one is no secret.
    pub(super) fn new(token: Vec<u8>) -> Option<Self> {
        (!token.is_empty()).then_some(Self(token))
    }

    /// Compares in a time that does not depend on where the two differ. Only a
    /// difference of length shows.
    pub(super) fn is(&self, request: &[u8]) -> bool {
        self.0.ct_eq(request).into()
    }
}

/// True if only a process of this machine can be the peer.
pub(super) fn is_local(peer: &Peer) -> bool {
    match &peer.address {
        Address::Inet(address) => address.ip().to_canonical().is_loopback(),
        Address::Unix(_) | Address::Abstract(_) | Address::Unnamed | Address::Pipe => true,
    }
}

/// True if only processes of this machine can reach the endpoint.
pub(super) fn is_local_endpoint(at: &Endpoint) -> bool {
    match at {
        Endpoint::Tcp(address) | Endpoint::Udp(address) => address.ip().to_canonical().is_loopback(),
        Endpoint::Unix(_) | Endpoint::UnixDatagram(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(programs: &[&str]) -> Policy {
        Policy::Allow(programs.iter().map(|program| program.as_bytes().to_vec()).collect())
    }

    fn words(command: &process::Command) -> Vec<String> {
        let words = std::iter::once(command.program()).chain(command.arguments());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn words_are_split_as_a_shell_splits_them_and_nothing_is_expanded() {
        let policy = allowing(&["echo"]);
        let line = br#"  echo 'a  b' "c \"d\"" e\ f $HOME * ; rm | x  "#;
        let command = policy.program(line).expect("it is allowed");
        assert_eq!(words(&command), ["echo", "a  b", "c \"d\"", "e f", "$HOME", "*", ";", "rm", "|", "x"]);
    }

    #[test]
    fn only_the_exact_first_word_is_allowed() {
        let policy = allowing(&["ls", "/bin/date"]);
        assert!(policy.program(b"ls -l").is_ok());
        assert!(policy.program(b"'l's").is_ok(), "it is the word that counts");
        for line in ["/bin/ls", "date", "lsx", "l", "LS", "ls; date", "", "''", "# ls"] {
            assert!(matches!(policy.program(line.as_bytes()), Err(Denial::Refused(_))), "{line}");
        }
        for line in ["ls 'a", "ls \"", "ls \\", "ls \0"] {
            assert!(matches!(policy.program(line.as_bytes()), Err(Denial::Failed(_))), "{line:?}");
        }
    }

    #[test]
    fn a_shell_gets_the_whole_line() {
        let command = Policy::Shell.program(b"echo 'a | b").expect("the shell's affair");
        assert_eq!(words(&command), ["/bin/sh", "-c", "echo 'a | b"]);
    }

    #[test]
    fn an_empty_token_is_none_and_no_part_of_one_is_enough() {
        assert!(Token::new(Vec::new()).is_none());
        let token = Token::new(b"secret".to_vec()).expect("it is not empty");
        assert!(token.is(b"secret"));
        assert!(!["", "s", "secre", "secret2", "Secret"].iter().any(|wrong| token.is(wrong.as_bytes())));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
