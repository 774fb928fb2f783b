//! Failures of the load's connections, counted by kind.

use std::fmt;
use std::io;

/// The kinds of failure a report tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The server closed it while it was in use: a short count.
    ClosedEarly,
    /// A byte came back different, or one that was never sent.
    Mismatch,
    /// Bytes were owed and none moved for the whole timeout.
    Stalled,
    /// Whatever else the system said.
    Other,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub(crate) const ALL: [Self; 6] =
        [Self::Refused, Self::Reset, Self::ClosedEarly, Self::Mismatch, Self::Stalled, Self::Other];

    /// Its name in JSON and CSV, after `errors_`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed_early",
            Self::Mismatch => "mismatch",
            Self::Stalled => "stalled",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed early (short count)",
            Self::Mismatch => "data mismatch",
            Self::Stalled => "stalled",
            Self::Other => "other",
        })
    }
}

/// The end of one connection.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its kind.
    pub(super) kind: Kind,
    /// What happened, without the connection's number.
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: String) -> Self {
        Self { kind, message }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Kind::Reset
            }
            io::ErrorKind::TimedOut => Kind::Stalled,
            _ => Kind::Other,
        };
        Self::new(kind, error.to_string())
    }
}

/// How often each kind of failure happened, and the first of each in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures {
    /// Counts, in the order of [`Kind::ALL`].
    counts: [u64; Kind::ALL.len()],
    /// The first of each kind.
    first: [Option<String>; Kind::ALL.len()],
}

impl Failures {
    /// Counts the end of a connection.
    pub(super) fn add(&mut self, connection: usize, failure: Failure) {
        let at = failure.kind as usize;
        let text = format!("connection {connection}: {}", failure.message);
        log::debug!("{}: {text}", failure.kind);
        self.counts[at] += 1;
        self.first[at].get_or_insert(text);
    }

    /// How many there were of a kind.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// How many there were.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The kinds that happened, with their count and the first one's words.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, u64, &str)> {
        Kind::ALL.into_iter().filter_map(|kind| {
            let first = self.first[kind as usize].as_deref()?;
            Some((kind, self.count(kind), first))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_reports_is_that_of_the_counts() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }

    #[test]
    fn counts_by_kind_and_keeps_the_first() {
        let mut failures = Failures::default();
        for (connection, kind) in [(4, Kind::Reset), (2, Kind::Reset), (9, Kind::Refused)] {
            failures.add(connection, Failure::new(kind, "x".to_owned()));
        }
        assert_eq!(failures.total(), 3);
        assert_eq!(
            failures.iter().collect::<Vec<_>>(),
            [(Kind::Refused, 1, "connection 9: x"), (Kind::Reset, 2, "connection 4: x")]
        );
    }

    #[test]
    fn names_system_errors() {
        for (error, kind) in [
            (io::ErrorKind::ConnectionRefused, Kind::Refused),
            (io::ErrorKind::BrokenPipe, Kind::Reset),
            (io::ErrorKind::NotFound, Kind::Other),
        ] {
            assert_eq!(Failure::from(io::Error::from(error)).kind, kind);
        }
    }
}
