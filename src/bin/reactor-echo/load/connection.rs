//! `Connection`: one connection of the load, which sends a pattern and checks
//! what comes back.

use std::collections::VecDeque;
use std::io;

use super::Clock;
use super::failure::{Failure, Kind};
use super::pattern::{CHUNK, Pattern, Place};
use super::phase::Phase;
use super::stream::Stream;

/// Reads, and writes, before other connections get their turn: up to 1 MiB each
/// way.
const STEPS_PER_TURN: usize = 16;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Wire {
    /// What is sent and expected.
    pub(super) pattern: Pattern,
    /// Where bytes are read to.
    pub(super) buffer: Box<[u8]>,
    /// Bytes per message.
    pub(super) size: u64,
    /// The run's time.
    pub(super) clock: Clock,
}

impl Wire {
    pub(super) fn new(size: u64, clock: Clock) -> Self {
        Self { pattern: Pattern::new(), buffer: vec![0; CHUNK].into(), size, clock }
    }
}

/// When the outstanding messages of a connection began, oldest first.
#[derive(Debug)]
pub(super) enum Starts {
    /// In the closed loop: messages which began together are one entry, so a
    /// deep pipeline costs a connection little memory.
    Recorded(VecDeque<Batch>),
    /// In the open loop: the schedule knows, and however far the server falls
    /// behind, nothing is stored.
    Scheduled {
        /// The number of the oldest outstanding message.
        next: u64,
        /// From one message of this connection to its next.
        stride: u64,
    },
}

/// Messages which began at the same time.
#[derive(Debug)]
pub(super) struct Batch {
    /// When.
    start: u64,
    /// How many.
    count: u64,
}

impl Starts {
    fn began(&mut self, start: u64, count: u64) {
        match self {
            Self::Recorded(batches) => match batches.back_mut() {
                Some(last) if last.start == start => last.count += count,
                _ => batches.push_back(Batch { start, count }),
            },
            Self::Scheduled { .. } => {}
        }
    }

    fn completed(&mut self, mut count: u64, phase: &mut Phase) {
        match self {
            Self::Recorded(batches) => {
                while count > 0 {
                    let Some(first) = batches.front_mut() else {
                        return;
                    };
                    let taken = first.count.min(count);
                    phase.complete(first.start, taken);
                    count -= taken;
                    first.count -= taken;
                    if first.count == 0 {
                        batches.pop_front();
                    }
                }
            }
            Self::Scheduled { next, stride } => {
                for _ in 0..count {
                    phase.complete(phase.scheduled(*next), 1);
                    *next += *stride;
                }
            }
        }
    }
}

/// A connection which stands.
///
/// Its flags follow edge-triggered readiness: an event sets one, and only the
/// system's word that there is no more clears it.
#[derive(Debug)]
pub(super) struct Connection {
    /// The socket.
    stream: Stream,
    /// When its messages began.
    starts: Starts,
    /// Whether a completed message begins another.
    closed_loop: bool,
    /// Messages begun and not back.
    outstanding: u64,
    /// Bytes written so far.
    sent: u64,
    /// Bytes read so far.
    received: u64,
    /// Bytes of begun messages, written or not.
    begun: u64,
    /// Bytes of the message which is coming in.
    partial: u64,
    /// Where in the pattern it writes.
    write_at: Place,
    /// Where in the pattern it reads.
    read_at: Place,
    /// When a byte last moved, or began to be owed.
    moved: u64,
    /// There may be bytes to read.
    readable: bool,
    /// There may be room to write.
    writable: bool,
    /// The server has closed its side; what it sent before is still to be read.
    closing: bool,
    /// It waits in the client's queue for another turn.
    pub(super) queued: bool,
}

impl Connection {
    pub(super) fn new(index: usize, stream: Stream) -> Self {
        Self {
            stream,
            starts: Starts::Recorded(VecDeque::new()),
            closed_loop: true,
            outstanding: 0,
            sent: 0,
            received: 0,
            begun: 0,
            partial: 0,
            write_at: Place::of_connection(index),
            read_at: Place::of_connection(index),
            moved: 0,
            // An event may have come and gone while others were connecting.
            readable: true,
            writable: true,
            closing: false,
            queued: false,
        }
    }

    /// Enters a closed loop; nothing is outstanding.
    pub(super) fn enter_closed(&mut self) {
        self.closed_loop = true;
        self.starts = Starts::Recorded(VecDeque::new());
    }

    /// Enters an open loop as one of `stride` connections, whose first message
    /// has the number `first`; nothing is outstanding.
    pub(super) fn enter_open(&mut self, first: u64, stride: u64) {
        self.closed_loop = false;
        self.starts = Starts::Scheduled { next: first, stride };
    }

