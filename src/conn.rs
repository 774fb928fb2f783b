//! `Conn`: the state of one connection, which the loop and the handlers share.

use std::time::Duration;

use bytes::BytesMut;

use crate::buffer::{OutQueue, Pool};
use crate::close::{CloseReason, Sent};
use crate::endpoint::Endpoint;
use crate::id::{ChildId, Key};
use crate::life::{FlagMark, Flags, Input, Life, Phase};
use crate::limits::Limits;
use crate::moment::Moment;
use crate::origin::Side;
use crate::shared_output::SharedOutput;

/// The `check_place` of a connection without a scheduled deadline check.
pub(crate) const UNSCHEDULED: u32 = u32::MAX;

/// The `session` of a connection that is not opened yet, or is closed already.
pub(crate) const NO_SESSION: u32 = u32::MAX;

/// What a write to a connection has to look at, so that its output cannot be granted
/// before a callback ([`DirectOutput`](crate::direct::DirectOutput)).
const FORBID_A_GRANT: Flags =
    Flags::ABOVE_HIGH.union(Flags::OWN_LIMITS).union(Flags::DIRTY).union(Flags::IN_FLUSH_LIST);

/// Fields that few connections need, boxed so that the others stay small.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) timers: Vec<Key>,
    /// The idle deadline of this connection, if the handler has set one.
    pub(crate) idle: Option<Moment>,
    /// The deadline that the handler has set.
    pub(crate) deadline: Option<OwnDeadline>,
    /// The turns for which a missed deadline was put off, as input was unread.
    pub(crate) put_off: u32,
    /// The tag given to `connect`.
    pub(crate) tag: u64,
    /// Where to connect to, until the system has begun to.
    pub(crate) to: Option<Box<Endpoint>>,
    /// The child whose pipe this is.
    pub(crate) child: Option<ChildId>,
    /// Jobs that are with the workers.
    #[cfg(feature = "workers")]
    pub(crate) jobs: u32,
    /// Unread bytes among those that the pipe held when its child exited.
    pub(crate) backlog: usize,
}

/// A deadline that a handler has set for one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnDeadline {
    /// The moment at which the handler set it.
    pub(crate) since: Moment,
    pub(crate) after: Duration,
}

impl OwnDeadline {
    pub(crate) fn at(self) -> Moment {
        self.since.plus(self.after)
    }
}

/// One connection. An idle connection owns no buffer.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Its phase, its two halves and its flags.
    pub(crate) life: Life,
    pub(crate) service: u16,
    /// The index of its session among its service's.
    pub(crate) session: u32,
    /// Queued output; `None` when there is none.
    pub(crate) out: Option<Box<OutQueue>>,
    /// Input that the handler left untaken.
    pub(crate) leftover: Option<Box<BytesMut>>,
    /// The moment at which a byte last moved in either direction.
    pub(crate) last_activity: Moment,
    /// While lingering: the moment at which lingering began. Else, with output
    /// waiting: the moment at which the peer last took some of it.
    pub(crate) stalled_since: Moment,
    /// Before `open`: the moment at which connecting began, and then the handshake.
    /// While the first frame is awaited: the moment of `open`, or of the last resume.
    /// Within the handshake of [`Io::start_layer`](crate::Io::start_layer): its
    /// beginning.
    pub(crate) awaits_since: Moment,
    /// The moment at which the open frame began, or of the last resume.
    pub(crate) frame_since: Moment,
    /// The position of its deadline check in the heap.
    pub(crate) check_place: u32,
    pub(crate) extras: Option<Box<Extras>>,
    /// The reason of its end, once it has one.
    pub(crate) why: Option<Box<CloseReason>>,
}

impl Conn {
    pub(crate) const fn new(service: u16, now: Moment) -> Self {
        Self {
            life: Life::live(Flags::WRITABLE.union(Flags::AWAITS_FIRST_FRAME)),
            service,
            session: NO_SESSION,
            out: None,
            leftover: None,
            last_activity: now,
            stalled_since: now,
            awaits_since: now,
            frame_since: now,
            check_place: UNSCHEDULED,
            extras: None,
            why: None,
        }
    }

