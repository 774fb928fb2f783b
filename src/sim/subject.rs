//! `Subject`: a service to explore, with the input of its clients and the
//! output that they must receive.

mod chat;
mod relay;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

pub use self::chat::Chat;
pub use self::relay::{Answering, Asking, Relay, RelayHandler};
use super::log::Life;
use super::plan::{ClientPlan, Plan};
use super::toy::Toy;
use crate::driver::sim::{Act, Actor, ClientId, Network, Rng};
use crate::{
    AfterEof, BoxError, Endpoint, GroupId, Io, LayerFactory, Limits, Origin, Sent, StreamHandler, TimerId,
    services,
};

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

/// [`services::Echo`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

/// [`services::Upper`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Upper;

/// [`services::Once`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

/// A service that sends each record of eight bytes (its sender and its number)
/// to all other clients, and so crosses connections as a chat does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hub;

/// [`services::Echo`] with timers, which must fire in time and as often as they
/// were set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timed;

/// An echo that takes a few bytes at a time, leaves the rest, and pauses until
/// a timer or `drained` resumes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hesitant;

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

impl Subject for Echo {
    type Handler = services::Echo;

    fn handler(&self) -> services::Echo {
        services::Echo::new()
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte)
    }
}

impl Subject for Upper {
    type Handler = services::Upper;

    fn handler(&self) -> services::Upper {
        services::Upper::new()
    }

    fn limits(&self) -> Limits {
        services::Upper::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte.to_ascii_uppercase())
    }
}

impl Subject for Once {
    type Handler = services::Once;

    fn handler(&self) -> services::Once {
        services::Once::new("the answer")
    }

    fn limits(&self) -> Limits {
        services::Once::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        let mut bytes = noise(rng, len);
        if rng.below(4) == 0 {
            bytes.retain(|byte| *byte != b'\n'); // answered at its end alone
        }
        bytes
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let answer: &[u8] = b"the answer\n";
        let seen = net.client(client);
        if !answer.starts_with(seen.received()) {
            return Err(format!("client {client} received something else than the answer"));
        }
        let expected = if seen.sent().is_empty() { 0 } else { answer.len() };
        if whole && seen.received().len() != expected {
            return Err(format!("client {client} received {} bytes, not {expected}", seen.received().len()));
        }
        Ok(())
    }
}

/// The size of a record of a [`Hub`].
const RECORD: usize = 8;

impl Subject for Hub {
    type Handler = HubHandler;

    fn handler(&self) -> HubHandler {
        HubHandler::default()
    }

    fn limits(&self) -> Limits {
        // Shorter than some clients take for a record in pieces.
        Limits { frame: Some(Duration::from_secs(5)), ..Limits::default() }
    }

    fn stream(&self, _: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        (0..len.div_ceil(RECORD)).flat_map(|number| record(client, number)).collect()
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let received = net.client(client).received();
        let mut next = std::collections::BTreeMap::new();
        for bytes in received.chunks_exact(RECORD) {
            let (from, number) = parse(bytes);
            let expected = next.entry(from).or_insert(number);
            if *expected != number || from == client.number() {
                return Err(format!("client {client} received record {number} of {from}, not {expected}"));
            }
            *expected += 1;
        }
        if whole && !received.len().is_multiple_of(RECORD) {
            return Err(format!("client {client} received a part of a record"));
        }
        Ok(())
    }

    fn may_overflow(&self) -> bool {
        true
    }
}

#[allow(clippy::cast_possible_truncation, reason = "few clients, and few records")]
fn record(client: usize, number: usize) -> [u8; RECORD] {
    (u64::from(client as u32) << 32 | u64::from(number as u32)).to_be_bytes()
}

#[allow(clippy::cast_possible_truncation, reason = "it was made from two numbers of 32 bits")]
fn parse(bytes: &[u8]) -> (usize, usize) {
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    ((number >> 32) as usize, number as u32 as usize)
}

/// The handler of a [`Hub`].
#[derive(Debug, Default)]
pub struct HubHandler {
    everybody: GroupId,
}

impl StreamHandler for HubHandler {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.everybody = io.group()?;
        Ok(())
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        io.join(self.everybody, io.id())?;
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let complete = input.len() - input.len() % RECORD;
        let records: Bytes = input.split_to(complete).freeze();
        if !records.is_empty() {
            io.broadcast(self.everybody, &records, Some(io.id()));
        }
        Ok(())
    }
}

impl Subject for Timed {
    type Handler = TimedHandler;

    fn handler(&self) -> TimedHandler {
        TimedHandler(())
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte)
    }
}

/// The handler of [`Timed`].
#[derive(Debug)]
pub struct TimedHandler(());

/// The timers of a session of [`Timed`].
#[derive(Debug)]
pub struct Alarms {
    /// A timer that fires once, and its moment; `None` once it has fired.
    once: Option<(TimerId, Instant)>,
    /// A timer that was set after it for the same moment.
    twin: TimerId,
    /// A cancelled timer, which must not fire.
    cancelled: TimerId,
    /// A periodic timer, and its next moment.
    every: (TimerId, Instant),
    /// The number of firings before it is cancelled.
    left: u32,
    /// The time of the last callback.
    seen: Instant,
    /// Consecutive checks that found a due timer unfired.
    late: u32,
}

