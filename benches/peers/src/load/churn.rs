//! Churn: connect, one echo, close, so many at once.

use std::io::{Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connect::Connector;
use super::patience::Patience;
use super::pattern::{Pattern, Place};
use super::{Bound, EVENTS, Effort, Target, Work, unless_blocked};
use crate::Result;

/// Bytes of the one message.
const SIZE: usize = 64;

/// How many connections there are at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Churn {
    pub(crate) at_once: usize,
}

/// See [`Load::run`](super::Load::run).
pub(super) fn run(churn: Churn, target: &Target, effort: &Effort) -> Result<Work> {
    let mut load = Load::new(churn, target, *effort)?;
    load.drive(Bound::Time(effort.warmup()))?;
    Work::measure(target, || load.drive(Bound::Time(effort.window)))
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(churn: Churn, connections: u64, target: &Target, effort: &Effort) -> Result<u64> {
    Load::new(churn, target, *effort)?.drive(Bound::Count(connections))
}

struct Load {
    effort: Effort,
    connector: Connector,
    pattern: Pattern,
    poll: Poll,
    slots: Vec<Option<Visit>>,
    made: usize,
}

/// One connection.
struct Visit {
    stream: TcpStream,
    place: Place,
    reply: [u8; SIZE],
    received: usize,
}

impl Load {
    fn new(churn: Churn, target: &Target, effort: Effort) -> Result<Self> {
        Ok(Self {
            effort,
            connector: Connector::new(target.address),
            pattern: Pattern::new(),
            poll: Poll::new()?,
            slots: (0..churn.at_once).map(|_| None).collect(),
            made: 0,
        })
    }

    /// Connects within the bound and waits for the last echo; returns how many
    /// connections there were.
    fn drive(&mut self, bound: Bound) -> Result<u64> {
        let mut events = Events::with_capacity(EVENTS);
        let mut patience = Patience::new();
        let began = Instant::now();
        let mut served = 0;
        let mut open = self.slots.len();
        for slot in 0..open {
            self.visit(slot)?;
        }
        while open > 0 {
            self.effort.wait(&mut self.poll, &mut events)?;
            let now = Instant::now();
            patience.check(served, now)?;
            for event in &events {
                let slot = event.token().0;
                let Some(visit) = &mut self.slots[slot] else { continue };
                if visit.read(&self.pattern)? {
                    self.slots[slot] = None;
                    served += 1;
                    if bound.allows(now.duration_since(began), served + open as u64 - 1) {
                        self.visit(slot)?;
                    } else {
                        open -= 1;
                    }
                }
            }
        }
        Ok(served)
    }

    /// Connects and sends the message.
    fn visit(&mut self, slot: usize) -> Result<()> {
        let place = Place::of_connection(self.made);
        self.made += 1;
        let mut stream = self.connector.connect()?;
        stream.write_all(self.pattern.piece(place, SIZE as u64))?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
        self.slots[slot] = Some(Visit { stream, place, reply: [0; SIZE], received: 0 });
        Ok(())
    }
}

impl Visit {
    /// True when the echo is complete and right.
    fn read(&mut self, pattern: &Pattern) -> Result<bool> {
        while self.received < SIZE {
            match unless_blocked(self.stream.read(&mut self.reply[self.received..]))? {
                Some(0) => return Err("a connection was closed before its echo was complete".into()),
                Some(count) => self.received += count,
                None => return Ok(false),
            }
        }
        pattern
            .check(self.place, &self.reply)
            .map_err(|mismatch| format!("a connection got other bytes than it sent: {mismatch:?}"))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, EFFORT};
    use super::*;

    #[test]
    fn every_connection_has_its_echo_or_it_is_an_error() {
        let honest = testing::serve(|_, bytes| bytes.to_vec());
        assert!(run(Churn { at_once: 4 }, &honest, &EFFORT).expect("it echoes").count >= 4);
        assert_eq!(count(Churn { at_once: 4 }, 10, &honest, &EFFORT).expect("it echoes"), 10);
        let wrong = testing::serve(|_, bytes| bytes.iter().rev().copied().collect());
        assert!(run(Churn { at_once: 4 }, &wrong, &EFFORT).is_err());
    }
}
