//! A connection between a simulated client and the server: both ends, and the
//! half_pipe of each direction.

use super::half_pipe::HalfPipe;
use super::script::Pace;
use crate::driver::Token;
use crate::moment::Moment;

/// Of which kind a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    /// A Unix stream socket: no resets of its own, and it closes at once.
    Unix,
    /// A pipe of a child process, which is what its `listener` then is. What
    /// is put into it is there at once.
    Pipe,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its first packet is on the way.
    Connecting,
    /// Nobody listens there.
    Refused,
    /// It waits to be accepted.
    Backlog,
    /// The server has it.
    Accepted,
    /// It ended before it was accepted.
    Lost,
}

/// The server's end: a socket.
#[derive(Debug, Default)]
pub(super) struct Socket {
    pub(super) open: bool,
    pub(super) token: Option<Token>,
    pub(super) fin_sent: bool,
    /// The connection is no more.
    pub(super) broken: bool,
    /// What the next call is told of that.
    pub(super) error: Option<i32>,
    /// No write has said otherwise since an event said that it could be written.
    pub(super) told_writable: bool,
    /// The last edge is used up: the next change makes another.
    pub(super) read_armed: bool,
    pub(super) write_armed: bool,
    /// Edges that were not reported yet.
    pub(super) read_edge: bool,
    pub(super) write_edge: bool,
    /// In the network's list of what has an edge.
    pub(super) listed: bool,
}

/// A client of a simulated network, as a test sees it.
#[derive(Debug)]
pub struct Client {
    pub(super) sent: Vec<u8>,
    /// How much of `sent` is under way or there.
    pub(super) pumped: usize,
    pub(super) received: Vec<u8>,
    pub(super) pace: Pace,
    /// A slow reader's next read is on the agenda.
    pub(super) ticking: bool,
    pub(super) finishing: bool,
    pub(super) fin_sent: bool,
    pub(super) stays_after_fin: bool,
    pub(super) closed: bool,
    pub(super) vanished: bool,
    pub(super) has_reset: bool,
    pub(super) refused: bool,
    pub(super) lost: bool,
    /// When bytes of it arrived at the server, and how many had by then.
    pub(super) arrivals: Vec<(u64, usize)>,
    pub(super) written_to: Option<u64>,
    pub(super) took_at: Option<u64>,
    pub(super) saw_reset: Option<u64>,
    pub(super) saw_fin: Option<u64>,
}

impl Client {
    /// All that it was told to send, whether or not that was possible.
    #[must_use]
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// How much of that it has handed to the network.
    #[must_use]
    pub const fn handed_over(&self) -> usize {
        self.pumped
    }

    /// All that it has read.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// How many of its bytes had arrived at the server by then, read or not.
    #[must_use]
    pub fn arrived_by(&self, time: Moment) -> usize {
        let arrived = self.arrivals.partition_point(|(at, _)| *at <= time.as_nanos());
        arrived.checked_sub(1).map_or(0, |last| self.arrivals[last].1)
    }

    /// When the server wrote something to it last.
    #[must_use]
    pub fn written_to(&self) -> Option<Moment> {
        self.written_to.map(Moment::from_nanos)
    }

    /// When it took some of that last.
    #[must_use]
    pub fn took_at(&self) -> Option<Moment> {
        self.took_at.map(Moment::from_nanos)
    }

    /// When it read the server's FIN, behind everything else.
    #[must_use]
    pub fn saw_fin(&self) -> Option<Moment> {
        self.saw_fin.map(Moment::from_nanos)
    }

    /// When the server's reset reached it.
    #[must_use]
    pub fn saw_reset(&self) -> Option<Moment> {
        self.saw_reset.map(Moment::from_nanos)
    }

    /// Nobody listened.
    #[must_use]
    pub const fn was_refused(&self) -> bool {
        self.refused
    }

    /// The connection was lost before the server had it: aborted in its
    /// backlog, or the listener closed.
    #[must_use]
    pub const fn was_lost(&self) -> bool {
        self.lost
    }

    /// It has broken the connection itself: it reset, it vanished, or it
    /// closed while there was something to read or yet to come.
    #[must_use]
    pub const fn has_reset(&self) -> bool {
        self.has_reset || self.vanished
    }

    /// It said that it sends nothing more: it finished or closed.
    #[must_use]
    pub const fn has_finished(&self) -> bool {
        self.finishing
    }

    /// It has vanished.
    #[must_use]
    pub const fn has_vanished(&self) -> bool {
        self.vanished
    }

    /// How it reads.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Nothing more comes or goes.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.refused
            || self.saw_reset.is_some()
            || self.has_reset
            || self.vanished
            || (self.saw_fin.is_some() && self.fin_sent)
    }
}

/// See the module.
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
                sent: Vec::new(),
                pumped: 0,
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

    /// It ends before the server has it.
    pub(super) const fn lose(&mut self) {
        self.stage = Stage::Lost;
        self.client.lost = true;
    }

    /// A read would not block.
    pub(super) fn is_readable(&self) -> bool {
        self.up.unread() > 0 || self.up.fin() || self.socket.broken
    }

    /// A write would not block.
    pub(super) const fn is_writable(&self) -> bool {
        self.down.room() > 0 || self.socket.broken
    }

    /// The end, or an error, is behind what there is to read.
    pub(super) const fn is_hung_up(&self) -> bool {
        self.up.fin() || self.socket.broken
    }

    /// The client cannot do anything any more.
    pub(super) const fn is_client_gone(&self) -> bool {
        self.client.has_reset || self.client.vanished || self.client.saw_reset.is_some()
    }
}
