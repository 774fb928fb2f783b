//! Actors in the network: calls them, and carries out what they ask for.

use std::time::Duration;

use super::act::{Act, ClientId, Cut};
use super::actor::{Actor, ActorIo, News, Order, Player, Players};
use super::network::{Due, Host, Network};
use super::script::Script;
use super::wire::{Kind, Wire};
use crate::endpoint::Endpoint;
use crate::moment::Moment;

impl Network {
    // What a test does

    /// Connects a client that reads, and does what a test has it [do](Self::act).
    /// Without a listener it is [refused](super::Client::was_refused).
    pub fn connect(&mut self, to: &Endpoint) -> ClientId {
        self.play(to, Script::new())
    }

    /// Connects a client that the actor plays; a [`Script`](super::Script) is an
    /// actor. Without a listener it is [refused](super::Client::was_refused).
    ///
    /// # Panics
    ///
    /// If the network has 2²⁴ clients.
    pub fn play(&mut self, to: &Endpoint, actor: impl Actor) -> ClientId {
        self.play_boxed(to, Box::new(actor))
    }

    pub(crate) fn play_boxed(&mut self, to: &Endpoint, actor: Box<dyn Actor>) -> ClientId {
        let place = self.wires.len();
        assert!(place < 1 << 24, "2^24 clients at most");
        let kind = if matches!(to, Endpoint::Unix(_)) { Kind::Unix } else { Kind::Tcp };
        let listener = self.listener_at(to);
        self.wires.push(Wire::new(kind, listener, self.conditions.buffer));
        let start = actor.starts_after();
        let latency = self.latency();
        self.after(start.saturating_add(latency), Due::Connect(place));
        self.wires[place].client.actor = Some(Player(actor));
        self.begin(place, start);
        ClientId::at(place)
    }

    /// Adds a host at an endpoint: the other end of each connection that the
    /// server makes to it is played by a clone of the actor, such as a
    /// [`Script`](super::Script). Without a host a connection is refused. A later
    /// host at the same endpoint takes its place.
    pub fn host(&mut self, at: &Endpoint, actor: impl Actor + Clone) {
        self.host_with(at, move || actor.clone());
    }

    /// Adds a host at an endpoint: the other end of each connection that the
    /// server makes to it is played by an actor of its own, which `make` makes.
    /// `make` may give them something to share, in an `Rc`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use serve_forever::driver::sim::{Actor, ActorIo, Conditions, Script};
    /// use serve_forever::sim::World;
    /// # use serve_forever::bytes::BytesMut;
    /// # use serve_forever::{BoxError, ConnId, Endpoint, Io, Limits, Origin, StreamHandler};
    ///
    /// /// A host that answers each line with its length.
    /// #[derive(Default)]
    /// struct Measure(Vec<u8>);
    ///
    /// impl Actor for Measure {
    ///     fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
    ///         self.0.extend(bytes);
    ///         while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
    ///             self.0.drain(..=end);
    ///             io.send(format!("{end}\n"));
    ///         }
    ///     }
    /// }
    ///
    /// # struct Asks(Endpoint);
    /// # impl StreamHandler for Asks {
    /// #     type Session = ();
    /// #     fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<(), BoxError> {
    /// #         match origin {
    /// #             Origin::Connected { .. } => { let _ = io.write(b"hello\n"); }
    /// #             _ => { io.connect(&self.0, 0)?; }
    /// #         }
    /// #         Ok(())
    /// #     }
    /// #     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
    /// #         io.finish(io.id());
    /// #         Ok(input.clear())
    /// #     }
    /// # }
    /// let at: Endpoint = "10.0.0.9:6379".parse()?;
    /// // A handler that connects there and sends "hello\n":
    /// let mut world = World::<_, true>::new(1, Conditions::calm(), Asks(at.clone()), Limits::default())?;
    /// world.net_mut().host_with(&at, Measure::default);
    /// world.play(Script::new().finish());
    /// world.run_for(Duration::from_secs(1))?;
    /// let answers = world.lives().iter().filter(|life| life.input() == b"5\n").count();
    /// assert_eq!(answers, 1);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn host_with<A: Actor>(&mut self, at: &Endpoint, make: impl FnMut() -> A + 'static) {
        self.hosts.push(Host { at: at.clone(), players: Some(Players::new(make)) });
    }

    /// Adds a host that never answers, as behind a firewall that drops packets.
    pub fn silent_host(&mut self, at: &Endpoint) {
        self.hosts.push(Host { at: at.clone(), players: None });
    }

    /// Takes the hosts at an endpoint away: the next connection that the server makes
    /// there is refused. Connections that are established stay.
    pub fn remove_host(&mut self, at: &Endpoint) {
        self.hosts.retain(|host| host.at != *at);
    }

    /// The actor that plays a client, to read; `None` if that is of another type.
    #[must_use]
    pub fn actor<A: Actor>(&self, client: ClientId) -> Option<&A> {
        let actor: &dyn std::any::Any = self.wires.get(client.number())?.client.actor.as_ref()?.0.as_ref();
        actor.downcast_ref()
    }

    /// Lets a client act after a time.
    pub fn later(&mut self, time: Duration, client: ClientId, act: Act) {
        self.acts.push(Some(act));
        self.after(time, Due::Act(client.number(), self.acts.len() - 1));
    }

    /// Lets a client act now.
    pub fn act(&mut self, client: ClientId, act: Act) {
        self.order(Order::Act(client, act));
    }

    /// Has something happen once `byte` of a client's bytes have left, as
    /// [`ActorIo::cut`].
    pub fn cut(&mut self, client: ClientId, byte: usize, cut: Cut) {
        self.order(Order::Cut(client, byte, cut));
    }

    // What the network does

    /// Has an actor begin after a time.
    pub(super) fn begin(&mut self, place: usize, after: Duration) {
        if after.is_zero() {
            self.tell(place, &News::Begin);
        } else {
            self.after(after, Due::Begin(place));
        }
    }

    /// Calls an actor, and carries out what it asks for. The client of a pipe has
    /// none.
    pub(super) fn tell(&mut self, place: usize, news: &News) {
        let client = &mut self.wires[place].client;
        let Some(Player(actor)) = &mut client.actor else { return };
        let mut io = ActorIo::new(ClientId::at(place), Moment::from_nanos(self.now), &mut self.orders);
        match news {
            News::Begin => actor.begin(&mut io),
            News::Connected => actor.connected(&mut io),
            News::Data(from) => actor.data(&mut io, &client.received[*from..]),
            News::Timer(tag) => actor.timer(&mut io, *tag),
            News::End(end) => actor.end(&mut io, *end),
        }
        self.carry_out();
    }

    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
        self.carry_out();
    }

    /// Carries out all orders. One may call an actor, whose own then come behind the
    /// others.
    fn carry_out(&mut self) {
        if std::mem::replace(&mut self.is_carrying_out, true) {
            return;
        }
        while let Some(order) = self.orders.pop_front() {
            match order {
                Order::Act(client, act) => self.perform(client.number(), act),
                Order::Cut(client, byte, cut) => self.wires[client.number()].client.add_cut(byte, cut),
                Order::Timer(client, after, tag) => self.after(after, Due::Timer(client.number(), tag)),
                Order::FollowFin(client) => self.follow_fin(client.number()),
            }
        }
        self.is_carrying_out = false;
    }

    /// A timer of an actor has run out.
    pub(super) fn timer(&mut self, place: usize, tag: u64) {
        let wire = &self.wires[place];
        if !wire.is_client_gone() && !wire.client.refused {
            self.tell(place, &News::Timer(tag));
        }
    }
}
