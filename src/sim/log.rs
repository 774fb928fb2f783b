//! `Log`: the record of a handler's connections and callbacks, and the checks of
//! their order.

use std::io;
use std::time::{Duration, Instant};

use crate::driver::sim::ClientId;
use crate::process::{Exit, Pipe};
use crate::{ChildId, ConnId, Io, Limits, Origin, Overflow};

/// The record of one connection.
#[derive(Debug)]
pub struct Life {
    pub(super) id: ConnId,
    pub(super) client: Option<ClientId>,
    pub(super) pipe: Option<(ChildId, Pipe)>,
    pub(super) input: Vec<u8>,
    pub(super) left: Vec<u8>,
    /// True from the crossing of the high mark until the low mark.
    pub(super) above: bool,
    /// True while a `drained` is due.
    pub(super) owes: bool,
    pub(super) opened_at: Instant,
    pub(super) heard_at: Instant,
    /// The moment from which an incomplete frame has waited for its end.
    pub(super) frame_since: Option<Instant>,
    /// When the turn ended in which that was: of a long one, its time runs since
    /// then. The same moment until it has ended.
    pub(super) frame_since_turn: Instant,
    /// True if the frame's time runs from a resume of its handler.
    pub(super) is_resumed: bool,
    /// True if its last input has left it paused: its frame has no deadline until it is
    /// resumed, and then a new one.
    pub(super) was_paused: bool,
    pub(super) eof: bool,
    /// Why it began to close, if it could say something to that.
    pub(super) last_word: Option<String>,
    pub(super) closed: Option<String>,
    pub(super) closed_at: Option<Instant>,
}

impl Life {
    /// The record of the connection whose `open` runs.
    pub(super) fn new(io: &Io<'_>, origin: &Origin) -> Self {
        Self {
            id: io.id(),
            client: ClientId::of(origin.peer()),
            pipe: match origin {
                Origin::Pipe { child, pipe, .. } => Some((*child, *pipe)),
                _ => None,
            },
            input: Vec::new(),
            left: Vec::new(),
            above: false,
            owes: false,
            opened_at: io.now(),
            heard_at: io.now(),
            frame_since: None,
            frame_since_turn: io.now(),
            is_resumed: false,
            was_paused: false,
            eof: false,
            last_word: None,
            closed: None,
            closed_at: None,
        }
    }

    /// The connection.
    #[must_use]
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The client at its other end.
    #[must_use]
    pub const fn client(&self) -> Option<ClientId> {
        self.client
    }

    /// The child process and the pipe, if the connection is a pipe.
    #[must_use]
    pub const fn pipe(&self) -> Option<(ChildId, Pipe)> {
        self.pipe
    }

    /// All bytes that were delivered to the handler, each once.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// The bytes of those that the handler has left.
    #[must_use]
    pub fn left(&self) -> &[u8] {
        &self.left
    }

    /// The moment of `open`.
    #[must_use]
    pub const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// The moment of the last new input; the moment of `open` if there was
    /// none.
    #[must_use]
    pub const fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// The moment from which an incomplete frame has waited for its rest: the
    /// handler's last taking before it, the arrival of its first byte, or its
    /// delivery anew after a pause. `None` if the handler has left nothing.
    #[must_use]
    pub const fn frame_since(&self) -> Option<Instant> {
        self.frame_since
    }

    /// Whether the time of that frame began before
    /// [`frame_since`](Self::frame_since), when its handler resumed.
    #[must_use]
    pub const fn is_frame_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Whether `eof` was called.
    #[must_use]
    pub const fn saw_eof(&self) -> bool {
        self.eof
    }

    /// Why it began to close, if [`last_word`](crate::StreamHandler::last_word) was called.
    /// What ends a connection that is closing already, such as a write stall, is the reason
    /// of its [`close`](Self::closed).
    #[must_use]
    pub fn last_word(&self) -> Option<&str> {
        self.last_word.as_deref()
    }

    /// Its close reason, as `Debug` shows a [`CloseReason`](crate::CloseReason); `None`
    /// while it is open.
    #[must_use]
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// The moment of `close`.
    #[must_use]
    pub const fn closed_at(&self) -> Option<Instant> {
        self.closed_at
    }
}

/// The answer to a handler about a child process.
#[derive(Debug)]
pub struct Told {
    child: ChildId,
    tag: u64,
    outcome: Result<Exit, io::ErrorKind>,
    at: Instant,
}

impl Told {
    /// The child.
    #[must_use]
    pub const fn child(&self) -> ChildId {
        self.child
    }

    /// The tag given to `spawn`.
    #[must_use]
    pub const fn tag(&self) -> u64 {
        self.tag
    }

    /// The exit of the child.
    ///
    /// # Errors
    ///
    /// The kind of the error for which it was not started.
    pub const fn outcome(&self) -> Result<Exit, io::ErrorKind> {
        self.outcome
    }

    /// The moment of the answer.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }
}

/// Input of a frame whose time was over when there was input before.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) id: ConnId,
    /// The callback.
    pub(super) what: &'static str,
    /// When there was input before.
    pub(super) heard_at: Instant,
    pub(super) at: Instant,
}

