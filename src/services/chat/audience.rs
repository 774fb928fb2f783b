//! `Audience`: the connections of a room's members, spoken to line by line or
//! message by message.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{BoxError, ConnId, GroupId, Io, Sent, Tally};

/// How a member is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Lines, each with its end.
    Lines,
    /// The messages of a WebSocket, each a line without its end.
    #[cfg(feature = "ws")]
    Socket,
}

/// The connections of all members.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// Those that are spoken to in lines.
    lines: GroupId,
    /// Those that are WebSockets.
    sockets: GroupId,
    are_sockets: BTreeSet<ConnId>,
}

impl Audience {
    /// Makes the groups, at the beginning of the service.
    pub(super) fn begin(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.lines = io.group()?;
        self.sockets = io.group()?;
        Ok(())
    }

    /// Puts the connection of a member among those that are spoken to; it leaves
    /// when it ends.
    pub(super) fn join(&self, io: &mut Io<'_>, id: ConnId, wire: Wire) -> Result<(), BoxError> {
        let group = match wire {
            Wire::Lines => self.lines,
            #[cfg(feature = "ws")]
            Wire::Socket => self.sockets,
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
        io.leave(self.lines, id);
        io.leave(self.sockets, id);
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.are_sockets.remove(&id);
    }

    /// The connections of all that are spoken to.
    pub(super) fn connections<'a>(&self, io: &'a Io<'_>) -> impl Iterator<Item = ConnId> + use<'a> {
        io.members(self.lines).iter().chain(io.members(self.sockets)).copied()
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self, io: &Io<'_>) -> bool {
        io.members(self.lines).is_empty() && io.members(self.sockets).is_empty()
    }

    /// Sends a line, given with its end, to all but `except`.
    pub(super) fn say(&self, io: &mut Io<'_>, line: String, except: Option<ConnId>) -> Tally {
        let to_sockets = self.say_to_sockets(io, &line, except);
        let mut tally = io.broadcast(self.lines, &Bytes::from(line), except);
        tally.queued += to_sockets.queued;
        tally.full += to_sockets.full;
        tally.dropped += to_sockets.dropped;
        tally.gone += to_sockets.gone;
        tally
    }

    fn say_to_sockets(&self, io: &mut Io<'_>, line: &str, except: Option<ConnId>) -> Tally {
        if io.members(self.sockets).is_empty() {
            return Tally::default();
        }
        io.broadcast(self.sockets, &message(line), except)
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

/// Without WebSockets there are no members who would get one.
#[cfg(not(feature = "ws"))]
fn message(line: &str) -> Bytes {
    Bytes::copy_from_slice(line.as_bytes())
}
