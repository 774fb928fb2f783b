//! `Outbox`: the commands that wait for Redis, and those that wait for its answer.

use std::collections::VecDeque;
use std::time::Instant;

use super::command::{Command, Outgoing};
use super::error::PublishError;
use super::event::BusToken;
use super::limits::BusLimits;

/// A command that is sent and not answered.
#[derive(Debug)]
struct Sent {
    command: Command,
    size: usize,
    at: Instant,
}

/// The queue of commands of a bus. Messages survive the link; everything else is asked
/// for again on the next one, by the state that it is about.
///
/// A message gets its number when it is first sent, and keeps it. Those with a number always
/// stand before those without: so the numbers of a node rise in the log of each room, but
/// for what Redis has refused, which comes behind what was in flight with it. A reader
/// knows by them what has come before.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Command>,
    flight: VecDeque<Sent>,
    flight_bytes: usize,
    /// Refused because a script was not loaded: sent again when it is.
    again: Vec<Command>,
    /// Messages, and their bytes, wherever they are.
    messages: usize,
    bytes: usize,
}

impl Outbox {
    /// Whether one more message may wait.
    pub(super) fn admits(&self, bytes: usize, limits: &BusLimits) -> bool {
        self.messages < limits.max_waiting && self.bytes.saturating_add(bytes) <= limits.max_waiting_bytes
    }

    pub(super) const fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_empty() && self.again.is_empty()
    }

    /// True if there is nothing but signs of life.
    pub(super) fn is_idle(&self) -> bool {
        let is_sign = |command: &Command| matches!(command, Command::Beat | Command::Ping);
        let flight = self.flight.iter().map(|sent| &sent.command);
        self.again.is_empty() && flight.chain(&self.waiting).all(is_sign)
    }

    pub(super) fn push(&mut self, command: Command) {
        if let Command::Publish(message) = &command {
            self.messages += 1;
            self.bytes += message.payload.len();
        }
        self.waiting.push_back(command);
    }

    /// Adds commands, none of which is a message, before all that wait.
    pub(super) fn push_first(&mut self, commands: impl DoubleEndedIterator<Item = Command>) {
        for command in commands.rev() {
            self.waiting.push_front(command);
        }
    }

    /// The next command to send, unless as many as may be are under way, or it is a message
    /// that is `held`.
    pub(super) fn next(&mut self, limits: &BusLimits, held: impl Fn(&Outgoing) -> bool) -> Option<Command> {
        let has_room =
            self.flight.len() < limits.max_in_flight && self.flight_bytes < limits.max_in_flight_bytes;
        let is_held = matches!(self.waiting.front(), Some(Command::Publish(message)) if held(message));
        if has_room && !is_held { self.waiting.pop_front() } else { None }
    }

    pub(super) fn sent(&mut self, command: Command, size: usize, at: Instant) {
        self.flight_bytes += size;
        self.flight.push_back(Sent { command, size, at });
    }

    /// The command that the next answer is for.
    pub(super) fn expected(&self) -> Option<&Command> {
        self.flight.front().map(|sent| &sent.command)
    }

    /// Takes the command that an answer is for. A message is given back by `again` or is
    /// done.
    pub(super) fn answered(&mut self) -> Option<Command> {
        let sent = self.flight.pop_front()?;
        self.flight_bytes -= sent.size;
        if let Command::Publish(message) = &sent.command {
            self.forget(message.payload.len());
        }
        Some(sent.command)
    }

    /// Takes a command back that Redis has refused and not carried out.
    pub(super) fn again(&mut self, command: Command) {
        if let Command::Publish(message) = &command {
            self.messages += 1;
            self.bytes += message.payload.len();
        }
        self.again.push(command);
    }

    /// What was refused is sent again.
    pub(super) fn reloaded(&mut self) {
        let all = self.again.drain(..).chain(self.waiting.drain(..));
        self.waiting = numbered_first(all);
    }

    /// The link is gone: messages wait for the next one.
    pub(super) fn link_lost(&mut self) {
        self.flight_bytes = 0;
        let flight = self.flight.drain(..).map(|sent| sent.command);
        let all = flight.chain(self.again.drain(..)).chain(self.waiting.drain(..));
        self.waiting = numbered_first(all.filter(|command| matches!(command, Command::Publish(_))));
    }

    /// When the oldest command was sent that has no answer.
    pub(super) fn oldest_sent(&self) -> Option<Instant> {
        self.flight.front().map(|sent| sent.at)
    }

    /// Takes the messages that wait and meet this condition.
    pub(super) fn take_waiting(
        &mut self,
        is_over: impl Fn(&Outgoing) -> bool,
    ) -> Vec<(BusToken, PublishError)> {
        let mut over = Vec::new();
        let (mut messages, mut bytes) = (0, 0);
        self.waiting.retain(|command| match command {
            Command::Publish(message) if is_over(message) => {
                let error =
                    if message.number.is_some() { PublishError::Unknown } else { PublishError::TimedOut };
                over.push((message.token, error));
                messages += 1;
                bytes += message.payload.len();
                false
            }
            _ => true,
        });
        self.messages -= messages;
        self.bytes -= bytes;
        over
    }

    fn forget(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes -= bytes;
    }
}

/// The commands with the numbered messages before all others, otherwise in their order.
fn numbered_first(commands: impl Iterator<Item = Command>) -> VecDeque<Command> {
    let is_numbered =
        |command: &Command| matches!(command, Command::Publish(Outgoing { number: Some(_), .. }));
    let (mut all, rest): (VecDeque<_>, Vec<_>) = {
        let (numbered, rest): (Vec<_>, Vec<_>) = commands.partition(is_numbered);
        (numbered.into(), rest)
    };
    all.extend(rest);
    all
}
