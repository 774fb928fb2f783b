//! `DatagramActor`: a simulated peer with state that sends and receives datagrams;
//! `DatagramActorIo`, all that it can do.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::moment::Moment;
use crate::origin::Peer;

/// A simulated peer with state for datagrams: it reacts to those that come.
/// [`Network::play_datagrams`](super::Network::play_datagrams) gives it an address.
/// The network loses, doubles and reorders what it sends and what it is sent, as the
/// [`Conditions`](super::Conditions) say.
///
/// ```
/// use std::time::Duration;
/// use serve_forever::driver::sim::{Conditions, DatagramActor, DatagramActorIo, Odds, SimDriver};
/// use serve_forever::services::Upper;
/// use serve_forever::{Config, Endpoint, Peer, Reactor};
///
/// /// Asks until it is answered.
/// struct Asks {
///     server: Endpoint,
///     answer: Option<Vec<u8>>,
/// }
///
/// impl DatagramActor for Asks {
///     fn begin(&mut self, io: &mut DatagramActorIo<'_>) {
///         io.send(&self.server, "who is there?");
///         io.set_timer(Duration::from_secs(1), 0);
///     }
///
///     fn datagram(&mut self, _: &mut DatagramActorIo<'_>, _: &Endpoint, data: &[u8]) {
///         self.answer = Some(data.to_vec());
///     }
///
///     fn timer(&mut self, io: &mut DatagramActorIo<'_>, _: u64) {
///         if self.answer.is_none() {
///             self.begin(io);
///         }
///     }
/// }
///
/// // Half of all datagrams are lost.
/// let conditions = Conditions { lost: Odds::one_in(2), ..Conditions::calm() };
/// let mut reactor = Reactor::with_driver(SimDriver::<true>::new(1, conditions), Config::default())?;
/// let upper = reactor.add(Upper::new(), Upper::limits())?;
/// let server: Endpoint = "udp://127.0.0.1:53".parse()?;
/// reactor.bind(&upper, &server)?;
///
/// let peer = Peer::inet(([10, 0, 0, 1], 5000).into());
/// reactor.driver_mut().net_mut().play_datagrams(&peer, Asks { server, answer: None });
/// while !reactor.driver().net().is_quiet() {
///     reactor.turn(Some(Duration::from_secs(1)))?;
/// }
/// let asks: &Asks = reactor.driver().net().datagram_actor(&peer).expect("it plays this peer");
/// assert_eq!(asks.answer.as_deref(), Some(&b"WHO IS THERE?"[..]));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait DatagramActor: Any {
    /// It has its address: the place for its first datagrams and timers.
    fn begin(&mut self, io: &mut DatagramActorIo<'_>) {
        let _ = io;
    }

    /// A datagram has come from this endpoint of the server.
    fn datagram(&mut self, io: &mut DatagramActorIo<'_>, from: &Endpoint, data: &[u8]);

    /// A timer that it has [set](DatagramActorIo::set_timer) has run out.
    fn timer(&mut self, io: &mut DatagramActorIo<'_>, tag: u64) {
        let _ = (io, tag);
    }
}

/// What a datagram actor asks of the network.
#[derive(Debug)]
pub(super) enum DatagramOrder {
    Send(Endpoint, Bytes),
    Timer(Duration, u64),
}

/// The network, as a [`DatagramActor`] sees it in a callback. All that it asks for
/// happens after the callback, in order.
#[derive(Debug)]
pub struct DatagramActorIo<'a> {
    now: Moment,
    orders: &'a mut Vec<DatagramOrder>,
}

impl DatagramActorIo<'_> {
    /// The simulated time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// Sends a datagram to an endpoint of the server. Without a socket there it is
    /// dropped.
    pub fn send(&mut self, to: &Endpoint, data: impl Into<Bytes>) {
        self.orders.push(DatagramOrder::Send(to.clone(), data.into()));
    }

    /// Has [`timer`](DatagramActor::timer) called with this tag after a time. Timers
    /// are not taken back.
    pub fn set_timer(&mut self, after: Duration, tag: u64) {
        self.orders.push(DatagramOrder::Timer(after, tag));
    }
}

/// What a datagram actor is told.
pub(super) enum DatagramNews<'a> {
    Begin,
    Datagram(&'a Endpoint, &'a [u8]),
    Timer(u64),
}

/// A datagram actor in the network.
pub(super) struct DatagramPlayer {
    pub(super) peer: Peer,
    pub(super) actor: Box<dyn DatagramActor>,
}

impl DatagramPlayer {
    /// Calls the actor, and returns what it asks for.
    pub(super) fn tell(&mut self, now: Moment, news: &DatagramNews<'_>) -> Vec<DatagramOrder> {
        let mut orders = Vec::new();
        let mut io = DatagramActorIo { now, orders: &mut orders };
        match news {
            DatagramNews::Begin => self.actor.begin(&mut io),
            DatagramNews::Datagram(from, data) => self.actor.datagram(&mut io, from, data),
            DatagramNews::Timer(tag) => self.actor.timer(&mut io, *tag),
        }
        orders
    }
}

impl fmt::Debug for DatagramPlayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramPlayer").field("peer", &self.peer).finish_non_exhaustive()
    }
}
