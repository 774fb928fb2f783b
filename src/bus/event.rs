//! `BusEvent`: what a bus has to tell its handler.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{BusError, PublishError};
use super::position::Position;

/// The name of one node: of one [`Bus`](super::Bus), for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u64);

impl fmt::Display for NodeId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of something that a handler asked a bus for, and that is answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusToken(pub(super) u64);

/// A message of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The room.
    pub room: Arc<str>,
    /// Its place in the order of the room. `None` for a message that went to the members
    /// on this node alone ([`Offline::ServeOwn`](super::Offline::ServeOwn)).
    pub position: Option<Position>,
    /// The node that published it.
    pub node: NodeId,
    /// The bytes that were published.
    pub payload: Bytes,
}

/// Messages that are missing: those behind `from`, up to `to`. The next message is the
/// one behind `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The room.
    pub room: Arc<str>,
    /// The last message before the gap.
    pub from: Position,
    /// The last message in the gap.
    pub to: Position,
    /// The reason.
    pub why: GapReason,
}

impl Gap {
    /// How many messages are missing; `None` if nobody knows, which may be none.
    #[must_use]
    pub fn missing(&self) -> Option<u64> {
        (self.from.epoch == self.to.epoch && self.why != GapReason::OrderLost)
            .then(|| self.to.offset.saturating_sub(self.from.offset))
    }
}

/// The reason for a [`Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapReason {
    /// Redis has dropped messages that were too old
    /// ([`BusLimits::history`](super::BusLimits::history)), or lost its log.
    Trimmed,
    /// Redis was restarted, or another one has taken its place: it may have lost the
    /// last messages before that. One that was lost and is sent again may come twice to a
    /// client that [resumes](super::Bus::resume) from before it.
    Restarted,
    /// Redis has lost the room, or the position is of a time that it does not remember.
    /// What the room has had since then follows. A message that was lost and is sent again
    /// may come twice to a client that resumes, as with [`Restarted`](Self::Restarted).
    Forgotten,
    /// A message is longer than
    /// [`BusLimits::max_payload`](super::BusLimits::max_payload) of this node.
    TooLong,
    /// The bus is down, and messages go to the members on this node alone
    /// ([`Offline::ServeOwn`](super::Offline::ServeOwn)): the order of the room is lost.
    /// The messages of others come when the bus is up again.
    OrderLost,
}

/// A step of [`Bus::resume`](super::Bus::resume).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// A message that was missed.
    Message(Message),
    /// Messages that were missed and cannot be had.
    Gap(Gap),
    /// That was all: whoever [joins](super::Bus::join) the room now gets all that
    /// follows, and nothing twice. There is no further step.
    Done(Position),
    /// The bus has ended before that. There is no further step.
    Failed,
}

/// A change of the members that a room lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The room.
    pub room: Arc<str>,
    /// The name of the member, unique in the room over all nodes.
    pub member: Arc<str>,
    /// The value that it was entered with.
    pub value: Bytes,
    /// The node that it is on.
    pub node: NodeId,
    /// What has become of it.
    pub change: PresenceChange,
}

/// What has become of a member of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PresenceChange {
    /// It is listed, or has another value.
    Joined,
    /// It has left, or its node has ended in order.
    Left,
    /// Its node has not been heard of for as long as
    /// [`BusLimits::presence_ttl`](super::BusLimits::presence_ttl) allows, or Redis has
    /// lost it.
    Unlisted,
}

/// The reason for which a member is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnterError {
    /// A member of another node has the name.
    Taken,
    /// The room lists [`BusLimits::max_members`](super::BusLimits::max_members) already.
    Full,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "a member of another node has the name",
            Self::Full => "the room lists as many members as BusLimits::max_members",
        })
    }
}

impl std::error::Error for EnterError {}

/// What a [`Bus`](super::Bus) has to tell. [`OnBus`](super::OnBus) takes these and calls
/// a [`BusHandler`](super::BusHandler) for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// The bus has a Redis, and takes messages.
    Up,
    /// It has none; once for each time.
    Down(BusError),
    /// A message of a room.
    Message(Message),
    /// Messages are missing, before the next one of the room.
    Gap(Gap),
    /// The answer to [`Bus::publish`](super::Bus::publish).
    Published {
        /// What `publish` has returned.
        token: BusToken,
        /// The place of the message.
        outcome: Result<Position, PublishError>,
    },
    /// A step of [`Bus::resume`](super::Bus::resume).
    Resume {
        /// The room.
        room: Arc<str>,
        /// What `resume` has returned.
        token: BusToken,
        /// The step.
        step: Resume,
    },
    /// The answer to [`Bus::enter`](super::Bus::enter); again with an error if the member
    /// has lost its place.
    Entered {
        /// The room.
        room: Arc<str>,
        /// The member.
        member: Arc<str>,
        /// Whether it is listed.
        outcome: Result<(), EnterError>,
    },
    /// A change of the members of a room.
    Presence(Presence),
}
