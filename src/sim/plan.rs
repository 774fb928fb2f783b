//! `Plan`: the conditions, the limits and the clients of a run, drawn from a
//! seed.

use std::time::Duration;

use crate::driver::sim::{Act, ClientId, Conditions, Network, Odds, Pace, Rng, Script};
use crate::{Config, Limits};

/// Consecutive turns without any movement after which a run counts as endless.
/// The longest legitimate case tries for a descriptor every tenth of a second
/// while an idle client holds the last one.
pub(super) const STILLNESS: u64 = 200_000;

/// A generous number of turns for one byte from one client to another.
const TURNS_FOR_A_BYTE: u64 = 10;

/// The end of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Ends its side, and reads to the end.
    Finish,
    /// Closes without waiting for more input.
    Close,
    /// Resets the connection.
    Reset,
    /// Vanishes without a FIN.
    Vanish,
    /// Sends nothing more, and keeps the connection.
    Stay,
}

/// The behaviour of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPlan {
    /// True for a Unix socket, false for TCP.
    pub unix: bool,
    /// The time of its connect.
    pub start: Duration,
    /// The pace at which it reads.
    pub pace: Pace,
    /// The seed of the bytes that it sends.
    pub stream: u64,
    /// The pieces that it sends: the time before each, and its size in bytes.
    pub pieces: Vec<(Duration, usize)>,
    /// Its end.
    pub ending: Ending,
}

impl ClientPlan {
    fn new(rng: &mut Rng, most: usize, deadlines: bool) -> Self {
        let ending = match rng.below(if deadlines { 20 } else { 18 }) {
            0..12 => Ending::Finish,
            12..14 => Ending::Close,
            14..16 => Ending::Reset,
            16..18 => Ending::Vanish,
            _ => Ending::Stay,
        };
        let pace = match rng.below(if deadlines { 10 } else { 9 }) {
            0..7 => Pace::AtOnce,
            7 | 8 => {
                let bytes = rng.size(1, most);
                Pace::Slowly { bytes, every: Duration::from_micros(rng.between(1, 500_000)) }
            }
            _ => Pace::Never,
        };
        let gap = Duration::from_micros([0, 100, 20_000, 2_000_000][rng.size(0, 3)]);
        let mut left = rng.size(0, most);
        let mut pieces = Vec::new();
        while left > 0 && pieces.len() < 24 {
            let len = if rng.below(3) == 0 { left } else { rng.size(1, left.min(64)) };
            left -= len;
            pieces.push((gap * u32::try_from(rng.below(3)).unwrap_or(0), len));
        }
        Self {
            unix: rng.below(4) == 0,
            start: Duration::from_micros(rng.between(0, 100_000)),
            pace,
            stream: rng.draw(),
            pieces,
            ending,
        }
    }

    /// Whether a deadline may end its connection.
    #[must_use]
    pub fn may_time_out(&self) -> bool {
        self.pace != Pace::AtOnce || matches!(self.ending, Ending::Stay | Ending::Vanish)
    }

    /// Whether it sends and reads to the end.
    #[must_use]
    pub fn is_well_behaved(&self) -> bool {
        self.pace != Pace::Never && self.ending == Ending::Finish
    }

    /// About how many bytes it sends.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|(_, len)| len).sum()
    }

    /// Whether it sends nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The script that sends this stream in the planned pieces.
    #[must_use]
    pub fn script(&self, stream: &[u8]) -> Script {
        let mut script = Script::new().starting_after(self.start).read(self.pace);
        let mut at = 0;
        for (place, (time, len)) in self.pieces.iter().enumerate() {
            let end =
                if place + 1 == self.pieces.len() { stream.len() } else { (at + len).min(stream.len()) };
            script = script.after(*time).send(stream[at..end].to_vec());
            at = end;
        }
        match self.ending {
            Ending::Finish => script.finish(),
            Ending::Close => script.close(),
            Ending::Reset => script.reset(),
            Ending::Vanish => script.vanish(),
            Ending::Stay => script.then(Act::StayAfterFin),
        }
    }

    /// Has a client that an actor plays read at the planned pace, and end as planned:
    /// when its script would, unless it is to finish, which an actor does by itself.
    pub fn disturb(&self, net: &mut Network, client: ClientId) {
        net.later(self.start, client, Act::Read(self.pace));
        let end = self.pieces.iter().fold(self.start, |end, (time, _)| end + *time);
        match self.ending {
            Ending::Finish => {}
            Ending::Close => net.later(end, client, Act::Close),
            Ending::Reset => net.later(end, client, Act::Reset),
            Ending::Vanish => net.later(end, client, Act::Vanish),
            Ending::Stay => net.later(self.start, client, Act::StayAfterFin),
        }
    }
}

