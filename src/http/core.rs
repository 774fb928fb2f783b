//! `HttpCore`: what all connections of an HTTP service share, and the way of
//! answers to them.

use std::net::SocketAddr;

use bytes::Bytes;

use super::encode::{self, Encoder};
use super::limits::HttpLimits;
use super::pipeline::{Exchange, Pipelines, Ticket};
use super::source::{Delimiter, Pumped, Source};
use crate::{ConnId, Io, Sent};

/// What all connections of an HTTP service share.
#[derive(Debug)]
pub(super) struct HttpCore {
    pub(super) limits: HttpLimits,
    pub(super) encoder: Encoder,
    pub(super) pipelines: Pipelines,
    /// Streams whose handler waits, and may go on.
    pub(super) wakes: Vec<Ticket>,
    /// The peer of the connection whose callback runs.
    pub(super) peer: Option<(ConnId, SocketAddr)>,
    #[cfg(feature = "ws")]
    pub(super) sockets: super::sockets::Sockets,
}

/// The request that a callback is about, until it is answered or deferred.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) conn: ConnId,
    pub(super) exchange: Exchange,
    /// It asks for another protocol, has no body, and nothing is before it.
    pub(super) may_upgrade: bool,
    /// The place of the connection's line.
    pub(super) line: Option<u32>,
    pub(super) state: Answered,
}

/// Whether a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Not,
    /// The answer is written, or in the line.
    Yes,
    /// The answer, or its rest, is to come.
    Later(Ticket),
    /// The connection speaks another protocol from now on.
    Upgraded(Protocol),
}

/// What a connection speaks after an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The handler's own.
    Raw,
    #[cfg(feature = "ws")]
    WebSocket(crate::ws::SocketLimits),
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// To the request of the callback.
    Current,
    Ticket(Ticket),
    /// Nowhere: there is no such request, or it has its answer.
    Nowhere,
}

impl HttpCore {
    pub(super) fn new(limits: HttpLimits) -> Self {
        Self {
            limits,
            encoder: Encoder::new(),
            pipelines: Pipelines::default(),
            wakes: Vec::new(),
            peer: None,
            #[cfg(feature = "ws")]
            sockets: super::sockets::Sockets::default(),
        }
    }

    /// Puts the current request into its line, to be answered later.
    pub(super) fn defer(&mut self, io: &mut Io<'_>, current: &mut Current, source: Source) -> Ticket {
        let ticket = self.pipelines.push(&mut current.line, current.conn, current.exchange, source);
        io.set_busy(current.conn, true);
        current.state = Answered::Later(ticket);
        ticket
    }

    /// Delivers the answer that the encoder holds, and then its rest.
    pub(super) fn deliver(
        &mut self,
        io: &mut Io<'_>,
        current: Option<&mut Current>,
        to: To,
        rest: Source,
    ) -> (Sent, Option<Ticket>) {
        let delivered = match (to, current) {
            (To::Current, Some(current)) => self.deliver_current(io, current, rest),
            (To::Ticket(ticket), _) => (self.deliver_later(io, ticket, rest), Some(ticket)),
            _ => (Sent::Gone, None),
        };
        self.encoder.clear();
        delivered
    }

    fn deliver_current(
        &mut self,
        io: &mut Io<'_>,
        current: &mut Current,
        rest: Source,
    ) -> (Sent, Option<Ticket>) {
        let is_first = self.pipelines.line(current.line, current.conn).is_none();
        if is_first && matches!(rest, Source::Done) {
            io.reply(&self.encoder.out);
            current.state = Answered::Yes;
            return (Sent::Queued, None);
        }
        let ticket = self.defer(io, current, Source::Waiting);
        let is_whole = matches!(rest, Source::Done);
        let sent = self.deliver_later(io, ticket, rest);
        if is_whole {
            current.state = Answered::Yes;
        }
        (sent, Some(ticket))
    }

    fn deliver_later(&mut self, io: &mut Io<'_>, ticket: Ticket, rest: Source) -> Sent {
        let Some((before, slot)) = self.pipelines.find(ticket) else { return Sent::Gone };
        slot.source = rest;
        if before > 0 {
            slot.held.push_back(Bytes::copy_from_slice(&self.encoder.out));
            return self.hold(io, ticket);
        }
        let sent = send(io, ticket.conn, &self.encoder.out);
        if !keeps_whole(io, ticket.conn, sent) {
            return sent;
        }
        self.advance(io, ticket.line, ticket.conn);
        sent
    }

    /// The answer to bytes that are held for an answer before them. More than the
    /// hard mark ends the connection, as it would in the queue.
    fn hold(&mut self, io: &mut Io<'_>, ticket: Ticket) -> Sent {
        let Some(line) = self.pipelines.line(Some(ticket.line), ticket.conn) else { return Sent::Gone };
        let held: usize = line.slots.iter().map(super::pipeline::Slot::held_bytes).sum();
        let (high, hard) = (io.limits().high_mark, io.limits().hard_mark);
        if held > hard {
            log::warn!(
                "{held} bytes of answers wait for an earlier one on connection {}, Limits::hard_mark is {hard}; \
                 answer in order, or lower HttpLimits::max_pipelined",
                ticket.conn
            );
            io.abort(ticket.conn);
            return Sent::Dropped;
        }
        let Some((_, slot)) = self.pipelines.find(ticket) else { return Sent::Gone };
        slot.is_full = held > high && matches!(slot.source, Source::Handler(_));
        if slot.is_full { Sent::Full } else { Sent::Queued }
    }

