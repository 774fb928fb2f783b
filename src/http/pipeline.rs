//! `Pipelines`: the requests that wait for their answers, and the answers that
//! wait for those before them.

use std::collections::VecDeque;

use bytes::Bytes;
use slab::Slab;

use super::source::Source;
use crate::{ConnId, GroupId};

/// A request that is not answered yet, or whose answer is not complete: for
/// answers that come later, from a timer, a child or a
/// [`Handle`](crate::Handle), and for answers in parts.
///
/// A ticket whose answer is complete, or whose connection is gone, is an
/// ordinary case: answering it is [`Sent::Gone`](crate::Sent::Gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) conn: ConnId,
    pub(super) line: u32,
    pub(super) number: u64,
}

impl Ticket {
    /// The connection that the request came on.
    #[must_use]
    pub const fn conn(self) -> ConnId {
        self.conn
    }
}

/// What the answer to a request depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The request was HEAD: its answer has no body.
    pub(super) is_head: bool,
    /// The client understands chunks.
    pub(super) is_1_1: bool,
    /// Another request may follow.
    pub(super) keep_alive: bool,
}

/// A request in its line.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) exchange: Exchange,
    pub(super) source: Source,
    /// Bytes of the answer that wait for the answers before it; of the first in
    /// the line none do.
    pub(super) held: VecDeque<Bytes>,
    /// The group that the connection joins when its turn comes.
    pub(super) group: Option<GroupId>,
    /// The handler was told that it is full, and waits.
    pub(super) is_full: bool,
}

impl Slot {
    pub(super) fn held_bytes(&self) -> usize {
        self.held.iter().map(Bytes::len).sum()
    }
}

/// The requests of one connection that are not answered yet, in order. There is
/// one at least.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) conn: ConnId,
    pub(super) slots: VecDeque<Slot>,
    /// The connection is paused until the line is shorter.
    pub(super) is_paused: bool,
    /// The peer has ended its side: the connection ends with the line.
    pub(super) has_ended: bool,
}

/// The lines of all connections that have one.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    lines: Slab<Line>,
    last_number: u64,
}

impl Pipelines {
    /// The line in a place, if it is still that of this connection.
    pub(super) fn line(&self, place: Option<u32>, conn: ConnId) -> Option<&Line> {
        self.lines.get(place? as usize).filter(|line| line.conn == conn)
    }

    pub(super) fn line_mut(&mut self, place: Option<u32>, conn: ConnId) -> Option<&mut Line> {
        self.lines.get_mut(place? as usize).filter(|line| line.conn == conn)
    }

    /// The requests of a connection that wait.
    pub(super) fn waiting(&self, place: Option<u32>, conn: ConnId) -> usize {
        self.line(place, conn).map_or(0, |line| line.slots.len())
    }

    /// Whether a connection ends behind an answer that is still to come.
    pub(super) fn has_last(&self, place: Option<u32>, conn: ConnId) -> bool {
        self.line(place, conn).is_some_and(|line| line.slots.iter().any(|slot| !slot.exchange.keep_alive))
    }

    /// Whether no request waits behind that of a ticket.
    pub(super) fn is_last(&self, ticket: Ticket) -> bool {
        let back = self.line(Some(ticket.line), ticket.conn).and_then(|line| line.slots.back());
        back.is_some_and(|slot| slot.number == ticket.number)
    }

    /// Puts a request at the end of its connection's line.
    pub(super) fn push(
        &mut self,
        place: &mut Option<u32>,
        conn: ConnId,
        exchange: Exchange,
        source: Source,
    ) -> Ticket {
        if self.line(*place, conn).is_none() {
            let line = Line { conn, slots: VecDeque::with_capacity(1), is_paused: false, has_ended: false };
            *place = u32::try_from(self.lines.insert(line)).ok();
        }
        self.last_number += 1;
        let number = self.last_number;
        let slot = Slot { number, exchange, source, held: VecDeque::new(), group: None, is_full: false };
        if let Some(line) = self.line_mut(*place, conn) {
            line.slots.push_back(slot);
        }
        Ticket { conn, line: place.unwrap_or(u32::MAX), number }
    }

    /// The request of a ticket, and how many are before it.
    pub(super) fn find(&mut self, ticket: Ticket) -> Option<(usize, &mut Slot)> {
        let line = self.line_mut(Some(ticket.line), ticket.conn)?;
        line.slots.iter_mut().enumerate().find(|(_, slot)| slot.number == ticket.number)
    }

    /// The first request of a line.
    pub(super) fn front(&mut self, place: u32, conn: ConnId) -> Option<&mut Slot> {
        self.line_mut(Some(place), conn)?.slots.front_mut()
    }

    /// Takes the first request of a line away.
    pub(super) fn pop(&mut self, place: u32, conn: ConnId) -> Option<Slot> {
        self.line_mut(Some(place), conn)?.slots.pop_front()
    }

    /// Takes a whole line away.
    pub(super) fn remove(&mut self, place: Option<u32>, conn: ConnId) -> Option<Line> {
        self.line(place, conn)?;
        self.lines.try_remove(place? as usize)
    }

    /// The connections that send a stream which only a shutdown ends.
    pub(super) fn endless(&self) -> impl Iterator<Item = ConnId> {
        let is_endless = |line: &&Line| line.slots.front().is_some_and(|slot| slot.source.is_endless());
        self.lines.iter().map(|(_, line)| line).filter(is_endless).map(|line| line.conn)
    }
}
