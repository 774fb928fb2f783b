//! `Batch`: messages of one moment to one room, which go to Redis in one command.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::event::BusToken;
use super::limits::BusLimits;

/// A message on its way to Redis.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) token: BusToken,
    pub(super) payload: Bytes,
}

/// See the module. It has one message or more. From its first sending on it stays as it
/// is: Redis knows it by its number when it is sent again.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) room: Arc<str>,
    /// When its messages were published.
    pub(super) since: Instant,
    /// The number of its first message among those of this node, from its first sending
    /// on. Each further message has the next one.
    pub(super) number: Option<u64>,
    messages: Vec<Outgoing>,
    bytes: usize,
}

impl Batch {
    pub(super) fn new(room: Arc<str>, since: Instant, message: Outgoing) -> Self {
        let bytes = message.payload.len();
        Self { room, since, number: None, messages: vec![message], bytes }
    }

    /// Whether a message to this room at this moment may become a part of it.
    pub(super) fn admits(&self, room: &str, since: Instant, message: &Outgoing, limits: &BusLimits) -> bool {
        self.number.is_none()
            && *self.room == *room
            && self.since == since
            && self.messages.len() < limits.max_batch
            && self.bytes + message.payload.len() <= limits.max_payload
    }

    pub(super) fn push(&mut self, message: Outgoing) {
        self.bytes += message.payload.len();
        self.messages.push(message);
    }

    /// The number of its last message, from its first sending on.
    pub(super) fn last_number(&self) -> Option<u64> {
        self.number.map(|first| first + self.messages.len() as u64 - 1)
    }

    /// The bytes of all payloads.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = BusToken> {
        self.messages.iter().map(|message| message.token)
    }

    pub(super) fn payloads(&self) -> impl Iterator<Item = &Bytes> {
        self.messages.iter().map(|message| &message.payload)
    }
}
