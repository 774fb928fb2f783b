//! `Rests`: second parts of replies, which wait for their gap or for their
//! client's chunk.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{ConnId, Io, TimerId};

/// All waiting second parts.
#[derive(Debug, Default)]
pub(super) struct Rests {
    /// The parts, by numbers in the order in which they began to wait.
    waiting: BTreeMap<u64, Rest>,
    /// The timer of each part that has one.
    timers: BTreeMap<TimerId, u64>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Rest {
    client: ConnId,
    payload: Bytes,
    timer: Option<TimerId>,
}

impl Rests {
    /// Adds a part, and returns its number.
    pub(super) fn put(&mut self, client: ConnId, payload: Bytes, timer: Option<TimerId>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += payload.len();
        if let Some(timer) = timer {
            self.timers.insert(timer, number);
        }
        self.waiting.insert(number, Rest { client, payload, timer });
        number
    }

    /// Takes a part, if it still waits.
    pub(super) fn take(&mut self, io: &mut Io<'_>, number: u64) -> Option<Bytes> {
        let Rest { payload, timer, .. } = self.waiting.remove(&number)?;
        self.bytes -= payload.len();
        if let Some(timer) = timer {
            self.timers.remove(&timer);
            io.cancel(timer);
        }
        Some(payload)
    }

    /// The client whose part this timer ends.
    pub(super) fn of(&self, timer: TimerId) -> Option<ConnId> {
        self.waiting.get(self.timers.get(&timer)?).map(|rest| rest.client)
    }

    /// The client that has waited longest, if all parts together exceed
    /// `bytes`, and more than one waits.
    pub(super) fn too_much(&self, bytes: usize) -> Option<ConnId> {
        let mut some = self.waiting.values().filter(|rest| !rest.payload.is_empty());
        let oldest = some.next().filter(|_| self.bytes > bytes)?;
        some.next().map(|_| oldest.client)
    }

    /// The bytes of all waiting parts.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
