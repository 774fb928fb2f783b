//! `BusLimits` and `BusOptions`: every bound of a bus, with its default.

use std::time::Duration;

use crate::{Error, Result};

/// The bounds of a [`Bus`](super::Bus). All nodes of one prefix should have the same.
///
/// Always end with `..BusLimits::default()`: a new field is not counted as a breaking
/// change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusLimits {
    /// Rooms that this node is subscribed to at once. Default 10,000.
    pub max_rooms: usize,
    /// Bytes of one message. A longer one is refused; one that another node has
    /// published is a gap. Default 64 KiB.
    pub max_payload: usize,
    /// Messages of this node that wait for Redis or for its answer, while it is away
    /// and while it is there. Default 10,000.
    pub max_waiting: usize,
    /// Bytes of these messages. Default 16 MiB.
    pub max_waiting_bytes: usize,
    /// Messages of one callback to one room that one command takes to Redis, and that come
    /// from there in one piece; their bytes together are at most
    /// [`max_payload`](Self::max_payload). Redis serves nobody else meanwhile. At most 512.
    /// Default 64.
    pub max_batch: usize,
    /// Commands that are sent and not answered; the next ones wait. At most 512; whatever
    /// it is, they have no more than 512 messages. Default 256.
    pub max_in_flight: usize,
    /// Bytes of these commands. Default 1 MiB.
    pub max_in_flight_bytes: usize,
    /// The longest time that a message which has come waits for messages of this node that
    /// are under way to its room, so that all are one write to each member. Whatever the bus
    /// has to tell behind it waits too. The wait ends when those are answered that were
    /// under way when it began, or when 64 KiB have come; none begins for what Redis will
    /// not answer in time. Zero: no message waits. At most 1 s. Default 1 ms.
    pub gather: Duration,
    /// Time for which a message waits for Redis, or for a link over which it can be
    /// sent again. Then it fails. Default 30 s.
    pub publish_timeout: Duration,
    /// Time for an answer of Redis, and for its silence while it is asked: after it the
    /// link counts as dead. A Redis that saves, or runs a long script, is silent as
    /// well. Default 10 s.
    pub answer_timeout: Duration,
    /// Time to establish a link, with its handshakes. Default 5 s.
    pub connect_timeout: Duration,
    /// The shortest and the longest time between two attempts to connect: it doubles
    /// with each failure, and a random half of it is left out. Default 50 ms and 5 s.
    pub reconnect: (Duration, Duration),
    /// Time for which a room stays subscribed after its last member has left; one that
    /// members were entered in stays until Redis can be told. Default 10 s.
    pub grace: Duration,
    /// Messages that Redis keeps of each room, about (`MAXLEN ~`): a node or a client
    /// that has missed more has a gap. Default 1,000.
    pub history: usize,
    /// Time for which Redis keeps a room in which nothing happens, and that no node is
    /// subscribed to. Default 24 hours.
    pub history_time: Duration,
    /// Messages of one answer of Redis to a node or a client that catches up. Default
    /// 100.
    pub page: usize,
    /// Bytes of these messages, but for one that is longer by itself. Default 256 KiB.
    pub page_bytes: usize,
    /// Clients that catch up at once ([`Bus::resume`](super::Bus::resume)). Default
    /// 1,024.
    pub max_resumes: usize,
    /// Members that one room lists, of all nodes together. Default 10,000.
    pub max_members: usize,
    /// Bytes of a member's name, and of its value. Default 256 each.
    pub max_member: usize,
    /// Time within which the members of a node that died are unlisted, counted while
    /// some node reaches Redis. Default 30 s.
    pub presence_ttl: Duration,
    /// Publishers of one room that this node tells apart, to drop what comes twice.
    /// Default 1,024.
    pub max_publishers: usize,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self {
            max_rooms: 10_000,
            max_payload: 64 << 10,
            max_waiting: 10_000,
            max_waiting_bytes: 16 << 20,
            max_batch: 64,
            max_in_flight: 256,
            max_in_flight_bytes: 1 << 20,
            gather: Duration::from_millis(1),
            publish_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            reconnect: (Duration::from_millis(50), Duration::from_secs(5)),
            grace: Duration::from_secs(10),
            history: 1_000,
            history_time: Duration::from_secs(24 * 3600),
            page: 100,
            page_bytes: 256 << 10,
            max_resumes: 1024,
            max_members: 10_000,
            max_member: 256,
            presence_ttl: Duration::from_secs(30),
            max_publishers: 1024,
        }
    }
}

