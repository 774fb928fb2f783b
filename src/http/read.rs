//! Reading: from the bytes of a connection to the requests that its handler is
//! given.

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;

use super::chunked::{BodyDecoder, Part};
use super::core::{Answered, Current, HttpCore, Protocol};
use super::encode;
use super::handler::{Body, HttpHandler};
use super::head::{BodyLength, Head, Room};
use super::io::HttpIo;
use super::pipeline::{Exchange, Ticket};
use super::refusal::Refusal;
use super::request::Request;
use super::server::Http;
use super::session::{BodyTo, HttpConn, HttpSession, Incoming, State};
use super::source::Source;
use crate::{AfterEof, BoxError, Io};

/// What follows a step.
enum Then {
    /// The next step: there may be another request.
    Next,
    /// More input is needed, or the connection is paused.
    Wait,
    /// Nothing of the input counts any more.
    Over,
    /// The rest is in another protocol.
    Upgrade(Protocol),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BoxError> for Stop {
    fn from(error: BoxError) -> Self {
        Self::Failed(error)
    }
}

/// Why a request goes no further.
enum Stop {
    Refused(Refusal),
    Failed(BoxError),
}

impl<H: HttpHandler> Http<H> {
    /// Takes all that has come.
    pub(super) fn read(
        &mut self,
        io: &mut Io<'_>,
        session: &mut HttpSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        let id = io.id();
        self.core.peer = session.peer.get().map(|peer| (io.id(), peer));
        loop {
            let then = match &mut session.state {
                State::Raw => return self.with(io, |handler, io| handler.raw_data(io, input)),
                #[cfg(feature = "ws")]
                State::Socket(socket) => return self.read_socket(io, socket, input),
                #[cfg(feature = "ws")]
                State::Dialing(dialed) => match self.read_handshake(io, dialed, input)? {
                    Some(socket) => {
                        session.state = State::Socket(socket);
                        Then::Next
                    }
                    None => return Ok(()),
                },
                State::Http(conn) => match self.step(io, conn, input) {
                    Ok(then) => then,
                    Err(Stop::Failed(error)) => return Err(error),
                    Err(Stop::Refused(refusal)) => {
                        self.refuse(io, conn, refusal);
                        Then::Over
                    }
                },
            };
            match then {
                Then::Next => {}
                Then::Wait => break,
                Then::Over => {
                    input.clear();
                    if let State::Http(conn) = &mut session.state {
                        conn.deadline.clear();
                        conn.is_over = true;
                    }
                    return Ok(());
                }
                Then::Upgrade(Protocol::Raw) => session.state = State::Raw,
                #[cfg(feature = "ws")]
                Then::Upgrade(Protocol::WebSocket(limits)) => {
                    session.state = State::Socket(self.open_socket(io, crate::ws::Role::Server, limits)?);
                }
            }
            if !io.is_open(id) {
                input.clear();
                return Ok(());
            }
            if io.is_paused(id) {
                break;
            }
        }
        if let State::Http(conn) = &mut session.state {
            let has_begun = !input.is_empty() || conn.incoming.is_some();
            let waits = has_begun && !io.is_paused(id);
            conn.deadline.watch(io, waits, self.core.limits.request)?;
        }
        Ok(())
    }

