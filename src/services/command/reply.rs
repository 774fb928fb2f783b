//! What a client is sent of a command.

use bytes::Bytes;

use crate::process::{Exit, ExitCause};
use std::os::unix::process::ExitStatusExt;

/// What a client is sent of a command's output, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reply {
    /// All of it once it has ended, with its length in front:
    /// `info|BYTES|STATUS\n` and the bytes. In chunks `info|BYTES`, and then,
    /// apart, the bytes.
    #[default]
    Framed,
    /// All of it once it has ended, and nothing else; `no output!` where there
    /// was none.
    Raw,
    /// As it comes: `out|BYTES\n` or `err|BYTES\n` and the bytes, any number
    /// of them, then `exit|STATUS\n`.
    Stream,
}

/// How a command ended, as a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was over its time.
    TimedOut,
    /// It wrote more than it may, and was ended.
    Truncated,
    /// It is not allowed.
    Refused,
    /// Too many requests wait.
    Busy,
    /// It could not be started, or nobody knows how it ended.
    Failed,
}

impl std::fmt::Display for Status {
    /// As it is sent: `0`, `signal:15`, `timeout`, …
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(number) => write!(f, "signal:{number}"),
            Self::TimedOut => f.write_str("timeout"),
            Self::Truncated => f.write_str("truncated"),
            Self::Refused => f.write_str("refused"),
            Self::Busy => f.write_str("busy"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl Status {
    pub(super) fn of(exit: &Exit, truncated: bool) -> Self {
        if truncated {
            return Self::Truncated;
        }
        if exit.cause == ExitCause::TimedOut {
            return Self::TimedOut;
        }
        let Some(status) = exit.status else { return Self::Failed };
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(number)) => Self::Signal(number),
            (None, None) => Self::Failed,
        }
    }

    /// The command did not run to its own end.
    const fn was_cut(self) -> bool {
        matches!(self, Self::TimedOut | Self::Truncated)
    }
}

/// `out|BYTES\n` and the bytes, or another mark.
pub(super) fn piece(mark: &str, bytes: &[u8]) -> Bytes {
    let header = format!("{mark}|{}\n", bytes.len());
    [header.as_bytes(), bytes].concat().into()
}

/// The end of a streamed reply. What is said of a command that did not run
/// comes as its errors would have.
pub(super) fn end_of_stream(status: Status, said: &[u8]) -> Bytes {
    let said = if said.is_empty() { Bytes::new() } else { piece("err", said) };
    [&said[..], format!("exit|{status}\n").as_bytes()].concat().into()
}

/// A framed reply in lines.
pub(super) fn framed(status: Status, payload: &[u8]) -> Bytes {
    let header = format!("info|{}|{status}\n", payload.len());
    [header.as_bytes(), payload].concat().into()
}

/// The first part of a framed reply in chunks.
pub(super) fn announcement(payload: &[u8]) -> Bytes {
    format!("info|{}", payload.len()).into()
}

/// A reply without a frame: the output, and what else has to be said as text.
pub(super) fn raw(status: Status, payload: Vec<u8>) -> Bytes {
    match status {
        Status::Refused | Status::Busy | Status::Failed if payload.is_empty() => status.to_string().into(),
        Status::Refused | Status::Busy | Status::Failed => {
            [format!("{status}: ").as_bytes(), &payload].concat().into()
        }
        _ if status.was_cut() => [&payload, status.to_string().as_bytes()].concat().into(),
        _ if payload.is_empty() => Bytes::from_static(b"no output!"),
        _ => payload.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_status_is_told_in_one_word() {
        let exit = |raw, cause| Exit { status: Some(ExitStatus::from_raw(raw)), cause };
        assert_eq!(Status::of(&exit(3 << 8, ExitCause::Itself), false).to_string(), "3");
        assert_eq!(Status::of(&exit(9, ExitCause::Itself), false).to_string(), "signal:9");
        assert_eq!(Status::of(&exit(15, ExitCause::TimedOut), false).to_string(), "timeout");
        assert_eq!(Status::of(&exit(9, ExitCause::Killed), true).to_string(), "truncated");
        let lost = Exit { status: None, cause: ExitCause::Itself };
        assert_eq!(Status::of(&lost, false).to_string(), "failed");
    }

    #[test]
    fn replies_are_as_the_protocol_says() {
        assert_eq!(framed(Status::Code(0), b"ab\n")[..], b"info|3|0\nab\n"[..]);
        assert_eq!(framed(Status::TimedOut, b"")[..], b"info|0|timeout\n"[..]);
        assert_eq!(announcement(b"ab\n")[..], b"info|3"[..]);
        assert_eq!(piece("out", b"x")[..], b"out|1\nx"[..]);
        assert_eq!(end_of_stream(Status::Code(1), b"")[..], b"exit|1\n"[..]);
        assert_eq!(end_of_stream(Status::Refused, b"no")[..], b"err|2\nnoexit|refused\n"[..]);
        assert_eq!(raw(Status::Code(0), b"ab".to_vec())[..], b"ab"[..]);
        assert_eq!(raw(Status::Code(1), Vec::new())[..], b"no output!"[..]);
        assert_eq!(raw(Status::Refused, b"why".to_vec())[..], b"refused: why"[..]);
        assert_eq!(raw(Status::TimedOut, Vec::new())[..], b"timeout"[..]);
        assert_eq!(raw(Status::Truncated, b"ab".to_vec())[..], b"abtruncated"[..]);
    }
}
