//! `Relay`: a subject whose clients and hosts are actors, which answer each other.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Subject;
use crate::driver::sim::{Act, Actor, ActorIo, ClientId, End, Network, Rng};
use crate::sim::log::Life;
use crate::sim::plan::ClientPlan;
use crate::{
    AfterEof, BoxError, CloseReason, ConnId, Endpoint, Io, Limits, Origin, Sent, StreamHandler, services,
};

/// A service that connects each client to a host, and carries bytes both ways. A
/// client sends a line when the answer to the one before has come; the host takes its
/// time for each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relay;

/// What a client is sent whose host cannot be connected to.
const AWAY: &[u8] = b"!\n";

fn host() -> Endpoint {
    Endpoint::Tcp(([192, 0, 2, 1], 6379).into())
}

impl Subject for Relay {
    type Handler = RelayHandler;

    fn handler(&self) -> RelayHandler {
        RelayHandler(host())
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn prepare(&self, net: &mut Network) {
        net.host_with(&host(), Answering::default);
    }

    fn actor(&self, plan: &ClientPlan, number: usize) -> Option<Box<dyn Actor>> {
        let stream = self.stream(&mut Rng::new(plan.stream), number, plan.len());
        Some(Box::new(Asking::new(plan, &stream)))
    }

    /// Letters, of which an [`Asking`] makes lines.
    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        (0..len).map(|_| b"abcdefgh"[rng.size(0, 7)]).collect()
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        let seen = net.client(client);
        let (received, answers) = (seen.received(), seen.sent().to_ascii_uppercase());
        if !received.is_empty() && AWAY.starts_with(received) {
            return Ok(());
        }
        if !answers.starts_with(received) {
            return Err(format!("client {client} received something else than the answers to its lines"));
        }
        // One that the service has closed has lost its host, to a shutdown or a deadline.
        let is_whole = whole && life.and_then(Life::closed) == Some("Finished");
        let is_done = net.actor::<Asking>(client).is_some_and(Asking::is_done);
        if is_whole && !(is_done && received == answers) {
            let (own, all) = (received.len(), answers.len());
            return Err(format!("client {client} received {own} bytes of answers to {all}"));
        }
        Ok(())
    }
}

/// The handler of [`Relay`].
#[derive(Debug)]
pub struct RelayHandler(Endpoint);

impl StreamHandler for RelayHandler {
    /// The other side.
    type Session = ConnId;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConnId, BoxError> {
        if let Origin::Connected { tag, .. } = origin {
            return Ok(ConnId::from_bits(*tag));
        }
        let client = io.id();
        Ok(io.connect(&self.0, client.to_bits()).unwrap_or_else(|_| {
            let _ = io.write(AWAY);
            io.close(client);
            client
        }))
    }

    fn data(&mut self, io: &mut Io<'_>, other: &mut ConnId, input: &mut BytesMut) -> Result<(), BoxError> {
        if io.send(*other, input.split()) == Sent::Full {
            io.pause(io.id());
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, other: &mut ConnId) -> Result<(), BoxError> {
        io.resume(*other);
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, other: &mut ConnId, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        io.finish(*other);
        Ok(AfterEof::Stay)
    }

    fn close(&mut self, io: &mut Io<'_>, other: ConnId, why: &CloseReason) {
        match why {
            CloseReason::Finished => io.finish(other),
            _ => io.close(other),
        }
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, _: &io::Error) {
        let client = ConnId::from_bits(tag);
        let _ = io.send(client, Bytes::from_static(AWAY));
        io.close(client);
    }
}

/// A client that sends a line when the answer to the one before has come, and
/// finishes when it has all of them.
#[derive(Debug)]
pub struct Asking {
    start: Duration,
    /// The lines to come, each with the time before it.
    lines: VecDeque<(Duration, Vec<u8>)>,
    is_waiting: bool,
}

impl Asking {
    fn new(plan: &ClientPlan, stream: &[u8]) -> Self {
        let mut rest = stream;
        let line = |(time, len): &(Duration, usize)| {
            let (line, behind) = rest.split_at((*len).min(rest.len()));
            rest = behind;
            (*time, [line, b"\n"].concat())
        };
        Self { start: plan.start, lines: plan.pieces.iter().map(line).collect(), is_waiting: false }
    }

    /// Whether it has all answers.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.is_waiting
    }

    fn go_on(&mut self, io: &mut ActorIo<'_>) {
        self.is_waiting = false;
        match self.lines.front() {
            Some((time, _)) => io.set_timer(*time, 0),
            None => io.finish(),
        }
    }
}

impl Actor for Asking {
    fn starts_after(&self) -> Duration {
        self.start
    }

    fn connected(&mut self, io: &mut ActorIo<'_>) {
        self.go_on(io);
    }

    fn timer(&mut self, io: &mut ActorIo<'_>, _: u64) {
        if let Some((_, line)) = self.lines.pop_front() {
            self.is_waiting = true;
            io.send(line);
        }
    }

    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
        // Of an answer, the end of its line is the last byte.
        if bytes == AWAY || bytes == &AWAY[..1] {
            io.finish();
        } else if bytes.ends_with(b"\n") {
            self.go_on(io);
        }
    }
}

/// A host that answers each line with its letters as capitals, after a while.
#[derive(Debug, Default)]
pub struct Answering {
    /// The beginning of a line.
    partial: Vec<u8>,
    /// The answers that are not sent yet.
    answers: VecDeque<Vec<u8>>,
    saw_fin: bool,
}

impl Actor for Answering {
    fn begin(&mut self, io: &mut ActorIo<'_>) {
        io.act(Act::StayAfterFin);
    }

    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
        for byte in bytes {
            self.partial.push(byte.to_ascii_uppercase());
            if *byte == b'\n' {
                let millis = self.partial.len() as u64 % 4;
                self.answers.push_back(std::mem::take(&mut self.partial));
                io.set_timer(Duration::from_millis(millis), 0);
            }
        }
    }

    fn timer(&mut self, io: &mut ActorIo<'_>, _: u64) {
        if let Some(answer) = self.answers.pop_front() {
            io.send(answer);
        }
        if self.saw_fin && self.answers.is_empty() {
            io.finish();
        }
    }

    fn end(&mut self, io: &mut ActorIo<'_>, _: End) {
        self.saw_fin = true;
        if self.answers.is_empty() {
            io.finish();
        }
    }
}