    /// Takes the rest of a body, or the next request.
    fn step(&mut self, io: &mut Io<'_>, conn: &mut HttpConn, input: &mut BytesMut) -> Result<Then, Stop> {
        if conn.is_over {
            return Ok(Then::Over);
        }
        if conn.incoming.is_some() {
            return self.take_body(io, conn, input);
        }
        if input.is_empty() {
            return Ok(Then::Wait);
        }
        let waiting = self.core.pipelines.waiting(conn.line, io.id());
        if waiting > 0 && self.core.pipelines.has_last(conn.line, io.id()) {
            // RFC 9112, 9.6: behind an answer that says so, no request is taken.
            return Ok(Then::Over);
        }
        // In a shutdown the next request is taken when no other one waits: it is the last.
        if waiting >= self.core.limits.max_pipelined || waiting > 0 && io.is_shutting_down() {
            self.core.pause(io, conn.line);
            return Ok(Then::Wait);
        }
        let Some(end) = conn.scan.end(input, &self.core.limits)? else { return Ok(Then::Wait) };
        let mut room = Room::new();
        let head = Head::parse(&input[..end], &mut room, &self.core.limits)?;
        let framing = head.framing;
        // What decides about the rest of the stream waits for all before it.
        if waiting > 0 && (framing.upgrade || framing.expects_continue) {
            self.core.pause(io, conn.line);
            return Ok(Then::Wait);
        }
        conn.deadline.clear();
        let exchange = Exchange {
            is_head: head.method == http::Method::HEAD,
            is_1_1: head.version == http::Version::HTTP_11,
            keep_alive: framing.keep_alive,
        };
        let length = match framing.body {
            BodyLength::Known(0) => {
                let may_upgrade = framing.upgrade;
                let request = Request::new(head, &[]);
                let then = self.deliver(io, conn, exchange, may_upgrade, &request)?;
                input.advance(end);
                return Ok(then);
            }
            length => length,
        };
        let request = Request::new(head, &[]);
        let Some(how) = self.ask(io, conn, exchange, &request)? else { return Ok(Then::Over) };
        let to = match (how, length) {
            (Body::WithLength, BodyLength::Chunked) => return Err(Refusal::NO_LENGTH.into()),
            (Body::Pieces, _) => {
                let ticket = self.begin(io, conn, exchange, &request)?;
                BodyTo::Handler(ticket)
            }
            (Body::Whole | Body::WithLength, BodyLength::Known(length)) => {
                let most = self.core.limits.max_body;
                let length = usize::try_from(length).ok().filter(|length| *length <= most);
                let length = length.ok_or(Refusal::BODY_TOO_LONG)?;
                if let Some(body) = input.get(end..end + length) {
                    let request = Request::new(request.into_head(), body);
                    let then = self.deliver(io, conn, exchange, false, &request)?;
                    input.advance(end + length);
                    return Ok(then);
                }
                BodyTo::Here { head: Bytes::copy_from_slice(&input[..end]), body: Vec::new() }
            }
            (Body::Whole, BodyLength::Chunked) => {
                BodyTo::Here { head: Bytes::copy_from_slice(&input[..end]), body: Vec::new() }
            }
        };
        conn.incoming = Some(Box::new(Incoming { decoder: BodyDecoder::new(length), exchange, to }));
        input.advance(end);
        io.set_busy(io.id(), true);
        if framing.expects_continue && input.is_empty() {
            io.reply(encode::CONTINUE);
        }
        Ok(Then::Next)
    }

    /// Asks the handler how it takes the body of a request; `None` if it does not.
    fn ask(
        &mut self,
        io: &mut Io<'_>,
        conn: &mut HttpConn,
        exchange: Exchange,
        request: &Request<'_>,
    ) -> Result<Option<Body>, BoxError> {
        // An answer now refuses the body, which the next request would follow.
        let refusing = Exchange { keep_alive: false, ..exchange };
        let mut current = Current::new(io.id(), refusing, conn.line);
        let mut http = HttpIo { io, core: &mut self.core, current: Some(&mut current) };
        let how = self.handler.body(&mut http, request);
        conn.line = current.line;
        let how = how.map_err(|error| self.core.fail(io, conn, &mut current, error))?;
        match current.state {
            Answered::Not => Ok(Some(how)),
            Answered::Yes if self.core.pipelines.waiting(conn.line, io.id()) == 0 => {
                io.close(io.id());
                Ok(None)
            }
            Answered::Yes | Answered::Later(_) | Answered::Upgraded(_) => Ok(None),
        }
    }

