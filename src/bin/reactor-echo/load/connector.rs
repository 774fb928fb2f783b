//! Connects, one batch after another.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::failure::{Failure, Failures, Kind};
use super::stream::{Address, Stream};
use super::{Clock, LoadOptions, Observer, nanos};
use crate::limits;

/// Connections made at once: half the shortest backlog in common use, 128, as
/// what does not fit one is dropped and tried again a second later.
const BATCH: usize = 64;

/// How long to rest after a batch. The system takes connections into the
/// backlog on its own; a server that shares the client's CPU gets to accept
/// them only while the client waits.
const REST: Duration = Duration::from_millis(1);

/// How long to wait for room in the backlog of a Unix socket, which says that
/// it is full and nothing when it no longer is.
const BACKLOG_RETRY: Duration = Duration::from_millis(1);

/// How long to wait for events otherwise, before timeouts are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The connections of a run while they come to be.
#[derive(Debug)]
pub(super) struct Connector<'a> {
    /// What they are registered with.
    poll: &'a mut Poll,
    /// The addresses the endpoint stands for.
    addresses: Vec<Address>,
    /// The address in use: the next one is tried while nothing stands.
    chosen: usize,
    /// What those before it said.
    refusals: Vec<String>,
    /// One for each connection that was tried.
    slots: Vec<Slot>,
    /// Connections on their way.
    pending: usize,
    /// Connections of this batch, in whatever state.
    batch: usize,
    /// Connections which stand.
    established: usize,
    /// Since when a full backlog has refused the next one.
    blocked: Option<u64>,
    /// The connections which failed.
    failures: &'a mut Failures,
}

/// One connection while it comes to be.
#[derive(Debug)]
enum Slot {
    /// On its way.
    Pending {
        /// The socket.
        stream: Stream,
        /// The index of its address.
        address: usize,
        /// When it set out.
        since: u64,
    },
    /// It stands.
    Established(Stream),
    /// It does not, and will not.
    Failed,
}

impl<'a> Connector<'a> {
    pub(super) fn new(
        poll: &'a mut Poll,
        options: &LoadOptions,
        failures: &'a mut Failures,
    ) -> io::Result<Self> {
        Ok(Self {
            poll,
            addresses: Address::resolve(&options.endpoint)?,
            chosen: 0,
            refusals: Vec::new(),
            slots: Vec::with_capacity(options.connections + options.idle),
            pending: 0,
            batch: 0,
            established: 0,
            blocked: None,
            failures,
        })
    }

    /// Makes all connections, or finds out which cannot be.
    pub(super) fn run(
        mut self,
        options: &LoadOptions,
        clock: Clock,
        observer: &mut dyn Observer,
    ) -> io::Result<Vec<Option<Stream>>> {
        let wanted = options.connections + options.idle;
        let timeout = nanos(options.timeout);
        let mut events = Events::with_capacity(BATCH);
        let mut next_tick = 0;
        while self.slots.len() < wanted || self.pending > 0 {
            let now = clock.now();
            while self.slots.len() < wanted && self.batch < BATCH {
                let index = self.slots.len();
                match self.open(index, now)? {
                    Some(slot) => {
                        self.pending += usize::from(matches!(slot, Slot::Pending { .. }));
                        self.slots.push(slot);
                        self.batch += 1;
                        self.blocked = None;
                    }
                    None => {
                        let since = *self.blocked.get_or_insert(now);
                        if now.saturating_sub(since) < timeout {
                            break;
                        }
                        let message = format!("no room in the backlog for {:?}", options.timeout);
                        self.failures.add(index, Failure::new(Kind::Stalled, message));
                        self.slots.push(Slot::Failed);
                        self.blocked = None;
                    }
                }
            }
            let wait = match (self.pending, self.blocked) {
                (_, Some(_)) => BACKLOG_RETRY,
                (0, None) => Duration::ZERO,
                (_, None) => TICK.min(options.timeout),
            };
            super::client::wait(self.poll, &mut events, wait)?;
            for event in &events {
                self.settle(event.token().0, clock.now())?;
            }
            if self.pending == 0 && self.batch == BATCH {
                std::thread::sleep(REST);
                self.batch = 0;
            }
            // Not after every wait, as it looks at every connection.
            if now >= next_tick {
                self.expire(now, options.timeout)?;
                observer.connecting(self.established, wanted);
                next_tick = now + nanos(TICK.min(options.timeout));
            }
        }
        log::info!("{} of {wanted} connections stand", self.established);
        Ok(self.slots.into_iter().map(Slot::into_stream).collect())
    }

