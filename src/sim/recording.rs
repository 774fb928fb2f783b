//! `Recording`: a handler around another one, which checks the order of its
//! callbacks and records its connections.

use std::io;
use std::time::Instant;

use bytes::BytesMut;

use super::log::{Life, Log, Told};
use crate::process::Exit;
use crate::{
    AfterEof, BoxError, ChildId, CloseReason, Io, Limits, ListenerId, Origin, Peer, StreamHandler, TimerId,
};

/// A handler around another one. It passes every callback on, and records each
/// breach of the order that [`StreamHandler`] promises: input that is lost,
/// doubled or out of place, a callback after `close`, an early `drained` or a
/// second one for one crossing, a second answer about a child, or one before
/// its pipes are closed. [`World`](super::World) wraps every handler in one.
#[derive(Debug)]
pub struct Recording<H> {
    handler: H,
    pub(super) log: Log,
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
        Self { handler, log: Log::new(limits) }
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
        &self.log.lives
    }

    /// The answers about children, in order.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.log.told
    }

    /// The number of callbacks.
    #[must_use]
    pub const fn callbacks(&self) -> u64 {
        self.log.callbacks
    }

    /// The moment of the last `shutting_down`.
    #[must_use]
    pub const fn shutting_down_at(&self) -> Option<Instant> {
        self.log.shutting_down_at
    }

    /// The number of open connections.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.log.open.len()
    }

    /// The first breach of a promise.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.log.violations
    }
}

impl<H: StreamHandler> StreamHandler for Recording<H> {
    type Session = Recorded<H::Session>;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        if self.log.callbacks > 0 {
            self.log.violations.push("`started` is not the first callback".into());
        }
        self.log.callbacks += 1;
        self.handler.started(io)
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.log.callbacks += 1;
        self.handler.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError> {
        self.log.look(io);
        let life = Life::new(io, origin);
        if let Some((child, _)) = life.pipe
            && self.log.told.iter().any(|told| told.child() == child)
        {
            self.log.violations.push(format!("a pipe of child {child} is opened after its end"));
        }
        let session = self.handler.open(io, origin)?;
        let place = self.log.lives.len();
        self.log.lives.push(life);
        self.log.open.push(place);
        self.log.end(io);
        Ok(Recorded { session, life: place })
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        let place = recorded.life;
        self.log.begin(io, place, "data");
        self.log.take_in(io, place, input, "data");
        let shown = input.len();
        let outcome = self.handler.data(io, &mut recorded.session, input);
        let life = &mut self.log.lives[place];
        life.was_paused = io.is_paused(life.id);
        let begins = life.left.is_empty() || input.len() < shown;
        let resumes = shown == life.left.len();
        if input.is_empty() {
            life.frame_since = None;
        } else if begins || resumes {
            life.frame_since = Some(io.now());
            life.frame_since_turn = io.now();
            life.is_resumed = !begins;
            self.log.begun.push(place);
        }
        life.left.clear();
        life.left.extend_from_slice(input);
        self.log.end(io);
        outcome
    }

    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        self.log.begin(io, recorded.life, "data_in_place");
        let life = &self.log.lives[recorded.life];
        if input.is_empty() || !life.left.is_empty() {
            let (id, new, left) = (life.id, input.len(), life.left.len());
            self.log
                .violations
                .push(format!("connection {id}: `data_in_place` of {new} bytes behind {left}"));
        }
        let outcome = self.handler.data_in_place(io, &mut recorded.session, input);
        if let Ok(taken @ 1..) = outcome {
            self.log.take_in(io, recorded.life, &input[..taken], "data_in_place");
            let life = &mut self.log.lives[recorded.life];
            life.frame_since = None;
        }
        self.log.end(io);
        outcome
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        let life = recorded.life;
        self.log.begin(io, life, "eof");
        self.log.take_in(io, life, rest, "eof");
        self.log.lives[life].eof = true;
        let outcome = self.handler.eof(io, &mut recorded.session, rest);
        self.log.end(io);
        outcome
    }

    fn drained(&mut self, io: &mut Io<'_>, recorded: &mut Self::Session) -> Result<(), BoxError> {
        self.log.begin(io, recorded.life, "drained");
        let life = &mut self.log.lives[recorded.life];
        if !std::mem::take(&mut life.owes) {
            let id = life.id;
            if std::mem::take(&mut life.above) {
                let queued = io.queued(id).unwrap_or(0);
                self.log
                    .violations
                    .push(format!("connection {id}: `drained` with {queued} bytes still queued"));
            } else if self.log.sees_crossings {
                self.log.violations.push(format!("connection {id}: `drained` without a crossing"));
            }
        }
        let outcome = self.handler.drained(io, &mut recorded.session);
        self.log.end(io);
        outcome
    }

    fn layer_ready(&mut self, io: &mut Io<'_>, recorded: &mut Self::Session) -> Result<(), BoxError> {
        self.log.begin(io, recorded.life, "layer_ready");
        let outcome = self.handler.layer_ready(io, &mut recorded.session);
        self.log.end(io);
        outcome
    }

    fn timer(
        &mut self,
        io: &mut Io<'_>,
        recorded: &mut Self::Session,
        timer: TimerId,
    ) -> Result<(), BoxError> {
        self.log.begin(io, recorded.life, "timer");
        let outcome = self.handler.timer(io, &mut recorded.session, timer);
        self.log.end(io);
        outcome
    }

    fn last_word(&mut self, io: &mut Io<'_>, recorded: &mut Self::Session, why: &CloseReason) {
        self.log.begin(io, recorded.life, "last_word");
        let life = &mut self.log.lives[recorded.life];
        let id = life.id;
        life.last_word = Some(format!("{why:?}"));
        if io.is_open(id) {
            self.log.violations.push(format!("connection {id}: `last_word` of an open connection"));
        }
        self.handler.last_word(io, &mut recorded.session, why);
        self.log.end(io);
    }

    fn close(&mut self, io: &mut Io<'_>, recorded: Self::Session, why: &CloseReason) {
        self.log.begin(io, recorded.life, "close");
        self.log.lives[recorded.life].closed = Some(format!("{why:?}"));
        self.log.lives[recorded.life].closed_at = Some(io.now());
        self.log.ended.push(recorded.life);
        self.log.open.retain(|open| *open != recorded.life);
        self.handler.close(io, recorded.session, why);
        self.log.end(io);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.log.callbacks += 1;
        self.handler.connect_failed(io, tag, error);
        self.log.end(io);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        self.log.answer(io, child, tag, Ok(*exit));
        self.handler.child_exited(io, child, tag, exit);
        self.log.end(io);
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        self.log.answer(io, child, tag, Err(error.kind()));
        self.handler.spawn_failed(io, child, tag, error);
        self.log.end(io);
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
                self.log.begin(io, recorded.life, "job_done");
                Some(&mut recorded.session)
            }
            None => {
                self.log.look(io);
                None
            }
        };
        let outcome = self.handler.job_done(io, session, done);
        self.log.end(io);
        outcome
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.log.look(io);
        self.handler.tick(io, timer);
        self.log.end(io);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.log.look(io);
        self.log.shutting_down_at = Some(io.now());
        self.handler.shutting_down(io);
        self.log.end(io);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.log.look(io);
        self.handler.listener_failed(io, listener, error);
        self.log.end(io);
    }
}
