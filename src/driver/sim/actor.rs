//! `Actor`: a simulated peer with state, which answers; `ActorIo`, all that it can
//! do.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::act::{Act, ClientId, Cut, Pace};
use crate::layer::LayerFactory;
use crate::moment::Moment;

/// A simulated peer with state: the other end of a connection, which reacts to what
/// comes. It plays a client ([`Network::play`](super::Network::play)) or a host that
/// the server connects to ([`Network::host_with`](super::Network::host_with)). A
/// [`Script`](super::Script) is one kind of actor, whose acts are known in advance.
///
/// An implementation of a protocol that does no I/O fits as it is: give it what
/// comes in [`data`](Self::data), and [send](ActorIo::send) what it has to say. The
/// network cuts, delays and loses the bytes of actors and of scripts alike, as its
/// [`Conditions`](super::Conditions) say.
///
/// The network never calls an actor while it is being called: what an actor does by
/// its [`ActorIo`] happens when the callback has returned. After a reset, a
/// [`Vanish`](Act::Vanish) or a refused connection no further callback comes, but for
/// the [`end`](Self::end) that tells of it.
///
/// ```
/// use serve_forever::driver::sim::{Actor, ActorIo, Conditions};
/// use serve_forever::services::Echo;
/// use serve_forever::sim::World;
///
/// /// Counts from 1 to 10, each number sent when the one before has come back.
/// struct Counter(u32);
///
/// impl Actor for Counter {
///     fn connected(&mut self, io: &mut ActorIo<'_>) {
///         io.send(self.0.to_string());
///     }
///
///     fn data(&mut self, io: &mut ActorIo<'_>, _: &[u8]) {
///         self.0 += 1;
///         if self.0 <= 10 { io.send(self.0.to_string()) } else { io.finish() }
///     }
/// }
///
/// let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), Echo::limits())?;
/// let client = world.play(Counter(1));
/// world.run()?;
/// assert_eq!(world.client(client).received(), b"12345678910");
/// assert_eq!(world.net().actor::<Counter>(client).map(|counter| counter.0), Some(11));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// # A real protocol
///
/// Here the client of the `rustls` crate, which does no I/O and knows nothing of the
/// network, speaks with an echo behind TLS:
///
/// ```
/// # #[cfg(feature = "tls")]
/// # fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use std::io::{Read, Write};
/// use std::sync::Arc;
/// use serve_forever::driver::sim::{Actor, ActorIo, Conditions};
/// use serve_forever::services::Echo;
/// use serve_forever::sim::World;
/// use serve_forever::tls::rustls::{ClientConfig, ClientConnection, RootCertStore};
/// use serve_forever::tls::{Identity, Server, ServerOptions};
/// use serve_forever::{Config, ListenOptions};
///
/// struct TlsClient {
///     tls: ClientConnection,
///     heard: Vec<u8>,
/// }
///
/// impl TlsClient {
///     fn send_wire(&mut self, io: &mut ActorIo<'_>) {
///         let mut wire = Vec::new();
///         while self.tls.wants_write() {
///             self.tls.write_tls(&mut wire).expect("a vector takes everything");
///         }
///         io.send(wire);
///     }
/// }
///
/// impl Actor for TlsClient {
///     fn connected(&mut self, io: &mut ActorIo<'_>) {
///         self.tls.writer().write_all(b"hello").expect("rustls keeps it for the end of the handshake");
///         self.send_wire(io);
///     }
///
///     fn data(&mut self, io: &mut ActorIo<'_>, mut bytes: &[u8]) {
///         while !bytes.is_empty() {
///             self.tls.read_tls(&mut bytes).expect("room");
///             let state = self.tls.process_new_packets().expect("a server that keeps to TLS");
///             let mut plain = vec![0; state.plaintext_bytes_to_read()];
///             self.tls.reader().read_exact(&mut plain).expect("as much as it says");
///             self.heard.extend(plain);
///         }
///         if self.heard == b"hello" {
///             self.tls.send_close_notify();
///         }
///         self.send_wire(io);
///         if self.heard == b"hello" {
///             io.finish();
///         }
///     }
///
///     fn has_own_layer(&self) -> bool {
///         true
///     }
/// }
///
/// let own = rcgen::generate_simple_self_signed(["server.test".into()])?;
/// let identity = Identity::from_pem(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes())?;
/// let server = Server::new(&ServerOptions { identities: vec![identity], ..ServerOptions::default() })?;
/// let options = ListenOptions { layer: Some(server.factory()), ..ListenOptions::default() };
///
/// let mut roots = RootCertStore::empty();
/// roots.add(own.cert.der().clone())?;
/// let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
/// let tls = ClientConnection::new(Arc::new(config), "server.test".try_into()?)?;
///
/// // No segment is longer than three bytes.
/// let conditions = Conditions { segment: (1, 3), ..Conditions::calm() };
/// let mut world =
///     World::<_, true>::listening(1, conditions, Echo::new(), Echo::limits(), Config::default(), &options)?;
/// let client = world.play(TlsClient { tls, heard: Vec::new() });
/// world.run()?;
/// let actor: &TlsClient = world.net().actor(client).expect("it plays this client");
/// assert_eq!(actor.heard, b"hello");
/// assert_eq!(world.life(client).and_then(|life| life.closed()), Some("Finished"));
/// # Ok(())
/// # }
/// # #[cfg(feature = "tls")]
/// # example().expect("it runs");
/// ```
pub trait Actor: Any {
    /// The time until it connects; of a host, the time until it answers. The network
    /// asks once.
    fn starts_after(&self) -> Duration {
        Duration::ZERO
    }

