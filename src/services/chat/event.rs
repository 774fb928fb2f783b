//! What an observer of a chat is told.

use crate::{ConnId, Peer};

/// Something that everybody in a [`Chat`](super::Chat) is told of. All texts
/// are without control characters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChatEvent<'a> {
    /// Somebody comes.
    Joined {
        /// Its connection.
        id: ConnId,
        /// What it is called at first.
        name: &'a str,
        /// Who it is.
        peer: &'a Peer,
    },
    /// Somebody says a line to all others.
    Said {
        /// Its connection.
        id: ConnId,
        /// What it is called.
        name: &'a str,
        /// The line.
        text: &'a str,
    },
    /// Somebody calls itself something else.
    Renamed {
        /// Its connection.
        id: ConnId,
        /// What it was called.
        from: &'a str,
        /// What it is called now.
        to: &'a str,
    },
    /// Somebody goes, of its own will or not: once for each
    /// [`Joined`](Self::Joined) whose observer did not panic.
    Left {
        /// Its connection.
        id: ConnId,
        /// What it was called.
        name: &'a str,
        /// Its last words, if it said `/quit` with some.
        text: Option<&'a str>,
    },
}