/// The plan of a run. A plan and a subject determine a run, to the last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of the plan, and of the network's own chance.
    pub seed: u64,
    /// [`Driver::SHORT_MEANS_BLOCKED`](crate::driver::Driver::SHORT_MEANS_BLOCKED).
    pub short_means_blocked: bool,
    /// The conditions of the network.
    pub conditions: Conditions,
    /// The connections that the system allows; more wait in the backlog.
    pub descriptors: Option<usize>,
    /// Whether the deadlines of the limits are on.
    pub deadlines: bool,
    /// Low, high and hard mark.
    pub marks: (usize, usize, usize),
    /// [`Limits::read_budget`].
    pub read_budget: usize,
    /// [`Config::read_buffer`].
    pub read_buffer: usize,
    /// [`Config::accepts_per_turn`].
    pub accepts_per_turn: usize,
    /// [`Limits::linger`].
    pub linger: Duration,
    /// [`Config::busy_poll`].
    pub busy_poll: Option<Duration>,
    /// [`Config::gather_from`].
    pub gather_from: usize,
    /// [`Config::flushes_per_turn`].
    pub flushes_per_turn: usize,
    /// [`Limits::max_connections`], if the plan limits it.
    pub max_connections: Option<usize>,
    /// [`Limits::max_input`], if the plan limits it.
    pub max_input: Option<usize>,
    /// The time of a shutdown, and its deadline.
    pub shutdown: Option<(Duration, Duration)>,
    /// The time for which the loop is blocked just before the shutdown.
    pub held_up: Duration,
    /// The clients.
    pub clients: Vec<ClientPlan>,
}