    /// Takes an event's word.
    pub(super) fn note(&mut self, event: &mio::event::Event) {
        // An error is what the next read returns.
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
        self.closing |= event.is_read_closed();
    }

    /// Begins `count` messages; the next turn writes them.
    pub(super) fn begin(&mut self, count: u64, size: u64, now: u64) {
        if count == 0 {
            return;
        }
        if self.outstanding == 0 {
            self.moved = now;
        }
        self.outstanding += count;
        // Only a schedule beyond what any socket carries reaches the end of
        // the range, and then what is sent never gets there.
        self.begun = self.begun.saturating_add(count.saturating_mul(size));
        self.starts.began(now, count);
    }

    /// Reads what is there, checks it, and writes what is due: reading first,
    /// always, so that a server which waits to be read before it reads on is
    /// never waited for.
    ///
    /// Returns whether it stopped for the sake of others and needs another turn
    /// without an event.
    pub(super) fn turn(&mut self, wire: &mut Wire, phase: &mut Phase) -> Result<bool, Failure> {
        for _ in 0..STEPS_PER_TURN {
            if !self.readable {
                break;
            }
            self.read(wire, phase)?;
        }
        for _ in 0..STEPS_PER_TURN {
            if !self.writable || !self.has_output() {
                break;
            }
            self.write(wire, phase.now)?;
        }
        Ok(self.readable || (self.writable && self.has_output()))
    }

    /// Whether bytes have begun that have not left.
    fn has_output(&self) -> bool {
        self.sent < self.begun || self.stream.has_unwritten()
    }

    fn read(&mut self, wire: &mut Wire, phase: &mut Phase) -> Result<(), Failure> {
        match self.stream.read(&mut wire.buffer) {
            Ok(0) => Err(self.closed_early()),
            Ok(len) => {
                // This saves every message a read that returns nothing. Only
                // the end of the stream may have its event behind it already.
                self.readable = self.stream.may_have_more(len, wire.buffer.len()) || self.closing;
                phase.now = wire.clock.now();
                self.accept(len, wire, phase)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Checks `len` bytes in the buffer and completes the messages they end.
    fn accept(&mut self, len: usize, wire: &Wire, phase: &mut Phase) -> Result<(), Failure> {
        let bytes = &wire.buffer[..len];
        // A server may answer only what has left, so `sent` is the bound, not
        // what is begun.
        let owed = self.sent - self.received;
        if len as u64 > owed {
            let message =
                format!("{} bytes came back and only {} were sent", self.received + len as u64, self.sent);
            return Err(Failure::new(Kind::Mismatch, message));
        }
        if let Err(mismatch) = wire.pattern.check(self.read_at, bytes) {
            let at = self.received + mismatch.at as u64;
            let message = format!(
                "byte {at} of the stream, byte {} of message {}, came back as {:#04x} and was \
                 sent as {:#04x}",
                at % wire.size,
                at / wire.size,
                mismatch.found,
                mismatch.expected
            );
            return Err(Failure::new(Kind::Mismatch, message));
        }
        self.read_at.advance(len);
        self.received += len as u64;
        self.moved = phase.now;

        self.partial += len as u64;
        if self.partial < wire.size {
            return Ok(());
        }
        let done = self.partial / wire.size;
        self.partial %= wire.size;
        self.outstanding -= done;
        self.starts.completed(done, phase);
        if self.closed_loop {
            let count = phase.begin(done);
            self.begin(count, wire.size, phase.now);
        }
        Ok(())
    }

    fn write(&mut self, wire: &Wire, now: u64) -> Result<(), Failure> {
        let piece = wire.pattern.piece(self.write_at, self.begun - self.sent);
        match self.stream.write(piece) {
            Ok(len) => {
                self.writable = self.stream.may_have_room(len, piece.len());
                self.write_at.advance(len);
                self.sent += len as u64;
                self.moved = now;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Whether bytes were owed and none moved for `timeout`.
    pub(super) fn check_stalled(&self, now: u64, timeout: u64) -> Result<(), Failure> {
        if self.outstanding == 0 || now.saturating_sub(self.moved) < timeout {
            return Ok(());
        }
        let seconds = timeout as f64 / 1e9;
        let message = format!("no byte moved for {seconds} s; {}", self.account());
        Err(Failure::new(Kind::Stalled, message))
    }

    /// Messages begun and not back.
    pub(super) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    fn closed_early(&self) -> Failure {
        let message = format!("the server closed it; {}", self.account());
        Failure::new(Kind::ClosedEarly, message)
    }

    fn broken(&self, error: io::Error) -> Failure {
        let mut failure = Failure::from(error);
        failure.message = format!("{}; {}", failure.message, self.account());
        failure
    }

    fn account(&self) -> String {
        format!(
            "{} of the {} bytes sent had come back, messages outstanding: {}",
            self.received, self.sent, self.outstanding
        )
    }
}
