//! `Http`: a `StreamHandler` that parses requests, delivers them to an
//! `HttpHandler`, and keeps the order of its answers.

use std::io;

use bytes::BytesMut;

use super::core::HttpCore;
use super::date::{DateField, WallClock};
use super::handler::HttpHandler;
use super::io::HttpIo;
use super::limits::HttpLimits;
use super::pipeline::Ticket;
use super::refusal::Refusal;
use super::session::{HttpConn, HttpSession, PeerAddress, State};
use super::source::Source;
#[cfg(feature = "workers")]
use crate::JobError;
use crate::process::Exit;
#[cfg(feature = "ws")]
use crate::ws::CloseCode;
use crate::{
    AfterEof, BoxError, ChildId, CloseReason, Error, Io, Limits, ListenerId, Origin, Peer, StreamHandler,
    TimerId,
};

/// The adapter that makes a [`StreamHandler`] of an [`HttpHandler`].
///
/// ```
/// use serve_forever::http::{Http, HttpHandler, HttpIo, Request, StatusCode};
/// use serve_forever::{BoxError, Config, Reactor};
///
/// struct Hello;
///
/// impl HttpHandler for Hello {
///     fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
///         match (request.method().as_str(), request.path()) {
///             ("GET" | "HEAD", "/") => _ = io.answer(StatusCode::OK).text("hello\n"),
///             _ => _ = io.answer(StatusCode::NOT_FOUND).text("there is only /\n"),
///         }
///         Ok(())
///     }
/// }
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let hello = reactor.add(Http::new(Hello), Http::<Hello>::limits())?;
/// reactor.listen(&hello, &"127.0.0.1:0".parse()?)?;
/// # reactor.handle(&hello).shutdown(std::time::Duration::ZERO);
/// reactor.serve_forever()?;
/// # Ok::<(), serve_forever::Error>(())
/// ```
///
/// # What it does by itself
///
/// - A request that is malformed, too long or too slow is answered with a status
///   that says so (400, 408, 411, 413, 414, 417, 431, 501, 505) and a sentence; the
///   connection ends behind the answer, which is not lost. Nothing ambiguous is
///   guessed at: two lengths, a length and a transfer coding, a bare CR or LF, a
///   folded field, a space before a colon, a malformed chunk.
/// - Connections are kept as HTTP/1.0 and 1.1 say. Requests that were sent ahead
///   (pipelined) are delivered up to [`HttpLimits::max_pipelined`], and answered
///   in their order, whatever the order in which the handler answers them.
/// - A client that waits for `100 Continue` gets it once the handler has not
///   refused the body. Chunk extensions and trailers are checked and dropped.
/// - HEAD is handed over as any method; the body of its answer is left out.
/// - An answer of which the client takes nothing stops the reading of its next
///   requests.
///
/// It does not compress, and it is no proxy: CONNECT is answered with 501.
#[derive(Debug)]
pub struct Http<H> {
    pub(super) handler: H,
    pub(super) core: HttpCore,
}

impl<H> Http<H> {
    /// Makes an HTTP service of this handler, with [`HttpLimits::default`].
    #[must_use]
    pub fn new(handler: H) -> Self {
        Self { handler, core: HttpCore::new(HttpLimits::default()) }
    }

    /// Makes an HTTP service with these limits.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`] for a limit with which no request could be served.
    pub fn with_limits(handler: H, limits: HttpLimits) -> Result<Self, Error> {
        limits.check()?;
        Ok(Self { handler, core: HttpCore::new(limits) })
    }

    /// Sets the clock of `Date`, for a machine or a test with a time of its own;
    /// `None`, for a machine without one, leaves `Date` out (RFC 9110, 6.6.1).
    /// Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Option<WallClock>) -> Self {
        self.core.encoder.date = DateField::new(clock);
        self
    }

    /// The proposed [`Limits`] of the reactor: the defaults with 100 s of silence
    /// between requests, and without deadlines for frames, as
    /// [`HttpLimits::request`] is one.
    #[must_use]
    pub fn limits() -> Limits {
        Limits { idle: Some(std::time::Duration::from_secs(100)), frame: None, ..Limits::default() }
    }

    /// The handler.
    #[must_use]
    pub const fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, to change between turns.
    pub const fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Returns the handler.
    #[must_use]
    pub fn into_handler(self) -> H {
        self.handler
    }
}

