//! `HttpSession`: the state of one connection of an HTTP service.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use bytes::Bytes;

use super::arrival::ArrivalDeadline;
use super::chunked::BodyDecoder;
use super::head::HeadScan;
use super::pipeline::{Exchange, Ticket};
use crate::{Address, Peer};

/// The state of one connection to an [`Http`](super::Http).
#[derive(Debug)]
pub struct HttpSession {
    pub(super) state: State,
    pub(super) peer: PeerAddress,
}

/// The address of a peer, in few bytes where it is one of IPv4.
#[derive(Debug)]
pub(super) enum PeerAddress {
    /// It is no socket of the internet's protocols.
    None,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl PeerAddress {
    pub(super) fn of(peer: &Peer) -> Self {
        match peer.address {
            Address::Inet(SocketAddr::V4(address)) => Self::V4(address),
            Address::Inet(SocketAddr::V6(address)) => Self::V6(Box::new(address)),
            _ => Self::None,
        }
    }

    pub(super) fn get(&self) -> Option<SocketAddr> {
        match self {
            Self::None => None,
            Self::V4(address) => Some(SocketAddr::V4(*address)),
            Self::V6(address) => Some(SocketAddr::V6(**address)),
        }
    }
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
    pub(super) deadline: ArrivalDeadline,
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
