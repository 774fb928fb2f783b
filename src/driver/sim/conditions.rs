//! `Conditions`, the sizes, delays and odds of faults in a simulation, and
//! `Faults`, how often each fault struck.

use std::time::Duration;

use super::rng::{Odds, Rng};

/// The behaviour of a simulated system where a real one has a choice: sizes,
/// delays, and the odds of each fault.
///
/// [`calm`](Self::calm) is a system in which nothing goes wrong;
/// [`seeded`](Self::seeded) draws everything from a seed.
///
/// ```
/// use serve_forever::driver::sim::{Odds, Conditions};
///
/// let interrupted = Conditions { interrupted: Odds::one_in(2), ..Conditions::calm() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Bytes that each direction of a connection holds, from the call that
    /// sends them to the call that reads them.
    pub buffer: usize,
    /// The shortest and the longest latency of a segment.
    pub latency: (Duration, Duration),
    /// The fewest and the most bytes of a segment.
    pub segment: (usize, usize),
    /// The shortest and the longest duration of a system call; the network goes
    /// on meanwhile.
    pub call: (Duration, Duration),
    /// The most by which a wait may exceed its time-out.
    pub overshoot: Duration,
    /// A signal interrupts a call, which has done nothing.
    pub interrupted: Odds,
    /// A read, write or accept returns `WouldBlock` without need; its edge
    /// follows. A connect to a Unix socket does too, for a full backlog, and no
    /// edge follows.
    pub would_block: Odds,
    /// A read or a write takes less than it could. Without effect where the
    /// driver states that a short call has met the end of the buffer.
    pub short: Odds,
    /// A wait reports an event of a socket without news, but not endlessly
    /// while nothing else happens.
    pub spurious: Odds,
    /// A wait reports an event of a closed socket, with the same bound.
    pub stale: Odds,
    /// An edge is reported before the last one was consumed; and an event
    /// reports the whole readiness, not only its changes.
    pub redundant: Odds,
    /// A wait reports only some of the pending events.
    pub partial: Odds,
    /// An accept finds a connection that is lost already (ECONNABORTED, or a
    /// network error).
    pub aborted: Odds,
    /// An accept finds no descriptors or no memory (EMFILE, ENFILE, ENOBUFS,
    /// ENOMEM), for a while.
    pub exhausted: Odds,
    /// A reset destroys the unread input of its receiver.
    pub reset_destroys: Odds,
    /// A datagram is lost.
    pub lost: Odds,
    /// A datagram arrives twice.
    pub doubled: Odds,
    /// A program fails to start (EAGAIN, EMFILE, ENOMEM, E2BIG).
    pub spawn_fails: Odds,
    /// No event reports a child's exit.
    pub silent: Odds,
    /// Other code in the process waits for a child, and takes its status.
    pub stolen: Odds,
    /// The process is stopped in a call, or busy in a callback before it, for
    /// up to [`stop`](Self::stop); the network goes on meanwhile. A stopped
    /// wait is interrupted, or has polled before the stop.
    pub stopped: Odds,
    /// The longest stop.
    pub stop: Duration,
    /// The shortest and the longest time from a job's start to its end (feature
    /// `workers`).
    pub job: (Duration, Duration),
    /// A job is lost before it runs, as with a pool that is dropped.
    pub job_lost: Odds,
    /// A job panics.
    pub job_panics: Odds,
}

