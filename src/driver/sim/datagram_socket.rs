//! Simulated datagram sockets of the server, and packets in flight.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use crate::driver::Token;
use crate::endpoint::Endpoint;
use crate::origin::Peer;

/// A datagram socket of the server.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    pub(super) at: Endpoint,
    /// `None` once it is closed.
    pub(super) token: Option<Token>,
    pub(super) waiting: VecDeque<(Peer, Bytes)>,
    /// The moment at which the network last took a datagram of the server.
    pub(super) taken: Option<u64>,
    /// True once the last edge is consumed: the next change makes another.
    pub(super) read_armed: bool,
    /// True while a send waits for an edge.
    pub(super) write_armed: bool,
    pub(super) read_edge: bool,
    pub(super) write_edge: bool,
    pub(super) listed: bool,
}

impl DatagramSocket {
    /// Whether the socket receives datagrams to this endpoint.
    pub(super) fn takes(&self, sent_to: &Endpoint) -> bool {
        let fits = match (&self.at, sent_to) {
            (Endpoint::Udp(at), Endpoint::Udp(to)) if at.ip().is_unspecified() => {
                at.port() == to.port() && at.is_ipv4() == to.is_ipv4()
            }
            (at, to) => at == to,
        };
        fits && self.token.is_some()
    }

    /// The local address of a datagram to this endpoint, if the socket has
    /// several; else `None`.
    pub(super) fn asked(&self, sent_to: &Endpoint) -> Option<SocketAddr> {
        match (&self.at, sent_to) {
            (Endpoint::Udp(at), Endpoint::Udp(to)) if at.ip().is_unspecified() => Some(*to),
            _ => None,
        }
    }

    /// The source endpoint of a datagram that this socket sends.
    pub(super) fn source(&self, to: &Peer) -> Endpoint {
        match (&self.at, to.asked) {
            (Endpoint::Udp(at), asked) if at.ip().is_unspecified() => {
                let chosen: IpAddr =
                    if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
                let ours = asked.map(|asked| asked.ip()).filter(|ours| ours.is_ipv4() == at.is_ipv4());
                Endpoint::Udp(SocketAddr::new(ours.unwrap_or(chosen), at.port()))
            }
            (at, _) => at.clone(),
        }
    }
}

/// A datagram in flight.
#[derive(Debug)]
pub(super) enum Packet {
    /// To the server: the index of its socket, the sender, the content.
    Up(usize, Peer, Bytes),
    /// From the server: the endpoint that sent it, the receiver, the content.
    Down(Endpoint, Peer, Bytes),
}
