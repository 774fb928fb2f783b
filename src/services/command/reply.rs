//! `Reply`, the form of replies, and `Status`, the outcome of a command.

use bytes::Bytes;

use crate::process::{Exit, ExitCause};
use std::os::unix::process::ExitStatusExt;

/// The form in which a client gets a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The whole output after the command's end, preceded by its length:
    /// `info|BYTES|STATUS\n` and the bytes. In chunks `info|BYTES`, and then,
    /// separately, the bytes.
    #[default]
    Framed,
    /// The whole output after the command's end, and nothing else; `no output!`
    /// if it is empty.
    Raw,
    /// The output as it comes: any number of `out|BYTES\n` or `err|BYTES\n` and
    /// the bytes, then `exit|STATUS\n`.
    Stream,
}

/// The outcome of a command, as sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It exceeded its time.
    TimedOut,
    /// It exceeded its output limit, and was killed.
    Truncated,
    /// It is not allowed.
    Refused,
    /// Too many requests wait.
    Busy,
    /// It could not be started, or its status is lost.
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
    pub(super) fn of(exit: &Exit) -> Self {
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

    /// True if the command did not run to its own end.
    const fn was_cut(self) -> bool {
        matches!(self, Self::TimedOut | Self::Truncated)
    }
}

/// `out|BYTES\n` and the bytes, or another mark.
pub(super) fn piece(mark: &str, bytes: &[u8]) -> Bytes {
    let header = format!("{mark}|{}\n", bytes.len());
    [header.as_bytes(), bytes].concat().into()
}

/// The end of a streamed reply. A message about a command that did not run is
/// sent as its standard error.
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

/// A reply without a frame: the output, followed by any message as text.
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
        assert_eq!(Status::of(&exit(3 << 8, ExitCause::Itself)).to_string(), "3");
        assert_eq!(Status::of(&exit(9, ExitCause::Itself)).to_string(), "signal:9");
        assert_eq!(Status::of(&exit(15, ExitCause::TimedOut)).to_string(), "timeout");
        assert_eq!(Status::Truncated.to_string(), "truncated");
        let lost = Exit { status: None, cause: ExitCause::Itself };
        assert_eq!(Status::of(&lost).to_string(), "failed");
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
