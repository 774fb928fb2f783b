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
    /// When the last datagram was taken from the server.
    pub(super) taken: Option<u64>,
    /// The last edge is used up: the next change makes another.
    pub(super) read_armed: bool,
    /// A send was told to wait for an edge.
    pub(super) write_armed: bool,
    pub(super) read_edge: bool,
    pub(super) write_edge: bool,
    pub(super) listed: bool,
}

impl DatagramSocket {
    /// It gets what is sent to this endpoint.
    pub(super) fn takes(&self, sent_to: &Endpoint) -> bool {
        let fits = match (&self.at, sent_to) {
            (Endpoint::Udp(at), Endpoint::Udp(to)) if at.ip().is_unspecified() => {
                at.port() == to.port() && at.is_ipv4() == to.is_ipv4()
            }
            (at, to) => at == to,
        };
        fits && self.token.is_some()
    }

    /// Which of its addresses this is; `None` if it has but one.
    pub(super) fn asked(&self, sent_to: &Endpoint) -> Option<SocketAddr> {
        match (&self.at, sent_to) {
            (Endpoint::Udp(at), Endpoint::Udp(to)) if at.ip().is_unspecified() => Some(*to),
            _ => None,
        }
    }

    /// Where a datagram comes from that is sent by this socket.
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
