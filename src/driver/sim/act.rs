//! `Act`: the things that a simulated client can do, and `Cut`, a place in its bytes
//! at which something happens.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::layer::LayerFactory;
use crate::origin::{Address, Peer};

/// The id of a client of a simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) u32);

impl ClientId {
    /// The client that a handler sees as this peer; `None` if the peer is not a
    /// client of a simulated network.
    #[must_use]
    pub fn of(peer: &Peer) -> Option<Self> {
        match (&peer.address, &peer.credentials) {
            (Address::Inet(std::net::SocketAddr::V4(address)), _) => {
                let bits = u32::from(*address.ip());
                (bits >> 24 == 10).then_some(Self(bits & 0x00FF_FFFF))
            }
            (Address::Unnamed, Some(credentials)) => credentials.pid.map(Self),
            _ => None,
        }
    }

    /// The client at a place of the network's list.
    #[allow(clippy::cast_possible_truncation, reason = "there are fewer than 2^24")]
    pub(super) const fn at(place: usize) -> Self {
        Self(place as u32)
    }

    /// Clients are numbered from 0, in the order in which they were made.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ClientId {
    /// `#7`: short, for traces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The pace at which a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Reads everything at once.
    AtOnce,
    /// Reads nothing.
    Never,
    /// Reads at most `bytes` in each period.
    Slowly {
        /// Bytes.
        bytes: usize,
        /// The period; at least a nanosecond.
        every: Duration,
    },
}

/// An act of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends these bytes behind earlier ones; the network cuts them into
    /// segments, and delays them while its buffer is full.
    Send(Bytes),
    /// Reads at this pace from now on. A client begins with [`Pace::AtOnce`].
    Read(Pace),
    /// Ends its side once everything is sent; goes on reading.
    Finish,
    /// Ends its side once everything is sent, without the end that its layer has:
    /// what a connection looks like that somebody has cut.
    CutOff,
    /// Closes: ends its side once everything is sent, and answers later input
    /// with a reset. With unread input it resets at once, as TCP does.
    Close,
    /// Resets the connection; unsent bytes are dropped, and bytes in flight may
    /// be.
    Reset,
    /// Vanishes without a FIN, as a machine that lost power. On a Unix socket,
    /// where that is impossible, it is a [`Reset`](Self::Reset).
    Vanish,
    /// Puts a layer at its end of the connection: what is sent and received from now
    /// on goes through it, as behind STARTTLS.
    StartLayer(LayerFactory),
    /// Keeps its side open when the server has ended the other. By default a
    /// client then ends its side.
    StayAfterFin,
}

/// Something that happens at a place in the bytes that a client has for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What follows leaves so much later.
    Pause(Duration),
    /// The client does this once the bytes before it have left. An act that ends its
    /// side drops what follows, and so does a reset.
    Act(Act),
}
