//! The contract: what a service is made of.

use std::io;

use bytes::BytesMut;

use crate::close::CloseReason;
use crate::error::BoxError;
use crate::id::{ChildId, ListenerId, TimerId};
use crate::io::Io;
use crate::origin::{Origin, Peer};
use crate::process::Exit;

/// What becomes of a connection after its peer's FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterEof {
    /// What is queued is written, then our FIN: the connection ends as
    /// [`CloseReason::Finished`].
    #[default]
    Finish,
    /// The connection stays for output until the handler ends it, or its idle
    /// deadline does; or until its peer is gone altogether (a reset; on a Unix
    /// socket, that it has closed), with [`CloseReason::Io`].
    Stay,
}

/// A service on stream connections: TCP and Unix stream sockets.
///
/// The handler itself holds what all of its connections share; a `Session`
/// holds what belongs to one. All methods but [`open`](Self::open) and
/// [`data`](Self::data) have a default.
///
/// # The order of callbacks
///
/// For each connection:
///
/// ```text
/// verify -> open -> (data | drained | timer)* -> eof? -> (drained | timer)* -> close
/// ```
///
/// One that the handler connected itself ([`Io::connect`]) begins with
/// `connect_failed`, which is then the last call, or with `open`.
///
/// - `data` may have a `data_in_place` before it, which takes from it, or all of it.
/// - `verify` that refuses, and `open` that fails, are the last call: without
///   a session there is no `close`.
/// - `close` comes **exactly once** for every session that was opened, after
///   the last byte was handed over, whatever ended the connection.
/// - Nothing is called while another callback runs: [`Io`] only queues what a
///   callback wants, and the loop carries it out afterwards.
///
/// # Errors and panics
///
/// An `Err` from a callback ends that connection alone, with
/// [`CloseReason::Failed`]; what it had queued is still written. A panic ends that
/// connection alone, with [`CloseReason::Panicked`]; what it had queued is dropped,
/// and a TCP peer sees a reset. Where a callback belongs to no connection
/// (`verify`, `tick`, `shutting_down`, `listener_failed`), a panic is counted and
/// logged, and the service goes on; `verify` then refuses.
///
/// Code of the program runs outside of callbacks too: the `Display` and `Drop`
/// of an error, and the `Drop` of what owns shared bytes
/// ([`Bytes::from_owner`](bytes::Bytes::from_owner)), of a call from a
/// [`Handle`](crate::Handle) that was not run, of sessions and handlers when the
/// reactor is dropped. A panic there is logged and ends nothing, whatever
/// [`Config::catch_panics`](crate::Config::catch_panics) says.
///
/// Not promised: what the program's logger, its panic hook or a
/// [`Driver`](crate::driver::Driver) of its own panic with comes out of the
/// loop. A `Drop` that panics while a panic unwinds ends the process, by the
/// rules of the language.
pub trait StreamHandler: 'static {
    /// The state of one connection.
    type Session: 'static;

    /// May this peer connect? Asked before anything is set up for it. A peer
    /// that is refused is closed without a word.
    fn verify(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }

    /// A connection is there: makes its session. May write a greeting.
    ///
    /// # Errors
    ///
    /// Any error refuses the connection; what was written is still sent.
    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError>;

    /// Input has come. `input` is what the last call left, then what is new.
    ///
    /// Take what is complete (`split_to`, `advance`, `clear`) and leave the
    /// rest: it will be in front of what comes next, and its sender has
    /// [`Limits::frame`](crate::Limits::frame) to complete it. The buffer is
    /// lent for this call, so what is taken whole costs no allocation. A
    /// handler that takes a part of a frame before the rest is there says so
    /// ([`Io::set_partial`]).
    ///
    /// What is split off may be kept, and then the buffer that it is a part of
    /// stays with it: of what this connection has sent, that is the read or the
    /// incomplete frame which it came in, and of no other's (but for one buffer
    /// of [`Config::read_buffer`](crate::Config::read_buffer), for all
    /// connections). A handler that keeps nine bytes of much more for long had
    /// better copy them.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn data(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError>;

    /// New input as it lies in the read buffer, before it is copied for
    /// [`data`](Self::data): for a handler that writes it to a file, hashes it
    /// or counts it, and needs no more than to look at it. Returns how many
    /// bytes, from the first on, are taken. By default none are.
    ///
    /// With what is not taken `data` is called at once, even if this has closed
    /// or paused the connection. It is not called while `data` has left something:
    /// that, and what comes behind it, is for `data`. What is taken here and
    /// not complete can be told as it is there ([`Io::set_partial`]).
    ///
    /// # Errors
    ///
    /// Any error ends the connection, and none of `input` is taken.
    ///
    /// # Panics
    ///
    /// The caller does, as though the handler had, if it is told more bytes than
    /// there are.
    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        let _ = (io, session, input);
        Ok(0)
    }

    /// The peer has ended its side; `rest` is what `data` had left. By
    /// default the connection ends once all output is written.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn eof(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        let _ = (io, session, rest);
        Ok(AfterEof::Finish)
    }

    /// The output queue, which had passed its high mark, has fallen to its
    /// low mark. Called once for each such crossing.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn drained(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<(), BoxError> {
        let _ = (io, session);
        Ok(())
    }

    /// A timer is due that was set in a callback of this connection.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn timer(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        timer: TimerId,
    ) -> Result<(), BoxError> {
        let _ = (io, session, timer);
        Ok(())
    }

    /// The connection has ended: its last byte is written, or dropped, as
    /// `why` says. Writing to it answers [`Sent::Gone`](crate::Sent::Gone).
    fn close(&mut self, io: &mut Io<'_>, session: Self::Session, why: &CloseReason) {
        let _ = (io, session, why);
    }

    /// An outbound connection did not come about; `tag` is what
    /// [`Io::connect`](crate::Io::connect) was told, and [`Io::id`] the id that
    /// it gave. Every `connect` is answered once: by this, or by `open`.
    /// Logged as a warning by default, at a
    /// [limited rate](crate::LogRate).
    ///
    /// `error` is the system's reason; `TimedOut` after
    /// [`Limits::connect`](crate::Limits::connect), and `ConnectionAborted` if
    /// the handler ended it, or a shutdown did.
    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        io.warn_of_connect(tag, error);
    }

    /// A child process has exited, and what it left in its pipes was handed
    /// over; they are closed. Every [`Io::spawn`](crate::Io::spawn) is answered
    /// once: by this, or by [`spawn_failed`](Self::spawn_failed). `tag` is what
    /// it was told.
    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        let _ = (io, child, tag, exit);
    }

    /// A child process was not started. Logged as a warning by default, at a
    /// [limited rate](crate::LogRate).
    ///
    /// `error` is the system's reason (`NotFound`, `PermissionDenied`, `E2BIG`,
    /// `EAGAIN`, `EMFILE`, …); `ConnectionAborted` if the handler ended it
    /// before it began, or a shutdown did.
    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        io.warn_of_spawn(child, tag, error);
    }

    /// A timer is due that belongs to the service and to no connection.
    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = (io, timer);
    }

    /// A shutdown has begun: nobody new comes in, and what has nothing under
    /// way is about to be closed.
    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// A listener of this service failed (`EBADF`, `EINVAL`, …), and its socket
    /// is closed. The reactor tries to make it again, under the same id, for
    /// [`Config::listen_again`](crate::Config::listen_again); when that is over
    /// it is told once more, with the last reason, and the listener is gone.
    /// [`Reactor::is_listening`](crate::Reactor::is_listening) says how it is,
    /// [`Reactor::local`](crate::Reactor::local) whether it is still there. The
    /// log has both in any case; by default nothing else happens.
    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        let _ = (io, listener, error);
    }
}