impl Plan {
    /// Draws a plan from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let conditions = Conditions::seeded(&mut rng);
        let deadlines = rng.below(3) > 0;
        let read_buffer = if rng.below(2) == 0 { rng.size(1, 64) } else { rng.size(64, 64 << 10) };
        let read_budget = if rng.below(2) == 0 { rng.size(1, 256) } else { 64 << 10 };
        let high = if rng.below(2) == 0 { rng.size(0, 64) } else { rng.size(64, 4096) };
        let low = rng.size(0, high);
        // An echo stops reading above its high mark, after one more read.
        let marks = (low, high, high + read_buffer.min(read_budget));
        // Small buffers make many events of few bytes.
        let most = conditions.buffer.min(read_buffer).saturating_mul(64).clamp(16, 8 << 10);
        let crowd = if rng.below(8) == 0 { 24 } else { 6 };
        let clients = (0..rng.size(1, crowd)).map(|_| ClientPlan::new(&mut rng, most, deadlines)).collect();
        let shutdown = (rng.below(8) == 0).then(|| {
            (
                Duration::from_micros(rng.between(0, 500_000)),
                Duration::from_micros(rng.between(0, 20_000_000)),
            )
        });
        Self {
            seed,
            short_means_blocked: rng.below(2) == 0,
            descriptors: (rng.below(4) == 0).then(|| rng.size(1, 4)),
            deadlines,
            marks,
            read_budget,
            read_buffer,
            accepts_per_turn: rng.size(1, 8),
            linger: if rng.below(4) == 0 { Duration::ZERO } else { Duration::from_secs(5) },
            // Short, as each poll may report noise, after which polling begins
            // anew.
            busy_poll: (rng.below(4) == 0).then(|| Duration::from_micros(rng.between(1, 10))),
            shutdown,
            clients,
            // Drawn last, so that the draws before them keep their values.
            max_connections: (rng.below(8) == 0).then(|| rng.size(1, 4)),
            max_input: (rng.below(8) == 0).then(|| rng.size(1, 256)),
            held_up: Duration::from_micros([0, rng.between(0, 50_000)][rng.size(0, 1)]),
            gather_from: rng.size(1, 4),
            flushes_per_turn: rng.size(1, 4),
            conditions,
        }
    }

    /// The limits of a service under this plan.
    #[must_use]
    pub fn limits(&self, proposed: Limits) -> Limits {
        let deadline = |of: Option<Duration>| of.filter(|_| self.deadlines);
        let (low_mark, high_mark, hard_mark) = self.marks;
        Limits {
            read_budget: self.read_budget,
            max_connections: self.max_connections.unwrap_or(proposed.max_connections),
            max_input: self.max_input.unwrap_or(proposed.max_input),
            idle: deadline(proposed.idle),
            first_frame: deadline(proposed.first_frame),
            frame: deadline(proposed.frame),
            write_stall: deadline(proposed.write_stall),
            linger: self.linger,
            low_mark,
            high_mark,
            hard_mark: hard_mark.max(64),
            ..proposed
        }
    }

    /// The reactor's configuration under this plan.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            max_connections: Some(10_000),
            read_buffer: self.read_buffer,
            accepts_per_turn: self.accepts_per_turn,
            slow_callback: None,
            busy_poll: self.busy_poll,
            gather_from: self.gather_from,
            flushes_per_turn: self.flushes_per_turn,
            ..Config::default()
        }
    }

    /// Whether each client will end, by a deadline, a shutdown or itself. True
    /// for every drawn plan.
    #[must_use]
    pub fn can_rest(&self) -> bool {
        let ends = |client: &ClientPlan| client.pace != Pace::Never && client.ending != Ending::Stay;
        self.deadlines || self.shutdown.is_some() || self.clients.iter().all(ends)
    }

    /// A generous bound of the turns of a run: each byte may take several to
    /// arrive and to leave, for each client, and so may `own` bytes that the handler
    /// exchanges with others.
    pub(super) fn patience(&self, own: usize) -> u64 {
        let bytes: usize = self.clients.iter().map(ClientPlan::len).sum();
        STILLNESS + TURNS_FOR_A_BYTE * (bytes * self.clients.len() + own) as u64
    }

    /// The most input that a handler may leave, if the plan limits it.
    pub(super) fn max_input(&self) -> usize {
        self.max_input.unwrap_or(usize::MAX)
    }

    /// Slightly simpler plans that [can rest](Self::can_rest): fewer clients,
    /// fewer faults, fewer bytes. The largest steps come first.
    #[must_use]
    pub fn simpler(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            if plan != *self && plan.can_rest() {
                plans.push(plan);
            }
        };
        let half = self.clients.len() / 2;
        if half > 0 {
            with(&|plan| drop(plan.clients.drain(..half)));
            with(&|plan| drop(plan.clients.drain(half..)));
        }
        for place in 0..self.clients.len() {
            if self.clients.len() > 1 {
                with(&|plan| drop(plan.clients.remove(place)));
            }
        }
        with(&|plan| plan.shutdown = None);
        with(&|plan| plan.held_up = Duration::ZERO);
        with(&|plan| plan.descriptors = None);
        with(&|plan| plan.max_connections = None);
        with(&|plan| plan.max_input = None);
        with(&|plan| plan.deadlines = false);
        with(&|plan| plan.busy_poll = None);
        with(&|plan| plan.gather_from = usize::MAX);
        with(&|plan| plan.flushes_per_turn = usize::MAX);
        for place in 0..self.conditions.clone().odds_mut().len() {
            with(&|plan| *plan.conditions.odds_mut()[place] = Odds::NEVER);
        }
        with(&|plan| {
            let calm = Conditions::calm();
            (plan.conditions.latency, plan.conditions.call, plan.conditions.overshoot) =
                (calm.latency, calm.call, calm.overshoot);
        });
        with(&|plan| plan.conditions.segment = Conditions::calm().segment);
        with(&|plan| plan.conditions.buffer = Conditions::calm().buffer);
        for place in 0..self.clients.len() {
            with(&|plan| plan.clients[place].pace = Pace::AtOnce);
            with(&|plan| plan.clients[place].ending = Ending::Finish);
            with(&|plan| plan.clients[place].unix = false);
            with(&|plan| plan.clients[place].start = Duration::ZERO);
            let pieces = &self.clients[place].pieces;
            with(&|plan| plan.clients[place].pieces.truncate(pieces.len() / 2));
            for (piece, (_, len)) in pieces.iter().enumerate() {
                with(&|plan| plan.clients[place].pieces.truncate(piece));
                with(&|plan| _ = plan.clients[place].pieces.remove(piece));
                with(&|plan| plan.clients[place].pieces[piece].0 = Duration::ZERO);
                with(&|plan| plan.clients[place].pieces[piece].1 = len.div_ceil(2));
            }
        }
        plans
    }
}
