//! `Wire`: a simulated connection, with the server's socket, the client, and a
//! `HalfPipe` for each direction.

use std::collections::VecDeque;

use super::act::{Cut, Pace};
use super::actor::Player;
use super::client_layer::ClientLayer;
use super::half_pipe::HalfPipe;
use crate::driver::Token;
use crate::moment::Moment;

/// The kind of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    /// A Unix stream socket: no resets of its own, and it closes at once.
    Unix,
    /// A pipe of a child process, whose place its `listener` then is. Bytes
    /// arrive at once.
    Pipe,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its first packet is in flight.
    Connecting,
    /// No listener is at its endpoint.
    Refused,
    /// It waits to be accepted.
    Backlog,
    /// The server has accepted it.
    Accepted,
    /// It ended before it was accepted.
    Lost,
}

/// The server's end of a connection.
#[derive(Debug, Default)]
pub(super) struct Socket {
    pub(super) open: bool,
    pub(super) token: Option<Token>,
    pub(super) fin_sent: bool,
    /// True once the connection is broken.
    pub(super) broken: bool,
    /// The error of the next call.
    pub(super) error: Option<i32>,
    /// True from a writable event until a write finds no room.
    pub(super) told_writable: bool,
    /// True once the last edge is consumed: the next change makes another.
    pub(super) read_armed: bool,
    pub(super) write_armed: bool,
    /// Edges that are not reported yet.
    pub(super) read_edge: bool,
    pub(super) write_edge: bool,
    /// True while it is on the network's list of edges.
    pub(super) listed: bool,
}

/// A client of a simulated network, as a test sees it.
#[derive(Debug)]
pub struct Client {
    /// What plays it; `None`: it is the end of a pipe that a process has.
    pub(super) actor: Option<Player>,
    pub(super) is_host: bool,
    pub(super) sent: Vec<u8>,
    /// The layer at its end, whose `wire` then goes to the server instead of `sent`.
    pub(super) layer: Option<Box<ClientLayer>>,
    /// The bytes of that which are in flight or have arrived.
    pub(super) pumped: usize,
    /// Where `outgoing` is still to be cut, in order, and how.
    pub(super) cuts: VecDeque<(usize, Cut)>,
    /// It waits at the first of them.
    pub(super) is_cutting: bool,
    pub(super) received: Vec<u8>,
    pub(super) pace: Pace,
    /// True while a slow reader's next read is on the agenda.
    pub(super) ticking: bool,
    pub(super) finishing: bool,
    pub(super) fin_sent: bool,
    pub(super) stays_after_fin: bool,
    pub(super) closed: bool,
    pub(super) vanished: bool,
    pub(super) has_reset: bool,
    pub(super) refused: bool,
    pub(super) lost: bool,
    /// The moments at which its bytes arrived at the server, and their sum by
    /// then.
    pub(super) arrivals: Vec<(u64, usize)>,
    pub(super) written_to: Option<u64>,
    pub(super) took_at: Option<u64>,
    pub(super) saw_reset: Option<u64>,
    pub(super) saw_fin: Option<u64>,
}

