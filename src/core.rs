//! The state that handlers and the loop share: every connection, and the lists of
//! the work that is pending for it. It has no socket and reads no clock.

mod broadcast;
mod calls;
mod checks;
mod children;
mod datagrams;
mod deadlines;
mod endings;
mod groups;
mod input;
#[cfg(feature = "workers")]
mod jobs;
mod layers;
mod limits;
mod opening;
mod output;
mod timers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::{Pool, SHARE_FROM};
use crate::children::Children;
use crate::conn::Conn;
use crate::direct::DirectOutput;
use crate::groups::Groups;
use crate::heap::Heap;
use crate::id::{ChildId, ConnId, Key, SocketId, Table};
use crate::incident::{Incident, IncidentKind};
use crate::layers::Layers;
use crate::life::Flags;
use crate::limits::{Config, Limits};
use crate::log_rate::LogRates;
use crate::moment::Moment;
use crate::service_stats::ServiceStats;
use crate::shared_output::SharedOutput;
use crate::socket::Sockets;
use crate::stats::Stats;
use crate::timers::Timers;
use crate::work_list::{Pending, RareList, WorkList, WorkQueue};

pub(crate) use self::calls::{LocalCall, LocalCalls};
#[cfg(feature = "workers")]
pub(crate) use self::jobs::{Desk, Done, Jobs, PendingJob};
pub(crate) use self::limits::{OwnLimits, limits_of};
pub(crate) use self::timers::Repeat;

/// No connection: the id of a callback that belongs to none.
pub(crate) const NO_CONNECTION: ConnId = ConnId(Key::NOWHERE);

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A session's own timer.
    Session(ConnId),
    /// A service's own timer.
    Service(u16),
    /// To try accepting again.
    Accept,
    /// To make listeners again that have failed.
    Listen,
    /// To try connecting again.
    Connect,
    /// To try the next address of a connection by name.
    #[cfg(feature = "workers")]
    NextAddress(ConnId),
    /// To give up on what a datagram socket cannot send.
    Stalled(SocketId),
    /// Something is due of a child.
    Child(ChildId),
}

/// A timer's purpose, and its period if it repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) purpose: Purpose,
    pub(crate) every: Option<Period>,
    /// Of a session's timer: its place among that connection's.
    place: u32,
}

impl Alarm {
    /// One that fires once.
    pub(crate) const fn once(purpose: Purpose) -> Self {
        Self { purpose, every: None, place: 0 }
    }

    /// It says that it is at this place among its connection's.
    #[cfg(feature = "sim")]
    pub(crate) const fn is_at(&self, place: usize) -> bool {
        self.place as usize == place
    }
}

/// The period of a repeating timer in nanoseconds, at least a millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period(std::num::NonZeroU64);

impl Period {
    fn new(period: Duration) -> Self {
        let nanos = Moment::ZERO.plus(period.max(Duration::from_millis(1))).0;
        Self(std::num::NonZeroU64::new(nanos).expect("a millisecond is not zero"))
    }

    /// The first moment after `now` that is a whole number of periods after `at`.
    pub(crate) const fn next(self, at: Moment, now: Moment) -> Moment {
        let missed = now.0.saturating_sub(at.0) / self.0.get();
        Moment(at.0.saturating_add(self.0.get().saturating_mul(missed.saturating_add(1))))
    }
}

/// Whether and how the reactor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    Running,
    /// Finish what is under way until this moment.
    ShuttingDown(Moment),
    /// Drop everything now.
    Stopping,
}

impl RunState {
    /// When it drops what is still under way, if it waits for that.
    pub(crate) const fn deadline(self) -> Moment {
        match self {
            Self::ShuttingDown(deadline) => deadline,
            Self::Running | Self::Stopping => Moment::NEVER,
        }
    }

    /// Of two requests the sooner.
    pub(crate) fn hasten(&mut self, wish: Self) {
        *self = match (*self, wish) {
            (Self::Stopping, _) | (_, Self::Stopping) => Self::Stopping,
            (Self::ShuttingDown(a), Self::ShuttingDown(b)) => Self::ShuttingDown(a.min(b)),
            (Self::Running, other) | (other, Self::Running) => other,
        };
    }
}

/// The lists that a connection is on at most once, as a flag of it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Read,
    Flush,
    Drained,
    Reap,
}

