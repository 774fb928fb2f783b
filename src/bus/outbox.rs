//! `Outbox`: the commands that wait for Redis, and those that wait for its answer.

use std::collections::VecDeque;
use std::time::Instant;

use super::command::{Command, Outgoing};
use super::error::PublishError;
use super::event::BusToken;
use super::limits::{BusLimits, MOST_IN_FLIGHT};

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
/// knows by them what has come before, as far back as [`MOST_IN_FLIGHT`]: no message gets a
/// number that is further from one that is on its way.
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
    /// that is `held`, or one that would get this `number`, too far from the first under way.
    pub(super) fn next(
        &mut self,
        limits: &BusLimits,
        number: u64,
        held: impl Fn(&Outgoing) -> bool,
    ) -> Option<Command> {
        let has_room =
            self.flight.len() < limits.max_in_flight && self.flight_bytes < limits.max_in_flight_bytes;
        let is_far = || self.first_number().is_some_and(|first| number - first >= MOST_IN_FLIGHT as u64);
        let waits = |message: &Outgoing| held(message) || message.number.is_none() && is_far();
        let is_held = matches!(self.waiting.front(), Some(Command::Publish(message)) if waits(message));
        if has_room && !is_held { self.waiting.pop_front() } else { None }
    }

    /// The lowest number under way: messages are sent by their numbers.
    fn first_number(&self) -> Option<u64> {
        self.flight.iter().find_map(|sent| number(&sent.command))
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

/// The commands with the numbered messages before all others, by their numbers; the rest in
/// its order.
fn numbered_first(commands: impl Iterator<Item = Command>) -> VecDeque<Command> {
    let mut all: Vec<_> = commands.collect();
    // The sort is stable.
    all.sort_by_key(|command| number(command).unwrap_or(u64::MAX));
    all.into()
}

/// The number of a message that has one.
const fn number(command: &Command) -> Option<u64> {
    match command {
        Command::Publish(message) => message.number,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    /// An outbox, and who numbers its messages.
    struct Sender {
        outbox: Outbox,
        numbers: u64,
        limits: BusLimits,
    }

    impl Sender {
        fn new(messages: u64) -> Self {
            let mut outbox = Outbox::default();
            let since = Instant::now();
            for token in 0..messages {
                let (room, payload) = ("lobby".into(), Bytes::new());
                let message = Outgoing { token: BusToken(token), room, payload, number: None, since };
                outbox.push(Command::Publish(message));
            }
            Self { outbox, numbers: 0, limits: BusLimits::default() }
        }

        /// Sends what may be sent.
        fn pump(&mut self) {
            while let Some(mut command) = self.outbox.next(&self.limits, self.numbers + 1, |_| false) {
                if let Command::Publish(message) = &mut command
                    && message.number.is_none()
                {
                    self.numbers += 1;
                    message.number = Some(self.numbers);
                }
                self.outbox.sent(command, 1, Instant::now() + Duration::from_secs(1));
            }
        }

        /// Redis refuses the first and carries the others out; returns the numbers of these.
        fn refuse_first(&mut self) -> Vec<u64> {
            let first = self.outbox.answered().expect("it was sent");
            assert_eq!(number(&first), Some(1));
            self.outbox.again(first);
            let others = std::iter::from_fn(|| self.outbox.answered()).map(|command| number(&command));
            let others = others.collect::<Option<_>>().expect("they are messages");
            self.outbox.reloaded();
            others
        }
    }

    /// A message that is refused again and again, while other nodes load the scripts for
    /// those behind it, was further back than readers remember, and lost.
    #[test]
    fn what_is_refused_again_and_again_stays_within_what_readers_remember() {
        let mut sender = Sender::new(3000);
        let mut carried_out = 0;
        for _ in 0..20 {
            sender.pump();
            let others = sender.refuse_first();
            assert!(others.iter().all(|number| *number <= MOST_IN_FLIGHT as u64), "{others:?}");
            carried_out += others.len();
        }
        assert_eq!(carried_out, MOST_IN_FLIGHT - 1, "as many as may pass it");
        // Once it is carried out, all others follow.
        for _ in 0..20 {
            sender.pump();
            carried_out += std::iter::from_fn(|| sender.outbox.answered()).count();
        }
        assert_eq!(carried_out, 3000);
        assert!(sender.outbox.is_empty());
    }

    #[test]
    fn a_link_that_is_lost_brings_what_was_sent_back_in_its_order() {
        let mut sender = Sender::new(600);
        sender.pump();
        let first = sender.outbox.answered().expect("it was sent");
        sender.outbox.again(first);
        sender.outbox.link_lost();
        let numbers: Vec<_> = sender.outbox.waiting.iter().filter_map(number).collect();
        assert_eq!(numbers, (1..=256).collect::<Vec<_>>());
        assert_eq!(sender.outbox.waiting.len(), 600);
    }
}
