//! What may go wrong, and how often; and how often it did.

use std::time::Duration;

use super::rng::{Odds, Rng};

/// How a simulated system behaves where a real one is free to: sizes, delays,
/// and the odds of each fault.
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
    /// The least and the most that a segment takes on its way.
    pub latency: (Duration, Duration),
    /// The least and the most bytes of a segment.
    pub segment: (usize, usize),
    /// The least and the most that a call into the system takes; meanwhile
    /// the world goes on.
    pub call: (Duration, Duration),
    /// By how much a wait may outlast its time-out.
    pub overshoot: Duration,
    /// A call is interrupted by a signal, and has done nothing.
    pub interrupted: Odds,
    /// A read, write or accept says `WouldBlock` though it need not; its edge
    /// follows. So does connecting to a Unix socket, of which no edge follows:
    /// its backlog is full.
    pub would_block: Odds,
    /// A read or a write takes less than it could. Not where the driver
    /// vouches that a short one has met the end of the buffer.
    pub short: Odds,
    /// A wait reports something of a socket about which there is nothing new;
    /// not again and again without end where nothing else happens.
    pub spurious: Odds,
    /// A wait reports something of a socket that is closed; with the same end.
    pub stale: Odds,
    /// An edge is reported though the last one was not used up; and an event
    /// says all that holds, not only what is new.
    pub redundant: Odds,
    /// A wait reports only some of what there is to report.
    pub partial: Odds,
    /// An accept finds that the connection is lost already (ECONNABORTED, or
    /// what the network says of it).
    pub aborted: Odds,
    /// An accept finds that there are no descriptors or no memory (EMFILE,
    /// ENFILE, ENOBUFS, ENOMEM), for a while.
    pub exhausted: Odds,
    /// A reset destroys what its receiver has not read yet.
    pub reset_destroys: Odds,
    /// A datagram is lost.
    pub lost: Odds,
    /// A datagram arrives twice.
    pub doubled: Odds,
    /// A program cannot be started (EAGAIN, EMFILE, ENOMEM, E2BIG).
    pub spawn_fails: Odds,
    /// No event tells of a child's exit.
    pub silent: Odds,
    /// Something else in the process waits for a child, and takes its status.
    pub stolen: Odds,
    /// The process is stopped in a call, or busy in a callback before it, for
    /// up to [`stop`](Self::stop); meanwhile the world goes on. A wait that is
    /// stopped is interrupted, or has looked before that.
    pub stopped: Odds,
    /// The most that a stop takes.
    pub stop: Duration,
}

impl Conditions {
    /// Nothing goes wrong, and everything takes next to no time.
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
        }
    }

    /// What a seed decides: from a calm in which only one thing ever goes
    /// wrong to a storm.
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
            // Where connections are lost, so are datagrams.
            lost: faults[7],
            doubled: faults[5],
            // Nor is there anything for a child, where there are no descriptors.
            spawn_fails: faults[8],
            silent: faults[4],
            stolen: faults[7],
            stopped,
            stop: Duration::from_secs(100),
        }
    }

    /// Every odd in it, for whoever searches for those that a failure needs.
    pub fn odds_mut(&mut self) -> [&mut Odds; 16] {
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
    /// `WouldBlock` out of the blue.
    pub would_block: u64,
    /// Reads that took less than there was.
    pub short_reads: u64,
    /// Writes that took less than there was room for.
    pub short_writes: u64,
    /// Events about nothing new.
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
    /// Datagrams that were lost, for want of room as well.
    pub lost: u64,
    /// Datagrams that arrived twice.
    pub doubled: u64,
    /// Programs that could not be started.
    pub spawns_failed: u64,
    /// Children of whose exit no event told.
    pub silent: u64,
    /// Children whose status somebody else took.
    pub stolen: u64,
    /// Times that the process was stopped.
    pub stopped: u64,
}

impl Faults {
    /// Each count with its name, for tables.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 17] {
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
        ]
    }

    /// All of them together.
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
    }
}
