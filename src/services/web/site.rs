//! `Site`: the routes of a `Web`, and its WebSockets.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::super::chat::{Chat, ChatSession, Reach, Wire};
use super::page::{PAGE, POLICY};
use crate::http::{
    Files, Handshake, HttpHandler, HttpIo, METRICS_TYPE, Method, Request, SocketOptions, StatusCode, header,
    metrics_text,
};
use crate::ws::{CloseCode, Message, Origins, Part, SocketLimits};
use crate::{BoxError, ConnId, Peer, Sent, StreamHandler, TimerId};

/// The longest message of a member, in bytes: a line of the chat.
const MAX_LINE: u32 = 65_536;

/// The longest message that is echoed, in bytes.
const MAX_ECHO: u32 = 16 << 20;

/// What stands before the number of members among the metrics.
const MEMBERS: &str = "# HELP serve_forever_chat_members Members of the chat's room.\n\
    # TYPE serve_forever_chat_members gauge\n\
    serve_forever_chat_members";

/// The routes, and what they lead to.
#[derive(Debug)]
pub(super) struct Site<R> {
    chat: Chat<R>,
    files: Option<Files>,
    /// The WebSockets, by connection.
    sockets: BTreeMap<ConnId, Socket>,
    chat_options: SocketOptions,
    echo_options: SocketOptions,
}

/// The length from which a message is echoed in parts.
const PART: usize = 64 << 10;

/// A WebSocket.
#[derive(Debug)]
enum Socket {
    /// An echo, and what is left to send of a long message.
    Echo(Bytes),
    /// A member of the chat that has not entered yet.
    Guest(Wire),
    Member(Box<Member>),
}

/// A member of the chat, over a WebSocket.
#[derive(Debug)]
struct Member {
    session: ChatSession,
    /// Its lines that the chat has not taken yet.
    lines: BytesMut,
}

const GET: [Method; 2] = [Method::GET, Method::HEAD];

impl<R: Reach> Site<R> {
    pub(super) fn new(chat: Chat<R>) -> Self {
        let options = |max_message| {
            let limits = SocketLimits { max_message, max_fragments: max_message };
            SocketOptions { limits, ..SocketOptions::default() }
        };
        let (chat_options, echo_options) = (options(MAX_LINE), options(MAX_ECHO));
        Self { chat, files: None, sockets: BTreeMap::new(), chat_options, echo_options }
    }

    pub(super) fn set_files(&mut self, files: Files) {
        self.files = Some(files);
    }

    pub(super) fn set_origins(&mut self, origins: &Origins) {
        self.chat_options.origins = origins.clone();
        self.echo_options.origins = origins.clone();
    }

    pub(super) const fn chat(&self) -> &Chat<R> {
        &self.chat
    }

    pub(super) const fn chat_mut(&mut self) -> &mut Chat<R> {
        &mut self.chat
    }

    /// Accepts a WebSocket for one of the uses.
    fn accept(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>, socket: Socket) {
        let options = match socket {
            Socket::Echo(_) => &self.echo_options,
            Socket::Guest(_) | Socket::Member(_) => &self.chat_options,
        };
        if let Handshake::Accepted { .. } = io.accept_socket(request, options) {
            self.sockets.insert(io.id(), socket);
        }
    }

    fn page(io: &mut HttpIo<'_, '_>) -> Sent {
        io.answer(StatusCode::OK)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::REFERRER_POLICY, "no-referrer")
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(header::CACHE_CONTROL, "no-cache")
            .html(PAGE)
    }

    fn health(io: &mut HttpIo<'_, '_>) -> Sent {
        if io.is_shutting_down() {
            io.answer(StatusCode::SERVICE_UNAVAILABLE).text("shutting down\n")
        } else {
            io.answer(StatusCode::OK).text("ok\n")
        }
    }

    fn metrics(&self, io: &mut HttpIo<'_, '_>) -> Sent {
        let text = format!("{}{MEMBERS} {}\n", metrics_text(io), self.chat.members().len());
        io.answer(StatusCode::OK).header(header::CONTENT_TYPE, METRICS_TYPE).bytes(text)
    }

    /// Hands a member's lines to the chat.
    fn speak(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        if let Some(Socket::Member(member)) = self.sockets.get_mut(&io.id()) {
            let Member { session, lines } = &mut **member;
            StreamHandler::data(&mut self.chat, io, session, lines)?;
            if lines.is_empty() {
                *lines = BytesMut::new(); // an idle member owns no buffer
            }
        }
        Ok(())
    }
}

/// How the client of a request for the chat's WebSocket is spoken to: one that asks for
/// positions gets them, and comes back from the one that it names.
#[cfg(feature = "bus")]
fn wire(request: &Request<'_>) -> Wire {
    let from = request.query_pairs().find(|(name, _)| name == "from");
    from.map_or(Wire::Socket, |(_, from)| Wire::Resumable(from.parse().ok()))
}

