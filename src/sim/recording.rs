//! `Recording`: a handler around another one, which checks the order of its
//! callbacks and records its connections.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::driver::sim::ClientId;
use crate::process::{Exit, Pipe};
use crate::{
    AfterEof, BoxError, ChildId, CloseReason, ConnId, Io, Limits, ListenerId, Origin, Overflow, Peer,
    StreamHandler, TimerId,
};

/// The record of one connection.
#[derive(Debug)]
pub struct Life {
    id: ConnId,
    client: Option<ClientId>,
    pipe: Option<(ChildId, Pipe)>,
    input: Vec<u8>,
    left: Vec<u8>,
    /// True from the crossing of the high mark until the low mark.
    above: bool,
    /// True while a `drained` is due.
    owes: bool,
    opened_at: Instant,
    heard_at: Instant,
    /// The moment from which an incomplete frame has waited for its end.
    frame_since: Option<Instant>,
    /// When the turn ended in which that was: of a long one, its time runs since
    /// then. The same moment until it has ended.
    frame_since_turn: Instant,
    /// True if the frame's time runs from a resume of its handler.
    is_resumed: bool,
    eof: bool,
    had_last_word: bool,
    closed: Option<String>,
    closed_at: Option<Instant>,
}

impl Life {
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

    /// Its close reason, as `Debug` shows a [`CloseReason`]; `None` while it is
    /// open.
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

/// A handler around another one. It passes every callback on, and records each
/// breach of the order that [`StreamHandler`] promises: input that is lost,
/// doubled or out of place, a callback after `close`, an early `drained` or a
/// second one for one crossing, a second answer about a child, or one before
/// its pipes are closed. [`World`](super::World) wraps every handler in one.
#[derive(Debug)]
pub struct Recording<H> {
    handler: H,
    frame: Option<Duration>,
    /// Whether the queue alone shows every crossing of the high mark.
    sees_crossings: bool,
    lives: Vec<Life>,
    open: Vec<usize>,
    /// Lives with new input since the last `take_news`.
    news: Vec<usize>,
    /// Lives that were closed since the last `take_ended`.
    ended: Vec<usize>,
    /// Lives of which a frame has begun in this turn.
    begun: Vec<usize>,
    /// What came late since somebody looked.
    late: Vec<Late>,
    told: Vec<Told>,
    callbacks: u64,
    shutting_down_at: Option<Instant>,
    violations: Vec<String>,
}

/// The session of a [`Recording`]: its handler's session, and the index of its
/// life.
#[derive(Debug)]
pub struct Recorded<S> {
    session: S,
    life: usize,
}

impl<H: StreamHandler> Recording<H> {
    /// Wraps `handler`, whose service has these limits.
    #[must_use]
    pub fn new(handler: H, limits: &Limits) -> Self {
        Self {
            handler,
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

    /// The handler.
    pub const fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The handler, to read.
    #[must_use]
    pub const fn inner(&self) -> &H {
        &self.handler
    }

    /// All connections so far, in the order of `open`.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        &self.lives
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

    /// The answers about children, in order.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// The number of callbacks.
    #[must_use]
    pub const fn callbacks(&self) -> u64 {
        self.callbacks
    }

    /// The moment of the last `shutting_down`.
    #[must_use]
    pub const fn shutting_down_at(&self) -> Option<Instant> {
        self.shutting_down_at
    }

    /// The number of open connections.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.open.len()
    }

    /// The first breach of a promise.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Finds queues that have fallen to the low mark, before a callback. Only
    /// callbacks add to queues, so in between none was lower.
    fn look(&mut self, io: &Io<'_>) {
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

    fn begin(&mut self, io: &Io<'_>, life: usize, what: &'static str) {
        self.look(io);
        let life = &self.lives[life];
        let id = life.id;
        if io.id() != id {
            self.violations.push(format!("`{what}` of connection {id} came as one of {}", io.id()));
        }
        if life.closed.is_some() {
            self.violations.push(format!("connection {id}: `{what}` after close"));
        }
        if life.had_last_word && what != "close" {
            self.violations.push(format!("connection {id}: `{what}` after the last word"));
        }
    }

    /// Checks that input is what was left, followed by new bytes.
    fn take_in(&mut self, io: &Io<'_>, place: usize, input: &[u8], what: &'static str) {
        let life = &mut self.lives[place];
        let id = life.id;
        // Late input may still be delivered in the turn that finds it late, or
        // while the loop catches up, but not long afterwards.
        let is_over = |frame| life.heard_at.saturating_duration_since(life.frame_since_turn) >= frame;
        let is_late = life.frame_since.and(self.frame).is_some_and(is_over);
        if is_late && life.pipe.is_none() && life.heard_at < io.now() {
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
    fn answer(&mut self, io: &Io<'_>, child: ChildId, tag: u64, outcome: Result<Exit, io::ErrorKind>) {
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
    fn end(&mut self, io: &Io<'_>) {
        for life in &self.open {
            let life = &mut self.lives[*life];
            let high_mark = io.limits_of(life.id).map_or(usize::MAX, |limits| limits.high_mark);
            // Of many small files the number is above its mark.
            let is_full = self.sees_crossings && io.is_full(life.id);
            life.above |= is_full || io.queued(life.id).is_some_and(|queued| queued > high_mark);
        }
    }
}

impl<H: StreamHandler> StreamHandler for Recording<H> {
    type Session = Recorded<H::Session>;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        if self.callbacks > 0 {
            self.violations.push("`started` is not the first callback".into());
        }
        self.callbacks += 1;
        self.handler.started(io)
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.callbacks += 1;
        self.handler.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError> {
        self.look(io);
        let pipe = match origin {
            Origin::Pipe { child, pipe, .. } => Some((*child, *pipe)),
            _ => None,
        };
        if let Some((child, _)) = pipe
            && self.told.iter().any(|told| told.child == child)
        {
            self.violations.push(format!("a pipe of child {child} is opened after its end"));
        }
        let session = self.handler.open(io, origin)?;
        let life = self.lives.len();
        self.lives.push(Life {
            id: io.id(),
            client: ClientId::of(origin.peer()),
            pipe,
            input: Vec::new(),
            left: Vec::new(),
            above: false,
            owes: false,
            opened_at: io.now(),
            heard_at: io.now(),
            frame_since: None,
            frame_since_turn: io.now(),
            is_resumed: false,
            eof: false,
            had_last_word: false,
            closed: None,
            closed_at: None,
        });
        self.open.push(life);
        self.end(io);
        Ok(Recorded { session, life })
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        let place = recorded.life;
        self.begin(io, place, "data");
        self.take_in(io, place, input, "data");
        let shown = input.len();
        let outcome = self.handler.data(io, &mut recorded.session, input);
        let life = &mut self.lives[place];
        let begins = life.left.is_empty() || input.len() < shown;
        let resumes = shown == life.left.len();
        if input.is_empty() {
            life.frame_since = None;
        } else if begins || resumes {
            life.frame_since = Some(io.now());
            life.frame_since_turn = io.now();
            life.is_resumed = !begins;
            self.begun.push(place);
        }
        life.left.clear();
        life.left.extend_from_slice(input);
        self.end(io);
        outcome
    }

    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        self.begin(io, recorded.life, "data_in_place");
        let life = &self.lives[recorded.life];
        if input.is_empty() || !life.left.is_empty() {
            let (id, new, left) = (life.id, input.len(), life.left.len());
            self.violations.push(format!("connection {id}: `data_in_place` of {new} bytes behind {left}"));
        }
        let outcome = self.handler.data_in_place(io, &mut recorded.session, input);
        if let Ok(taken @ 1..) = outcome {
            self.take_in(io, recorded.life, &input[..taken], "data_in_place");
            let life = &mut self.lives[recorded.life];
            life.frame_since = None;
        }
        self.end(io);
        outcome
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        let life = recorded.life;
        self.begin(io, life, "eof");
        self.take_in(io, life, rest, "eof");
        self.lives[life].eof = true;
        let outcome = self.handler.eof(io, &mut recorded.session, rest);
        self.end(io);
        outcome
    }

    fn drained(&mut self, io: &mut Io<'_>, recorded: &mut Self::Session) -> Result<(), BoxError> {
        self.begin(io, recorded.life, "drained");
        let life = &mut self.lives[recorded.life];
        if !std::mem::take(&mut life.owes) {
            let id = life.id;
            if std::mem::take(&mut life.above) {
                let queued = io.queued(id).unwrap_or(0);
                self.violations.push(format!("connection {id}: `drained` with {queued} bytes still queued"));
            } else if self.sees_crossings {
                self.violations.push(format!("connection {id}: `drained` without a crossing"));
            }
        }
        let outcome = self.handler.drained(io, &mut recorded.session);
        self.end(io);
        outcome
    }

    fn layer_ready(&mut self, io: &mut Io<'_>, recorded: &mut Self::Session) -> Result<(), BoxError> {
        self.begin(io, recorded.life, "layer_ready");
        let outcome = self.handler.layer_ready(io, &mut recorded.session);
        self.end(io);
        outcome
    }

    fn timer(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        timer: TimerId,
    ) -> Result<(), BoxError> {
        self.begin(io, recorded.life, "timer");
        let outcome = self.handler.timer(io, &mut recorded.session, timer);
        self.end(io);
        outcome
    }

    fn last_word(&mut self, io: &mut Io<'_>, recorded: &mut Self::Session, why: &CloseReason) {
        self.begin(io, recorded.life, "last_word");
        let life = &mut self.lives[recorded.life];
        let id = life.id;
        life.had_last_word = true;
        if io.is_open(id) {
            self.violations.push(format!("connection {id}: `last_word` of an open connection"));
        }
        self.handler.last_word(io, &mut recorded.session, why);
        self.end(io);
    }

    fn close(&mut self, io: &mut Io<'_>, recorded: Self::Session, why: &CloseReason) {
        self.begin(io, recorded.life, "close");
        self.lives[recorded.life].closed = Some(format!("{why:?}"));
        self.lives[recorded.life].closed_at = Some(io.now());
        self.ended.push(recorded.life);
        self.open.retain(|open| *open != recorded.life);
        self.handler.close(io, recorded.session, why);
        self.end(io);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.callbacks += 1;
        self.handler.connect_failed(io, tag, error);
        self.end(io);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        self.answer(io, child, tag, Ok(*exit));
        self.handler.child_exited(io, child, tag, exit);
        self.end(io);
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        self.answer(io, child, tag, Err(error.kind()));
        self.handler.spawn_failed(io, child, tag, error);
        self.end(io);
    }

    #[cfg(feature = "workers")]
    fn job_done(
        &mut self,
        io: &mut Io<'_>,
        recorded: Option<&mut Self::Session>,
        done: crate::JobDone,
    ) -> Result<(), BoxError> {
        let session = match recorded {
            Some(recorded) => {
                self.begin(io, recorded.life, "job_done");
                Some(&mut recorded.session)
            }
            None => {
                self.look(io);
                None
            }
        };
        let outcome = self.handler.job_done(io, session, done);
        self.end(io);
        outcome
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.look(io);
        self.handler.tick(io, timer);
        self.end(io);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.look(io);
        self.shutting_down_at = Some(io.now());
        self.handler.shutting_down(io);
        self.end(io);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.look(io);
        self.handler.listener_failed(io, listener, error);
        self.end(io);
    }
}
