//! A handler around another one, which sees that its callbacks come in order.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::driver::sim::ClientId;
use crate::process::{Exit, Pipe};
use crate::{
    AfterEof, BoxError, ChildId, CloseReason, ConnId, Io, Limits, ListenerId, Origin, Overflow, Peer,
    StreamHandler, TimerId,
};

/// What one connection went through.
#[derive(Debug)]
pub struct Life {
    id: ConnId,
    client: Option<ClientId>,
    pipe: Option<(ChildId, Pipe)>,
    input: Vec<u8>,
    left: Vec<u8>,
    /// Its queue has been above the high mark, and not fallen to the low one.
    above: bool,
    /// It has fallen there since, and a `drained` is due.
    owes: bool,
    opened_at: Instant,
    heard_at: Instant,
    /// Since when a frame, behind the first, waits for its end.
    frame_since: Option<Instant>,
    /// When the turn ended in which that was: of a long one, its time runs since
    /// then. The same moment until it has ended.
    frame_since_turn: Instant,
    /// It was handed over anew then: its time runs since its handler resumed.
    is_resumed: bool,
    /// Its handler has taken something.
    has_taken: bool,
    eof: bool,
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

    /// Which pipe of which child process it is, if it is one.
    #[must_use]
    pub const fn pipe(&self) -> Option<(ChildId, Pipe)> {
        self.pipe
    }

    /// All that was handed over to the handler, each byte once.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// What the handler has left of it.
    #[must_use]
    pub fn left(&self) -> &[u8] {
        &self.left
    }

    /// When it was opened.
    #[must_use]
    pub const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// When its handler was given something new last; when it was opened, if
    /// that never was.
    #[must_use]
    pub const fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Since when what its handler has left waits to be made whole: since the
    /// handler has taken something before it, or since the first of it came; or
    /// since it was handed over anew, after a pause. `None` if nothing is left,
    /// or nothing was taken ever.
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

    /// Why it was closed, as `Debug` shows a [`CloseReason`]; `None` while it is open.
    #[must_use]
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// When it was closed.
    #[must_use]
    pub const fn closed_at(&self) -> Option<Instant> {
        self.closed_at
    }
}

/// What a handler was told of a child process.
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

    /// What the handler called it.
    #[must_use]
    pub const fn tag(&self) -> u64 {
        self.tag
    }

    /// How it ended, or why it was not started.
    ///
    /// # Errors
    ///
    /// Why it was not started.
    pub const fn outcome(&self) -> Result<Exit, io::ErrorKind> {
        self.outcome
    }

    /// When it was told.
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

/// A handler around another one. It passes every callback on, and notes what
/// breaks the order that [`StreamHandler`] promises: input that is lost,
/// doubled or out of place, a callback after `close`, a `drained` too soon or a
/// second one for one crossing; of a child, a second answer, or one before its
/// pipes are closed. [`World`](super::World) puts one around every handler.
#[derive(Debug)]
pub struct Recording<H> {
    handler: H,
    low_mark: usize,
    high_mark: usize,
    frame: Option<Duration>,
    /// Whether the crossings of the high mark are seen from the queue alone.
    sees_crossings: bool,
    lives: Vec<Life>,
    open: Vec<usize>,
    /// Lives that were given input since somebody looked.
    news: Vec<usize>,
    /// Lives that were closed since somebody looked.
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

/// The session of a [`Recording`]: that of its handler, and whose it is.
#[derive(Debug)]
pub struct Recorded<S> {
    session: S,
    life: usize,
}

impl<H: StreamHandler> Recording<H> {
    /// Records what is called of `handler`, whose service has these limits.
    #[must_use]
    pub fn new(handler: H, limits: &Limits) -> Self {
        Self {
            handler,
            low_mark: limits.low_mark,
            high_mark: limits.high_mark,
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

    /// The handler, to look at.
    #[must_use]
    pub const fn inner(&self) -> &H {
        &self.handler
    }

    /// Every connection that was opened, in order.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// The places of those that were given input since this was asked last.
    pub(super) fn take_news(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.news)
    }

    /// The places of those that were closed since this was asked last.
    pub(super) fn take_ended(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.ended)
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

    /// What the handler was told of children, in order.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// How many callbacks there were.
    #[must_use]
    pub const fn callbacks(&self) -> u64 {
        self.callbacks
    }

    /// When a shutdown began last.
    #[must_use]
    pub const fn shutting_down_at(&self) -> Option<Instant> {
        self.shutting_down_at
    }

    /// How many connections are open.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.open.len()
    }

    /// What was not as promised.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Before a callback: which queues have fallen to the low mark. Only
    /// callbacks add to them, so in between they were no lower.
    fn look(&mut self, io: &Io<'_>) {
        self.callbacks += 1;
        for life in &self.open {
            let life = &mut self.lives[*life];
            if life.above && io.queued(life.id).is_some_and(|queued| queued <= self.low_mark) {
                // Before it is told it may be above again, and owe another.
                (life.above, life.owes) = (false, true);
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
    }

    /// Input must be what was left, and then what is new.
    fn take_in(&mut self, io: &Io<'_>, place: usize, input: &[u8], what: &'static str) {
        let life = &mut self.lives[place];
        let id = life.id;
        // What came too late may still be handed over in the turn that finds
        // it so, or while the loop catches up; what comes long behind that may
        // not.
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

    /// A child is answered once, when its pipes are closed.
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

    /// After a callback: whose queue is above its high mark now.
    fn end(&mut self, io: &Io<'_>) {
        for life in &self.open {
            let life = &mut self.lives[*life];
            life.above |= io.queued(life.id).is_some_and(|queued| queued > self.high_mark);
        }
    }
}

impl<H: StreamHandler> StreamHandler for Recording<H> {
    type Session = Recorded<H::Session>;

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
            has_taken: false,
            eof: false,
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
        life.has_taken |= input.len() < shown;
        let begins = life.left.is_empty() || input.len() < shown;
        let resumes = shown == life.left.len();
        if input.is_empty() || !life.has_taken {
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
            life.has_taken = true;
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