/// How the client of a request for the chat's WebSocket is spoken to.
#[cfg(not(feature = "bus"))]
const fn wire(_: &Request<'_>) -> Wire {
    Wire::Socket
}

/// Sends a message back. No further one is taken before the client has read enough
/// of it.
fn echo(io: &mut HttpIo<'_, '_>, message: Message<'_>, rest: &mut Bytes) {
    let data = message.as_bytes();
    if data.len() <= PART {
        if io.send_message(io.id(), message) == Sent::Full {
            io.pause(io.id());
        }
        return;
    }
    // The first part has the kind, and no byte, so that a text is not cut.
    let kind = match message {
        Message::Text(_) => Message::Text(""),
        Message::Binary(_) => Message::Binary(&[]),
    };
    *rest = Bytes::copy_from_slice(data);
    io.pause(io.id());
    if io.send_part(io.id(), Part::First(kind)) != Sent::Full {
        echo_rest(io, rest);
    }
}

/// Sends as much of the rest as may wait.
fn echo_rest(io: &mut HttpIo<'_, '_>, rest: &mut Bytes) {
    while !rest.is_empty() {
        let part = rest.split_to(PART.min(rest.len()));
        let part = if rest.is_empty() { Part::Last(&part) } else { Part::Next(&part) };
        if io.send_part(io.id(), part) != Sent::Queued {
            return;
        }
    }
    io.resume(io.id());
}

impl<R: Reach> HttpHandler for Site<R> {
    fn request(&mut self, io: &mut HttpIo<'_, '_>, request: &Request<'_>) -> Result<(), BoxError> {
        match (request.path(), GET.contains(request.method())) {
            ("/chat/ws", _) => self.accept(io, request, Socket::Guest(wire(request))),
            ("/echo/ws", _) => self.accept(io, request, Socket::Echo(Bytes::new())),
            ("/healthz", true) => _ = Self::health(io),
            ("/metrics", true) => _ = self.metrics(io),
            ("/chat", true) => _ = Self::page(io),
            ("/healthz" | "/metrics" | "/chat", false) => {
                let answer = io.answer(StatusCode::METHOD_NOT_ALLOWED).allow(&GET);
                let _ = answer.text("only GET and HEAD are served here\n");
            }
            _ => match &self.files {
                Some(files) => _ = files.serve(io, request),
                None => _ = io.answer(StatusCode::NOT_FOUND).text("there is nothing here\n"),
            },
        }
        Ok(())
    }

    fn socket_open(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        if let Some(socket) = self.sockets.get_mut(&io.id())
            && let Socket::Guest(wire) = *socket
        {
            let peer = io.peer().map_or_else(|| Peer::unix(None, None), Peer::inet);
            let session = self.chat.enter(io, &peer, wire)?;
            *socket = Socket::Member(Box::new(Member { session, lines: BytesMut::new() }));
        }
        Ok(())
    }

    fn message(&mut self, io: &mut HttpIo<'_, '_>, message: Message<'_>) -> Result<(), BoxError> {
        match self.sockets.get_mut(&io.id()) {
            Some(Socket::Echo(rest)) => echo(io, message, rest),
            Some(Socket::Member(member)) => {
                // A message is one line, whatever is in it.
                let line = message
                    .as_bytes()
                    .iter()
                    .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
                member.lines.extend(line);
                member.lines.put_u8(b'\n');
                return self.speak(io);
            }
            Some(Socket::Guest(_)) | None => {}
        }
        Ok(())
    }

    fn resumed(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        self.speak(io)
    }

    fn socket_drained(&mut self, io: &mut HttpIo<'_, '_>) -> Result<(), BoxError> {
        match self.sockets.get_mut(&io.id()) {
            Some(Socket::Member(member)) => StreamHandler::drained(&mut self.chat, io, &mut member.session),
            Some(Socket::Echo(rest)) => {
                echo_rest(io, rest);
                Ok(())
            }
            Some(Socket::Guest(_)) | None => Ok(()),
        }
    }

    fn socket_closed(&mut self, io: &mut HttpIo<'_, '_>, _: Option<CloseCode>) {
        if let Some(Socket::Member(member)) = self.sockets.remove(&io.id()) {
            self.chat.exit(io, &member.session);
        }
    }

    fn timer(&mut self, io: &mut HttpIo<'_, '_>, timer: TimerId) -> Result<(), BoxError> {
        match self.sockets.get_mut(&io.id()) {
            Some(Socket::Member(member)) => {
                StreamHandler::timer(&mut self.chat, io, &mut member.session, timer)
            }
            _ => Ok(()),
        }
    }

    fn tick(&mut self, io: &mut HttpIo<'_, '_>, timer: TimerId) {
        StreamHandler::tick(&mut self.chat, io, timer);
    }

    fn shutting_down(&mut self, io: &mut HttpIo<'_, '_>) {
        StreamHandler::shutting_down(&mut self.chat, io);
    }
}
