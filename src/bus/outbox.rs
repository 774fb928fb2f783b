//! `Outbox`: the commands that wait for Redis, and those that wait for its answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Outgoing};
use super::command::Command;
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
/// Messages get their numbers when their batch is first sent, and keep them. Those with a
/// number always stand before those without: so the numbers of a node rise in the log of
/// each room, but for what Redis has refused, which comes behind what was in flight with it.
/// A reader knows by them what has come before, as far back as [`MOST_IN_FLIGHT`]: no
/// message gets a number that is further from one that is on its way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Command>,
    flight: VecDeque<Sent>,
    flight_bytes: usize,
    /// Refused because a script was not loaded: sent again when it is.
    again: Vec<Command>,
    /// How long the last messages took that were answered.
    round_trip: Duration,
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

    /// Adds a message to a room: to the batch that waits last, if that is of this moment
    /// and admits it.
    pub(super) fn publish(&mut self, room: Arc<str>, now: Instant, message: Outgoing, limits: &BusLimits) {
        self.messages += 1;
        self.bytes += message.payload.len();
        match self.waiting.back_mut() {
            Some(Command::Publish(batch)) if batch.admits(&room, now, &message, limits) => {
                batch.push(message)
            }
            _ => self.waiting.push_back(Command::Publish(Batch::new(room, now, message))),
        }
    }

    /// Adds a command that is no message.
    pub(super) fn push(&mut self, command: Command) {
        self.waiting.push_back(command);
    }

    /// Adds commands, none of which is a message, before all that wait.
    pub(super) fn push_first(&mut self, commands: impl DoubleEndedIterator<Item = Command>) {
        for command in commands.rev() {
            self.waiting.push_front(command);
        }
    }

    /// The next command to send, unless as many as may be are under way, or it is a batch
    /// that is `held`, or one that would get this `number`, and one of whose messages would
    /// be too far from the first under way.
    pub(super) fn next(
        &mut self,
        limits: &BusLimits,
        number: u64,
        held: impl Fn(&Batch) -> bool,
    ) -> Option<Command> {
        let has_room =
            self.flight.len() < limits.max_in_flight && self.flight_bytes < limits.max_in_flight_bytes;
        let is_far = |batch: &Batch| {
            let behind = number + batch.len() as u64;
            self.first_number().is_some_and(|first| behind - first > MOST_IN_FLIGHT as u64)
        };
        let waits = |batch: &Batch| held(batch) || batch.number.is_none() && is_far(batch);
        let is_held = matches!(self.waiting.front(), Some(Command::Publish(batch)) if waits(batch));
        if has_room && !is_held { self.waiting.pop_front() } else { None }
    }

    /// The lowest number under way: messages are sent by their numbers.
    fn first_number(&self) -> Option<u64> {
        self.flight.iter().find_map(|sent| number(&sent.command))
    }

    /// The number of the first message that is under way to a room.
    pub(super) fn first_under_way(&self, room: &str) -> Option<u64> {
        self.under_way(room).find_map(|(batch, _)| batch.number)
    }

    /// The number of the last message to a room that is answered by then, if Redis takes as
    /// long as it took last.
    pub(super) fn last_expected(&self, room: &str, by: Instant) -> Option<u64> {
        let mut in_time = self.under_way(room).rev().filter(|(_, at)| *at + self.round_trip <= by);
        in_time.find_map(|(batch, _)| batch.last_number())
    }

    /// The batches that are under way to a room, and when each was sent.
    fn under_way(&self, room: &str) -> impl DoubleEndedIterator<Item = (&Batch, Instant)> {
        self.flight.iter().filter_map(move |sent| match &sent.command {
            Command::Publish(batch) if *batch.room == *room => Some((batch, sent.at)),
            _ => None,
        })
    }

    pub(super) fn sent(&mut self, command: Command, size: usize, at: Instant) {
        self.flight_bytes += size;
        self.flight.push_back(Sent { command, size, at });
    }

    /// The command that the next answer is for.
    pub(super) fn expected(&self) -> Option<&Command> {
        self.flight.front().map(|sent| &sent.command)
    }

    /// Takes the command that an answer is for. Messages are given back by `again` or are
    /// done.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Command> {
        let sent = self.flight.pop_front()?;
        self.flight_bytes -= sent.size;
        if let Command::Publish(batch) = &sent.command {
            self.round_trip = now.saturating_duration_since(sent.at);
            self.messages -= batch.len();
            self.bytes -= batch.bytes();
        }
        Some(sent.command)
    }

    /// Takes a command back that Redis has refused and not carried out.
    pub(super) fn again(&mut self, command: Command) {
        if let Command::Publish(batch) = &command {
            self.messages += batch.len();
            self.bytes += batch.bytes();
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
    pub(super) fn take_waiting(&mut self, is_over: impl Fn(&Batch) -> bool) -> Vec<(BusToken, PublishError)> {
        let mut over = Vec::new();
        self.waiting.retain(|command| match command {
            Command::Publish(batch) if is_over(batch) => {
                let was_sent = batch.number.is_some();
                let error = if was_sent { PublishError::Unknown } else { PublishError::TimedOut };
                over.extend(batch.tokens().map(|token| (token, error.clone())));
                self.messages -= batch.len();
                self.bytes -= batch.bytes();
                false
            }
            _ => true,
        });
        over
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

/// The first number of a batch that has one.
const fn number(command: &Command) -> Option<u64> {
    match command {
        Command::Publish(batch) => batch.number,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// An outbox, and who numbers its messages.
    struct Sender {
        outbox: Outbox,
        numbers: u64,
        limits: BusLimits,
    }

    /// Lengths of batches, and how many messages of full ones may be under way.
    const BATCHES: [(usize, usize); 4] = [(1, 256), (7, 511), (64, 512), (512, 512)];

    impl Sender {
        fn new(messages: u64, max_batch: usize) -> Self {
            let mut outbox = Outbox::default();
            let limits = BusLimits { max_batch, ..BusLimits::default() };
            let now = Instant::now();
            for token in 0..messages {
                let message = Outgoing { token: BusToken(token), payload: Bytes::new() };
                outbox.publish("lobby".into(), now, message, &limits);
            }
            Self { outbox, numbers: 0, limits }
        }

        /// Sends what may be sent.
        fn pump(&mut self) {
            while let Some(mut command) = self.outbox.next(&self.limits, self.numbers + 1, |_| false) {
                if let Command::Publish(batch) = &mut command
                    && batch.number.is_none()
                {
                    batch.number = Some(self.numbers + 1);
                    self.numbers += batch.len() as u64;
                }
                self.outbox.sent(command, 1, Instant::now() + Duration::from_secs(1));
            }
        }

        /// Redis carries all out that is under way; returns the numbers of the messages.
        fn carry_out(&mut self) -> Vec<u64> {
            let answered = std::iter::from_fn(|| self.outbox.answered(Instant::now()));
            answered.flat_map(|command| numbers(&command)).collect()
        }

        /// Redis refuses the first and carries the others out; returns the numbers of these.
        fn refuse_first(&mut self) -> Vec<u64> {
            let first = self.outbox.answered(Instant::now()).expect("it was sent");
            assert_eq!(number(&first), Some(1));
            self.outbox.again(first);
            let others = self.carry_out();
            self.outbox.reloaded();
            others
        }
    }

    /// The numbers of all messages of a batch that was sent.
    fn numbers(command: &Command) -> Vec<u64> {
        let Command::Publish(batch) = command else { panic!("{command:?} is no batch") };
        let first = batch.number.expect("it was sent");
        (first..).take(batch.len()).collect()
    }

    /// A message that is refused again and again, while other nodes load the scripts for
    /// those behind it, was further back than readers remember, and lost.
    #[test]
    fn what_is_refused_again_and_again_stays_within_what_readers_remember() {
        for (batch, _) in BATCHES {
            let mut sender = Sender::new(3000, batch);
            let mut carried_out = 0;
            for _ in 0..20 {
                sender.pump();
                let others = sender.refuse_first();
                assert!(others.iter().all(|number| *number <= MOST_IN_FLIGHT as u64), "{others:?}");
                carried_out += others.len();
            }
            assert_eq!(carried_out, MOST_IN_FLIGHT / batch * batch - batch, "as many as may pass it");
            // Once it is carried out, all others follow.
            for _ in 0..20 {
                sender.pump();
                carried_out += sender.carry_out().len();
            }
            assert_eq!(carried_out, 3000);
            assert!(sender.outbox.is_empty());
            assert_eq!((sender.outbox.messages, sender.outbox.bytes), (0, 0));
        }
    }

    #[test]
    fn a_link_that_is_lost_brings_what_was_sent_back_in_its_order() {
        for (batch, under_way) in BATCHES {
            let mut sender = Sender::new(1600, batch);
            sender.pump();
            let first = sender.outbox.answered(Instant::now()).expect("it was sent");
            sender.outbox.again(first);
            sender.outbox.link_lost();
            let sent = sender.outbox.waiting.iter().filter(|command| number(command).is_some());
            let sent: Vec<_> = sent.flat_map(numbers).collect();
            assert_eq!(sent, (1..=under_way as u64).collect::<Vec<_>>());
            assert_eq!(sender.outbox.messages(), 1600);
        }
    }

    /// A batch has one room and one moment, and no more bytes than the longest message.
    #[test]
    fn what_goes_to_one_room_at_one_moment_goes_in_batches() {
        let limits = BusLimits { max_batch: 3, max_payload: 10, ..BusLimits::default() };
        let mut outbox = Outbox::default();
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        for (token, (room, at, length)) in
            [("a", now, 1), ("a", now, 1), ("b", now, 1), ("a", now, 5), ("a", now, 5), ("a", now, 1)]
                .into_iter()
                .chain([("a", later, 1); 4])
                .enumerate()
        {
            let message = Outgoing { token: BusToken(token as u64), payload: vec![0; length].into() };
            outbox.publish(room.into(), at, message, &limits);
        }
        let shown = outbox.waiting.iter().map(|command| match command {
            Command::Publish(batch) => (&*batch.room, batch.tokens().map(|token| token.0).collect()),
            other => panic!("{other:?} is no batch"),
        });
        let batches: Vec<(_, Vec<_>)> = shown.collect();
        let expected = [
            ("a", vec![0, 1]),
            ("b", vec![2]),
            ("a", vec![3, 4]),
            ("a", vec![5]),
            ("a", vec![6, 7, 8]),
            ("a", vec![9]),
        ];
        assert_eq!(batches, expected);
        // What was sent stays as it is.
        let mut sender = Sender { outbox, numbers: 0, limits };
        sender.pump();
        sender.outbox.link_lost();
        let message = Outgoing { token: BusToken(10), payload: Bytes::new() };
        sender.outbox.publish("a".into(), later, message, &sender.limits);
        assert_eq!(sender.outbox.waiting.len(), expected.len() + 1);
    }
}
