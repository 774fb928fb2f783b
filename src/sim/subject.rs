//! `Subject`: a service to explore, with the input of its clients and the
//! output that they must receive.

mod chat;
mod hesitant;
mod hub;
mod plain;
mod relay;
mod timed;

use std::time::Duration;

pub use self::chat::Chat;
pub use self::hesitant::{Hesitant, HesitantHandler};
pub use self::hub::{Hub, HubHandler};
pub use self::plain::{Echo, Once, Upper};
pub use self::relay::{Answering, Asking, Relay, RelayHandler};
pub use self::timed::{Alarms, Timed, TimedHandler};
use super::log::Life;
use super::plan::{ClientPlan, Plan};
use super::toy::Toy;
use crate::driver::sim::{Act, Actor, ClientId, Network, Rng};
use crate::{Endpoint, LayerFactory, Limits, StreamHandler};

/// A service to [explore](super::run): it makes the handler, the clients'
/// input, and the checks of their output.
pub trait Subject {
    /// The handler.
    type Handler: StreamHandler;

    /// Makes a handler.
    fn handler(&self) -> Self::Handler;

    /// The proposed limits; a plan changes marks and deadlines.
    fn limits(&self) -> Limits;

    /// The layers of the service's connections and of their clients; `None`: they
    /// have none. What clients send and receive, as the checks see it, is plaintext.
    fn layers(&self) -> Option<Layers> {
        None
    }

    /// Whether the reactor has the network's workers
    /// ([`Network::workers`]).
    #[cfg(feature = "workers")]
    fn has_workers(&self) -> bool {
        false
    }

    /// Prepares the network before the first client: installs the programs that
    /// the handler runs.
    fn prepare(&self, net: &mut Network) {
        let _ = net;
    }

    /// The actor that plays the client with this number; `None`: its plan's
    /// [script](ClientPlan::script) does, by the [stream](Self::stream). An actor
    /// starts after [`ClientPlan::start`], says about as much as [`ClientPlan::len`],
    /// and finishes; the plan [disturbs](ClientPlan::disturb) it.
    fn actor(&self, plan: &ClientPlan, number: usize) -> Option<Box<dyn Actor>> {
        let _ = (plan, number);
        None
    }

    /// Bytes that the handler exchanges with hosts of its own, whatever clients send:
    /// each may take turns as those of clients do.
    fn own_bytes(&self) -> usize {
        0
    }

    /// The bytes that the client with this number sends: about `len`. The plan
    /// cuts them anywhere.
    fn stream(&self, rng: &mut Rng, client: usize, len: usize) -> Vec<u8>;

    /// Checks what a client has received, up to now or in the end, against what
    /// was sent. `whole` means that nothing explains a loss: the client sent
    /// and read to the end, and neither side broke the connection.
    ///
    /// # Errors
    ///
    /// The fault.
    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String>;

    /// Checks what clients have received against what others have sent, at the
    /// end. `lives` are the connections, in the order of `open`.
    ///
    /// # Errors
    ///
    /// The fault.
    fn check_all(&self, net: &Network, lives: &[Life]) -> Result<(), String> {
        let _ = (net, lives);
        Ok(())
    }

    /// Checks the handler after every connection has ended. `lives` are the
    /// connections, in the order of `open`.
    ///
    /// # Errors
    ///
    /// The fault.
    fn check_handler(&self, handler: &Self::Handler, lives: &[Life]) -> Result<(), String> {
        let _ = (handler, lives);
        Ok(())
    }

    /// Whether a connection may end with
    /// [`CloseReason::Overflow`](crate::CloseReason::Overflow), or without its
    /// client's doing, because others write to it.
    fn may_overflow(&self) -> bool {
        false
    }

    /// Whether output of others never ends a client's connection, as long as
    /// all clients read and the network keeps up.
    fn keeps_readers(&self) -> bool {
        false
    }

    /// The distance of high mark and hard mark that its promises need, in
    /// bytes.
    fn headroom(&self) -> usize {
        0
    }