/// The most consecutive checks that may find a due timer unfired: while waits
/// are interrupted, or have no room for all events by then.
const LATE: u32 = 64;

impl Alarms {
    /// Checks that a timer due in an earlier turn has fired in it, or soon
    /// after.
    fn look(&mut self, io: &Io<'_>) -> Result<(), BoxError> {
        let earlier = std::mem::replace(&mut self.seen, io.now());
        let once = self.once.is_some_and(|(_, due)| due <= earlier);
        let every = self.left > 0 && self.every.1 <= earlier;
        self.late = if earlier < self.seen && (once || every) { self.late + 1 } else { 0 };
        if self.late > LATE { Err("a timer is late".into()) } else { Ok(()) }
    }
}

const PERIOD: Duration = Duration::from_millis(7);

impl StreamHandler for TimedHandler {
    type Session = Alarms;

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<Alarms, BoxError> {
        let once = (io.after(PERIOD / 2)?, io.now() + PERIOD / 2);
        let twin = io.after(PERIOD / 2)?;
        let every = (io.every(PERIOD)?, io.now() + PERIOD);
        let cancelled = io.after(PERIOD)?;
        Ok(Alarms { once: Some(once), twin, cancelled, every, left: 20, seen: io.now(), late: 0 })
    }

    fn data(&mut self, io: &mut Io<'_>, alarms: &mut Alarms, input: &mut BytesMut) -> Result<(), BoxError> {
        alarms.look(io)?;
        io.cancel(alarms.cancelled);
        // Half in two pieces, and half by copy or by reference: the order and
        // the count must hold.
        let half = input.split_to(input.len() / 2);
        let (first, second) = half.split_at(half.len() / 2);
        let _ = io.write(first);
        let _ = io.write(second);
        let rest = input.split();
        let sent = if rest.len().is_multiple_of(2) { io.write(&rest) } else { io.write_bytes(rest.freeze()) };
        if sent == Sent::Full {
            io.pause(io.id());
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, alarms: &mut Alarms) -> Result<(), BoxError> {
        io.resume(io.id());
        alarms.look(io)
    }

    fn timer(&mut self, io: &mut Io<'_>, alarms: &mut Alarms, timer: TimerId) -> Result<(), BoxError> {
        alarms.look(io)?;
        if timer == alarms.cancelled {
            // No input has come that would have cancelled it.
            if io.cancel(timer) { Err("it fires and is still set".into()) } else { Ok(()) }
        } else if timer == alarms.twin {
            if alarms.once.is_some() { Err("it was set later, and fires sooner".into()) } else { Ok(()) }
        } else if timer == alarms.every.0 {
            if alarms.left == 0 || io.now() < alarms.every.1 {
                return Err("a timer that repeats is early, or was taken back".into());
            }
            while alarms.every.1 <= io.now() {
                alarms.every.1 += PERIOD; // missed firings are skipped
            }
            alarms.left -= 1;
            if alarms.left == 0 {
                io.cancel(timer);
            }
            Ok(())
        } else {
            match alarms.once.take() {
                Some((once, due)) if once == timer && io.now() >= due => Ok(()),
                _ => Err("a timer is early, fires twice, or is nobody's".into()),
            }
        }
    }
}

impl Subject for Hesitant {
    type Handler = HesitantHandler;

    fn handler(&self) -> HesitantHandler {
        HesitantHandler(())
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte)
    }
}

/// The handler of [`Hesitant`].
#[derive(Debug)]
pub struct HesitantHandler(());

impl StreamHandler for HesitantHandler {
    /// Whether it waits for `drained`.
    type Session = bool;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<bool, BoxError> {
        Ok(false)
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, full: &mut bool, input: &[u8]) -> Result<usize, BoxError> {
        // Every other part is left to `data`, and so are all but a few bytes.
        let few = usize::from(input[0] % 128).saturating_sub(64).min(input.len());
        if few > 0 {
            *full = io.write(&input[..few]) == Sent::Full;
            if *full {
                io.pause(io.id());
            }
        }
        Ok(few)
    }

    fn data(&mut self, io: &mut Io<'_>, full: &mut bool, input: &mut BytesMut) -> Result<(), BoxError> {
        // The number depends on the bytes alone, so that it is the same however
        // they are cut.
        let few = input.first().map_or(0, |first| 1 + usize::from(first % 64));
        let sent = io.write(&input.split_to(few.min(input.len())));
        *full |= sent == Sent::Full;
        if *full {
            io.pause(io.id());
        } else if !input.is_empty() {
            io.pause(io.id());
            io.after(Duration::from_micros(100))?;
        }
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, _: &mut bool, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        if rest.is_empty() { Ok(AfterEof::Finish) } else { Err("the end comes before what was left".into()) }
    }

    fn drained(&mut self, io: &mut Io<'_>, full: &mut bool) -> Result<(), BoxError> {
        *full = false;
        io.resume(io.id());
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, full: &mut bool, _: TimerId) -> Result<(), BoxError> {
        if !*full {
            io.resume(io.id());
        }
        Ok(())
    }
}