/// The record of a handler.
#[derive(Debug)]
pub(super) struct Log {
    frame: Option<Duration>,
    /// Whether the queue alone shows every crossing of the high mark.
    pub(super) sees_crossings: bool,
    pub(super) lives: Vec<Life>,
    pub(super) open: Vec<usize>,
    /// Lives with new input since the last `take_news`.
    news: Vec<usize>,
    /// Lives that were closed since the last `take_ended`.
    pub(super) ended: Vec<usize>,
    /// Lives of which a frame has begun in this turn.
    pub(super) begun: Vec<usize>,
    /// What came late since somebody looked.
    late: Vec<Late>,
    pub(super) told: Vec<Told>,
    pub(super) callbacks: u64,
    pub(super) shutting_down_at: Option<Instant>,
    pub(super) violations: Vec<String>,
}

impl Log {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            frame: limits.frame,
            sees_crossings: limits.overflow == Overflow::Close,
            lives: Vec::new(),
            open: Vec::new(),
            news: Vec::new(),
            ended: Vec::new(),
            begun: Vec::new(),
            late: Vec::new(),
            told: Vec::new(),
            callbacks: 0,
            shutting_down_at: None,
            violations: Vec::new(),
        }
    }

    /// The places of the lives with new input since the last call.
    pub(super) fn take_news(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.news)
    }

    /// The places of the lives that were closed since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.ended)
    }

    /// The connections that `drained` is due for once their queue is down.
    pub(super) fn awaiting_drained(&self) -> impl Iterator<Item = ConnId> {
        let open = self.open.iter().map(|life| &self.lives[*life]);
        open.filter(|life| life.above || life.owes).map(|life| life.id)
    }

    /// What came late since this was asked last. Whether it came too late depends
    /// on what the loop was busy with.
    pub(super) fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// A turn has ended.
    pub(super) fn end_turn(&mut self, at: Instant) {
        for place in self.begun.drain(..) {
            self.lives[place].frame_since_turn = at;
        }
    }

    /// Finds queues that have fallen to the low mark, before a callback. Only
    /// callbacks add to queues, so in between none was lower.
    pub(super) fn look(&mut self, io: &Io<'_>) {
        self.callbacks += 1;
        for life in &self.open {
            let life = &mut self.lives[*life];
            let low_mark = io.limits_of(life.id).map_or(0, |limits| limits.low_mark);
            if life.above && io.queued(life.id).is_some_and(|queued| queued <= low_mark) {
                // The queue may rise above the high mark again before its
                // `drained`, and then owes another.
                life.above = false;
                life.owes = true;
            }
        }
    }

    pub(super) fn begin(&mut self, io: &Io<'_>, life: usize, what: &'static str) {
        self.look(io);
        let life = &self.lives[life];
        let id = life.id;
        if io.id() != id {
            self.violations.push(format!("`{what}` of connection {id} came as one of {}", io.id()));
        }
        if life.closed.is_some() {
            self.violations.push(format!("connection {id}: `{what}` after close"));
        }
        if life.last_word.is_some() && what != "close" {
            self.violations.push(format!("connection {id}: `{what}` after the last word"));
        }
    }

    /// Checks that input is what was left, followed by new bytes.
    pub(super) fn take_in(&mut self, io: &Io<'_>, place: usize, input: &[u8], what: &'static str) {
        let life = &mut self.lives[place];
        let id = life.id;
        // Late input may still be delivered in the turn that finds it late, or
        // while the loop catches up, but not long afterwards.
        let is_over = |frame| life.heard_at.saturating_duration_since(life.frame_since_turn) >= frame;
        let is_late = life.frame_since.and(self.frame).is_some_and(is_over);
        if is_late && life.pipe.is_none() && !life.was_paused && life.heard_at < io.now() {
            self.late.push(Late { id, what, heard_at: life.heard_at, at: io.now() });
        }
        if input.len() > life.left.len() {
            life.heard_at = io.now();
        }
        if life.eof {
            self.violations.push(format!("connection {id}: `{what}` after eof"));
        }
        if let Some(new) = input.strip_prefix(&life.left[..]) {
            life.input.extend_from_slice(new);
            self.news.push(place);
        } else {
            self.violations.push(format!("connection {id}: `{what}` does not begin with what was left"));
        }
    }

    /// Checks that a child is answered once, after its pipes are closed.
    pub(super) fn answer(
        &mut self,
        io: &Io<'_>,
        child: ChildId,
        tag: u64,
        outcome: Result<Exit, io::ErrorKind>,
    ) {
        self.callbacks += 1;
        if self.told.iter().any(|told| told.child == child) {
            self.violations.push(format!("child {child} is told of a second time"));
        }
        let is_its = |life: &&usize| self.lives[**life].pipe.is_some_and(|(whose, _)| whose == child);
        if let Some(open) = self.open.iter().find(is_its) {
            let id = self.lives[*open].id;
            self.violations.push(format!("child {child} is told of while its pipe {id} is open"));
        }
        self.told.push(Told { child, tag, outcome, at: io.now() });
    }

    /// Finds queues above their high marks, after a callback.
    pub(super) fn end(&mut self, io: &Io<'_>) {
        for life in &self.open {
            let life = &mut self.lives[*life];
            let high_mark = io.limits_of(life.id).map_or(usize::MAX, |limits| limits.high_mark);
            // Of many small files the number is above its mark.
            let is_full = self.sees_crossings && io.is_full(life.id);
            life.above |= is_full || io.queued(life.id).is_some_and(|queued| queued > high_mark);
        }
    }
}
