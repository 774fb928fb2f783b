//! Nodes that publish to each other through a Redis: on the library's bus, and with the
//! bare commands PUBLISH and SUBSCRIBE, the floor.
//!
//! The load has one connection to each node. Its first byte says what the node is for;
//! the node answers with [`READY`] when nothing that is published from then on escapes
//! it. Each further byte to a publisher has it publish one message, which says its number
//! and the time. Each message that comes to a subscriber is one [`Report`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::time::{ClockId, clock_gettime};
use serve_forever::bus::{Bus, BusHandler, BusOptions, Gap, Message, OnBus};
use serve_forever::{Config, ConnId, Io, Limits, Origin, StreamHandler, TimerId};

use super::ours;
use crate::Result;

/// The node is to publish.
pub(crate) const PUBLISHER: u8 = b'p';

/// The node is to report what comes.
pub(crate) const SUBSCRIBER: u8 = b's';

/// The node hears everything from now on.
pub(crate) const READY: u8 = b'r';

/// Has a publisher publish a message.
pub(crate) const MESSAGE: u8 = b'm';

/// Bytes of a message.
const SIZE: usize = 64;

const ROOM: &str = "lobby";

/// How often a node looks whether it is ready.
const LOOK: Duration = Duration::from_millis(5);

/// What a subscriber says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) number: u64,
    /// From its publication to its delivery.
    pub(crate) nanos: u64,
}

impl Report {
    pub(crate) const SIZE: usize = 16;

    pub(crate) fn parse(bytes: [u8; Self::SIZE]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { number: both as u64, nanos: (both >> 64) as u64 }
    }

    fn bytes(self) -> [u8; Self::SIZE] {
        (u128::from(self.number) | u128::from(self.nanos) << 64).to_le_bytes()
    }

    /// The report of a message that is delivered now.
    fn of(message: &[u8]) -> Result<Self> {
        let now = now();
        let field = |at: usize| {
            let digits = std::str::from_utf8(message.get(at..at + 16)?).ok()?;
            u64::from_str_radix(digits, 16).ok()
        };
        let (number, sent) = field(0).zip(field(17)).ok_or("this is no message")?;
        if message != self::message(number, sent) {
            return Err("a message is not as it was published".into());
        }
        Ok(Self { number, nanos: now.saturating_sub(sent) })
    }
}

/// A clock that all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn message(number: u64, sent: u64) -> [u8; SIZE] {
    let mut message = [b'-'; SIZE];
    let head = format!("{number:016x} {sent:016x} ");
    message[..head.len()].copy_from_slice(head.as_bytes());
    message
}

/// A node on the bus.
struct Node {
    bus: Bus,
    load: Option<ConnId>,
    is_subscriber: bool,
    published: u64,
}

/// Becomes a node on the bus.
pub(super) fn ours(redis: SocketAddr) -> Result<()> {
    let bus = Bus::new(format!("redis://{redis}").parse()?, BusOptions::default())?;
    let node = Node { bus, load: None, is_subscriber: false, published: 0 };
    ours::serve(Config::default(), OnBus::new(node), Limits::default(), None)
}

impl StreamHandler for Node {
    type Session = ();

    fn started(&mut self, io: &mut Io<'_>) -> Result<()> {
        Ok(self.bus.subscribe(io, ROOM)?)
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<()> {
        self.load = Some(io.id());
        Ok(())
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<()> {
        for order in input.split() {
            if order == MESSAGE {
                self.published += 1;
                let message = message(self.published, now());
                self.bus.publish(io, ROOM, Bytes::copy_from_slice(&message))?;
            } else {
                self.is_subscriber = order == SUBSCRIBER;
                io.tick_after(LOOK)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, _: TimerId) {
        match self.load {
            Some(load) if self.bus.position(ROOM).is_some() => {
                _ = io.send(load, Bytes::from_static(&[READY]))
            }
            _ => _ = io.tick_after(LOOK),
        }
    }
}

impl BusHandler for Node {
    fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    fn message(&mut self, io: &mut Io<'_>, message: Message) {
        let (true, Some(load)) = (self.is_subscriber, self.load) else { return };
        if let Ok(report) = Report::of(&message.payload) {
            let _ = io.send(load, Bytes::copy_from_slice(&report.bytes()));
        } else {
            // The load sees that its connection ends.
            io.abort(load);
        }
    }

    fn gap(&mut self, io: &mut Io<'_>, _: Gap) {
        if let Some(load) = self.load {
            io.abort(load);
        }
    }
}

/// Becomes a node with bare commands: blocking calls, and nothing but what it is for.
pub(super) fn bare(listener: TcpListener, redis: SocketAddr) -> Result<()> {
    listener.set_nonblocking(false)?;
    let (mut load, _) = listener.accept()?;
    let mut redis = TcpStream::connect(redis)?;
    redis.set_nodelay(true)?;
    let mut role = [0];
    load.read_exact(&mut role)?;
    if role == [PUBLISHER] {
        publish(&mut load, &mut redis)?
    } else {
        report(&mut load, &mut redis)?
    }
    // The load is gone. A server that ends has failed: it waits until it is killed.
    loop {
        thread::park();
    }
}

fn publish(load: &mut TcpStream, redis: &mut TcpStream) -> Result<()> {
    let mut answers = redis.try_clone()?;
    // As many answers as messages come; nobody waits for them.
    thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
    load.write_all(&[READY])?;
    let (mut number, mut orders, mut commands) = (0, [0; 4096], Vec::new());
    while let count @ 1.. = load.read(&mut orders)? {
        commands.clear();
        for _ in 0..count {
            number += 1;
            write!(commands, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{ROOM}\r\n${SIZE}\r\n", ROOM.len())?;
            commands.extend(message(number, now()));
            commands.extend(b"\r\n");
        }
        redis.write_all(&commands)?;
    }
    Ok(())
}

fn report(load: &mut TcpStream, redis: &mut TcpStream) -> Result<()> {
    write!(redis, "*2\r\n$9\r\nSUBSCRIBE\r\n${}\r\n{ROOM}\r\n", ROOM.len())?;
    let mut input = BufReader::with_capacity(64 << 10, redis);
    let subscribed = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{ROOM}\r\n:1\r\n", ROOM.len());
    expect(&mut input, &subscribed)?;
    load.write_all(&[READY])?;
    let head = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{ROOM}\r\n${SIZE}\r\n", ROOM.len());
    let mut frame = vec![0; head.len() + SIZE + 2];
    let mut reports = Vec::new();
    loop {
        if input.buffer().is_empty() {
            load.write_all(&reports)?;
            reports.clear();
            if input.fill_buf()?.is_empty() {
                return Ok(());
            }
        }
        input.read_exact(&mut frame)?;
        let message = frame.strip_prefix(head.as_bytes()).ok_or("Redis said something else")?;
        reports.extend(Report::of(&message[..SIZE])?.bytes());
    }
}

fn expect(input: &mut impl Read, expected: &str) -> Result<()> {
    let mut bytes = vec![0; expected.len()];
    input.read_exact(&mut bytes)?;
    let is_it = bytes == expected.as_bytes();
    is_it.then_some(()).ok_or_else(|| format!("Redis said {:?}", bytes.escape_ascii().to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_of_a_message_as_it_was_published() {
        let mut message = message(7, now());
        let report = Report::of(&message).expect("a message");
        assert!(report.number == 7 && report.nanos < 10_000_000_000, "{report:?}");
        assert_eq!(Report::parse(report.bytes()), report);
        message[SIZE - 1] = b'+';
        assert!(Report::of(&message).is_err() && Report::of(b"").is_err());
    }
}