    /// The time that the handler gives with [`Io::set_deadline`](crate::Io::set_deadline)
    /// and begins anew with input, if it gives one.
    fn own_deadline(&self) -> Option<Duration> {
        None
    }
}

/// Prepares a network for a subject, and connects the clients of a plan.
pub(super) fn populate<S: Subject>(net: &mut Network, subject: &S, plan: &Plan, [tcp, unix]: &[Endpoint; 2]) {
    subject.prepare(net);
    net.limit_descriptors(plan.descriptors);
    let layers = subject.layers();
    for (number, client) in plan.clients.iter().enumerate() {
        let at = if client.unix { unix } else { tcp };
        let id = match subject.actor(client, number) {
            Some(actor) => {
                let id = net.play_boxed(at, actor);
                client.disturb(net, id);
                id
            }
            None => {
                let stream = subject.stream(&mut Rng::new(client.stream), number, client.len());
                net.play(at, client.script(&stream))
            }
        };
        if let Some(layers) = &layers {
            net.act(id, Act::StartLayer(layers.clients.clone()));
        }
    }
}

/// The layers at both ends of the connections of a [`Subject`].
#[derive(Clone, Debug)]
pub struct Layers {
    /// Those of the service.
    pub servers: LayerFactory,
    /// Those of its clients.
    pub clients: LayerFactory,
}

/// Another subject with a [`Toy`] layer between its service and its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layered<S>(
    /// The subject.
    pub S,
);

impl<S: Subject> Subject for Layered<S> {
    type Handler = S::Handler;

    fn handler(&self) -> S::Handler {
        self.0.handler()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn layers(&self) -> Option<Layers> {
        Some(Layers { servers: Toy::servers(), clients: Toy::clients() })
    }

    #[cfg(feature = "workers")]
    fn has_workers(&self) -> bool {
        self.0.has_workers()
    }

    fn prepare(&self, net: &mut Network) {
        self.0.prepare(net);
    }

    fn actor(&self, plan: &ClientPlan, number: usize) -> Option<Box<dyn Actor>> {
        self.0.actor(plan, number)
    }

    fn stream(&self, rng: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        self.0.stream(rng, client, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        self.0.check(net, client, life, whole)
    }

    fn check_all(&self, net: &Network, lives: &[Life]) -> Result<(), String> {
        self.0.check_all(net, lives)
    }

    fn check_handler(&self, handler: &S::Handler, lives: &[Life]) -> Result<(), String> {
        self.0.check_handler(handler, lives)
    }

    fn may_overflow(&self) -> bool {
        self.0.may_overflow()
    }

    fn keeps_readers(&self) -> bool {
        false
    }

    fn headroom(&self) -> usize {
        self.0.headroom()
    }

    fn own_deadline(&self) -> Option<Duration> {
        self.0.own_deadline()
    }
}

/// Bytes without a short period, in which every line is short.
fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.draw().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Checks a transformation of each byte, in order.
fn check_mapped(
    net: &Network,
    client: ClientId,
    life: Option<&Life>,
    whole: bool,
    map: impl Fn(u8) -> u8,
) -> Result<(), String> {
    let seen = net.client(client);
    let matches =
        seen.received().iter().zip(seen.sent()).take_while(|(got, sent)| **got == map(**sent)).count();
    if matches < seen.received().len() {
        return Err(format!("client {client}: byte {matches} that it received is wrong"));
    }
    if !whole {
        return Ok(());
    }
    let taken = life.map_or(0, |life| life.input().len());
    if taken != seen.sent().len() || seen.received().len() != taken {
        let (sent, received) = (seen.sent().len(), seen.received().len());
        return Err(format!(
            "client {client} sent {sent} bytes, {taken} were handed over, {received} came back"
        ));
    }
    if seen.saw_fin().is_none() {
        return Err(format!("client {client} got everything, and no FIN"));
    }
    Ok(())
}
