//! `Script`: the acts of a simulated client, and when it does each.

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
    /// Waits until it has received these bytes, behind those that it awaited
    /// before; the acts of its script that follow are counted from then.
    Await(Bytes),
    /// Keeps its side open when the server has ended the other. By default a
    /// client then ends its side.
    StayAfterFin,
}

/// The acts of a client, each some time after the one before.
///
/// ```
/// use std::time::Duration;
/// use serve_forever::driver::sim::Script;
///
/// let slow_loris = (0..3600).fold(Script::new(), |script, _| {
///     script.send("x").after(Duration::from_secs(10))
/// });
/// let polite = Script::new().send("hello\n").finish();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The time from now until the client connects.
    pub(super) start: Duration,
    /// The acts, each with its time since the start.
    pub(super) acts: Vec<(Duration, Act)>,
    /// The maker of the layer at the client's end.
    pub(super) layer: Option<LayerFactory>,
    /// Where what goes to the server is cut, in bytes from the beginning.
    pub(super) cuts: Vec<usize>,
    clock: Duration,
}

impl Script {
    /// A client that connects, and reads what comes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that connects after this time.
    #[must_use]
    pub fn starting_after(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    /// A client with a layer at its end of the connection, such as TLS. The script
    /// is in plaintext: what it sends goes through the layer once its handshake is
    /// complete, its end goes through the layer before the FIN, and
    /// [`Client::received`](super::Client::received) is plaintext.
    #[must_use]
    pub fn through(mut self, layer: LayerFactory) -> Self {
        self.layer = Some(layer);
        self
    }

    /// Cuts what goes to the server after so many bytes, each counted from the
    /// beginning: what follows leaves ten milliseconds later. With a layer, these are
    /// the bytes that it has for the wire. A test of all cuts makes one run for each.
    #[must_use]
    pub fn cut_at(mut self, cuts: impl IntoIterator<Item = usize>) -> Self {
        self.cuts.extend(cuts);
        self.cuts.sort_unstable();
        self.cuts.dedup();
        self
    }

    /// Delays the acts that follow.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.clock += time;
        self
    }

    /// Then does this.
    #[must_use]
    pub fn then(mut self, act: Act) -> Self {
        self.acts.push((self.clock, act));
        self
    }

    /// Then waits for these bytes, and goes on when they have come: a dialogue.
    ///
    /// ```
    /// use serve_forever::driver::sim::{Conditions, Script};
    /// use serve_forever::services::Echo;
    /// use serve_forever::sim::World;
    ///
    /// let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), Echo::limits())?;
    /// let client = world.play(Script::new().send("one\n").await_answer("one\n").send("two\n").finish());
    /// world.run()?;
    /// assert_eq!(world.client(client).received(), b"one\ntwo\n");
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn await_answer(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Act::Await(bytes.into()))
    }

    /// Then sends.
    #[must_use]
    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Act::Send(bytes.into()))
    }

    /// Then puts a layer at its end.
    #[must_use]
    pub fn start_layer(self, layer: LayerFactory) -> Self {
        self.then(Act::StartLayer(layer))
    }

    /// Then reads at this pace.
    #[must_use]
    pub fn read(self, pace: Pace) -> Self {
        self.then(Act::Read(pace))
    }

    /// Then ends its side.
    #[must_use]
    pub fn finish(self) -> Self {
        self.then(Act::Finish)
    }

    /// Then closes.
    #[must_use]
    pub fn close(self) -> Self {
        self.then(Act::Close)
    }

    /// Then resets.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Act::Reset)
    }

    /// Then vanishes.
    #[must_use]
    pub fn vanish(self) -> Self {
        self.then(Act::Vanish)
    }
}
