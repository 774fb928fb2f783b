//! The echo load: so many connections, each with so many messages under way,
//! each message followed by another when it is back.

use std::io::{Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connect::{self, Connector};
use super::patience::Patience;
use super::pattern::{CHUNK, Pattern, Place};
use super::{Bound, EVENTS, Effort, Kept, Target, Work, unless_blocked};
use crate::Result;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo {
    pub(crate) connections: usize,
    /// Bytes in a message.
    pub(crate) size: u64,
    /// Messages that each connection has under way.
    pub(crate) pipeline: u64,
    /// Further connections, which are silent after one echo.
    pub(crate) idle: usize,
}

/// See [`Load::run`](super::Load::run).
pub(super) fn run(echo: Echo, target: &Target, effort: &Effort) -> Result<Work> {
    let mut connector = Connector::new(target.address);
    let pattern = Pattern::new();
    let idle = connector.connect_idle(echo.idle, &pattern)?;
    let mut load = Load::new(echo, *effort, &mut connector, pattern)?;
    load.drive(Bound::Time(effort.warmup()))?;
    let work = Work::measure(target, || load.drive(Bound::Time(effort.window)))?;
    connect::check_silent(&idle)?;
    Ok(work)
}

/// See [`Load::keep`](super::Load::keep).
pub(super) fn keep(echo: Echo, target: &Target, effort: &Effort) -> Result<Kept> {
    let mut load = Load::new(echo, *effort, &mut Connector::new(target.address), Pattern::new())?;
    Ok(Kept::new(target, move |bound| load.drive(bound)))
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(echo: Echo, messages: u64, target: &Target, effort: &Effort) -> Result<u64> {
    let mut load = Load::new(echo, *effort, &mut Connector::new(target.address), Pattern::new())?;
    load.drive(Bound::Count(messages))
}

struct Load {
    echo: Echo,
    effort: Effort,
    poll: Poll,
    wire: Wire,
    connections: Vec<Connection>,
}

/// What the connections share.
struct Wire {
    pattern: Pattern,
    buffer: Box<[u8]>,
    size: u64,
}

impl Load {
    fn new(echo: Echo, effort: Effort, connector: &mut Connector, pattern: Pattern) -> Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(echo.connections);
        for (index, mut stream) in connector.connect_many(echo.connections)?.into_iter().enumerate() {
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(index), both)?;
            connections.push(Connection::new(index, stream));
        }
        let wire = Wire { pattern, buffer: vec![0; CHUNK].into(), size: echo.size };
        Ok(Self { echo, effort, poll, wire, connections })
    }

    /// Begins messages within the bound and waits for all of them; returns how
    /// many came back.
    fn drive(&mut self, bound: Bound) -> Result<u64> {
        let mut events = Events::with_capacity(EVENTS);
        let mut patience = Patience::new();
        let began = Instant::now();
        let mut begun = 0;
        let mut back = 0;
        for connection in &mut self.connections {
            begun += self.echo.pipeline;
            connection.owed = self.echo.pipeline * self.echo.size;
            connection.write(&mut self.wire)?;
        }
        while back < begun {
            self.effort.wait(&mut self.poll, &mut events)?;
            let now = Instant::now();
            patience.check(back, now)?;
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                let until_empty = event.is_read_closed() || event.is_error();
                let whole = connection.read(&mut self.wire, until_empty)?;
                back += whole;
                let more = if bound.allows(now.duration_since(began), begun) { whole } else { 0 };
                begun += more;
                connection.owed += more * self.echo.size;
                connection.write(&mut self.wire)?;
            }
        }
        Ok(back)
    }
}

struct Connection {
    index: usize,
    stream: TcpStream,
    write_at: Place,
    read_at: Place,
    /// Bytes of messages that have begun and are not written.
    owed: u64,
    /// Bytes that are written and not back.
    under_way: u64,
    /// Bytes of the message that is coming back.
    partial: u64,
}

impl Connection {
    fn new(index: usize, stream: TcpStream) -> Self {
        let place = Place::of_connection(index);
        Self { index, stream, write_at: place, read_at: place, owed: 0, under_way: 0, partial: 0 }
    }

    /// Reads and checks what is there; returns how many messages it completed.
    fn read(&mut self, wire: &mut Wire, until_empty: bool) -> Result<u64> {
        let index = self.index;
        let mut whole = 0;
        loop {
            let outcome = unless_blocked(self.stream.read(&mut wire.buffer));
            let count = match outcome.map_err(|error| format!("connection {index}: {error}"))? {
                Some(0) => return Err(format!("connection {index} was closed").into()),
                Some(count) => count,
                None => return Ok(whole),
            };
            wire.pattern.check(self.read_at, &wire.buffer[..count]).map_err(|mismatch| {
                format!("connection {index} got other bytes than it sent: {mismatch:?}")
            })?;
            self.read_at.advance(count);
            self.under_way = self
                .under_way
                .checked_sub(count as u64)
                .ok_or_else(|| format!("connection {index} got more than it sent"))?;
            self.partial += count as u64;
            whole += self.partial / wire.size;
            self.partial %= wire.size;
            if count < wire.buffer.len() && !until_empty {
                return Ok(whole);
            }
        }
    }

    /// Writes what is owed, as far as there is room.
    fn write(&mut self, wire: &mut Wire) -> Result<()> {
        while self.owed > 0 {
            let piece = wire.pattern.piece(self.write_at, self.owed);
            let outcome = unless_blocked(self.stream.write(piece));
            let Some(count) = outcome.map_err(|error| format!("connection {}: {error}", self.index))? else {
                return Ok(());
            };
            self.write_at.advance(count);
            self.owed -= count as u64;
            self.under_way += count as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, EFFORT};
    use super::*;

    const ECHO: Echo = Echo { connections: 3, size: 1000, pipeline: 4, idle: 2 };

    #[test]
    fn an_honest_echo_is_measured() {
        let target = testing::serve(|_, bytes| bytes.to_vec());
        let work = run(ECHO, &target, &EFFORT).expect("it echoes");
        assert!(work.count >= 12, "{work:?}");
        assert!(count(ECHO, 100, &target, &EFFORT).expect("it echoes") >= 100);
    }

    #[test]
    fn a_byte_that_is_changed_lost_or_added_is_an_error() {
        let changed = testing::serve(|at, bytes| {
            let mut bytes = bytes.to_vec();
            bytes[0] ^= u8::from(at > 5000);
            bytes
        });
        let error = run(ECHO, &changed, &EFFORT).expect_err("a byte is not what was sent");
        assert!(error.to_string().contains("other bytes"), "{error}");
        let lost = testing::serve(|at, bytes| bytes[usize::from(at > 5000)..].to_vec());
        assert!(run(ECHO, &lost, &EFFORT).is_err());
        let added = testing::serve(|_, bytes| [bytes, b"?"].concat());
        assert!(run(ECHO, &added, &EFFORT).is_err());
    }

    #[test]
    fn a_server_that_closes_is_an_error() {
        let closes = testing::serve(|at, bytes| if at > 5000 { Vec::new() } else { bytes.to_vec() });
        let error = run(ECHO, &closes, &EFFORT).expect_err("it closes");
        assert!(error.to_string().contains("closed") || error.to_string().contains("reset"), "{error}");
    }
}