    /// Writes a piece of a stream.
    pub(super) fn write_body(&mut self, io: &mut Io<'_>, ticket: Ticket, data: Bytes) -> Sent {
        let Some((before, slot)) = self.pipelines.find(ticket) else { return Sent::Gone };
        let Source::Handler(delimiter) = &mut slot.source else { return Sent::Gone };
        if data.is_empty() {
            return if slot.is_full { Sent::Full } else { Sent::Queued };
        }
        let is_chunked = match delimiter {
            Delimiter::Length(left) if data.len() as u64 > *left => {
                log::error!(
                    "a handler writes more than the {left} bytes that are left of the length it gave"
                );
                io.abort(ticket.conn);
                return Sent::Gone;
            }
            Delimiter::Length(left) => {
                *left -= data.len() as u64;
                false
            }
            Delimiter::Chunked => true,
            Delimiter::Close | Delimiter::Shutdown => false,
        };
        let out = &mut self.encoder.out;
        out.clear();
        if is_chunked {
            encode::chunk_size(out, data.len());
        }
        // A long piece goes as it is, a short one together with what is around it.
        let pieces = if data.len() >= LONG {
            let front = Bytes::copy_from_slice(out);
            let end = if is_chunked { Bytes::from_static(b"\r\n") } else { Bytes::new() };
            [front, data, end]
        } else {
            out.extend_from_slice(&data);
            if is_chunked {
                out.extend_from_slice(b"\r\n");
            }
            [Bytes::copy_from_slice(out), Bytes::new(), Bytes::new()]
        };
        self.encoder.clear();
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        if before > 0 {
            slot.held.extend(pieces);
            return self.hold(io, ticket);
        }
        let mut sent = Sent::Queued;
        for piece in pieces {
            sent = io.send(ticket.conn, piece);
            if !keeps_whole(io, ticket.conn, sent) {
                return sent;
            }
        }
        slot.is_full = sent == Sent::Full;
        sent
    }

    /// Ends a stream.
    pub(super) fn end_body(&mut self, io: &mut Io<'_>, ticket: Ticket) {
        let Some((before, slot)) = self.pipelines.find(ticket) else { return };
        let Source::Handler(delimiter) = slot.source else { return };
        if let Delimiter::Length(left @ 1..) = delimiter {
            log::error!("a handler ends a body {left} bytes before the length that it gave");
            return io.abort(ticket.conn);
        }
        slot.source = Source::Done;
        let last = if delimiter == Delimiter::Chunked { encode::LAST_CHUNK } else { b"" };
        if before > 0 {
            slot.held.push_back(Bytes::from_static(last));
            _ = self.hold(io, ticket);
            return;
        }
        let sent = io.send(ticket.conn, Bytes::from_static(last));
        if keeps_whole(io, ticket.conn, sent) {
            self.advance(io, ticket.line, ticket.conn);
        }
    }

    /// Sends what may be sent of a line, from its front on.
    pub(super) fn advance(&mut self, io: &mut Io<'_>, place: u32, conn: ConnId) {
        while let Some(slot) = self.pipelines.front(place, conn).filter(|_| !io.is_full(conn)) {
            if let Some(held) = slot.held.pop_front() {
                let sent = io.send(conn, held);
                if !keeps_whole(io, conn, sent) {
                    return;
                }
                continue;
            }
            if let Some(group) = slot.group.take()
                && let Err(error) = io.join(group, conn)
            {
                log::warn!("connection {conn} joins no further group: {error}");
            }
            match slot.source.pump(io, conn) {
                Pumped::All => {
                    let keep_alive = slot.exchange.keep_alive;
                    self.pipelines.pop(place, conn);
                    if !keep_alive {
                        return io.close(conn);
                    }
                }
                Pumped::NotOurs => {
                    if slot.source.is_endless() && io.is_shutting_down() {
                        return io.close(conn);
                    }
                    if matches!(slot.source, Source::Handler(_)) && std::mem::take(&mut slot.is_full) {
                        self.wakes.push(Ticket { conn, line: place, number: slot.number });
                    }
                    break;
                }
                Pumped::Full => break,
                Pumped::Over => return,
                Pumped::Broken => return io.abort(conn),
            }
        }
        let Some(line) = self.pipelines.line_mut(Some(place), conn) else { return };
        let is_short = line.slots.len() < self.limits.max_pipelined;
        let (is_empty, has_ended) = (line.slots.is_empty(), line.has_ended);
        let resumes = line.is_paused && (is_empty || is_short);
        line.is_paused &= !resumes;
        if is_empty {
            self.pipelines.remove(Some(place), conn);
            io.set_busy(conn, false);
            if has_ended {
                return io.close(conn);
            }
        }
        if resumes {
            io.resume(conn);
        }
    }

    /// Stops reading a connection until its line is shorter. False if there is
    /// none.
    pub(super) fn pause(&mut self, io: &mut Io<'_>, place: Option<u32>) -> bool {
        let id = io.id();
        let Some(line) = self.pipelines.line_mut(place, id) else { return false };
        line.is_paused = true;
        io.pause(id);
        true
    }
}

/// The length from which a piece of a stream is not copied.
const LONG: usize = 16 << 10;

/// Whether the output of a connection is whole after a part of it was sent. One that has
/// no room for the part is aborted, for what follows would be taken for it; one that is
/// closing already sends no more answers, and ends as it would have.
fn keeps_whole(io: &mut Io<'_>, conn: ConnId, sent: Sent) -> bool {
    if sent == Sent::Dropped {
        io.abort(conn);
    }
    sent.is_queued()
}

/// Sends a copy, to the connection of the callback without an allocation.
fn send(io: &mut Io<'_>, to: ConnId, data: &[u8]) -> Sent {
    if to == io.id() { io.write(data) } else { io.send(to, Bytes::copy_from_slice(data)) }
}
