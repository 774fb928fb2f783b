//! Type erasure of a handler with its sessions, for the loop.

mod datagrams;

use std::any::{Any, type_name};
use std::io;

use bytes::BytesMut;
use slab::Slab;

use crate::close::CloseReason;
use crate::contain::discard;
use crate::error::BoxError;
use crate::handler::{AfterEof, StreamHandler};
use crate::id::{ChildId, ListenerId, TimerId};
use crate::input::Input;
use crate::io::Io;
use crate::origin::{Origin, Peer};
use crate::process::Exit;
#[cfg(feature = "workers")]
use crate::workers::JobDone;

pub(crate) use self::datagrams::{Datagrams, ServeDatagrams, Taken, via};

/// A service without its types: numbers stand for its sessions.
pub(crate) trait ErasedHandler {
    /// False for a service that takes datagrams alone.
    fn takes_connections(&self) -> bool {
        true
    }
    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError>;
    fn verify(&mut self, peer: &Peer) -> bool;
    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<u32, BoxError>;
    fn data(&mut self, io: &mut Io<'_>, session: u32, input: &mut Input) -> Result<(), BoxError>;
    fn eof(&mut self, io: &mut Io<'_>, session: u32, rest: &mut BytesMut) -> Result<AfterEof, BoxError>;
    fn drained(&mut self, io: &mut Io<'_>, session: u32) -> Result<(), BoxError>;
    fn layer_ready(&mut self, io: &mut Io<'_>, session: u32) -> Result<(), BoxError>;
    fn timer(&mut self, io: &mut Io<'_>, session: u32, timer: TimerId) -> Result<(), BoxError>;
    fn last_word(&mut self, io: &mut Io<'_>, session: u32, why: &CloseReason);
    fn close(&mut self, io: &mut Io<'_>, session: u32, why: &CloseReason);
    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error);
    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit);
    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error);
    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId);
    #[cfg(feature = "workers")]
    fn job_done(&mut self, io: &mut Io<'_>, session: Option<u32>, done: JobDone) -> Result<(), BoxError>;
    fn shutting_down(&mut self, io: &mut Io<'_>);
    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error);
    /// The handler, for a downcast.
    fn handler(&mut self) -> &mut dyn Any;
    /// The handler by shared reference, for a downcast.
    fn handler_ref(&self) -> &dyn Any;
    /// The name of the handler's type, for logs.
    fn name(&self) -> &'static str;
}

/// A handler of connections with its sessions. All sessions lie in one slab, so
/// none is an allocation of its own.
pub(crate) struct Streams<S: StreamHandler> {
    handler: S,
    sessions: Slab<S::Session>,
}

impl<S: StreamHandler> Streams<S> {
    pub(crate) const fn new(handler: S) -> Self {
        Self { handler, sessions: Slab::new() }
    }
}

impl<S: StreamHandler> Drop for Streams<S> {
    /// Sessions are left here only when a panic has dropped the reactor.
    fn drop(&mut self) {
        for session in self.sessions.drain() {
            discard("a session", session);
        }
    }
}

impl<S: StreamHandler> ErasedHandler for Streams<S> {
    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.handler.started(io)
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.handler.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<u32, BoxError> {
        let session = self.handler.open(io, origin)?;
        Ok(u32::try_from(self.sessions.insert(session))?)
    }

    fn data(&mut self, io: &mut Io<'_>, session: u32, input: &mut Input) -> Result<(), BoxError> {
        let session = &mut self.sessions[session as usize];
        let new = input.unread();
        let taken = if new.is_empty() { 0 } else { self.handler.data_in_place(io, session, new)? };
        if taken > 0 && taken == new.len() {
            return Ok(());
        }
        self.handler.data(io, session, input.show_from(taken))
    }

    fn eof(&mut self, io: &mut Io<'_>, session: u32, rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.handler.eof(io, &mut self.sessions[session as usize], rest)
    }

    fn drained(&mut self, io: &mut Io<'_>, session: u32) -> Result<(), BoxError> {
        self.handler.drained(io, &mut self.sessions[session as usize])
    }

    fn layer_ready(&mut self, io: &mut Io<'_>, session: u32) -> Result<(), BoxError> {
        self.handler.layer_ready(io, &mut self.sessions[session as usize])
    }

    fn timer(&mut self, io: &mut Io<'_>, session: u32, timer: TimerId) -> Result<(), BoxError> {
        self.handler.timer(io, &mut self.sessions[session as usize], timer)
    }

    fn last_word(&mut self, io: &mut Io<'_>, session: u32, why: &CloseReason) {
        self.handler.last_word(io, &mut self.sessions[session as usize], why);
    }

    fn close(&mut self, io: &mut Io<'_>, session: u32, why: &CloseReason) {
        let session = self.sessions.remove(session as usize);
        self.handler.close(io, session, why);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        self.handler.connect_failed(io, tag, error);
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        self.handler.child_exited(io, child, tag, exit);
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        self.handler.spawn_failed(io, child, tag, error);
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.handler.tick(io, timer);
    }

    #[cfg(feature = "workers")]
    fn job_done(&mut self, io: &mut Io<'_>, session: Option<u32>, done: JobDone) -> Result<(), BoxError> {
        let session = session.map(|session| &mut self.sessions[session as usize]);
        self.handler.job_done(io, session, done)
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.handler.shutting_down(io);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.handler.listener_failed(io, listener, error);
    }

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.handler
    }

    fn handler_ref(&self) -> &dyn Any {
        &self.handler
    }

    fn name(&self) -> &'static str {
        type_name::<S>()
    }
}