impl<H: HttpHandler> Http<H> {
    /// Calls `f` with the handler and an [`HttpIo`], in a call from a
    /// [`Handle`](crate::Handle): to answer what was deferred.
    ///
    /// ```
    /// # use serve_forever::http::{Http, HttpHandler, StatusCode, Ticket};
    /// # use serve_forever::{Handle, Refused};
    /// # fn answer<Api: HttpHandler>(handle: &Handle<Http<Api>>, ticket: Ticket) -> Result<(), Refused> {
    /// handle.call(move |http, io| {
    ///     http.with(io, |_api, io| _ = io.answer_to(ticket, StatusCode::OK).text("done\n"));
    /// })
    /// # }
    /// ```
    pub fn with<R>(&mut self, io: &mut Io<'_>, f: impl FnOnce(&mut H, &mut HttpIo<'_, '_>) -> R) -> R {
        let answer = f(&mut self.handler, &mut HttpIo { io, core: &mut self.core, current: None });
        self.wake(io);
        answer
    }

    /// Tells the handler of streams that may go on.
    fn wake(&mut self, io: &mut Io<'_>) {
        while let Some(ticket) = self.core.wakes.pop() {
            let mut http = HttpIo { io, core: &mut self.core, current: None };
            if let Err(error) = self.handler.drained(&mut http, ticket) {
                log::warn!("a stream on connection {} failed: {}", ticket.conn, crate::Printable(error));
                io.abort(ticket.conn);
            }
        }
    }

    /// Tells the handler which requests of a connection are not answered any more.
    fn forget(&mut self, io: &mut Io<'_>, place: Option<u32>) {
        let Some(line) = self.core.pipelines.remove(place, io.id()) else { return };
        for slot in line.slots {
            if matches!(slot.source, Source::Waiting | Source::Handler(_)) {
                let ticket = Ticket { conn: line.conn, line: place.unwrap_or(u32::MAX), number: slot.number };
                self.with(io, |handler, io| handler.gone(io, ticket));
            }
        }
    }
}

impl<H: HttpHandler> StreamHandler for Http<H> {
    type Session = HttpSession;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.with(io, |handler, io| handler.started(io))
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.handler.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<HttpSession, BoxError> {
        let peer = PeerAddress::of(origin.peer());
        self.core.peer = peer.get().map(|peer| (io.id(), peer));
        if matches!(origin, Origin::Accepted { .. } | Origin::Adopted { .. }) {
            return Ok(HttpSession { state: State::Http(HttpConn::default()), peer });
        }
        #[cfg(feature = "ws")]
        if let Some(dialed) = self.core.sockets.dialed.remove(&io.id()) {
            let _ = io.write(&dialed.request);
            return Ok(HttpSession { state: State::Dialing(Some(Box::new(dialed))), peer });
        }
        self.with(io, |handler, io| handler.raw_open(io, origin))?;
        Ok(HttpSession { state: State::Raw, peer })
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut HttpSession,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        let outcome = self.read(io, session, input);
        self.wake(io);
        outcome
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut HttpSession,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        self.core.peer = session.peer.get().map(|peer| (io.id(), peer));
        match &mut session.state {
            State::Http(conn) => Ok(self.end_of_requests(io, conn, rest)),
            State::Raw => self.with(io, |handler, io| handler.raw_eof(io, rest)),
            #[cfg(feature = "ws")]
            State::Socket(_) | State::Dialing(_) => Ok(AfterEof::Finish),
        }
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut HttpSession) -> Result<(), BoxError> {
        self.core.peer = session.peer.get().map(|peer| (io.id(), peer));
        match &mut session.state {
            State::Http(conn) => {
                if let Some(place) = conn.line {
                    self.core.advance(io, place, io.id());
                }
                self.wake(io);
                Ok(())
            }
            State::Raw => self.with(io, |handler, io| handler.raw_drained(io)),
            #[cfg(feature = "ws")]
            State::Socket(socket) => {
                if std::mem::take(&mut socket.is_full) {
                    io.resume(io.id());
                }
                let outcome = self.with(io, |handler, io| handler.socket_drained(io));
                outcome.inspect_err(|_| self.fail_socket(io, socket))
            }
            #[cfg(feature = "ws")]
            State::Dialing(_) => Ok(()),
        }
    }

