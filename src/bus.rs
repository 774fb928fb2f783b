//! Rooms over many processes and machines, through a Redis (feature `bus`).
//!
//! A room of people outgrows one process. Each process is a **node**: a handler that
//! owns a [`Bus`], which keeps one connection to a Redis in the handler's own loop. A
//! message goes to Redis, and comes from there to all nodes, in one order.
//!
//! ```
//! use serve_forever::bus::{Bus, BusHandler, BusOptions, Gap, Message, OnBus};
//! use serve_forever::bytes::{Bytes, BytesMut};
//! use serve_forever::{BoxError, Config, Io, Limits, Origin, Reactor, StreamHandler};
//!
//! /// Sends what anybody says, on any node, to everybody.
//! struct Lobby {
//!     bus: Bus,
//! }
//!
//! impl StreamHandler for Lobby {
//!     type Session = ();
//!
//!     fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
//!         let id = io.id();
//!         self.bus.join(io, "lobby", id)?;
//!         Ok(())
//!     }
//!
//!     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
//!         self.bus.publish(io, "lobby", input.split())?;
//!         Ok(())
//!     }
//! }
//!
//! impl BusHandler for Lobby {
//!     fn bus(&mut self) -> &mut Bus {
//!         &mut self.bus
//!     }
//!
//!     fn message(&mut self, io: &mut Io<'_>, message: Message) {
//!         self.bus.broadcast(io, &message.room, &message.payload);
//!     }
//!
//!     fn gap(&mut self, io: &mut Io<'_>, gap: Gap) {
//!         self.bus.broadcast(io, &gap.room, &Bytes::from_static(b"* messages were missed\n"));
//!     }
//! }
//!
//! let bus = Bus::new("redis://127.0.0.1/example".parse()?, BusOptions::default())?;
//! let mut reactor = Reactor::new(Config::default())?;
//! let lobby = reactor.add(OnBus::new(Lobby { bus }), Limits::default())?;
//! reactor.listen(&lobby, &"127.0.0.1:0".parse()?)?;
//! # reactor.handle(&lobby).shutdown(std::time::Duration::ZERO);
//! reactor.serve_forever()?;
//! # Ok::<(), serve_forever::Error>(())
//! ```
//!
//! # What is promised
//!
//! 1. All members of a room, on all nodes, see one order, the sender included; no message
//!    twice.
//! 2. Each message since a node subscribed is delivered, or a [`Gap`] comes before the
//!    next one. Nothing is lost in silence.
//! 3. What is answered with a [`Position`] is as durable as that Redis is; a changed
//!    [`Epoch`] tells of a possible loss.
//! 4. While Redis is away a bounded queue waits (count and bytes); what is sent again is
//!    no second message.
//! 5. The members of a node that died are unlisted within
//!    [`BusLimits::presence_ttl`] (30 s).
//! 6. A node without Redis keeps its clients, says so once
//!    ([`BusHandler::bus_down`]), and refuses what may not wait; or, if so
//!    [configured](Offline::ServeOwn), it serves its own members and says that the order
//!    is lost.
//! 7. A client may come back on any node with a [`Position`] and gets what it missed, or
//!    a [`Gap`] ([`Bus::resume`]).
//! 8. Attempts to reconnect wait 50 ms to 5 s, with jitter; from
//!    [`BusOptions::seed`] in a simulation.
//!
//! Redis has to be 6.0 or later, one server, and no cluster. It may be restarted, lose
//! its data, or be replaced by another one under the same address; it must not be two at
//! once.
//!
//! # What is not promised
//!
//! A message may be known to Redis and its publisher not told so: then
//! [`PublishError::Unknown`] says it. After [`GapReason::Restarted`] a client that
//! resumes may see a message again that Redis had lost and its node sent again.

mod batch;
mod command;
mod component;
mod error;
mod event;
mod gather;
mod handler;
mod limits;
mod link;
mod outbox;
mod position;
mod presence;
mod replies;
mod resume;
mod room;
mod scripts;
mod url;
mod wire;

pub use self::component::Bus;
pub use self::error::{BusError, PublishError};
pub use self::event::{
    BusEvent, BusToken, EnterError, Gap, GapReason, Message, NodeId, Presence, PresenceChange, Resume,
};
pub use self::handler::{BusHandler, OnBus, OnBusSession};
pub use self::limits::{BusLimits, BusOptions, Offline};
pub use self::position::{Epoch, Position};
pub use self::presence::Member;
pub use self::url::BusUrl;
