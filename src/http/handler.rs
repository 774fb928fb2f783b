//! `HttpHandler`: the callbacks of an HTTP service.

use std::io;

use bytes::BytesMut;

use super::io::HttpIo;
use super::pipeline::Ticket;
use super::request::Request;
use crate::process::Exit;
use crate::{AfterEof, BoxError, ChildId, CloseReason, ListenerId, Origin, Peer, TimerId};

/// How the body of a request is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Whole, up to [`HttpLimits::max_body`](super::HttpLimits::max_body):
    /// [`HttpHandler::request`] is called once it is there.
    #[default]
    Whole,
    /// Whole, and its length must be known before: a chunked one is answered with
    /// 411.
    WithLength,
    /// In pieces, as they come and of any length together:
    /// [`HttpHandler::piece`], then [`HttpHandler::body_end`].
    Pieces,
}

/// An HTTP/1.1 service. [`Http`](super::Http) makes a
/// [`StreamHandler`](crate::StreamHandler) of it, for
/// [`Reactor::add`](crate::Reactor::add).
///
/// All methods but [`request`](Self::request) have a default. The rules of
/// `StreamHandler` hold: no callback runs while another runs, an `Err` or a panic
/// ends that connection alone. An `Err` for a request that is not answered yet is
/// answered with 500 first.
///
/// # The order of callbacks
///
/// ```text
/// request:   body? -> request                            -> drained* -> gone?
/// in pieces: body  -> (piece | drained)* -> body_end     -> drained* -> gone?
/// WebSocket: body? -> request -> socket_open -> (message | socket_drained | resumed)* -> socket_closed
/// ```
///
/// There is no session: what belongs to a request that is answered later goes
/// into a map of the handler's own, by its [`Ticket`]; what belongs to a
/// connection, by its [`ConnId`](crate::ConnId).
pub trait HttpHandler: 'static {
    /// Takes a whole request: answer it, or [defer](HttpIo::defer) it.
    ///
    /// # Errors
    ///
    /// Any error ends the connection, after a 500 if there is no answer yet.
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError>;

    /// Begins the service, as
    /// [`StreamHandler::started`](crate::StreamHandler::started): for groups and
    /// timers that it has from its beginning.
    ///
    /// # Errors
    ///
    /// Any error is that of [`Reactor::add`](crate::Reactor::add).
    fn started(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Chooses how the body of a request is taken; called for a request that has
    /// one, with its head. To refuse the body, answer here (401, 404, 413): then it
    /// is not read, and the connection ends behind the answer.
    ///
    /// # Errors
    ///
    /// Any error ends the connection, after a 500 if there is no answer yet.
    fn body(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<Body, BoxError> {
        let _ = (io, request);
        Ok(Body::Whole)
    }

    /// Takes a piece of a body that is [taken in pieces](Body::Pieces); the first
    /// comes after [`begin`](Self::begin). A handler that is not ready for more
    /// calls [`Io::pause`](crate::Io::pause), and later `resume`.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn piece(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket, data: &[u8]) -> Result<(), BoxError> {
        let _ = (io, ticket, data);
        Ok(())
    }

    /// Begins a request whose body is [taken in pieces](Body::Pieces). It may be
    /// answered from now on by its ticket, which counts as
    /// [deferred](HttpIo::defer).
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn begin(
        &mut self,
        io: &mut HttpIo<'_, '_>,
        ticket: Ticket,
        request: &Request<'_>,
    ) -> Result<(), BoxError> {
        let _ = (io, ticket, request);
        Ok(())
    }

    /// Learns that a body in pieces is complete.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn body_end(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        let _ = (io, ticket);
        Ok(())
    }

    /// Resumes a stream: [`HttpIo::write_body`] had answered
    /// [`Sent::Full`](crate::Sent::Full), and there is room again.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn drained(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) -> Result<(), BoxError> {
        let _ = (io, ticket);
        Ok(())
    }

    /// Learns that the connection of a request ended before its answer was
    /// complete: one that is deferred, streamed, or taken in pieces. Called once
    /// for each.
    fn gone(&mut self, io: &mut HttpIo<'_, '_>, ticket: Ticket) {
        let _ = (io, ticket);
    }

    /// Learns that a WebSocket is open; [`HttpIo::id`](crate::Io::id) names it in
    /// this and the following callbacks.
    ///
    /// # Errors
    ///
    /// Any error ends the connection, with the code 1011.
    #[cfg(feature = "ws")]
    fn socket_open(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Takes a message of a WebSocket. After [`Io::pause`](crate::Io::pause) the
    /// next one comes when the connection is resumed.
    ///
    /// # Errors
    ///
    /// Any error ends the connection, with the code 1011.
    #[cfg(feature = "ws")]
    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: crate::ws::Message<'_>) -> Result<(), BoxError> {
        let _ = (io, message);
        Ok(())
    }

    /// Goes on after a pause ([`Io::pause`](crate::Io::pause)) of a WebSocket, before
    /// the next message: with what the handler has kept of the last one.
    ///
    /// # Errors
    ///
    /// Any error ends the connection, with the code 1011.
    #[cfg(feature = "ws")]
    fn resumed(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Resumes output to a WebSocket, as
    /// [`StreamHandler::drained`](crate::StreamHandler::drained).
    ///
    /// # Errors
    ///
    /// Any error ends the connection, with the code 1011.
    #[cfg(feature = "ws")]
    fn socket_drained(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Learns that a WebSocket is closed: once for each `socket_open`. `code` is
    /// what the peer gave as its reason (RFC 6455, 7.4), if it closed in order.
    #[cfg(feature = "ws")]
    fn socket_closed(&mut self, io: &mut HttpIo<'_, '_>, code: Option<crate::ws::CloseCode>) {
        let _ = (io, code);
    }

    /// Begins a connection that speaks no HTTP: one that the handler made
    /// ([`Io::connect`](crate::Io::connect)), or a pipe of a child. Upgraded ones
    /// were open before.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn raw_open(&mut self, io: &mut HttpIo<'_, '_>, origin: &Origin) -> Result<(), BoxError> {
        let _ = (io, origin);
        Ok(())
    }

    /// Takes input of a connection that speaks no HTTP, as
    /// [`StreamHandler::data`](crate::StreamHandler::data). The default drops it.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn raw_data(&mut self, io: &mut HttpIo<'_, '_>, input: &mut BytesMut) -> Result<(), BoxError> {
        let _ = io;
        input.clear();
        Ok(())
    }

    /// Learns of the end of its input, as
    /// [`StreamHandler::eof`](crate::StreamHandler::eof).
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn raw_eof(&mut self, io: &mut HttpIo<'_, '_>, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        let _ = (io, rest);
        Ok(AfterEof::Finish)
    }

    /// Resumes its output, as
    /// [`StreamHandler::drained`](crate::StreamHandler::drained).
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn raw_drained(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Writes a last message, as
    /// [`StreamHandler::last_word`](crate::StreamHandler::last_word).
    fn raw_last_word(&mut self, io: &mut HttpIo<'_, '_>, why: &CloseReason) {
        let _ = (io, why);
    }

    /// Learns of its end, as [`StreamHandler::close`](crate::StreamHandler::close).
    fn raw_close(&mut self, io: &mut HttpIo<'_, '_>, why: &CloseReason) {
        let _ = (io, why);
    }

    /// Decides whether this peer may connect, as
    /// [`StreamHandler::verify`](crate::StreamHandler::verify).
    fn verify(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }

    /// Handles a timer that a callback of this connection set, and that is due.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn timer(&mut self, io: &mut HttpIo<'_, '_>, timer: TimerId) -> Result<(), BoxError> {
        let _ = (io, timer);
        Ok(())
    }

    /// Handles a timer of the service, as
    /// [`StreamHandler::tick`](crate::StreamHandler::tick).
    fn tick(&mut self, io: &mut HttpIo<'_, '_>, timer: TimerId) {
        let _ = (io, timer);
    }

    /// Learns that an outbound connection failed, as
    /// [`StreamHandler::connect_failed`](crate::StreamHandler::connect_failed).
    fn connect_failed(&mut self, io: &mut HttpIo<'_, '_>, tag: u64, error: &io::Error) {
        let id = io.id();
        log::warn!("connection {id} (tag {tag}) did not come about: {error}");
    }

    /// Learns how a child process exited, as
    /// [`StreamHandler::child_exited`](crate::StreamHandler::child_exited).
    fn child_exited(&mut self, io: &mut HttpIo<'_, '_>, child: ChildId, tag: u64, exit: &Exit) {
        let _ = (io, child, tag, exit);
    }

    /// Learns that a child process was not started, as
    /// [`StreamHandler::spawn_failed`](crate::StreamHandler::spawn_failed).
    fn spawn_failed(&mut self, io: &mut HttpIo<'_, '_>, child: ChildId, tag: u64, error: &io::Error) {
        let _ = io;
        log::warn!("child process {child} (tag {tag}) was not started: {error}");
    }

    /// Learns that a shutdown has begun, as
    /// [`StreamHandler::shutting_down`](crate::StreamHandler::shutting_down). Requests
    /// that a connection has handed over are still answered until the deadline of the
    /// shutdown; the answer to the last of them says `Connection: close`, and no other
    /// request is taken before it.
    fn shutting_down(&mut self, io: &mut HttpIo<'_, '_>) {
        let _ = io;
    }

    /// Learns that a listener failed, as
    /// [`StreamHandler::listener_failed`](crate::StreamHandler::listener_failed).
    fn listener_failed(&mut self, io: &mut HttpIo<'_, '_>, listener: ListenerId, error: &io::Error) {
        let _ = (io, listener, error);
    }
}
