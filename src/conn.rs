//! The state of one connection, as the loop and the handlers share it.

use bytes::BytesMut;

use crate::buffer::{OutQueue, Pool};
use crate::close::{CloseReason, Sent};
use crate::groups::Membership;
use crate::id::{ChildId, GroupId, Key};
use crate::limits::Limits;
use crate::moment::Moment;
use crate::origin::Side;

/// How far the life of a connection has come; it only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The system is connecting us to a peer; output is taken, and waits.
    Connecting,
    /// Input is handed over, output is taken.
    Live,
    /// No more callbacks with input; what is queued is being written, what
    /// comes in is discarded.
    Closing,
    /// Our FIN is out; what comes in is discarded until the peer's FIN.
    Lingering,
    /// To be freed when the turn reaps.
    Dead,
}

/// A set of small facts about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    /// The socket may have input: no read has said otherwise since.
    pub(crate) const READABLE: Self = Self(1);
    /// The socket may have room: no write has said otherwise since.
    pub(crate) const WRITABLE: Self = Self(1 << 1);
    /// A hang-up is announced: a short read does not mean that all was read.
    pub(crate) const HANGUP: Self = Self(1 << 2);
    /// The handler does not want input.
    pub(crate) const PAUSED: Self = Self(1 << 3);
    /// What the handler left is handed over again, without new input.
    pub(crate) const RESUMED: Self = Self(1 << 4);
    /// The peer's FIN was read.
    pub(crate) const PEER_DONE: Self = Self(1 << 5);
    /// Our FIN goes out after what is queued; nothing more is taken.
    pub(crate) const FINISHING: Self = Self(1 << 6);
    /// Our FIN is out.
    pub(crate) const FIN_SENT: Self = Self(1 << 7);
    /// The queue passed its high mark and has not fallen to its low mark.
    pub(crate) const ABOVE_HIGH: Self = Self(1 << 8);
    /// The handler has not taken any input yet.
    pub(crate) const AWAITS_FIRST_FRAME: Self = Self(1 << 9);
    /// There is something to flush or a FIN to send.
    pub(crate) const DIRTY: Self = Self(1 << 10);
    /// In the list of connections to flush.
    pub(crate) const IN_FLUSH_LIST: Self = Self(1 << 11);
    /// In the list of connections to read.
    pub(crate) const IN_READ_LIST: Self = Self(1 << 12);
    /// In the list of connections to reap.
    pub(crate) const IN_REAP_LIST: Self = Self(1 << 13);
    /// a `drained` is pending.
    pub(crate) const DRAINED_PENDING: Self = Self(1 << 14);
    /// Closes with a reset rather than a FIN.
    pub(crate) const RESETS: Self = Self(1 << 15);
    /// The handler asked for it to be connected, and was not told what became
    /// of that.
    pub(crate) const CONNECT_PENDING: Self = Self(1 << 17);
    /// No socket: bytes go one way only, and no deadline holds.
    pub(crate) const PIPE: Self = Self(1 << 18);
    /// The handler is busy with something that the loop cannot see.
    pub(crate) const BUSY: Self = Self(1 << 19);
    /// A hang-up ends it though it is paused.
    pub(crate) const HANGUP_ENDS: Self = Self(1 << 20);
    /// A shutdown neither waits for it nor closes it before its end.
    pub(crate) const BACKGROUND: Self = Self(1 << 16);

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when any of `others` is set.
    #[inline]
    pub(crate) const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// No deadline is ahead, or can come up by itself.
pub(crate) const UNSCHEDULED: u32 = u32::MAX;

/// No session: not opened yet, or closed already.
pub(crate) const NO_SESSION: u32 = u32::MAX;

/// What only some connections have, so that the others stay small.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) timers: Vec<Key>,
    pub(crate) groups: Vec<Membership>,
    /// The idle deadline of this connection, where it is not its service's.
    pub(crate) idle: Option<Moment>,
    /// What the handler called it when it asked for it to be connected.
    pub(crate) tag: u64,
    /// Whose pipe it is.
    pub(crate) child: Option<ChildId>,
    /// Of what was in it when its child exited: how much was not read yet.
    pub(crate) backlog: usize,
}

