//! Reading a WebSocket: from its bytes to the messages that its handler is given.

use std::io;

use bytes::{Buf, BytesMut};
use http::StatusCode;

use super::handler::HttpHandler;
use super::io::HttpIo;
use super::server::Http;
use super::sockets::{Dialed, SocketConn};
use crate::ws::{CloseCode, Found, Outgoing, Reader, Role, SocketLimits};
use crate::{BoxError, Io};

/// The most bytes of an answer to a client's handshake.
const MOST_HEAD: usize = 16 << 10;

impl<H: HttpHandler> Http<H> {
    /// Makes a WebSocket of the connection of this callback.
    pub(super) fn open_socket(
        &mut self,
        io: &mut Io<'_>,
        role: Role,
        limits: SocketLimits,
    ) -> Result<SocketConn, BoxError> {
        let from = match role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let ping = self.core.limits.ping;
        let mut socket = self.core.sockets.add(io, role, Reader::new(from, limits), ping)?;
        if let Err(error) = self.with(io, |handler, io| handler.socket_open(io)) {
            self.fail_socket(io, &mut socket);
            self.socket_gone(io, &socket);
            return Err(error);
        }
        Ok(socket)
    }

    /// Takes all that has come.
    pub(super) fn read_socket(
        &mut self,
        io: &mut Io<'_>,
        socket: &mut SocketConn,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        let id = io.id();
        if socket.is_over {
            input.clear();
            return Ok(());
        }
        if std::mem::take(&mut socket.was_paused) {
            let resumed = self.with(io, |handler, io| handler.resumed(io));
            resumed.inspect_err(|_| self.fail_socket(io, socket))?;
        }
        self.core.sockets.heard(socket.place);
        while io.is_open(id) && !io.is_paused(id) {
            match self.next_message(io, socket, input) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.fail_socket(io, socket);
                    return Err(error);
                }
            }
        }
        socket.reader.settle(input);
        if socket.is_over || !io.is_open(id) {
            input.clear();
            return Ok(());
        }
        socket.was_paused = io.is_paused(id);
        // A message is under way of which nothing may be left in the input; and the
        // reactor has to call again when a pause is over, though nothing is left.
        let has_frame = socket.reader.is_within_message() || socket.was_paused && input.is_empty();
        if has_frame && !socket.has_frame {
            io.begin_frame(id);
        } else if socket.has_frame && !has_frame {
            io.end_frame(id);
        }
        socket.has_frame = has_frame;
        let waits = !socket.was_paused && (has_frame || !input.is_empty());
        socket.deadline.watch(io, waits, self.core.limits.message)?;
        Ok(())
    }

    /// Delivers the next message, or answers the next control frame. False if there
    /// is none.
    fn next_message(
        &mut self,
        io: &mut Io<'_>,
        socket: &mut SocketConn,
        input: &mut BytesMut,
    ) -> Result<bool, BoxError> {
        let mut http = HttpIo { io, core: &mut self.core, current: None };
        let id = http.id();
        match socket.reader.next(input) {
            Ok(None) => return Ok(false),
            Ok(Some(Found::Message(message))) => {
                socket.deadline.clear();
                if std::mem::take(&mut socket.has_frame) {
                    http.end_frame(id); // the next one has a time of its own
                }
                self.handler.message(&mut http, message)?;
            }
            // A peer that does not read its pongs is asked for no more.
            Ok(Some(Found::Ping(data))) => {
                if http.send_frame(id, Outgoing::Pong(data)) == crate::Sent::Full {
                    http.pause(id);
                    socket.is_full = true;
                }
            }
            Ok(Some(Found::Pong)) => {}
            Ok(Some(Found::Close(code))) => {
                socket.code = code;
                socket.is_over = true;
                let _ = http.send_frame(id, Outgoing::Close(code, ""));
                http.close(id);
                return Ok(false);
            }
            Err(fault) => {
                socket.is_over = true;
                http.close_socket(id, fault.code, fault.reason);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Closes a socket whose message has not come whole in its time, when the timer
    /// for that is due.
    pub(super) fn check_socket(&mut self, io: &mut Io<'_>, socket: &mut SocketConn) -> Result<(), BoxError> {
        if io.is_paused(io.id()) {
            // The delay is this side's; what reads again begins the time anew.
            socket.deadline.clear();
        }
        if socket.deadline.has_passed(io, self.core.limits.message)? && !socket.is_over {
            socket.is_over = true;
            let mut http = HttpIo { io, core: &mut self.core, current: None };
            let id = http.id();
            http.close_socket(id, CloseCode::POLICY, "a message takes too long");
        }
        Ok(())
    }

    /// Says that the handler has failed.
    pub(super) fn fail_socket(&mut self, io: &mut Io<'_>, socket: &mut SocketConn) {
        self.end_socket(io, socket, CloseCode::FAILED, "");
    }

    /// Sends a close, behind which the connection is ended.
    pub(super) fn end_socket(
        &mut self,
        io: &mut Io<'_>,
        socket: &mut SocketConn,
        code: CloseCode,
        reason: &str,
    ) {
        socket.is_over = true;
        let id = io.id();
        let mut http = HttpIo { io, core: &mut self.core, current: None };
        let _ = http.send_frame(id, Outgoing::Close(Some(code), reason));
    }

    /// Tells the handler of the end of a WebSocket.
    pub(super) fn socket_gone(&mut self, io: &mut Io<'_>, socket: &SocketConn) {
        self.core.sockets.remove(socket.place, io.id());
        self.with(io, |handler, io| handler.socket_closed(io, socket.code));
    }

    /// Takes the answer to a handshake of ours. The socket, once it is there.
    pub(super) fn read_handshake(
        &mut self,
        io: &mut Io<'_>,
        dialing: &mut Option<Box<Dialed>>,
        input: &mut BytesMut,
    ) -> Result<Option<SocketConn>, BoxError> {
        let Some(dialed) = dialing.as_deref() else { return Ok(None) };
        let parsed = match parse(input, &dialed.accept) {
            Ok(None) if input.len() >= MOST_HEAD => Err("the answer to the handshake is too long".into()),
            parsed => parsed,
        };
        match parsed {
            Ok(None) => Ok(None),
            Ok(Some(end)) => {
                let limits = dialed.limits;
                *dialing = None;
                input.advance(end);
                self.open_socket(io, Role::Client, limits).map(Some)
            }
            Err(error) => {
                self.fail_handshake(io, dialing, &error.to_string());
                Err(error)
            }
        }
    }

    /// Tells the handler, once, that there will be no WebSocket.
    pub(super) fn fail_handshake(&mut self, io: &mut Io<'_>, dialing: &mut Option<Box<Dialed>>, why: &str) {
        if let Some(dialed) = dialing.take() {
            let error = io::Error::other(why);
            self.with(io, |handler, io| handler.connect_failed(io, dialed.tag, &error));
        }
    }
}

/// Checks the answer to a handshake (RFC 6455, 4.1), and returns its length; `None`
/// if the rest has not come.
fn parse(input: &[u8], accept: &str) -> Result<Option<usize>, BoxError> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(end) = answer.parse(input)? else { return Ok(None) };
    let code = answer.code.unwrap_or_default();
    if code != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        return Err(format!("the server answered the handshake with {code}, not 101").into());
    }
    let has = |name: &str, value: &str| {
        let found = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.is_some_and(|field| field.value.eq_ignore_ascii_case(value.as_bytes()))
    };
    let has_accept = answer.headers.iter().any(|field| {
        field.name.eq_ignore_ascii_case("sec-websocket-accept") && field.value == accept.as_bytes()
    });
    if !has("upgrade", "websocket") || !has("connection", "upgrade") || !has_accept {
        return Err("the server's answer to the handshake is none".into());
    }
    if answer.headers.iter().any(|field| field.name.eq_ignore_ascii_case("sec-websocket-extensions")) {
        return Err("the server has agreed to an extension that was not offered".into());
    }
    Ok(Some(end))
}
