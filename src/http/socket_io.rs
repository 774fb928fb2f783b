//! Methods of `HttpIo` for WebSockets: accept, connect, send and close.

use bytes::Bytes;
use http::{Method, StatusCode, header};

use super::core::Protocol;
use super::encode::is_value;
use super::io::HttpIo;
use super::request::Request;
use super::sockets::{Dialed, framed};
use crate::ws::{CloseCode, Message, Origins, Outgoing, Part, SocketLimits, accept, is_key, key};
use crate::{ConnId, Endpoint, Result, Sent};

/// The version of the protocol (RFC 6455, 4.1).
const VERSION: &str = "13";

/// What a server of WebSockets asks of a client, and allows it.
///
/// Always end with `..SocketOptions::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// The limits of each WebSocket.
    pub limits: SocketLimits,
    /// The pages that may connect. Default: those of the same host.
    pub origins: Origins,
    /// The subprotocols that are spoken here, the best first
    /// (RFC 6455, 1.9). The first that the client offers is chosen; none, if it
    /// offers none of them. Default: none.
    pub protocols: Vec<String>,
}

/// What became of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake<'o> {
    /// The connection is a WebSocket, and
    /// [`HttpHandler::socket_open`](super::HttpHandler::socket_open) follows.
    Accepted {
        /// The subprotocol that was chosen.
        protocol: Option<&'o str>,
    },
    /// It was answered with this status: 400, 403, 405 or 426.
    Refused(StatusCode),
}

/// What a client of a WebSocket asks for.
///
/// Always end with `..SocketRequest::default()`: a new field is not counted as a
/// breaking change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketRequest<'a> {
    /// The host, with its port if that is not the scheme's, as it goes into `Host`.
    /// Default: empty.
    pub host: &'a str,
    /// The path and the query. Default: empty, which is `/`.
    pub path: &'a str,
    /// The subprotocols that are offered, the best first. Default: none.
    pub protocols: &'a [&'a str],
    /// The limits of the WebSocket.
    pub limits: SocketLimits,
}

/// # WebSockets
impl HttpIo<'_, '_> {
    /// Answers a request that asks for a WebSocket: with 101, or with the reason why
    /// not. A page of another origin is refused with 403, unless it is listed; what
    /// is no such request with 426 (RFC 6455, 4.2).
    pub fn accept_socket<'o>(&mut self, request: &Request<'_>, options: &'o SocketOptions) -> Handshake<'o> {
        let key = match check(request, options) {
            Ok(key) => key,
            Err((status, reason)) => return self.refuse_socket(status, reason),
        };
        let offers = |name: &str| request.lists("sec-websocket-protocol", name);
        let spoken = options.protocols.iter().map(String::as_str);
        let protocol = spoken.filter(|name| is_value(name.as_bytes())).find(|name| offers(name));
        let accepted = accept(key);
        let fields = [
            ("sec-websocket-accept", accepted.as_str()),
            ("sec-websocket-protocol", protocol.unwrap_or_default()),
        ];
        let fields = if protocol.is_some() { &fields[..] } else { &fields[..1] };
        if self.switch("websocket", fields, Protocol::WebSocket(options.limits)) {
            Handshake::Accepted { protocol }
        } else {
            self.refuse_socket(StatusCode::BAD_REQUEST, "a request with a body opens no WebSocket\n")
        }
    }

