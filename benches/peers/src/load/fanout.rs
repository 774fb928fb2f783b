//! Fan-out over WebSockets: in each round every sender says a burst of messages,
//! and the round is over when each message has come to every member.

use std::io::{Read, Write};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connect::Connector;
use super::patience::Patience;
use super::web::{frame, open_socket};
use super::{Bound, EVENTS, Effort, Target, Work, unless_blocked};
use crate::Result;

/// Bytes of a message.
const SIZE: usize = 64;

/// Who says how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fanout {
    pub(crate) members: usize,
    pub(crate) senders: usize,
    /// Messages that each sender says at once.
    pub(crate) messages: usize,
}

/// See [`Load::run`](super::Load::run). What is counted are the messages
/// delivered.
pub(super) fn run(fanout: Fanout, target: &Target, effort: &Effort) -> Result<Work> {
    let mut load = Load::new(fanout, target, *effort)?;
    load.drive(Bound::Time(effort.warmup()))?;
    Work::measure(target, || load.drive(Bound::Time(effort.window)))
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(fanout: Fanout, messages: u64, target: &Target, effort: &Effort) -> Result<u64> {
    Load::new(fanout, target, *effort)?.drive(Bound::Count(messages))
}

struct Load {
    fanout: Fanout,
    effort: Effort,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    burst: Vec<u8>,
    /// A message as it must come.
    message: Vec<u8>,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    /// Bytes of the message that is coming.
    partial: usize,
}

impl Load {
    fn new(fanout: Fanout, target: &Target, effort: Effort) -> Result<Self> {
        let mut connector = Connector::new(target.address);
        let poll = Poll::new()?;
        let mut members = Vec::with_capacity(fanout.members);
        for index in 0..fanout.members {
            let mut stream = connector.connect()?;
            open_socket(&mut stream)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            members.push(Member { stream, partial: 0 });
        }
        let text = [b'm'; SIZE];
        let message = [&[0x81, SIZE as u8], &text[..]].concat();
        let burst = frame(1, &text).repeat(fanout.messages);
        let events = Events::with_capacity(EVENTS);
        Ok(Self { fanout, effort, poll, events, buffer: vec![0; 64 << 10].into(), burst, message, members })
    }

    fn drive(&mut self, bound: Bound) -> Result<u64> {
        let began = Instant::now();
        let mut delivered = 0;
        while bound.allows(began.elapsed(), delivered) {
            delivered += self.round()?;
        }
        Ok(delivered)
    }

    fn round(&mut self) -> Result<u64> {
        for sender in &mut self.members[..self.fanout.senders] {
            if sender.stream.write(&self.burst)? < self.burst.len() {
                return Err("a sender could not send its burst at once".into());
            }
        }
        let all = (self.fanout.senders * self.fanout.messages * self.fanout.members) as u64;
        let mut lacking = all;
        let mut patience = Patience::new();
        while lacking > 0 {
            self.effort.wait(&mut self.poll, &mut self.events)?;
            for event in &self.events {
                let member = &mut self.members[event.token().0];
                let heard = member.read(&self.message, &mut self.buffer)?;
                lacking = lacking.checked_sub(heard).ok_or("more came than was said")?;
            }
            patience.check(lacking, Instant::now())?;
        }
        Ok(all)
    }
}

impl Member {
    /// Reads and checks what is there; returns how many messages it completed.
    fn read(&mut self, message: &[u8], buffer: &mut [u8]) -> Result<u64> {
        let mut whole = 0;
        loop {
            let count = match unless_blocked(self.stream.read(buffer))? {
                Some(0) => return Err("a member was closed".into()),
                Some(count) => count,
                None => return Ok(whole),
            };
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let taken = rest.len().min(message.len() - self.partial);
                if rest[..taken] != message[self.partial..self.partial + taken] {
                    return Err("a member got what nobody has said".into());
                }
                rest = &rest[taken..];
                self.partial = (self.partial + taken) % message.len();
                whole += u64::from(self.partial == 0);
            }
            if count < buffer.len() {
                return Ok(whole);
            }
        }
    }
}