/// A service as the core knows it.
#[derive(Debug)]
pub(crate) struct ServiceState {
    pub(crate) limits: Limits,
    pub(crate) stats: ServiceStats,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    /// The identity of the reactor, which its services share.
    pub(crate) identity: Arc<()>,
    pub(crate) config: Config,
    pub(crate) stats: Stats,
    /// What may be logged.
    pub(crate) rates: LogRates,
    /// Where the moments are counted from.
    epoch: Instant,
    /// The turn's time.
    pub(crate) moment: Moment,
    /// Everything that had happened by then is noted: what was due by then can
    /// be judged.
    pub(crate) observed_until: Moment,
    pub(crate) services: Vec<ServiceState>,
    pub(crate) own_limits: OwnLimits,
    /// Connections at once, of all services.
    pub(crate) max_connections: usize,
    pub(crate) conns: Table<Conn>,
    /// How many of them are pipes of children, which no limit counts but that
    /// of the children.
    pub(crate) pipes: usize,
    /// How many of them serve the program itself: [`Conn::is_own`].
    pub(crate) own: usize,
    pub(crate) pool: Pool,
    /// The layers of the connections that have one.
    pub(crate) layers: Layers,
    /// Short messages to many that were not flushed yet.
    pub(crate) shared: SharedOutput,
    /// When the deadlines of which connection are looked at, by its slot.
    pub(crate) deadline_checks: Heap,
    pub(crate) timers: Timers<Alarm>,
    /// Timers that handlers set.
    pub(crate) handler_timers: usize,
    pub(crate) groups: Groups,
    /// Whose callback runs.
    pub(crate) current: ConnId,
    /// What the callback wrote to its own connection, if that had nothing
    /// queued. Empty between callbacks.
    pub(crate) direct: DirectOutput,
    /// While a callback says the last word of the current connection: how many
    /// bytes may wait for it in the end.
    pub(crate) last_word_up_to: Option<usize>,
    /// From this size on, what one connection is sent is queued by reference.
    /// A smaller piece may be a part of something much larger, such as a read,
    /// of which the marks would know nothing.
    pub(crate) refer_from: usize,
    /// A message went to another connection than the current connection since the last
    /// flush.
    pub(crate) cross_writes: bool,
    /// Whether something is on a list, and whether the turn has rare work: an event
    /// named something else than an established connection, there is other work of
    /// phases 2 and 4, a shutdown is under way, or the loop polls busily.
    pub(crate) pending: Pending,
    /// The first incident of this turn that the driver is to be told of.
    pub(crate) incident: Option<Incident>,
    /// Calls that callbacks have queued for services of this reactor.
    pub(crate) calls: LocalCalls,
    /// Jobs that are with the workers.
    #[cfg(feature = "workers")]
    pub(crate) jobs: Jobs,
    /// Connections that a callback asked for.
    pub(crate) to_connect: WorkList<ConnId>,
    /// Connections that may have come about, or failed to.
    pub(crate) to_establish: RareList<ConnId>,
    /// Connections that are not read, of which a hang-up was told.
    pub(crate) to_check: RareList<ConnId>,
    pub(crate) to_read: WorkList<ConnId>,
    pub(crate) to_flush: WorkQueue<ConnId>,
    pub(crate) to_drain: WorkList<ConnId>,
    pub(crate) to_reap: WorkList<ConnId>,
    /// The datagram sockets, with lists of their own.
    pub(crate) datagrams: Sockets,
    /// The child processes, the same.
    pub(crate) children: Children,
    /// The end that handlers and handles have asked for.
    pub(crate) requested: RunState,
    /// The end of a shutdown drops everything: nothing new is begun, or a
    /// handler that begins everything anew would keep it from its end.
    pub(crate) is_over: bool,
    /// A shutdown has begun, and is not complete.
    pub(crate) is_shutting_down: bool,
}

impl Core {
    pub(crate) fn new(config: Config, max_connections: usize, epoch: Instant, now: Moment) -> Self {
        Self {
            identity: Arc::new(()),
            stats: Stats::default(),
            epoch,
            moment: now,
            observed_until: now,
            services: Vec::new(),
            own_limits: OwnLimits::default(),
            max_connections,
            conns: Table::new(),
            pipes: 0,
            own: 0,
            pool: Pool::new(config.spare_output),
            layers: Layers::new(config.layer_buffer),
            shared: SharedOutput::new(),
            deadline_checks: Heap::new(),
            timers: Timers::new(),
            handler_timers: 0,
            groups: Groups::new(),
            current: NO_CONNECTION,
            direct: DirectOutput::new(config.read_buffer),
            refer_from: SHARE_FROM.max(config.read_buffer / 4),
            last_word_up_to: None,
            cross_writes: false,
            pending: Pending::new(),
            incident: None,
            calls: LocalCalls::default(),
            #[cfg(feature = "workers")]
            jobs: Jobs::new(),
            to_connect: WorkList::new(),
            to_establish: RareList::new(),
            to_check: RareList::new(),
            to_read: WorkList::new(),
            to_flush: WorkQueue::new(),
            to_drain: WorkList::new(),
            to_reap: WorkList::new(),
            datagrams: Sockets::new(),
            children: Children::new(),
            rates: LogRates::default(),
            requested: RunState::Running,
            is_over: false,
            is_shutting_down: false,
            config,
        }
    }