    /// It is about to connect, or to answer: the place for its first timers. What it
    /// sends now leaves when the connection is established.
    fn begin(&mut self, io: &mut ActorIo<'_>) {
        let _ = io;
    }

    /// The connection is established, as far as its end can know: a server may still
    /// have to accept it.
    fn connected(&mut self, io: &mut ActorIo<'_>) {
        let _ = io;
    }

    /// These bytes have come, behind all earlier ones. With a layer at its end
    /// ([`Act::StartLayer`]) they are plaintext.
    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]);

    /// A timer that it has [set](ActorIo::set_timer) has run out.
    fn timer(&mut self, io: &mut ActorIo<'_>, tag: u64) {
        let _ = (io, tag);
    }

    /// The server's side has ended. After a FIN the network ends the actor's side as
    /// well, behind what the actor sends now, unless it
    /// [stays](Act::StayAfterFin).
    fn end(&mut self, io: &mut ActorIo<'_>, end: End) {
        let _ = (io, end);
    }

    /// Whether it has a layer of its own, such as an implementation of TLS, so that
    /// what it sends is not what a handler gets.
    /// [`World`](crate::sim::World) then does not compare the two. A layer by
    /// [`Act::StartLayer`] is the network's, and needs no word of the actor.
    fn has_own_layer(&self) -> bool {
        false
    }
}

/// The end of a connection, as an [`Actor`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server's FIN, behind all that it has sent.
    Fin,
    /// A reset. Bytes of the server may be lost.
    Reset,
    /// There is no listener.
    Refused,
}

/// What an actor is told.
pub(super) enum News {
    Begin,
    Connected,
    /// What it has received from this byte on.
    Data(usize),
    Timer(u64),
    End(End),
}

/// What an actor asks of the network.
#[derive(Debug)]
pub(super) enum Order {
    Act(ClientId, Act),
    Cut(ClientId, usize, Cut),
    Timer(ClientId, Duration, u64),
    /// The server's FIN is dealt with: the client ends its side, unless it stays.
    FollowFin(ClientId),
}

/// The network, as an [`Actor`] sees it in a callback. All that it asks for happens
/// after the callback, in order.
#[derive(Debug)]
pub struct ActorIo<'a> {
    client: ClientId,
    now: Moment,
    orders: &'a mut VecDeque<Order>,
}

impl<'a> ActorIo<'a> {
    pub(super) const fn new(client: ClientId, now: Moment, orders: &'a mut VecDeque<Order>) -> Self {
        Self { client, now, orders }
    }

    /// The client that the actor plays. A host that the server has connected to is a
    /// client too, by this number.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.client
    }

    /// The simulated time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// Does this.
    pub fn act(&mut self, act: Act) {
        self.act_as(self.client, act);
    }

    /// Has another client do this: two actors of one test can share what they know,
    /// and one can speak because of what the other has heard.
    pub fn act_as(&mut self, client: ClientId, act: Act) {
        self.orders.push_back(Order::Act(client, act));
    }

    /// Sends.
    pub fn send(&mut self, bytes: impl Into<Bytes>) {
        self.act(Act::Send(bytes.into()));
    }

    /// Reads at this pace from now on.
    pub fn read(&mut self, pace: Pace) {
        self.act(Act::Read(pace));
    }

    /// Ends its side, and reads on.
    pub fn finish(&mut self) {
        self.act(Act::Finish);
    }

    /// Closes.
    pub fn close(&mut self) {
        self.act(Act::Close);
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        self.act(Act::Reset);
    }

    /// Puts a layer at its end.
    pub fn start_layer(&mut self, layer: LayerFactory) {
        self.act(Act::StartLayer(layer));
    }

    /// Has something happen once `byte` of its bytes have left, counted from the
    /// beginning; with a layer, of the bytes that it has for the wire. Of two cuts at
    /// one place the one asked for first comes first.
    pub fn cut(&mut self, byte: usize, cut: Cut) {
        self.orders.push_back(Order::Cut(self.client, byte, cut));
    }

    /// Has [`timer`](Actor::timer) called with this tag after a time. Timers are not
    /// taken back: an actor that is no longer interested ignores the call. One that
    /// sets a timer of no time in each call of it lets no time pass, for ever.
    pub fn set_timer(&mut self, after: Duration, tag: u64) {
        self.orders.push_back(Order::Timer(self.client, after, tag));
    }
}

/// An actor in the network.
pub(super) struct Player(pub(super) Box<dyn Actor>);

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Player")
    }
}

/// A maker of the actors of a host, one for each connection that the server makes to
/// it.
pub(super) struct Players(Box<dyn FnMut() -> Player>);

impl Players {
    pub(super) fn new<A: Actor>(mut make: impl FnMut() -> A + 'static) -> Self {
        Self(Box::new(move || Player(Box::new(make()))))
    }

    pub(super) fn make(&mut self) -> Player {
        (self.0)()
    }
}

impl fmt::Debug for Players {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Players")
    }
}