    fn timer(&mut self, io: &mut Io<'_>, session: &mut HttpSession, timer: TimerId) -> Result<(), BoxError> {
        self.core.peer = session.peer.get().map(|peer| (io.id(), peer));
        if let State::Http(conn) = &mut session.state
            && conn.deadline.is_timer(timer)
        {
            if conn.deadline.has_passed(io, self.core.limits.request)? {
                self.refuse(io, conn, Refusal::TIMEOUT);
            }
            return Ok(());
        }
        #[cfg(feature = "ws")]
        if let State::Socket(socket) = &mut session.state
            && socket.deadline.is_timer(timer)
        {
            return self.check_socket(io, socket);
        }
        self.with(io, |handler, io| handler.timer(io, timer))
    }

    /// Answers a request that a limit of the reactor's ends before it is whole, and
    /// says to a WebSocket that one, or a shutdown, ends it.
    fn last_word(&mut self, io: &mut Io<'_>, session: &mut HttpSession, why: &CloseReason) {
        match &mut session.state {
            State::Http(conn) => {
                if let Some(refusal) = Refusal::of_end(why) {
                    self.refuse_at_end(io, conn, refusal);
                }
            }
            State::Raw => self.with(io, |handler, io| handler.raw_last_word(io, why)),
            #[cfg(feature = "ws")]
            State::Socket(socket) if !socket.is_over => {
                let (code, reason) = match why {
                    CloseReason::Shutdown => (CloseCode::AWAY, "the server goes down"),
                    _ => (CloseCode::POLICY, ""),
                };
                self.end_socket(io, socket, code, reason);
            }
            #[cfg(feature = "ws")]
            State::Socket(_) | State::Dialing(_) => {}
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: HttpSession, why: &CloseReason) {
        self.core.peer = session.peer.get().map(|peer| (io.id(), peer));
        match session.state {
            State::Http(conn) => self.forget(io, conn.line),
            State::Raw => self.with(io, |handler, io| handler.raw_close(io, why)),
            #[cfg(feature = "ws")]
            State::Socket(socket) => self.socket_gone(io, &socket),
            #[cfg(feature = "ws")]
            State::Dialing(mut dialed) => self.fail_handshake(io, &mut dialed, &why.to_string()),
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        #[cfg(feature = "ws")]
        self.core.sockets.dialed.remove(&io.id());
        self.with(io, |handler, io| handler.connect_failed(io, tag, error));
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        self.with(io, |handler, io| handler.child_exited(io, child, tag, exit));
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        self.with(io, |handler, io| handler.spawn_failed(io, child, tag, error));
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        #[cfg(feature = "ws")]
        if self.core.sockets.is_tick(timer) {
            return self.core.sockets.ping(io);
        }
        self.with(io, |handler, io| handler.tick(io, timer));
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.with(io, |handler, io| handler.shutting_down(io));
        for conn in self.core.pipelines.endless() {
            io.close(conn);
        }
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.with(io, |handler, io| handler.listener_failed(io, listener, error));
    }
}

/// # Work off the loop
#[cfg(feature = "workers")]
impl HttpIo<'_, '_> {
    /// Runs `work` on a thread of the reactor's [`Workers`](crate::Workers), and calls
    /// `done` with the handler when its result is there, as
    /// [`Io::offload`](crate::Io::offload) does. The answer to the request of this callback
    /// is [deferred](Self::defer), and `done` gives it:
    ///
    /// ```
    /// use serve_forever::BoxError;
    /// use serve_forever::http::{HttpHandler, HttpIo, Request, StatusCode};
    ///
    /// struct Factors;
    ///
    /// impl HttpHandler for Factors {
    ///     fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
    ///         let number: u64 = request.path().trim_start_matches('/').parse()?;
    ///         let ticket = io.defer();
    ///         let work = move || (2..=number).find(|factor| number % factor == 0);
    ///         io.offload(work, move |_: &mut Self, io, factor| {
    ///             _ = match factor {
    ///                 Ok(factor) => io.answer_to(ticket, StatusCode::OK).text(&format!("{factor:?}\n")),
    ///                 Err(_) => io.answer_to(ticket, StatusCode::INTERNAL_SERVER_ERROR).text("failed\n"),
    ///             };
    ///         })?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Io::offload`](crate::Io::offload).
    pub fn offload<H: HttpHandler, T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&mut H, &mut HttpIo<'_, '_>, Result<T, JobError>) + 'static,
    ) -> crate::Result<()> {
        let done = move |http: &mut Http<H>, io: &mut Io<'_>, _: Option<&mut HttpSession>, result| {
            http.with(io, |handler, io| done(handler, io, result));
            Ok(())
        };
        self.io.offload_as(work, done)
    }
}