    /// The turn's time, as handlers see it.
    pub(crate) fn now(&self) -> Instant {
        self.epoch + self.moment.since(Moment::ZERO)
    }

    /// When a byte of a connection last moved.
    pub(crate) fn last_activity(&self, id: ConnId) -> Option<Instant> {
        self.conns.get(id.0).map(|conn| self.epoch + conn.last_activity.since(Moment::ZERO))
    }

    /// The name of a service, for logs.
    pub(crate) fn name(&self, service: u16) -> &str {
        &self.services[service as usize].stats.name
    }

    /// Asks for an end of the loop.
    pub(crate) fn request(&mut self, state: RunState) {
        self.requested.hasten(state);
        self.pending.raise();
    }

    /// Notes the fault of a callback of this connection, or of none, for the driver.
    #[cold]
    pub(crate) fn note_incident(&mut self, kind: IncidentKind, current: ConnId) {
        let connection = Some(current).filter(|current| *current != NO_CONNECTION);
        self.incident.get_or_insert(Incident { kind, connection });
        self.pending.raise();
    }

    /// Puts a connection on a list, unless it is there.
    pub(crate) fn list(&mut self, id: ConnId, on: List) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        let (list, mark) = match on {
            List::Read => (&mut self.to_read, conn.mark(Flags::IN_READ_LIST)),
            List::Flush => {
                let mark = conn.mark(Flags::IN_FLUSH_LIST);
                return self.to_flush.push_once(id, mark, &mut self.pending);
            }
            List::Drained => (&mut self.to_drain, conn.mark(Flags::DRAINED_PENDING)),
            List::Reap => (&mut self.to_reap, conn.mark(Flags::IN_REAP_LIST)),
        };
        list.push_once(id, mark, &mut self.pending);
    }

    /// Lists a connection whose own answer is to leave in the next phase 6, whoever else
    /// waits there. One that waits there itself keeps its place.
    pub(crate) fn list_answer(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        self.to_flush.push_urgent(id, conn.mark(Flags::IN_FLUSH_LIST), &mut self.pending);
    }

    /// True when something is on a list.
    pub(crate) fn has_listed(&self) -> bool {
        !(self.calls.is_empty()
            && self.to_connect.is_empty()
            && self.to_establish.is_empty()
            && self.to_check.is_empty()
            && self.to_read.is_empty()
            && self.to_flush.is_empty()
            && self.to_drain.is_empty()
            && self.to_reap.is_empty()
            && !self.datagrams.has_listed()
            && !self.children.has_listed()
            && self.requested == RunState::Running)
    }

    /// True when a list of phase 2, of the beginning of phase 3 or of the beginning
    /// of phase 4 has something on it.
    pub(crate) fn lists_rare_work(&self) -> bool {
        !(self.to_establish.is_empty()
            && self.to_check.is_empty()
            && self.datagrams.to_receive.is_empty()
            && self.children.to_poll.is_empty())
    }

    /// True while a job is with the workers.
    pub(crate) const fn has_jobs(&self) -> bool {
        #[cfg(feature = "workers")]
        return !self.jobs.table.is_empty();
        #[cfg(not(feature = "workers"))]
        false
    }

    /// Lists a connection that is not read, and of which a hang-up was told, so that
    /// the loop looks whether its peer is gone: no other event would tell.
    pub(crate) fn check_hangup(&mut self, id: ConnId) {
        let is_told = |conn: &Conn| conn.is_live() && conn.has(Flags::HANGUP) && !conn.life.is_read();
        if self.conns.get(id.0).is_some_and(is_told) {
            self.to_check.push(id, &mut self.pending);
        }
    }

    /// Sees to it that the connection is flushed: at the end of its callback
    /// if it is the current connection, else in phase 6.
    pub(crate) fn mark_dirty(&mut self, id: ConnId) {
        self.direct.revoke();
        let Some(conn) = self.conns.get_mut(id.0) else { return };
        conn.set(Flags::DIRTY);
        if id != self.current {
            self.list(id, List::Flush);
        }
    }

    pub(crate) fn is_connecting(&self, id: ConnId) -> bool {
        self.conns.get(id.0).is_some_and(|conn| conn.life.is_connecting())
    }

    /// True when the connection exists and gets callbacks.
    pub(crate) fn is_live(&self, id: ConnId) -> bool {
        self.conns.get(id.0).is_some_and(Conn::is_live)
    }
}
