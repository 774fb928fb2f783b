//! The fan-out load: in each round every sender says a burst of lines, and the
//! round is over when every line has come to every other member. Then the next
//! begins.

pub(super) mod meeting;
mod member;
mod script;

use std::io::Write;
use std::ops::Range;
use std::time::Instant;

use mio::{Events, Interest, Poll, Token};

use self::member::Member;
use self::script::{LINE, Script};
use super::connect::Connector;
use super::patience::Patience;
use super::{Bound, EVENTS, Effort, Target, Work};
use crate::Result;

/// Who says how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chat {
    /// All of them, the senders included.
    pub(crate) members: usize,
    pub(crate) senders: usize,
    /// Lines that each sender says at once.
    pub(crate) lines: usize,
    /// The senders are members at the other node, if the target has one.
    pub(crate) from_afar: bool,
}

impl Chat {
    /// How many lines of a round these members hear: each line comes to all but its sender.
    fn heard_by(&self, members: Range<usize>) -> u64 {
        let senders = members.clone().filter(|member| *member < self.senders).count();
        ((self.senders * members.len() - senders) * self.lines) as u64
    }
}

/// See [`Load::run`](super::Load::run). What is counted are the lines
/// that the target delivers.
pub(super) fn run(chat: Chat, target: &Target, effort: &Effort) -> Result<Work> {
    let mut load = Load::new(chat, target, *effort, EVENTS)?;
    load.drive(Bound::Time(effort.warmup()))?;
    let work = Work::measure(target, || load.drive(Bound::Time(effort.window)))?;
    load.check_silent()?;
    Ok(work)
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(chat: Chat, lines: u64, target: &Target, effort: &Effort) -> Result<u64> {
    Load::new(chat, target, *effort, EVENTS)?.drive(Bound::Count(lines))
}

/// Everybody in the room.
pub(super) struct Load {
    chat: Chat,
    effort: Effort,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    script: Script,
    members: Vec<Member>,
    /// Lines of a round that the target delivers: not those to members at another node.
    counted: u64,
    /// Lines of this round that have not been heard yet.
    lacking: u64,
}

impl Load {
    /// Connects everybody, and waits until each is in the room. It listens to at most
    /// `at_once` of them at a time.
    pub(super) fn new(chat: Chat, target: &Target, effort: Effort, at_once: usize) -> Result<Self> {
        let other = target.other.filter(|_| chat.from_afar);
        let mut streams = Connector::new(other.unwrap_or(target.address)).connect_many(chat.senders)?;
        streams.extend(Connector::new(target.address).connect_many(chat.members - chat.senders)?);
        meeting::await_everybody(&mut streams)?;
        let poll = Poll::new()?;
        let mut members = Vec::with_capacity(streams.len());
        for (index, mut stream) in streams.into_iter().enumerate() {
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            members.push(Member::new(index, stream, chat.senders));
        }
        Ok(Self {
            effort,
            poll,
            events: Events::with_capacity(at_once),
            buffer: vec![0; 64 << 10].into(),
            script: Script::new(chat.senders, chat.lines),
            members,
            counted: chat.heard_by(if other.is_some() { chat.senders } else { 0 }..chat.members),
            chat,
            lacking: 0,
        })
    }

    /// Begins rounds within the bound; returns how many lines were delivered.
    fn drive(&mut self, bound: Bound) -> Result<u64> {
        let began = Instant::now();
        let mut delivered = 0;
        while bound.allows(began.elapsed(), delivered) {
            delivered += self.round()?;
        }
        Ok(delivered)
    }

    fn round(&mut self) -> Result<u64> {
        self.say()?;
        let mut patience = Patience::new();
        while self.lacking > 0 {
            self.hear()?;
            patience.check(self.lacking, Instant::now()).map_err(|error| {
                let all = self.chat.heard_by(0..self.chat.members);
                format!("{error}; {} of {all} lines of a round were not delivered", self.lacking)
            })?;
        }
        Ok(self.counted)
    }

    /// Begins a round: every sender says its burst.
    pub(super) fn say(&mut self) -> Result<()> {
        self.script.next_round();
        for member in &mut self.members {
            member.begin_round(&self.script);
        }
        for sender in 0..self.chat.senders {
            let burst = self.script.burst(sender);
            // It is small, and all that was before it has been read.
            let written = self.members[sender].stream.write(burst)?;
            if written < burst.len() {
                return Err(format!("sender {sender} could not send its burst at once").into());
            }
        }
        self.lacking = self.chat.heard_by(0..self.chat.members);
        Ok(())
    }

    /// Listens to members who have something to hear, at most `at_once` of them.
    pub(super) fn hear(&mut self) -> Result<()> {
        self.effort.wait(&mut self.poll, &mut self.events)?;
        for event in &self.events {
            let member = &mut self.members[event.token().0];
            let until_empty = event.is_read_closed() || event.is_error();
            self.lacking -= member.read(&self.script, &mut self.buffer, until_empty)?;
        }
        Ok(())
    }

    /// Whether everybody has heard everything that was said.
    pub(super) const fn is_heard(&self) -> bool {
        self.lacking == 0
    }

    /// The lines that were said and not heard, for each member that lacks one.
    pub(super) const fn lacking(&self) -> u64 {
        self.lacking
    }

    /// Nothing may come that nobody has said.
    pub(super) fn check_silent(&mut self) -> Result<()> {
        for member in &mut self.members {
            member.read(&self.script, &mut self.buffer, true)?;
        }
        Ok(())
    }
}

// A line that is counted twice would make `lacking` wrong; `Member` does not
// let one pass, as it knows how many of each sender are left in a round.
const _: () = assert!(LINE == 64, "the rows say so");

#[cfg(test)]
mod tests {
    use super::super::testing::EFFORT;
    use super::*;
    use crate::load::testing;

    #[test]
    fn each_line_is_heard_by_all_but_its_sender() {
        let chat = Chat { members: 5, senders: 2, lines: 3, from_afar: true };
        assert_eq!((chat.heard_by(0..5), chat.heard_by(2..5)), (24, 18));
    }

    #[test]
    fn a_server_that_only_echoes_is_no_chat() {
        let echo = testing::serve(|_, bytes| bytes.to_vec());
        let chat = Chat { members: 2, senders: 1, lines: 1, from_afar: false };
        let error = run(chat, &echo, &EFFORT).expect_err("nobody else gets anything");
        assert!(error.to_string().contains("heard itself"), "{error}");
    }
}
