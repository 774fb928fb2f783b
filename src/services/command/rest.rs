//! The second parts of replies: they wait for their time, or for a word of
//! their client.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{ConnId, Io, TimerId};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Rests {
    /// By the order in which they began to wait.
    waiting: BTreeMap<u64, Rest>,
    /// When each has waited for long enough, if ever.
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
    /// Keeps one until it is taken by the number that this returns.
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

    /// Takes one, if it waits still.
    pub(super) fn take(&mut self, io: &mut Io<'_>, number: u64) -> Option<Bytes> {
        let Rest { payload, timer, .. } = self.waiting.remove(&number)?;
        self.bytes -= payload.len();
        if let Some(timer) = timer {
            self.timers.remove(&timer);
            io.cancel(timer);
        }
        Some(payload)
    }

    /// Whose time is over with this timer.
    pub(super) fn of(&self, timer: TimerId) -> Option<ConnId> {
        self.waiting.get(self.timers.get(&timer)?).map(|rest| rest.client)
    }

    /// Who has waited for longest, if all of them together are more than so
    /// many bytes, and there are others.
    pub(super) fn too_much(&self, bytes: usize) -> Option<ConnId> {
        let mut some = self.waiting.values().filter(|rest| !rest.payload.is_empty());
        let oldest = some.next().filter(|_| self.bytes > bytes)?;
        some.next().map(|_| oldest.client)
    }

    /// The bytes of all that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}