    /// Begins a request whose body is taken in pieces.
    fn begin(
        &mut self,
        io: &mut Io<'_>,
        conn: &mut HttpConn,
        exchange: Exchange,
        request: &Request<'_>,
    ) -> Result<Ticket, BoxError> {
        let mut current = Current::new(io.id(), exchange, conn.line);
        let ticket = self.core.defer(io, &mut current, Source::Waiting);
        conn.line = current.line;
        self.handler.begin(&mut HttpIo { io, core: &mut self.core, current: None }, ticket, request)?;
        Ok(ticket)
    }

    /// Hands a whole request over.
    fn deliver(
        &mut self,
        io: &mut Io<'_>,
        conn: &mut HttpConn,
        exchange: Exchange,
        may_upgrade: bool,
        request: &Request<'_>,
    ) -> Result<Then, BoxError> {
        let mut current = Current { may_upgrade, ..Current::new(io.id(), exchange, conn.line) };
        let mut http = HttpIo { io, core: &mut self.core, current: Some(&mut current) };
        let outcome = self.handler.request(&mut http, request);
        if outcome.is_ok() && current.state == Answered::Not {
            log::error!("{} {} was neither answered nor deferred", request.method(), request.path());
            let mut http = HttpIo { io, core: &mut self.core, current: Some(&mut current) };
            let _ = http.answer(StatusCode::INTERNAL_SERVER_ERROR).text("the request was not answered\n");
        }
        conn.line = current.line;
        outcome.map_err(|error| self.core.fail(io, conn, &mut current, error))?;
        if let Answered::Upgraded(protocol) = current.state {
            return Ok(Then::Upgrade(protocol));
        }
        if current.exchange.keep_alive {
            return Ok(Then::Next);
        }
        // Its answer is the last: it ends the connection, now or when it is sent.
        if self.core.pipelines.waiting(conn.line, io.id()) == 0 {
            io.close(io.id());
        }
        Ok(Then::Over)
    }

    /// Takes what has come of a body.
    fn take_body(
        &mut self,
        io: &mut Io<'_>,
        conn: &mut HttpConn,
        input: &mut BytesMut,
    ) -> Result<Then, Stop> {
        let HttpConn { incoming, deadline, .. } = conn;
        let Some(incoming) = incoming.as_deref_mut() else { return Ok(Then::Next) };
        let mut rest = &input[..];
        let has_ended = loop {
            match incoming.decoder.next(&mut rest, &self.core.limits)? {
                Part::End => break true,
                Part::Incomplete => break false,
                Part::Data(data) => match &mut incoming.to {
                    BodyTo::Here { body, .. } => {
                        if body.len() + data.len() > self.core.limits.max_body {
                            return Err(Refusal::BODY_TOO_LONG.into());
                        }
                        body.extend_from_slice(data);
                    }
                    BodyTo::Handler(ticket) => {
                        let mut http = HttpIo { io, core: &mut self.core, current: None };
                        self.handler.piece(&mut http, *ticket, data)?;
                        deadline.clear();
                        if io.is_paused(io.id()) || !io.is_open(io.id()) {
                            break false;
                        }
                    }
                },
            }
        };
        let taken = input.len() - rest.len();
        input.advance(taken);
        if !has_ended {
            return Ok(Then::Wait);
        }
        deadline.clear();
        let Some(incoming) = conn.incoming.take() else { return Ok(Then::Next) };
        let is_answered = self.core.pipelines.waiting(conn.line, io.id()) == 0;
        io.set_busy(io.id(), !is_answered);
        let exchange = incoming.exchange;
        match incoming.to {
            BodyTo::Here { head, body } => {
                let mut room = Room::new();
                let head = Head::parse(&head, &mut room, &self.core.limits)?;
                Ok(self.deliver(io, conn, exchange, false, &Request::new(head, &body))?)
            }
            BodyTo::Handler(ticket) => {
                self.handler.body_end(&mut HttpIo { io, core: &mut self.core, current: None }, ticket)?;
                Ok(if exchange.keep_alive { Then::Next } else { Then::Over })
            }
        }
    }

