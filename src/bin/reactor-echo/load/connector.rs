//! Opening of a run's connections, in batches.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::failure::{Failure, Failures, Kind};
use super::stream::{Address, Stream};
use super::{Clock, LoadOptions, Observer, nanos};
use crate::limits;
use crate::tls::Secured;

/// Connections opened at once: half of 128, the shortest backlog in common use. A
/// SYN that finds a full backlog is dropped, and TCP sends it again a second later.
const BATCH: usize = 64;

/// The rest after a batch. The kernel puts connections into the backlog by itself;
/// a server that shares the client's CPU can accept them only while the client
/// waits.
const REST: Duration = Duration::from_millis(1);

/// The time between two tries at a Unix socket whose backlog is full: no event tells
/// when there is room again.
const BACKLOG_RETRY: Duration = Duration::from_millis(1);

/// The longest wait for events otherwise: timeouts are checked in between.
const TICK: Duration = Duration::from_millis(100);

/// The connections of a run while they are established.
#[derive(Debug)]
pub(super) struct Connector<'a> {
    /// The poll that they are registered with.
    poll: &'a mut Poll,
    /// The TLS of the connections, if they have it.
    tls: Option<&'a Secured>,
    /// The addresses that the endpoint resolves to.
    addresses: Vec<Address>,
    /// The index of the address in use. The next address is tried only while no
    /// connection is established.
    chosen: usize,
    /// The error of each address before it.
    refusals: Vec<String>,
    /// One for each connection that was tried.
    slots: Vec<Slot>,
    /// Connections that are being established.
    pending: usize,
    /// Connections of this batch, in any state.
    batch: usize,
    /// Connections that are established.
    established: usize,
    /// The time since which a full backlog has refused the next connection.
    blocked: Option<u64>,
    /// The failures of connections.
    failures: &'a mut Failures,
}

/// One connection of a `Connector`.
#[derive(Debug)]
enum Slot {
    /// It is being established.
    Pending {
        /// The socket.
        stream: Stream,
        /// The index of its address.
        address: usize,
        /// The time of its `connect`.
        since: u64,
    },
    /// It is established.
    Established(Stream),
    /// It failed for good.
    Failed,
}

impl<'a> Connector<'a> {
    pub(super) fn new(
        poll: &'a mut Poll,
        options: &'a LoadOptions,
        failures: &'a mut Failures,
    ) -> io::Result<Self> {
        Ok(Self {
            poll,
            tls: options.tls.as_ref(),
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

    /// Opens all connections; `None` stands for each that failed.
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
                self.check(event.token().0, clock.now())?;
            }
            if self.pending == 0 && self.batch == BATCH {
                std::thread::sleep(REST);
                self.batch = 0;
            }
            // Once in a tick, since it walks over every connection.
            if now >= next_tick {
                self.expire(now, options.timeout)?;
                observer.connecting(self.established, wanted);
                next_tick = now + nanos(TICK.min(options.timeout));
            }
        }
        log::info!("{} of {wanted} connections are established", self.established);
        Ok(self.slots.into_iter().map(Slot::into_stream).collect())
    }

    /// Begins to connect; `None` if the backlog of a Unix socket is full.
    fn open(&mut self, index: usize, now: u64) -> io::Result<Option<Slot>> {
        loop {
            let address = self.chosen;
            match Stream::start(&self.addresses[address], index, self.tls) {
                Ok(mut stream) => {
                    stream.register(self.poll.registry(), Token(index))?;
                    return Ok(Some(Slot::Pending { stream, address, since: now }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if limits::is_reached(&error) => return Err(limits::explain(error)),
                Err(error) => {
                    if !self.other_address(address, &error) {
                        let failure = self.all_errors(error).into();
                        self.failures.add(index, failure);
                        return Ok(Some(Slot::Failed));
                    }
                }
            }
        }
    }

    /// Checks whether a pending connection was established or failed.
    fn check(&mut self, index: usize, now: u64) -> io::Result<()> {
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
                let failure = self.all_errors(error).into();
                self.fail(index, failure);
            }
        }
        Ok(())
    }

    /// Begins a pending connection anew, at the address in use.
    fn open_again(&mut self, index: usize, now: u64) -> io::Result<()> {
        let again = self.open(index, now)?;
        self.pending -= usize::from(!matches!(again, Some(Slot::Pending { .. })));
        self.slots[index] = again.unwrap_or(Slot::Failed);
        Ok(())
    }

    /// An error that lists the error of every address tried, `error` as the last.
    fn all_errors(&self, error: io::Error) -> io::Error {
        let last = format!("{}: {error}", self.addresses[self.chosen]);
        let each: Vec<&str> = self.refusals.iter().map(String::as_str).chain([last.as_str()]).collect();
        io::Error::new(error.kind(), each.join("; "))
    }

    /// Whether another address can be tried after `error` at `address`; chooses it.
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

    /// Fails each connection that has been pending for `timeout`, or tries another
    /// address.
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
                    let failure = self.all_errors(error).into();
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
