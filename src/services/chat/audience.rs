//! `Audience`: the connections of a room's members, spoken to line by line or
//! message by message.

use std::collections::BTreeSet;

use bytes::Bytes;

#[cfg(feature = "bus")]
use crate::bus::Position;
use crate::{BoxError, ConnId, GroupId, Io, Sent, Tally};

/// How a member is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Lines, each with its end.
    Lines,
    /// The messages of a WebSocket, each a line without its end.
    #[cfg(feature = "ws")]
    Socket,
    /// The same, with the room's positions between them as bytes. The member may come back
    /// from such a position, and gets what it has missed.
    #[cfg(all(feature = "bus", feature = "ws"))]
    Resumable(Option<Position>),
}

impl Wire {
    /// The position that a member comes back from, if it does.
    #[cfg(feature = "bus")]
    pub(super) const fn position(self) -> Option<Position> {
        match self {
            #[cfg(feature = "ws")]
            Self::Resumable(from) => from,
            _ => None,
        }
    }
}

/// The connections of all members.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Those that are spoken to in lines.
    lines: GroupId,
    /// Those that are WebSockets.
    sockets: GroupId,
    /// Those that are WebSockets, and are told positions.
    #[cfg(feature = "bus")]
    resumable: GroupId,
    are_sockets: BTreeSet<ConnId>,
}

impl Audience {
    /// Makes the groups, at the beginning of the service.
    pub(super) fn begin(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.lines = io.group()?;
        self.sockets = io.group()?;
        #[cfg(feature = "bus")]
        {
            self.resumable = io.group()?;
        }
        Ok(())
    }

    /// Puts the connection of a member among those that are spoken to; it leaves
    /// when it ends.
    pub(super) fn join(&self, io: &mut Io<'_>, id: ConnId, wire: Wire) -> Result<(), BoxError> {
        let group = match wire {
            Wire::Lines => self.lines,
            #[cfg(feature = "ws")]
            Wire::Socket => self.sockets,
            #[cfg(all(feature = "bus", feature = "ws"))]
            Wire::Resumable(_) => self.resumable,
        };
        io.join(group, id)?;
        Ok(())
    }

    /// Remembers how a member is spoken to, until it is [forgotten](Self::forget).
    pub(super) fn remember(&mut self, id: ConnId, wire: Wire) {
        if wire != Wire::Lines {
            self.are_sockets.insert(id);
        }
    }

    /// Takes a connection out: nothing more is said to all that reaches it.
    pub(super) fn leave(&self, io: &mut Io<'_>, id: ConnId) {
        for group in self.groups() {
            io.leave(group, id);
        }
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.are_sockets.remove(&id);
    }

    /// The connections of all that are spoken to.
    pub(super) fn connections<'a>(&self, io: &'a Io<'_>) -> impl Iterator<Item = ConnId> + use<'a> {
        self.groups().flat_map(|group| io.members(group)).copied()
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self, io: &Io<'_>) -> bool {
        self.groups().all(|group| io.members(group).is_empty())
    }

    /// Sends a line, given with its end, to all but `except`.
    pub(super) fn say(&self, io: &mut Io<'_>, line: String, except: Option<ConnId>) -> Tally {
        let mut tally = Tally::default();
        let mut as_message = None;
        for group in self.socket_groups() {
            if !io.members(group).is_empty() {
                tally += io.broadcast(group, as_message.get_or_insert_with(|| message(&line)), except);
            }
        }
        tally += io.broadcast(self.lines, &Bytes::from(line), except);
        tally
    }

    /// Tells those that may come back where the room is.
    #[cfg(feature = "bus")]
    pub(super) fn say_position(&self, io: &mut Io<'_>, position: Position) -> Tally {
        if io.members(self.resumable).is_empty() {
            return Tally::default();
        }
        io.broadcast(self.resumable, &position_message(position), None)
    }

    /// Tells one member, which may come back, where the room is.
    #[cfg(feature = "bus")]
    pub(super) fn tell_position(&self, io: &mut Io<'_>, id: ConnId, position: Position) -> Sent {
        io.send(id, position_message(position))
    }

    /// The groups of those that are WebSockets.
    fn socket_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        [
            self.sockets,
            #[cfg(feature = "bus")]
            self.resumable,
        ]
        .into_iter()
    }

    /// All groups.
    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        std::iter::once(self.lines).chain(self.socket_groups())
    }

    /// Sends a line, given with its end, to one member.
    pub(super) fn tell(&self, io: &mut Io<'_>, id: ConnId, line: Bytes) -> Sent {
        match std::str::from_utf8(&line) {
            Ok(text) if self.are_sockets.contains(&id) => io.send(id, message(text)),
            _ => io.send(id, line),
        }
    }

    /// Closes the connection of a member, in order.
    pub(super) fn close(&self, io: &mut Io<'_>, id: ConnId) {
        #[cfg(feature = "ws")]
        if self.are_sockets.contains(&id) {
            let _ = io.send(id, crate::ws::close_frame(crate::ws::CloseCode::NORMAL, ""));
        }
        io.close(id);
    }
}

/// A line as a message of a WebSocket.
#[cfg(feature = "ws")]
fn message(line: &str) -> Bytes {
    crate::ws::text_frame(line.strip_suffix('\n').unwrap_or(line))
}

/// A position as a message of a WebSocket: bytes, which no line is.
#[cfg(all(feature = "bus", feature = "ws"))]
fn position_message(position: Position) -> Bytes {
    crate::ws::binary_frame(position.to_string().as_bytes())
}

/// Without WebSockets there is nobody who would get one.
#[cfg(all(feature = "bus", not(feature = "ws")))]
fn position_message(position: Position) -> Bytes {
    position.to_string().into()
}

/// Without WebSockets there are no members who would get one.
#[cfg(not(feature = "ws"))]
fn message(line: &str) -> Bytes {
    Bytes::copy_from_slice(line.as_bytes())
}