    /// Makes a connection to be connected to a peer.
    pub(crate) fn outbound(service: u16, now: Moment, tag: u64) -> Self {
        let mut conn = Self::new(service, now);
        conn.life = Life::connecting(Flags::AWAITS_FIRST_FRAME);
        conn.extras().tag = tag;
        conn
    }

    /// Makes an accepted connection with a layer, not open yet.
    pub(crate) const fn layered(service: u16, now: Moment) -> Self {
        let mut conn = Self::new(service, now);
        conn.life = Life::handshaking(Flags::WRITABLE.union(Flags::AWAITS_FIRST_FRAME));
        conn
    }

    /// Makes a one-way connection, not open yet.
    pub(crate) const fn pipe(service: u16, now: Moment, side: Side) -> Self {
        let mut conn = Self::new(service, now);
        conn.life = Life::one_way(side);
        conn
    }

    /// The child whose pipe this is, if any.
    pub(crate) fn child(&self) -> Option<ChildId> {
        self.extras.as_ref()?.child
    }

    /// True while bytes that its child has left in the pipe are unread.
    pub(crate) fn has_backlog(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.backlog > 0)
    }

    /// Counts bytes read of the backlog. Returns the child if the backlog is
    /// read to its end.
    #[cold]
    pub(crate) fn take_backlog(&mut self, count: usize) -> Option<ChildId> {
        let extras = self.extras.as_mut().filter(|extras| extras.backlog > 0)?;
        extras.backlog = extras.backlog.saturating_sub(count);
        extras.child.filter(|_| extras.backlog == 0)
    }

    /// True for a connection of the program's own: in the background, or an
    /// adopted one-way descriptor. (A child's pipe is neither, and counts in no
    /// limit.)
    pub(crate) fn is_own(&self) -> bool {
        self.child().is_none() && (self.has(Flags::BACKGROUND) || self.has(Flags::PIPE))
    }

    /// True when any of `flags` is set.
    #[inline]
    pub(crate) const fn has(&self, flags: Flags) -> bool {
        self.life.has(flags)
    }

    #[inline]
    pub(crate) const fn set(&mut self, flags: Flags) {
        self.life.set(flags);
    }

    #[inline]
    pub(crate) const fn unset(&mut self, flags: Flags) {
        self.life.unset(flags);
    }

    /// The mark of a list, to be set when the connection is put on it.
    #[inline(always)]
    pub(crate) const fn mark(&mut self, flag: Flags) -> FlagMark<'_> {
        self.life.mark(flag)
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.life.phase()
    }

    /// True while input waits for the handler: unread in the socket, or left
    /// when the handler paused.
    pub(crate) fn has_pending_input(&self) -> bool {
        let is_handed_back = self.has(Flags::RESUMED) && !self.has(Flags::PAUSED);
        self.is_live() && (is_handed_back || self.life.wants_input())
    }

    /// True in the common case, which takes the fast path: the connection may
    /// be read, its output leaves at once, and no pending state affects the
    /// next message.
    #[inline]
    pub(crate) fn can_fast_path(&self) -> bool {
        const FAST: Flags = Flags::READABLE.union(Flags::WRITABLE);
        const LOOKED_AT: Flags = FAST
            .union(Flags::HANGUP)
            .union(Flags::PAUSED)
            .union(Flags::RESUMED)
            .union(FORBID_A_GRANT)
            .union(Flags::AWAITS_FIRST_FRAME)
            .union(Flags::IN_FRAME)
            .union(Flags::PIPE)
            .union(Flags::LAYERED);
        let can = self.life.is_open_with(LOOKED_AT, FAST);
        // Output that waits though its socket has room is on the flush list.
        debug_assert!(!can || self.out.is_none(), "output waits, and nobody flushes it");
        can
    }

    /// True while output waits: queued, or with the layer.
    #[inline]
    pub(crate) const fn has_output(&self) -> bool {
        self.out.is_some() || self.has(Flags::WIRE_PENDING)
    }

    /// True while output waits and only the peer keeps it from leaving.
    #[inline]
    pub(crate) const fn awaits_room(&self) -> bool {
        self.out.is_some() && !self.has(Flags::HANDSHAKING) || self.has(Flags::WIRE_PENDING)
    }

    /// True when what a callback writes to its own connection can leave at once,
    /// without a queue.
    #[inline]
    pub(crate) const fn writes_directly(&self) -> bool {
        self.has(Flags::WRITABLE) && !self.has(Flags::HANDSHAKING) && !self.has_output()
    }

    /// True when the output of a callback can be granted
    /// ([`DirectOutput`](crate::direct::DirectOutput)).
    #[inline]
    pub(crate) fn takes_a_grant(&self) -> bool {
        const LOOKED_AT: Flags =
            Flags::WRITABLE.union(FORBID_A_GRANT).union(Flags::HANDSHAKING).union(Flags::WIRE_PENDING);
        self.life.is_open_with(LOOKED_AT, Flags::WRITABLE) && self.out.is_none()
    }

    /// True while the connection is read only for the handshake of its layer.
    #[inline]
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.has(Flags::HANDSHAKING) && self.phase() < Phase::Lingering
    }

    /// True while the connection is on the flush list, and takes output until
    /// the flush.
    #[inline]
    pub(crate) fn is_gathering(&self) -> bool {
        self.life.takes_output_with(Flags::DIRTY.union(Flags::IN_FLUSH_LIST))
    }

    /// Copies what the queue has of the shared output, which ends.
    #[inline]
    pub(crate) fn detach(&mut self, shared: &SharedOutput) {
        if let Some(queue) = &mut self.out {
            queue.detach(shared);
        }
    }

    /// True while the handler gets callbacks with input and timers.
    #[inline]
    pub(crate) const fn is_live(&self) -> bool {
        self.life.is_live()
    }

    /// The number of queued bytes.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.out.as_ref().map_or(0, |queue| queue.len())
    }

    /// The outcome of a message that would raise the queue to `queued` bytes.
    #[inline]
    pub(crate) fn room_for(&mut self, queued: usize, limits: &Limits) -> Sent {
        if !self.life.takes_output() {
            Sent::Gone
        } else if queued <= limits.high_mark {
            Sent::Queued
        } else if queued - self.in_files() <= limits.hard_mark {
            self.set(Flags::ABOVE_HIGH);
            Sent::Full
        } else {
            // A handler that now waits for `drained` must get it.
            self.set(Flags::ABOVE_HIGH);
            Sent::Dropped
        }
    }

    /// The number of queued bytes that are in files, and not in memory.
    #[inline]
    fn in_files(&self) -> usize {
        self.out.as_ref().map_or(0, |queue| queue.len() - queue.in_memory())
    }

    /// The number of queued parts of files.
    #[inline]
    pub(crate) fn files(&self) -> usize {
        self.out.as_ref().map_or(0, |queue| queue.files())
    }

    /// True when the queue has fallen to its low mark.
    #[inline]
    pub(crate) fn is_low(&self, limits: &Limits) -> bool {
        self.queued() <= limits.low_mark && self.files() <= limits.max_files / 4
    }

    /// The queue, taken from the pool if the connection has none.
    #[inline]
    pub(crate) fn queue(&mut self, pool: &mut Pool) -> &mut OutQueue {
        self.out.get_or_insert_with(|| pool.take())
    }

    /// Returns an empty queue to the pool.
    pub(crate) fn release_queue(&mut self, pool: &mut Pool) {
        if let Some(queue) = self.out.take() {
            pool.give(queue);
        }
    }

    /// Drops input that the handler will not get any more, and the frame with
    /// it.
    pub(crate) fn forget_input(&mut self) {
        self.leftover = None;
        self.unset(Flags::IN_FRAME.union(Flags::FRAME_DECLARED));
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// True when a shutdown may close the connection: all input is taken, all
    /// output is written, and the handler does not hold it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_heard() && !self.has_output() && !self.has(Flags::DIRTY.union(Flags::DRAINED_PENDING))
    }

    /// True when all input is taken, and the handler does not hold the
    /// connection.
    pub(crate) fn is_heard(&self) -> bool {
        // Behind the peer's FIN every event says READABLE, and nothing clears it.
        let unread = self.has(Flags::READABLE) && self.life.input() == Input::Open;
        let held = Flags::IN_FRAME.union(Flags::PAUSED).union(Flags::BUSY).union(Flags::HAS_JOBS);
        !unread && !self.has(held)
    }
}
