//! `ChatEvent`: the public events of a chat, for its observer.

use crate::{ConnId, Peer};

/// An event that all members of a [`Chat`](super::Chat) see. No text contains
/// control characters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChatEvent<'a> {
    /// A member joins.
    Joined {
        /// The member's connection.
        id: ConnId,
        /// The member's first name.
        name: &'a str,
        /// The member's peer.
        peer: &'a Peer,
    },
    /// A member sends a line to all others.
    Said {
        /// The member's connection.
        id: ConnId,
        /// The member's name.
        name: &'a str,
        /// The line.
        text: &'a str,
    },
    /// A member changes its name.
    Renamed {
        /// The member's connection.
        id: ConnId,
        /// The old name.
        from: &'a str,
        /// The new name.
        to: &'a str,
    },
    /// A member leaves, for any reason: once for each [`Joined`](Self::Joined)
    /// whose observer did not panic.
    Left {
        /// The member's connection.
        id: ConnId,
        /// The member's name.
        name: &'a str,
        /// The text of its `/quit`, if it has one.
        text: Option<&'a str>,
    },
}