impl Client {
    /// Whether the server has connected to it, and not it to the server.
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.is_host
    }

    /// All bytes that its actor has sent, whether or not the network took
    /// them.
    #[must_use]
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// The bytes that go to the server: what its actor has sent, or what its layer
    /// has made of that.
    pub(super) fn outgoing(&self) -> &[u8] {
        self.layer.as_ref().map_or(&self.sent, |layer| &layer.wire)
    }

    /// How many bytes may leave before the next cut.
    pub(super) fn before_cut(&self) -> usize {
        self.cuts.front().map_or(usize::MAX, |(byte, _)| byte.saturating_sub(self.pumped))
    }

    /// Whether it waits at a [cut](super::Cut).
    #[must_use]
    pub const fn is_at_cut(&self) -> bool {
        self.is_cutting
    }

    /// Adds a cut behind those at the same place.
    pub(super) fn add_cut(&mut self, byte: usize, cut: Cut) {
        let place = self.cuts.partition_point(|(at, _)| *at <= byte);
        self.cuts.insert(place, (byte, cut));
    }

    /// Drops what has not left yet, the end of its layer included.
    pub(super) fn drop_unsent(&mut self) {
        match &mut self.layer {
            Some(layer) => {
                layer.wire.truncate(self.pumped);
                layer.cut_off();
            }
            None => self.sent.truncate(self.pumped),
        }
    }

    /// Whether its end of the connection has a layer.
    #[must_use]
    pub const fn has_layer(&self) -> bool {
        self.layer.is_some()
    }

    /// Whether its actor has a [layer of its own](super::Actor::has_own_layer).
    #[must_use]
    pub fn has_own_layer(&self) -> bool {
        self.actor.as_ref().is_some_and(|player| player.0.has_own_layer())
    }

    /// Whether the handshake of its layer is complete; `false` without a layer.
    #[must_use]
    pub fn is_layer_ready(&self) -> bool {
        self.layer.as_ref().is_some_and(|layer| layer.is_ready)
    }

    /// Whether the server has ended its side in the way of the client's layer;
    /// `false` without a layer.
    #[must_use]
    pub fn saw_layer_end(&self) -> bool {
        self.layer.as_ref().is_some_and(|layer| layer.has_ended)
    }

    /// The error of its layer.
    #[must_use]
    pub fn layer_error(&self) -> Option<&str> {
        self.layer.as_ref()?.error.as_deref()
    }

    /// The bytes of those that the network has taken; with a layer, of what that has
    /// made of them.
    #[must_use]
    pub const fn handed_over(&self) -> usize {
        self.pumped
    }

    /// All bytes that it has read.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// The number of its bytes that had arrived at the server by then, read or
    /// not.
    #[must_use]
    pub fn arrived_by(&self, time: Moment) -> usize {
        let arrived = self.arrivals.partition_point(|(at, _)| *at <= time.as_nanos());
        arrived.checked_sub(1).map_or(0, |last| self.arrivals[last].1)
    }

    /// The moment at which the server last wrote to it.
    #[must_use]
    pub fn written_to(&self) -> Option<Moment> {
        self.written_to.map(Moment::from_nanos)
    }

    /// The moment at which it last took some of that.
    #[must_use]
    pub fn took_at(&self) -> Option<Moment> {
        self.took_at.map(Moment::from_nanos)
    }

    /// The moment at which it read the server's FIN, behind everything else.
    #[must_use]
    pub fn saw_fin(&self) -> Option<Moment> {
        self.saw_fin.map(Moment::from_nanos)
    }

    /// The moment at which the server's reset reached it.
    #[must_use]
    pub fn saw_reset(&self) -> Option<Moment> {
        self.saw_reset.map(Moment::from_nanos)
    }

    /// Whether it found no listener.
    #[must_use]
    pub const fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether the connection was lost before the server accepted it: aborted
    /// in the backlog, or by a close of the listener.
    #[must_use]
    pub const fn was_lost(&self) -> bool {
        self.lost
    }

    /// Whether it has broken the connection itself: by a reset, by vanishing,
    /// or by a close with input unread or yet to come.
    #[must_use]
    pub const fn has_reset(&self) -> bool {
        self.has_reset || self.vanished
    }

    /// Whether it has ended its side: by finishing or closing.
    #[must_use]
    pub const fn has_finished(&self) -> bool {
        self.finishing
    }

    /// Whether it has vanished.
    #[must_use]
    pub const fn has_vanished(&self) -> bool {
        self.vanished
    }

    /// The pace at which it reads.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether its connection has ended in both directions.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.refused
            || self.saw_reset.is_some()
            || self.has_reset
            || self.vanished
            || (self.saw_fin.is_some() && self.fin_sent)
    }
}

/// A simulated connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) kind: Kind,
    pub(super) listener: usize,
    pub(super) stage: Stage,
    /// To the server.
    pub(super) up: HalfPipe,
    /// To the client.
    pub(super) down: HalfPipe,
    pub(super) socket: Socket,
    pub(super) client: Client,
}

impl Wire {
    pub(super) fn new(kind: Kind, listener: usize, buffer: usize) -> Self {
        Self {
            kind,
            listener,
            stage: Stage::Connecting,
            up: HalfPipe::new(buffer.max(1)),
            down: HalfPipe::new(buffer.max(1)),
            socket: Socket::default(),
            client: Client {
                actor: None,
                is_host: false,
                sent: Vec::new(),
                layer: None,
                pumped: 0,
                cuts: VecDeque::new(),
                is_cutting: false,
                received: Vec::new(),
                pace: Pace::AtOnce,
                ticking: false,
                finishing: false,
                fin_sent: false,
                stays_after_fin: false,
                closed: false,
                vanished: false,
                has_reset: false,
                refused: false,
                lost: false,
                arrivals: Vec::new(),
                written_to: None,
                took_at: None,
                saw_reset: None,
                saw_fin: None,
            },
        }
    }

    /// Ends it before the server has accepted it.
    pub(super) const fn lose(&mut self) {
        self.stage = Stage::Lost;
        self.client.lost = true;
    }

    /// Lets the client take so many bytes of what has arrived.
    pub(super) fn take_down(&mut self, count: usize) {
        let Client { layer, received, finishing, .. } = &mut self.client;
        let Some(layer) = layer else { return self.down.take_onto(received, count) };
        let mut bytes = Vec::new();
        self.down.take_onto(&mut bytes, count);
        layer.receive(&bytes, received);
        // It has sent its alert.
        *finishing |= layer.error.is_some();
    }

    /// Whether a read would not block.
    pub(super) fn is_readable(&self) -> bool {
        self.up.unread() > 0 || self.up.fin() || self.socket.broken
    }

    /// Whether a write would not block.
    pub(super) const fn is_writable(&self) -> bool {
        self.down.room() > 0 || self.socket.broken
    }

    /// Whether the end, or an error, follows what has arrived.
    pub(super) const fn is_hung_up(&self) -> bool {
        self.up.fin() || self.socket.broken
    }

    /// Whether the client can no longer act.
    pub(super) const fn is_client_gone(&self) -> bool {
        self.client.has_reset || self.client.vanished || self.client.saw_reset.is_some()
    }
}