    fn refuse_socket(&mut self, status: StatusCode, reason: &str) -> Handshake<'static> {
        let mut answer = self.answer(status);
        if status == StatusCode::UPGRADE_REQUIRED {
            answer =
                answer.header(header::UPGRADE, "websocket").header(header::SEC_WEBSOCKET_VERSION, VERSION);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer = answer.allow(&[Method::GET]);
        }
        let _ = answer.text(reason);
        Handshake::Refused(status)
    }

    /// Connects to a WebSocket elsewhere. It is answered once: by
    /// [`HttpHandler::socket_open`](super::HttpHandler::socket_open), or by
    /// [`HttpHandler::connect_failed`](super::HttpHandler::connect_failed), with
    /// the id that this returns.
    ///
    /// # Errors
    ///
    /// As [`Io::connect`](crate::Io::connect).
    pub fn connect_socket(&mut self, to: &Endpoint, request: SocketRequest<'_>, tag: u64) -> Result<ConnId> {
        let key = key(self.core.sockets.masks.key());
        let clean = |text: &str| text.chars().filter(|letter| letter.is_ascii_graphic()).collect::<String>();
        let (host, path) = (clean(request.host), clean(request.path));
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let protocols: Vec<_> = request.protocols.iter().map(|name| clean(name)).collect();
        let protocols = match protocols.join(", ") {
            names if names.is_empty() => names,
            names => format!("sec-websocket-protocol: {names}\r\n"),
        };
        let text = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: {VERSION}\r\nsec-websocket-key: {key}\r\n{protocols}\r\n"
        );
        let id = self.io.connect(to, tag)?;
        let dialed =
            Dialed { request: text.into(), accept: accept(key.as_bytes()), limits: request.limits, tag };
        self.core.sockets.dialed.insert(id, dialed);
        Ok(id)
    }

    /// Sends a text to a WebSocket of this service.
    pub fn send_text(&mut self, to: ConnId, text: impl AsRef<str>) -> Sent {
        self.send_frame(to, Outgoing::Message(Message::Text(text.as_ref())))
    }

    /// Sends a message of bytes to a WebSocket of this service.
    pub fn send_binary(&mut self, to: ConnId, data: impl AsRef<[u8]>) -> Sent {
        self.send_frame(to, Outgoing::Message(Message::Binary(data.as_ref())))
    }

    /// Sends a message to a WebSocket of this service.
    pub fn send_message(&mut self, to: ConnId, message: Message<'_>) -> Sent {
        self.send_frame(to, Outgoing::Message(message))
    }

    /// Sends a part of a message, which may be longer than
    /// [`Limits::hard_mark`](crate::Limits::hard_mark) allows at once: go on after
    /// [`Sent::Full`] when
    /// [`socket_drained`](super::HttpHandler::socket_drained) says so.
    pub fn send_part(&mut self, to: ConnId, part: Part<'_>) -> Sent {
        self.send_frame(to, Outgoing::Part(part))
    }

    /// Sends a ping of at most 125 bytes. The service sends pings by itself
    /// ([`HttpLimits::ping`](super::HttpLimits::ping)).
    pub fn ping_socket(&mut self, to: ConnId, data: &[u8]) -> Sent {
        self.send_frame(to, Outgoing::Ping(data))
    }

    /// Closes a WebSocket: a close frame behind all that is queued, and then the
    /// connection, in order ([`Io::close`](crate::Io::close)). The reason is cut at
    /// 123 bytes.
    pub fn close_socket(&mut self, id: ConnId, code: CloseCode, reason: &str) {
        let _ = self.send_frame(id, Outgoing::Close(Some(code), reason));
        self.io.close(id);
    }

    pub(super) fn send_frame(&mut self, to: ConnId, outgoing: Outgoing<'_>) -> Sent {
        let mask = self.core.sockets.mask(to);
        if to != self.io.id() {
            return self.io.send(to, framed(outgoing, mask));
        }
        let encoder = &mut self.core.encoder;
        encoder.clear();
        outgoing.put(&mut encoder.out, mask);
        let sent = if encoder.out.len() < LONG {
            self.io.write(&encoder.out)
        } else {
            self.io.write_bytes(Bytes::from(std::mem::take(&mut encoder.out)))
        };
        encoder.clear();
        sent
    }
}

/// The length from which a frame is not copied into the queue.
const LONG: usize = 16 << 10;

/// Checks a handshake. Returns its key.
fn check<'a>(
    request: &Request<'a>,
    options: &SocketOptions,
) -> std::result::Result<&'a [u8], (StatusCode, &'static str)> {
    if *request.method() != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is opened by GET\n"));
    }
    let is_upgrade =
        request.lists(header::UPGRADE, "websocket") && request.lists(header::CONNECTION, "upgrade");
    if !is_upgrade || request.version() != http::Version::HTTP_11 {
        return Err((StatusCode::UPGRADE_REQUIRED, "only WebSocket is spoken here\n"));
    }
    let mut versions = request.header_values("sec-websocket-version");
    if versions.next() != Some(VERSION.as_bytes()) || versions.next().is_some() {
        return Err((StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken here\n"));
    }
    let mut keys = request.header_values("sec-websocket-key");
    let key = keys.next().filter(|key| is_key(key) && keys.next().is_none());
    let key = key.ok_or((StatusCode::BAD_REQUEST, "there is no key of 16 bytes\n"))?;
    if !options.origins.allow(request.header(header::ORIGIN), request.authority()) {
        return Err((StatusCode::FORBIDDEN, "pages of this origin may not connect\n"));
    }
    Ok(key)
}