    /// Answers with a refusal: to the request whose body goes to the handler in
    /// pieces, which learns that there is no more of it; or else behind all other
    /// answers. The connection ends behind it.
    pub(super) fn refuse(&mut self, io: &mut Io<'_>, conn: &mut HttpConn, refusal: Refusal) {
        conn.is_over = true;
        let Some(Incoming { to: BodyTo::Handler(ticket), .. }) =
            conn.incoming.take().map(|incoming| *incoming)
        else {
            return self.core.refuse(io, conn, refusal);
        };
        match self.core.pipelines.find(ticket).map(|(_, slot)| &slot.source) {
            None => self.core.refuse(io, conn, refusal),
            Some(Source::Waiting) => {
                let mut http = HttpIo { io, core: &mut self.core, current: None };
                self.handler.gone(&mut http, ticket);
                let _ = http.answer_to(ticket, refusal.status).close().text(format!("{}\n", refusal.reason));
            }
            // Its answer is on the way, and cannot say so any more.
            Some(_) => io.abort(io.id()),
        }
    }

    /// Answers a request that has begun with a refusal, as the last word of a
    /// connection that is closing already; not if other answers, which are lost, would
    /// have to come before.
    pub(super) fn refuse_at_end(&mut self, io: &mut Io<'_>, conn: &mut HttpConn, refusal: Refusal) {
        let waiting = self.core.pipelines.waiting(conn.line, io.id());
        let (has_begun, own) = match conn.incoming.as_deref() {
            Some(Incoming { to: BodyTo::Handler(_), .. }) => (true, 1),
            Some(Incoming { to: BodyTo::Here { .. }, .. }) => (true, 0),
            None => (conn.scan.has_begun(), 0),
        };
        if has_begun && !conn.is_over && waiting <= own {
            self.refuse(io, conn, refusal);
        }
    }

    /// Learns that no further request comes.
    pub(super) fn end_of_requests(
        &mut self,
        io: &mut Io<'_>,
        conn: &mut HttpConn,
        rest: &BytesMut,
    ) -> AfterEof {
        if (!rest.is_empty() || conn.incoming.is_some()) && !conn.is_over {
            self.refuse(io, conn, Refusal::bad("the stream ended within a request"));
        }
        conn.is_over = true;
        conn.deadline.clear();
        match self.core.pipelines.line_mut(conn.line, io.id()) {
            Some(line) => {
                line.has_ended = true;
                AfterEof::Stay
            }
            None => AfterEof::Finish,
        }
    }
}

impl Current {
    const fn new(conn: crate::ConnId, exchange: Exchange, line: Option<u32>) -> Self {
        Self { conn, exchange, may_upgrade: false, line, state: Answered::Not }
    }
}

impl HttpCore {
    /// Answers with a refusal, behind all answers that are still to come, and ends
    /// the connection.
    pub(super) fn refuse(&mut self, io: &mut Io<'_>, conn: &mut HttpConn, refusal: Refusal) {
        let exchange = Exchange { is_head: false, is_1_1: true, keep_alive: false };
        let mut current = Current::new(io.id(), exchange, conn.line);
        let mut http = HttpIo { io, core: self, current: Some(&mut current) };
        let _ = http.answer(refusal.status).text(format!("{}\n", refusal.reason));
        conn.line = current.line;
        if self.pipelines.waiting(conn.line, io.id()) == 0 {
            io.close(io.id());
        }
    }

    /// Answers a request whose handler failed, if it has no answer yet. Returns
    /// the error.
    fn fail(
        &mut self,
        io: &mut Io<'_>,
        conn: &mut HttpConn,
        current: &mut Current,
        error: BoxError,
    ) -> BoxError {
        if matches!(current.state, Answered::Not) {
            current.exchange.keep_alive = false;
            let mut http = HttpIo { io, core: self, current: Some(current) };
            let _ = http.answer(StatusCode::INTERNAL_SERVER_ERROR).text("the request failed\n");
            conn.line = current.line;
        }
        error
    }
}
