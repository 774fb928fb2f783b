//! `Audience`: the connections of a room's members, spoken to line by line or
//! message by message.

use std::collections::BTreeMap;

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
    /// The same; lines that stand in the order of a room on a bus are binary messages, with
    /// their positions. The member may come back from such a position, and gets what it has
    /// missed.
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

/// Where a line stands in the order of the room: nowhere, if the room is on no bus, or the
/// line is for this node alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    #[cfg(feature = "bus")]
    #[cfg_attr(not(feature = "ws"), expect(dead_code, reason = "members in lines are told no position"))]
    pub(super) position: Option<Position>,
}

impl Standing {
    /// A line, given with its end, as a member gets it.
    fn form(self, line: Bytes, wire: Wire) -> Bytes {
        match (wire, std::str::from_utf8(&line)) {
            #[cfg(feature = "ws")]
            (Wire::Socket, Ok(text)) => message(text),
            #[cfg(all(feature = "bus", feature = "ws"))]
            (Wire::Resumable(_), Ok(text)) => self.message(text),
            _ => line,
        }
    }

    /// A line with its position as a message of a WebSocket: bytes, which no other line is.
    /// Without text it is the position alone.
    #[cfg(all(feature = "bus", feature = "ws"))]
    fn message(self, line: &str) -> Bytes {
        let text = line.strip_suffix('\n').unwrap_or(line);
        match self.position {
            Some(position) if text.is_empty() => crate::ws::binary_frame(position.to_string().as_bytes()),
            Some(position) => crate::ws::binary_frame(format!("{position} {text}").as_bytes()),
            None => message(line),
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
    #[cfg(all(feature = "bus", feature = "ws"))]
    resumable: GroupId,
    /// How those are spoken to that are not spoken to in lines.
    wires: BTreeMap<ConnId, Wire>,
}

impl Audience {
    /// Makes the groups, at the beginning of the service.
    pub(super) fn begin(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.lines = io.group()?;
        self.sockets = io.group()?;
        #[cfg(all(feature = "bus", feature = "ws"))]
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
            self.wires.insert(id, wire);
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
        self.wires.remove(&id);
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
    pub(super) fn say(&self, io: &mut Io<'_>, line: String, at: Standing, except: Option<ConnId>) -> Tally {
        let mut tally = self.say_to_resumable(io, &line, at, except);
        tally += say_to(io, self.sockets, except, || message(&line));
        tally += io.broadcast(self.lines, &Bytes::from(line), except);
        tally
    }

    #[cfg(all(feature = "bus", feature = "ws"))]
    fn say_to_resumable(&self, io: &mut Io<'_>, line: &str, at: Standing, except: Option<ConnId>) -> Tally {
        // Who is left out has heard the line all the same.
        if let Some(id) = except.filter(|_| at.position.is_some())
            && let Some(Wire::Resumable(_)) = self.wires.get(&id)
        {
            let _ = io.send(id, at.message(""));
        }
        say_to(io, self.resumable, except, || at.message(line))
    }

    #[cfg(not(all(feature = "bus", feature = "ws")))]
    fn say_to_resumable(&self, _: &mut Io<'_>, _: &str, _: Standing, _: Option<ConnId>) -> Tally {
        Tally::default()
    }

    /// All groups.
    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        [
            self.lines,
            self.sockets,
            #[cfg(all(feature = "bus", feature = "ws"))]
            self.resumable,
        ]
        .into_iter()
    }

    /// Sends a line, given with its end, to one member.
    pub(super) fn tell(&self, io: &mut Io<'_>, id: ConnId, line: Bytes, at: Standing) -> Sent {
        let wire = self.wires.get(&id).copied().unwrap_or(Wire::Lines);
        io.send(id, at.form(line, wire))
    }

    /// Closes the connection of a member, in order.
    pub(super) fn close(&self, io: &mut Io<'_>, id: ConnId) {
        #[cfg(feature = "ws")]
        if self.wires.contains_key(&id) {
            let _ = io.send(id, crate::ws::close_frame(crate::ws::CloseCode::NORMAL, ""));
        }
        io.close(id);
    }
}

/// Sends a message to a group, if there is anybody in it.
fn say_to(io: &mut Io<'_>, group: GroupId, except: Option<ConnId>, message: impl FnOnce() -> Bytes) -> Tally {
    if io.members(group).is_empty() {
        return Tally::default();
    }
    io.broadcast(group, &message(), except)
}

/// A line as a message of a WebSocket.
#[cfg(feature = "ws")]
fn message(line: &str) -> Bytes {
    crate::ws::text_frame(line.strip_suffix('\n').unwrap_or(line))
}

/// Without WebSockets there are no members who would get one.
#[cfg(not(feature = "ws"))]
fn message(line: &str) -> Bytes {
    Bytes::copy_from_slice(line.as_bytes())
}