/// One connection. An idle one owns no buffer.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) flags: Flags,
    pub(crate) phase: Phase,
    pub(crate) service: u16,
    /// The place of its session among its service's.
    pub(crate) session: u32,
    /// Bytes that the handler took of a frame that is not complete: they
    /// count as though it had left them.
    pub(crate) partial: u32,
    /// Output that waits; `None` when none does.
    pub(crate) out: Option<Box<OutQueue>>,
    /// Input that the handler left untaken.
    pub(crate) leftover: Option<Box<BytesMut>>,
    /// When a byte last moved in either direction.
    pub(crate) last_activity: Moment,
    /// While lingering: when that began. Else, with output waiting: when the
    /// peer last took some of it.
    pub(crate) stalled_since: Moment,
    /// When the frame began that is awaited or incomplete.
    pub(crate) frame_since: Moment,
    /// Where the moment is at which its deadlines are looked at.
    pub(crate) check_place: u32,
    pub(crate) extras: Option<Box<Extras>>,
    /// Why it ends, once it does.
    pub(crate) why: Option<Box<CloseReason>>,
}

impl Conn {
    pub(crate) const fn new(service: u16, now: Moment) -> Self {
        Self {
            flags: Flags::WRITABLE.union(Flags::AWAITS_FIRST_FRAME),
            phase: Phase::Live,
            service,
            session: NO_SESSION,
            partial: 0,
            out: None,
            leftover: None,
            last_activity: now,
            stalled_since: now,
            frame_since: now,
            check_place: UNSCHEDULED,
            extras: None,
            why: None,
        }
    }

    /// One that is to be connected to a peer.
    pub(crate) fn outbound(service: u16, now: Moment, tag: u64) -> Self {
        let mut conn = Self::new(service, now);
        conn.phase = Phase::Connecting;
        conn.flags = Flags::AWAITS_FIRST_FRAME.union(Flags::CONNECT_PENDING);
        conn.extras().tag = tag;
        conn
    }

    /// One that is no socket, and not open yet.
    pub(crate) const fn pipe(service: u16, now: Moment, side: Side) -> Self {
        let mut conn = Self::new(service, now);
        conn.phase = Phase::Connecting;
        conn.flags = Flags::PIPE;
        match side {
            Side::Both => {}
            Side::Input => conn.set(Flags::FINISHING.union(Flags::FIN_SENT)),
            Side::Output => conn.set(Flags::PEER_DONE),
        }
        conn
    }

    /// Whose pipe it is, if any's.
    pub(crate) fn child(&self) -> Option<ChildId> {
        self.extras.as_ref()?.child
    }