impl Conditions {
    /// Conditions without faults, and with minimal delays.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            buffer: 64 << 10,
            latency: (Duration::from_micros(50), Duration::from_micros(50)),
            segment: (1, 64 << 10),
            call: (Duration::from_micros(1), Duration::from_micros(1)),
            overshoot: Duration::ZERO,
            interrupted: Odds::NEVER,
            would_block: Odds::NEVER,
            short: Odds::NEVER,
            spurious: Odds::NEVER,
            stale: Odds::NEVER,
            redundant: Odds::NEVER,
            partial: Odds::NEVER,
            aborted: Odds::NEVER,
            exhausted: Odds::NEVER,
            reset_destroys: Odds::NEVER,
            lost: Odds::NEVER,
            doubled: Odds::NEVER,
            spawn_fails: Odds::NEVER,
            silent: Odds::NEVER,
            stolen: Odds::NEVER,
            stopped: Odds::NEVER,
            stop: Duration::from_secs(100),
            job: (Duration::from_millis(1), Duration::from_millis(1)),
            job_lost: Odds::NEVER,
            job_panics: Odds::NEVER,
        }
    }

    /// Conditions drawn from a seed: from a single kind of fault to many at
    /// once.
    #[must_use]
    pub fn seeded(rng: &mut Rng) -> Self {
        let rough = rng.below(4);
        let mut odds = || match rng.below(4) {
            0 => Odds::one_in(2 + u32::try_from(rng.below(6)).unwrap_or(0)),
            n if n <= rough => Odds::one_in(10 + u32::try_from(rng.below(100)).unwrap_or(0)),
            _ => Odds::NEVER,
        };
        let faults = [odds(), odds(), odds(), odds(), odds(), odds(), odds(), odds(), odds(), odds()];
        let buffer = match rng.below(4) {
            0 => rng.size(1, 16),
            1 => rng.size(17, 512),
            2 => rng.size(513, 8 << 10),
            _ => 64 << 10,
        };
        let least = Duration::from_nanos(rng.between(1_000, 1_000_000));
        let most = least + Duration::from_nanos(rng.between(0, 20_000_000));
        let most_of_segment = if rng.below(2) == 0 { rng.size(1, 64) } else { rng.size(64, 8 << 10) };
        let stopped = match rng.below(8) {
            0 => Odds::one_in(20 + u32::try_from(rng.below(200)).unwrap_or(0)),
            1 => Odds::one_in(200 + u32::try_from(rng.below(3_000)).unwrap_or(0)),
            _ => Odds::NEVER,
        };
        Self {
            buffer,
            latency: (least, most),
            segment: (1, most_of_segment),
            call: (Duration::from_nanos(100), Duration::from_nanos(rng.between(100, 100_000))),
            overshoot: Duration::from_micros(rng.between(0, 1000)),
            interrupted: faults[0],
            would_block: faults[1],
            short: faults[2],
            spurious: faults[3],
            stale: faults[4],
            redundant: faults[5],
            partial: faults[6],
            aborted: faults[7],
            exhausted: faults[8],
            reset_destroys: faults[9],
            // The odds of lost connections apply to datagrams too.
            lost: faults[7],
            doubled: faults[5],
            // The odds of lacking descriptors apply to children too.
            spawn_fails: faults[8],
            silent: faults[4],
            stolen: faults[7],
            stopped,
            stop: Duration::from_secs(100),
            // A job takes from one latency to a thousand of them.
            job: (least, most * 1000),
            job_lost: faults[8],
            job_panics: faults[9],
        }
    }

    /// All odds, for a search for those that a failure needs.
    pub fn odds_mut(&mut self) -> [&mut Odds; 18] {
        [
            &mut self.interrupted,
            &mut self.would_block,
            &mut self.short,
            &mut self.spurious,
            &mut self.stale,
            &mut self.redundant,
            &mut self.partial,
            &mut self.aborted,
            &mut self.exhausted,
            &mut self.reset_destroys,
            &mut self.lost,
            &mut self.doubled,
            &mut self.spawn_fails,
            &mut self.silent,
            &mut self.stolen,
            &mut self.stopped,
            &mut self.job_lost,
            &mut self.job_panics,
        ]
    }
}

impl Default for Conditions {
    /// [`calm`](Self::calm).
    fn default() -> Self {
        Self::calm()
    }
}

/// How often each fault struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Calls interrupted.
    pub interrupted: u64,
    /// Calls that returned `WouldBlock` without need.
    pub would_block: u64,
    /// Reads that took less than there was.
    pub short_reads: u64,
    /// Writes that took less than there was room for.
    pub short_writes: u64,
    /// Events without news.
    pub spurious: u64,
    /// Events of closed sockets.
    pub stale: u64,
    /// Connections lost before they were accepted.
    pub aborted: u64,
    /// Accepts that found no descriptor or no memory.
    pub exhausted: u64,
    /// Resets that reached the server.
    pub resets_in: u64,
    /// Resets that reached a client.
    pub resets_out: u64,
    /// Clients that vanished.
    pub vanished: u64,
    /// Datagrams that were lost, those for lack of room included.
    pub lost: u64,
    /// Datagrams that arrived twice.
    pub doubled: u64,
    /// Programs that could not be started.
    pub spawns_failed: u64,
    /// Children whose exit no event reported.
    pub silent: u64,
    /// Children whose status other code took.
    pub stolen: u64,
    /// Times that the process was stopped.
    pub stopped: u64,
    /// Jobs that were lost.
    pub jobs_lost: u64,
    /// Jobs that panicked.
    pub jobs_panicked: u64,
}

impl Faults {
    /// Each count with its name, for tables.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 19] {
        [
            ("interrupted calls", self.interrupted),
            ("WouldBlock out of the blue", self.would_block),
            ("short reads", self.short_reads),
            ("short writes", self.short_writes),
            ("spurious events", self.spurious),
            ("stale events", self.stale),
            ("aborted connections", self.aborted),
            ("exhausted accepts", self.exhausted),
            ("resets from clients", self.resets_in),
            ("resets to clients", self.resets_out),
            ("vanished clients", self.vanished),
            ("datagrams lost", self.lost),
            ("datagrams doubled", self.doubled),
            ("children not started", self.spawns_failed),
            ("children without events", self.silent),
            ("children somebody else waited for", self.stolen),
            ("stops of the process", self.stopped),
            ("jobs lost", self.jobs_lost),
            ("jobs that panicked", self.jobs_panicked),
        ]
    }

    /// The sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_name().iter().map(|(_, count)| count).sum()
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.interrupted += other.interrupted;
        self.would_block += other.would_block;
        self.short_reads += other.short_reads;
        self.short_writes += other.short_writes;
        self.spurious += other.spurious;
        self.stale += other.stale;
        self.aborted += other.aborted;
        self.exhausted += other.exhausted;
        self.resets_in += other.resets_in;
        self.resets_out += other.resets_out;
        self.vanished += other.vanished;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.spawns_failed += other.spawns_failed;
        self.silent += other.silent;
        self.stolen += other.stolen;
        self.stopped += other.stopped;
        self.jobs_lost += other.jobs_lost;
        self.jobs_panicked += other.jobs_panicked;
    }
}
