//! `BusHandler`: what a handler is told by its bus; `OnBus`, which runs the bus.

use std::io;

use bytes::BytesMut;

use super::component::Bus;
use super::error::{BusError, PublishError};
use super::event::{BusEvent, BusToken, EnterError, Gap, Message, Presence, Resume};
use super::position::Position;
use crate::process::Exit;
use crate::{AfterEof, BoxError, ChildId, CloseReason, Io, ListenerId, Origin, Peer, StreamHandler, TimerId};

/// A handler that owns a [`Bus`], and what it is told by it. Every callback belongs to no
/// connection: [`Io::id`] names none.
///
/// ```text
/// bus_up -> (message | gap | published | resumed | entered | presence)* -> bus_down -> bus_up …
/// ```
///
/// The bus tells that it is down before it was ever up if its first attempt fails.
pub trait BusHandler {
    /// The bus.
    fn bus(&mut self) -> &mut Bus;

    /// A message of a room, in the order of the room, which is the same on all nodes.
    fn message(&mut self, io: &mut Io<'_>, message: Message);

    /// Messages of a room are missing. This comes before the next one.
    fn gap(&mut self, io: &mut Io<'_>, gap: Gap);

    /// The answer to [`Bus::publish`]. It may come before or after the message itself.
    /// By default a failure is logged.
    fn published(&mut self, io: &mut Io<'_>, token: BusToken, outcome: Result<Position, PublishError>) {
        let _ = io;
        if let Err(error) = outcome {
            log::warn!("message {token:?} was not published: {error}");
        }
    }

    /// A step of [`Bus::resume`].
    fn resumed(&mut self, io: &mut Io<'_>, room: &str, token: BusToken, step: Resume) {
        let _ = (io, room, token, step);
    }

    /// The answer to [`Bus::enter`]; with an error also when the member has lost its
    /// place later.
    fn entered(&mut self, io: &mut Io<'_>, room: &str, member: &str, outcome: Result<(), EnterError>) {
        let _ = (io, room, member, outcome);
    }

    /// The members of a room have changed.
    fn presence(&mut self, io: &mut Io<'_>, presence: Presence) {
        let _ = (io, presence);
    }

    /// The bus has a Redis.
    fn bus_up(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// The bus has none. It has logged the reason.
    fn bus_down(&mut self, io: &mut Io<'_>, why: BusError) {
        let _ = (io, why);
    }
}

/// The adapter that runs the [`Bus`] of a handler: it keeps the bus's connection and
/// timers, and passes everything else on.
#[derive(Debug)]
pub struct OnBus<H> {
    handler: H,
    /// Open connections of the handler.
    open: usize,
}

/// The session of a connection of an [`OnBus`].
#[derive(Debug)]
pub enum OnBusSession<S> {
    /// The bus's own connection.
    Link,
    /// One of the handler.
    Own(S),
}

impl<S> OnBusSession<S> {
    fn own(&mut self) -> Option<&mut S> {
        match self {
            Self::Own(session) => Some(session),
            Self::Link => None,
        }
    }
}

impl<H> OnBus<H> {
    /// Makes an adapter for this handler.
    #[must_use]
    pub const fn new(handler: H) -> Self {
        Self { handler, open: 0 }
    }

    /// The handler.
    #[must_use]
    pub const fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler, to change between turns. In a call from a
    /// [`Handle`](crate::Handle), [`run`](Self::run) is for what uses the bus.
    pub const fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Returns the handler.
    #[must_use]
    pub fn into_handler(self) -> H {
        self.handler
    }
}

impl<H: BusHandler> OnBus<H> {
    /// Calls the handler, and then tells it what its bus has to tell: for calls from a
    /// [`Handle`](crate::Handle) or another service.
    pub fn run<R>(&mut self, io: &mut Io<'_>, f: impl FnOnce(&mut H, &mut Io<'_>) -> R) -> R {
        let result = f(&mut self.handler, io);
        self.tell(io);
        result
    }

    /// Tells the handler what the bus has to tell.
    fn tell(&mut self, io: &mut Io<'_>) {
        let handler = &mut self.handler;
        if let Some(first) = handler.bus().next_event(io) {
            io.as_service(|io| {
                let mut next = Some(first);
                while let Some(event) = next {
                    match event {
                        BusEvent::Up => handler.bus_up(io),
                        BusEvent::Down(why) => handler.bus_down(io, why),
                        BusEvent::Message(message) => handler.message(io, message),
                        BusEvent::Gap(gap) => handler.gap(io, gap),
                        BusEvent::Published { token, outcome } => handler.published(io, token, outcome),
                        BusEvent::Resume { room, token, step } => handler.resumed(io, &room, token, step),
                        BusEvent::Entered { room, member, outcome } => {
                            handler.entered(io, &room, &member, outcome);
                        }
                        BusEvent::Presence(presence) => handler.presence(io, presence),
                    }
                    next = handler.bus().next_event(io);
                }
            });
        }
    }
}

impl<H: StreamHandler + BusHandler> StreamHandler for OnBus<H> {
    type Session = OnBusSession<H::Session>;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.handler.bus().start(io)?;
        self.handler.started(io)?;
        self.tell(io);
        Ok(())
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.handler.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError> {
        if self.handler.bus().is_link(io.id()) {
            self.handler.bus().opened(io);
            return Ok(OnBusSession::Link);
        }
        let session = self.run(io, |handler, io| handler.open(io, origin))?;
        self.open += 1;
        Ok(OnBusSession::Own(session))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        match session {
            OnBusSession::Own(session) => self.run(io, |handler, io| handler.data(io, session, input)),
            OnBusSession::Link => {
                self.handler.bus().data(io, input);
                self.tell(io);
                Ok(())
            }
        }
    }

    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        match session.own() {
            Some(session) => self.run(io, |handler, io| handler.data_in_place(io, session, input)),
            None => Ok(0),
        }
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        match session.own() {
            Some(session) => self.run(io, |handler, io| handler.eof(io, session, rest)),
            None => Ok(AfterEof::Finish),
        }
    }

    fn drained(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<(), BoxError> {
        match session.own() {
            Some(session) => self.run(io, |handler, io| handler.drained(io, session)),
            None => Ok(()),
        }
    }

    fn layer_ready(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<(), BoxError> {
        match session.own() {
            Some(session) => self.run(io, |handler, io| handler.layer_ready(io, session)),
            None => Ok(()),
        }
    }

    fn timer(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        timer: TimerId,
    ) -> Result<(), BoxError> {
        match session.own() {
            Some(session) => self.run(io, |handler, io| handler.timer(io, session, timer)),
            None => Ok(()),
        }
    }

    fn last_word(&mut self, io: &mut Io<'_>, session: &mut Self::Session, why: &CloseReason) {
        if let Some(session) = session.own() {
            self.run(io, |handler, io| handler.last_word(io, session, why));
        }
    }

    fn close(&mut self, io: &mut Io<'_>, session: Self::Session, why: &CloseReason) {
        match session {
            OnBusSession::Own(session) => {
                self.open -= 1;
                self.handler.close(io, session, why);
                if self.open == 0 {
                    self.handler.bus().leave_all(io);
                }
            }
            OnBusSession::Link => self.handler.bus().closed(io, why),
        }
        self.tell(io);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        if self.handler.bus().is_link(io.id()) {
            self.handler.bus().connect_failed(io, error);
        } else {
            self.handler.connect_failed(io, tag, error);
        }
        self.tell(io);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        self.run(io, |handler, io| handler.child_exited(io, child, tag, exit));
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        self.run(io, |handler, io| handler.spawn_failed(io, child, tag, error));
    }

    #[cfg(feature = "workers")]
    fn job_done(
        &mut self,
        io: &mut Io<'_>,
        session: Option<&mut Self::Session>,
        done: crate::JobDone,
    ) -> Result<(), BoxError> {
        self.run(io, |handler, io| handler.job_done(io, session.and_then(OnBusSession::own), done))
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        if !self.handler.bus().tick(io, timer) {
            self.handler.tick(io, timer);
        }
        self.tell(io);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.handler.shutting_down(io);
        self.handler.bus().shutting_down(io);
        if self.open == 0 {
            self.handler.bus().leave_all(io);
        }
        self.tell(io);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.run(io, |handler, io| handler.listener_failed(io, listener, error));
    }
}