    /// What its child left in it is not read yet.
    pub(crate) fn has_backlog(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.backlog > 0)
    }

    /// So much was read. The child, if that was the last of what it had left.
    #[cold]
    pub(crate) fn take_backlog(&mut self, count: usize) -> Option<ChildId> {
        let extras = self.extras.as_mut().filter(|extras| extras.backlog > 0)?;
        extras.backlog = extras.backlog.saturating_sub(count);
        extras.child.filter(|_| extras.backlog == 0)
    }

    /// In the background, or a standard stream or the like that the program has
    /// adopted. (A pipe of a child is none, and counts nowhere.)
    pub(crate) fn is_own(&self) -> bool {
        self.child().is_none() && (self.has(Flags::BACKGROUND) || self.has(Flags::PIPE))
    }

    /// True when any of `flags` is set.
    #[inline]
    pub(crate) const fn has(&self, flags: Flags) -> bool {
        self.flags.has(flags)
    }

    #[inline]
    pub(crate) const fn set(&mut self, flags: Flags) {
        self.flags.0 |= flags.0;
    }

    #[inline]
    pub(crate) const fn unset(&mut self, flags: Flags) {
        self.flags.0 &= !flags.0;
    }

    /// True when a read might find something, and may be made.
    #[inline]
    pub(crate) fn wants_input(&self) -> bool {
        let looked_at = Flags::READABLE.union(Flags::PAUSED).union(Flags::PEER_DONE).union(Flags::RESUMED);
        self.flags.0 & looked_at.0 == Flags::READABLE.0 && self.phase != Phase::Dead
    }

    /// True while there is input that its handler has still to be given: some
    /// that no read has found yet, or what it had left when it paused.
    pub(crate) fn has_pending_input(&self) -> bool {
        let is_handed_back = self.has(Flags::RESUMED) && !self.has(Flags::PAUSED);
        self.is_live() && (is_handed_back || self.wants_input())
    }

    /// True in the common case: it may be read, what is written leaves at once,
    /// and nothing is under way of which the next message must take account.
    #[inline]
    pub(crate) fn can_fast_path(&self) -> bool {
        const FAST: Flags = Flags::READABLE.union(Flags::WRITABLE);
        const LOOKED_AT: Flags = FAST
            .union(Flags::HANGUP)
            .union(Flags::PAUSED)
            .union(Flags::RESUMED)
            .union(Flags::PEER_DONE)
            .union(Flags::FINISHING)
            .union(Flags::ABOVE_HIGH)
            .union(Flags::AWAITS_FIRST_FRAME)
            .union(Flags::DIRTY)
            .union(Flags::PIPE);
        self.flags.0 & LOOKED_AT.0 == FAST.0
            && self.phase == Phase::Live
            && self.out.is_none()
            && !self.is_in_frame()
    }

    /// True while it is on the list to flush, and takes more until then.
    #[inline]
    pub(crate) fn is_gathering(&self) -> bool {
        const LISTED: Flags = Flags::DIRTY.union(Flags::IN_FLUSH_LIST);
        self.flags.0 & LISTED.union(Flags::FINISHING).0 == LISTED.0 && self.phase <= Phase::Live
    }

    /// True while callbacks with input, timers and the like may come.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// True when nothing follows from its queue being empty.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.phase == Phase::Live && !self.has(Flags::ABOVE_HIGH.union(Flags::FINISHING))
    }

    /// Bytes that wait to be written.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.out.as_ref().map_or(0, |queue| queue.len())
    }

    /// True while output is taken: not closing, and no FIN asked for.
    #[inline]
    pub(crate) fn takes_output(&self) -> bool {
        self.phase <= Phase::Live && !self.has(Flags::FINISHING)
    }

    /// What becomes of a message after which `queued` bytes would wait.
    #[inline]
    pub(crate) fn room_for(&mut self, queued: usize, limits: &Limits) -> Sent {
        if !self.takes_output() {
            Sent::Gone
        } else if queued <= limits.high_mark {
            Sent::Queued
        } else if queued <= limits.hard_mark {
            self.set(Flags::ABOVE_HIGH);
            Sent::Full
        } else {
            // Who waits for `drained` after this must not wait in vain.
            self.set(Flags::ABOVE_HIGH);
            Sent::Dropped
        }
    }

    /// The queue, from the pool if there is none yet.
    #[inline]
    pub(crate) fn queue(&mut self, pool: &mut Pool) -> &mut OutQueue {
        self.out.get_or_insert_with(|| pool.take())
    }

    /// Gives an empty queue back.
    pub(crate) fn release_queue(&mut self, pool: &mut Pool) {
        if let Some(queue) = self.out.take() {
            pool.give(queue);
        }
    }

    /// True while a frame is begun and not complete, as far as the handler
    /// has left of it, or told.
    #[inline]
    pub(crate) const fn is_in_frame(&self) -> bool {
        self.leftover.is_some() || self.partial > 0
    }

    /// Nothing that came in is for the handler any more.
    pub(crate) fn forget_input(&mut self) {
        self.leftover = None;
        self.partial = 0;
    }

    /// The groups that it is a member of.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupId> {
        let memberships = self.extras.as_deref().map_or(&[][..], |extras| &extras.groups);
        memberships.iter().map(|membership| membership.group)
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// True when nothing is under way that a shutdown should wait for: all
    /// input taken, all output written, and the handler not holding it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_heard() && self.out.is_none() && !self.has(Flags::DIRTY.union(Flags::DRAINED_PENDING))
    }

    /// True when all its input is taken, and the handler does not hold it.
    pub(crate) fn is_heard(&self) -> bool {
        // Behind the peer's FIN every event says READABLE, and nothing clears it.
        let unread = self.has(Flags::READABLE) && !self.has(Flags::PEER_DONE);
        !self.is_in_frame() && !unread && !self.has(Flags::PAUSED.union(Flags::BUSY))
    }
}
