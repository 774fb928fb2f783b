//! `HttpIo`: what a callback of an HTTP service can do, beside what every
//! callback can.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::StatusCode;

use super::core::{Answered, Current, HttpCore, Protocol, To};
use super::pipeline::Ticket;
use super::request::Request;
use super::source::Source;
use crate::{ConnId, GroupId, Io, Sent};

/// What a callback of an [`HttpHandler`](super::HttpHandler) can do: answer, now
/// or later, and all that an [`Io`] offers, to which it dereferences.
///
/// Timers, groups, other connections, children: `io.after(…)`, `io.broadcast(…)`.
/// Do not write bytes of your own ([`Io::write`], [`Io::reply`]) to a connection
/// that speaks HTTP, or WebSocket.
pub struct HttpIo<'a, 'io> {
    pub(super) io: &'a mut Io<'io>,
    pub(super) core: &'a mut HttpCore,
    pub(super) current: Option<&'a mut Current>,
}

impl fmt::Debug for HttpIo<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIo").field("io", &self.io).field("current", &self.current).finish_non_exhaustive()
    }
}

impl<'io> Deref for HttpIo<'_, 'io> {
    type Target = Io<'io>;

    fn deref(&self) -> &Self::Target {
        self.io
    }
}

impl DerefMut for HttpIo<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.io
    }
}

impl HttpIo<'_, '_> {
    /// The address of the client whose callback this is; `None` on a Unix socket,
    /// and in a callback that belongs to no connection. Behind a proxy it is the
    /// proxy's.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        let (conn, address) = self.core.peer?;
        (conn == self.io.id()).then_some(address)
    }

    /// As [`Io::pause`].
    pub fn pause(&mut self, id: ConnId) {
        self.io.pause(id);
    }

    /// As [`Io::resume`].
    pub fn resume(&mut self, id: ConnId) {
        self.io.resume(id);
    }

    /// As [`Io::abort`].
    pub fn abort(&mut self, id: ConnId) {
        self.io.abort(id);
    }

    /// As [`Io::join`].
    ///
    /// # Errors
    ///
    /// As [`Io::join`].
    pub fn join(&mut self, group: GroupId, id: ConnId) -> crate::Result<bool> {
        self.io.join(group, id)
    }

    /// As [`Io::leave`].
    pub fn leave(&mut self, group: GroupId, id: ConnId) -> bool {
        self.io.leave(group, id)
    }

    /// Where the answer to a deferred request goes.
    pub(super) fn to(&mut self, ticket: Ticket) -> To {
        let is_open =
            self.core.pipelines.find(ticket).is_some_and(|(_, slot)| matches!(slot.source, Source::Waiting));
        if is_open { To::Ticket(ticket) } else { To::Nowhere }
    }

    /// Keeps the request of this callback, to answer it later with
    /// [`answer_to`](Self::answer_to). Meanwhile the connection is
    /// [busy](Io::set_busy): a shutdown waits for the answer, and no idle deadline
    /// ends it. There is no other deadline: whoever defers has to answer.
    ///
    /// Requests behind it on the same connection are handed over too, up to
    /// [`HttpLimits::max_pipelined`](super::HttpLimits::max_pipelined), and their
    /// answers wait for this one.
    ///
    /// # Panics
    ///
    /// In a callback that is about no request, and for a request that is answered.
    pub fn defer(&mut self) -> Ticket {
        let current = self.current.as_deref_mut().expect("a callback with a request");
        match current.state {
            Answered::Not => self.core.defer(self.io, current, Source::Waiting),
            Answered::Later(ticket) => ticket,
            Answered::Yes | Answered::Upgraded(_) => panic!("the request has its answer already"),
        }
    }

    /// Writes a piece of a body that is streamed ([`Answer::stream`](super::Answer::stream),
    /// [`Answer::events`](super::Answer::events)). At [`Sent::Full`] stop, until
    /// [`HttpHandler::drained`](super::HttpHandler::drained). Long pieces (16 KiB
    /// or more) are not copied.
    ///
    /// [`Sent::Gone`] once the stream is over: ended, its connection gone, or
    /// never begun because the request was HEAD. More bytes than the length that
    /// was given abort the connection.
    pub fn write_body(&mut self, ticket: Ticket, data: impl Into<Bytes>) -> Sent {
        self.core.write_body(self.io, ticket, data.into())
    }

    /// Ends a body that is streamed. Fewer bytes than the length that was given
    /// abort the connection, so that the client does not take a part for the
    /// whole. A stream that is over already stays as it is: nothing is left to
    /// decide, so there is no [`Sent`].
    pub fn end_body(&mut self, ticket: Ticket) {
        self.core.end_body(self.io, ticket);
    }

    /// Puts the connection of a stream of events into a group, as soon as all
    /// answers before it are sent: then [`Io::broadcast`] of an
    /// [`Event::to_bytes`](super::Event::to_bytes) reaches it. False if the ticket
    /// is no stream any more.
    pub fn subscribe(&mut self, ticket: Ticket, group: GroupId) -> bool {
        let Some((_, slot)) = self.core.pipelines.find(ticket) else { return false };
        slot.group = Some(group);
        self.core.advance(self.io, ticket.line, ticket.conn);
        true
    }

    /// Switches the connection to another protocol (RFC 9110, 7.8): 101 with this
    /// name. What the client sends from now on comes to
    /// [`HttpHandler::raw_data`](super::HttpHandler::raw_data), and [`Io`] writes
    /// the answers.
    ///
    /// The request has to offer it; otherwise nothing is sent, and this is false.
    /// A request with a body cannot be upgraded.
    pub fn upgrade(&mut self, request: &Request<'_>, protocol: &str) -> bool {
        let offers = request.lists("upgrade", protocol) && super::encode::is_value(protocol.as_bytes());
        offers && self.switch(protocol, &[], Protocol::Raw)
    }

    /// Answers 101 with these fields, if the current request can be upgraded and
    /// has no answer yet.
    pub(super) fn switch(&mut self, protocol: &str, fields: &[(&str, &str)], to: Protocol) -> bool {
        let Some(current) = self.current.as_deref_mut() else { return false };
        if current.state != Answered::Not || !current.may_upgrade {
            return false;
        }
        let out = self.core.encoder.begin(self.io.now(), StatusCode::SWITCHING_PROTOCOLS);
        super::encode::field(out, b"connection", b"upgrade");
        super::encode::field(out, b"upgrade", protocol.as_bytes());
        for (name, value) in fields {
            super::encode::field(out, name.as_bytes(), value.as_bytes());
        }
        super::encode::end(out);
        self.io.reply(out);
        self.core.encoder.clear();
        current.state = Answered::Upgraded(to);
        true
    }
}