    /// Sets out; nothing when the backlog of a Unix socket has no room.
    fn open(&mut self, index: usize, now: u64) -> io::Result<Option<Slot>> {
        loop {
            let address = self.chosen;
            match Stream::start(&self.addresses[address], index) {
                Ok(mut stream) => {
                    stream.register(self.poll.registry(), Token(index))?;
                    return Ok(Some(Slot::Pending { stream, address, since: now }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if limits::is_reached(&error) => return Err(limits::explain(error)),
                Err(error) => {
                    if !self.other_address(address, &error) {
                        let failure = self.after_all(error).into();
                        self.failures.add(index, failure);
                        return Ok(Some(Slot::Failed));
                    }
                }
            }
        }
    }

    /// Looks at how a connection on its way went.
    fn settle(&mut self, index: usize, now: u64) -> io::Result<()> {
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        let Slot::Pending { stream, address, .. } = slot else {
            return Ok(());
        };
        let address = *address;
        match stream.finish().and_then(|()| stream.set_nodelay()) {
            Ok(()) => {
                if let Slot::Pending { stream, .. } = std::mem::replace(slot, Slot::Failed) {
                    *slot = Slot::Established(stream);
                }
                self.established += 1;
                self.pending -= 1;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if self.other_address(address, &error) => self.open_again(index, now)?,
            Err(error) => {
                let failure = self.after_all(error).into();
                self.fail(index, failure);
            }
        }
        Ok(())
    }

    /// One that was on its way sets out once more.
    fn open_again(&mut self, index: usize, now: u64) -> io::Result<()> {
        let again = self.open(index, now)?;
        self.pending -= usize::from(!matches!(again, Some(Slot::Pending { .. })));
        self.slots[index] = again.unwrap_or(Slot::Failed);
        Ok(())
    }

    /// What is wrong with the last address, behind what was with each before.
    fn after_all(&self, error: io::Error) -> io::Error {
        let last = format!("{}: {error}", self.addresses[self.chosen]);
        let each: Vec<&str> = self.refusals.iter().map(String::as_str).chain([last.as_str()]).collect();
        io::Error::new(error.kind(), each.join("; "))
    }

    /// After a failure at `address`: whether there is another to try.
    fn other_address(&mut self, address: usize, error: &io::Error) -> bool {
        if address < self.chosen {
            return true;
        }
        let another = self.established == 0 && self.chosen + 1 < self.addresses.len();
        if another {
            let refusal = format!("{}: {error}", self.addresses[address]);
            log::debug!("{refusal}; trying the next address");
            self.refusals.push(refusal);
            self.chosen += 1;
        }
        another
    }

    /// Gives up on those that have been on their way for too long, or tries
    /// another address.
    fn expire(&mut self, now: u64, timeout: Duration) -> io::Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        for index in 0..self.slots.len() {
            if let Slot::Pending { since, address, .. } = self.slots[index]
                && now.saturating_sub(since) >= nanos(timeout)
            {
                let message = format!("no answer to connecting for {timeout:?}");
                let error = io::Error::new(io::ErrorKind::TimedOut, message);
                if self.other_address(address, &error) {
                    self.open_again(index, now)?;
                } else {
                    let failure = self.after_all(error).into();
                    self.fail(index, failure);
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        self.slots[index] = Slot::Failed;
        self.pending -= 1;
        self.failures.add(index, failure);
    }
}

impl Slot {
    fn into_stream(self) -> Option<Stream> {
        match self {
            Self::Established(stream) => Some(stream),
            Self::Pending { .. } | Self::Failed => None,
        }
    }
}
