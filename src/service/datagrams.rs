//! Type erasure of a handler of datagrams, for the loop.

use std::any::{Any, type_name};
use std::io;
use std::marker::PhantomData;

use bytes::BytesMut;

use super::ErasedHandler;
use crate::close::CloseReason;
use crate::datagram::{DatagramHandler, SocketError};
use crate::error::BoxError;
use crate::handler::AfterEof;
use crate::id::{ChildId, ListenerId, SocketId, TimerId};
use crate::input::Input;
use crate::io::Io;
use crate::origin::{Origin, Peer};
use crate::process::Exit;
#[cfg(feature = "workers")]
use crate::workers::JobDone;

/// The fate of a datagram at its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    HandedOver,
    Refused,
}

/// A cast from a service to its `DatagramHandler`. `Reactor::bind` knows the
/// handler's type and stores this cast with the socket. So a service for connections
/// and one for datagrams are added alike.
pub(crate) trait ServeDatagrams {
    fn datagram(
        &self,
        handler: &mut dyn ErasedHandler,
        io: &mut Io<'_>,
        on: SocketId,
        from: &Peer,
        data: &[u8],
    ) -> Result<Taken, BoxError>;
    fn drained(&self, handler: &mut dyn ErasedHandler, io: &mut Io<'_>, on: SocketId);
    fn error(&self, handler: &mut dyn ErasedHandler, io: &mut Io<'_>, on: SocketId, error: &SocketError<'_>);
}

struct Via<S>(PhantomData<fn(&mut S)>);

/// The cast to a handler of type `S`.
pub(crate) const fn via<S: DatagramHandler>() -> &'static dyn ServeDatagrams {
    &Via::<S>(PhantomData)
}

impl<S: DatagramHandler> Via<S> {
    fn handler(handler: &mut dyn ErasedHandler) -> &mut S {
        handler.handler().downcast_mut().expect("the socket was bound for a service of this type")
    }
}

impl<S: DatagramHandler> ServeDatagrams for Via<S> {
    fn datagram(
        &self,
        handler: &mut dyn ErasedHandler,
        io: &mut Io<'_>,
        on: SocketId,
        from: &Peer,
        data: &[u8],
    ) -> Result<Taken, BoxError> {
        let handler = Self::handler(handler);
        if !handler.verify(on, from, data) {
            return Ok(Taken::Refused);
        }
        handler.datagram(io, on, from, data).map(|()| Taken::HandedOver)
    }

    fn drained(&self, handler: &mut dyn ErasedHandler, io: &mut Io<'_>, on: SocketId) {
        Self::handler(handler).drained(io, on);
    }

    fn error(&self, handler: &mut dyn ErasedHandler, io: &mut Io<'_>, on: SocketId, error: &SocketError<'_>) {
        Self::handler(handler).error(io, on, error);
    }
}

/// A service that takes datagrams alone and has no connection.
pub(crate) struct Datagrams<S>(S);

impl<S: DatagramHandler> Datagrams<S> {
    pub(crate) const fn new(handler: S) -> Self {
        Self(handler)
    }
}

impl<S: DatagramHandler> ErasedHandler for Datagrams<S> {
    fn takes_connections(&self) -> bool {
        false
    }

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.0.started(io)
    }

    fn verify(&mut self, _: &Peer) -> bool {
        false
    }

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<u32, BoxError> {
        Err("the service takes datagrams alone".into())
    }

    // The next methods take a session, and `open` makes none.

    fn data(&mut self, _: &mut Io<'_>, _: u32, _: &mut Input) -> Result<(), BoxError> {
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, _: u32, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, _: &mut Io<'_>, _: u32) -> Result<(), BoxError> {
        Ok(())
    }

    fn layer_ready(&mut self, _: &mut Io<'_>, _: u32) -> Result<(), BoxError> {
        Ok(())
    }

    fn timer(&mut self, _: &mut Io<'_>, _: u32, _: TimerId) -> Result<(), BoxError> {
        Ok(())
    }

    fn last_word(&mut self, _: &mut Io<'_>, _: u32, _: &CloseReason) {}

    fn close(&mut self, _: &mut Io<'_>, _: u32, _: &CloseReason) {}

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        io.warn_of_connect(tag, error);
    }

    fn child_exited(&mut self, _: &mut Io<'_>, _: ChildId, _: u64, _: &Exit) {}

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        io.warn_of_spawn(child, tag, error);
    }

    #[cfg(feature = "workers")]
    fn job_done(&mut self, io: &mut Io<'_>, _: Option<u32>, done: JobDone) -> Result<(), BoxError> {
        self.0.job_done(io, done)
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.0.tick(io, timer);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.0.shutting_down(io);
    }

    fn listener_failed(&mut self, _: &mut Io<'_>, _: ListenerId, _: &io::Error) {}

    fn handler(&mut self) -> &mut dyn Any {
        &mut self.0
    }

    fn handler_ref(&self) -> &dyn Any {
        &self.0
    }

    fn name(&self) -> &'static str {
        type_name::<S>()
    }
}