impl BusLimits {
    /// Checks that they can work.
    ///
    /// # Errors
    ///
    /// [`Error::Limits`], which names the field and what would be right.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [
            ("max_rooms", self.max_rooms),
            ("max_payload", self.max_payload),
            ("max_waiting", self.max_waiting),
            ("max_waiting_bytes", self.max_waiting_bytes),
            ("max_batch", self.max_batch),
            ("max_in_flight", self.max_in_flight),
            ("max_in_flight_bytes", self.max_in_flight_bytes),
            ("history", self.history),
            ("page", self.page),
            ("page_bytes", self.page_bytes),
            ("max_resumes", self.max_resumes),
            ("max_members", self.max_members),
            ("max_member", self.max_member),
            ("max_publishers", self.max_publishers),
        ];
        for (field, count) in counts {
            if count == 0 {
                return Err(Error::Limits { reason: format!("BusLimits::{field} is 0; give at least 1") });
            }
        }
        for (field, count) in [("max_batch", self.max_batch), ("max_in_flight", self.max_in_flight)] {
            if count > MOST_IN_FLIGHT {
                let reason = format!(
                    "BusLimits::{field} is {count}; give at most {MOST_IN_FLIGHT}, for readers remember as many"
                );
                return Err(Error::Limits { reason });
            }
        }
        if self.gather > LONGEST_GATHER {
            let reason = format!(
                "BusLimits::gather is {:?}; give at most {LONGEST_GATHER:?}, for all that is to be told waits",
                self.gather
            );
            return Err(Error::Limits { reason });
        }
        let (shortest, longest) = self.reconnect;
        let times = [
            ("publish_timeout", self.publish_timeout),
            ("answer_timeout", self.answer_timeout),
            ("connect_timeout", self.connect_timeout),
            ("reconnect.0", shortest),
            ("history_time", self.history_time),
            ("presence_ttl", self.presence_ttl),
        ];
        for (field, time) in times {
            if time < Duration::from_millis(10) {
                let reason = format!("BusLimits::{field} is {time:?}; give at least 10 ms");
                return Err(Error::Limits { reason });
            }
        }
        if longest < 2 * shortest {
            let reason = format!(
                "BusLimits::reconnect is {shortest:?} and {longest:?}; the second has to be twice the first"
            );
            return Err(Error::Limits { reason });
        }
        Ok(())
    }

    /// The longest frame that Redis sends.
    pub(super) fn longest_frame(&self) -> usize {
        let page = self.page_bytes + self.max_payload + 128 * self.page;
        let members = self.max_members.saturating_mul(2 * self.max_member + 64).min(MEMBERS_BYTES);
        page.max(members + 2 * self.max_member) + (64 << 10)
    }

    /// How often a node says that it lives: it may miss three of these.
    pub(super) fn beat(&self) -> Duration {
        self.presence_ttl / 6
    }

    /// How long a node counts as alive after it has said so.
    pub(super) fn lifetime(&self) -> Duration {
        self.presence_ttl * 2 / 3
    }

    /// How long Redis remembers that it has a message: longer than it is sent again.
    pub(super) fn remembered(&self) -> Duration {
        self.publish_timeout * 2 + Duration::from_secs(60)
    }

    /// How often a bus looks at its deadlines.
    pub(super) fn pulse(&self) -> Duration {
        let shortest = [self.beat(), self.answer_timeout / 4, self.connect_timeout / 4];
        let shortest = shortest.into_iter().min().unwrap_or_default();
        shortest.clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

/// The largest [`BusLimits::gather`].
const LONGEST_GATHER: Duration = Duration::from_secs(1);

/// The largest [`BusLimits::max_in_flight`]: how many numbers of a node readers remember.
pub(super) const MOST_IN_FLIGHT: usize = 512;

/// The most bytes of names and values in one list of members.
pub(super) const MEMBERS_BYTES: usize = 4 << 20;

/// What a node does with messages while it has no Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offline {
    /// They wait, up to [`BusLimits::max_waiting`] and
    /// [`BusLimits::publish_timeout`]; more is refused.
    #[default]
    Wait,
    /// They go to the members on this node at once, and to nobody else, ever. The order
    /// of the room is lost: the handler is told by a [`Gap`](super::Gap) first.
    ServeOwn,
}

/// The options of a [`Bus`](super::Bus).
///
/// Always end with `..BusOptions::default()`: a new field is not counted as a breaking
/// change.
#[derive(Clone, Debug, Default)]
pub struct BusOptions {
    /// Every bound.
    pub limits: BusLimits,
    /// What happens to messages while Redis is away.
    pub offline: Offline,
    /// Where jitter, epochs and the name of this node come from: two nodes with one seed
    /// are an error that nothing detects. `None`: from the system. For tests and the
    /// simulation.
    pub seed: Option<u64>,
    /// The maker of TLS layers for `rediss://`. Default none.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::Client>,
}
