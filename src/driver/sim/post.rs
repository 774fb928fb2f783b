//! Simulated datagrams, and where they wait.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::driver::Token;
use crate::endpoint::Endpoint;
use crate::link::Peer;

/// A datagram socket of the server.
#[derive(Debug)]
pub(super) struct Mailbox {
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

/// A datagram on its way.
#[derive(Debug)]
pub(super) enum Mail {
    /// To this mailbox of the server.
    Up(usize, Peer, Bytes),
    /// From the server.
    Down(Peer, Bytes),
}
