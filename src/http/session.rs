//! `HttpSession`: the state of one connection of an HTTP service.

use std::net::SocketAddr;

use bytes::Bytes;

use super::chunked::BodyDecoder;
use super::deadline::RequestDeadline;
use super::head::HeadScan;
use super::pipeline::{Exchange, Ticket};

/// The state of one connection to an [`Http`](super::Http).
#[derive(Debug)]
pub struct HttpSession {
    pub(super) state: State,
    /// The peer's address, if it has one.
    pub(super) peer: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) enum State {
    Http(HttpConn),
    /// The connection speaks the handler's own protocol.
    Raw,
    #[cfg(feature = "ws")]
    Socket(super::sockets::SocketConn),
    /// A client's handshake, until its failure is told.
    #[cfg(feature = "ws")]
    Dialing(Option<Box<super::sockets::Dialed>>),
}

/// A connection that speaks HTTP.
#[derive(Debug, Default)]
pub(super) struct HttpConn {
    pub(super) scan: HeadScan,
    /// The place of its line; it may be gone.
    pub(super) line: Option<u32>,
    /// The request whose body is coming.
    pub(super) incoming: Option<Box<Incoming>>,
    pub(super) deadline: RequestDeadline,
    /// Nothing of its input counts any more: the connection ends behind an answer.
    pub(super) is_over: bool,
}

/// A request whose body is coming.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) decoder: BodyDecoder,
    pub(super) exchange: Exchange,
    pub(super) to: BodyTo,
}

/// Where a body goes.
#[derive(Debug)]
pub(super) enum BodyTo {
    /// Here, until it is whole.
    Here { head: Bytes, body: Vec<u8> },
    /// To the handler, piece by piece.
    Handler(Ticket),
}
