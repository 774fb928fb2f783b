//! `StreamHandler`: the callbacks of a service on stream connections, and their
//! order.

use std::io;

use bytes::BytesMut;

use crate::close::CloseReason;
use crate::error::BoxError;
use crate::id::{ChildId, ListenerId, TimerId};
use crate::io::Io;
use crate::origin::{Origin, Peer};
use crate::process::Exit;
#[cfg(feature = "workers")]
use crate::workers::JobDone;

/// The state of a connection after its peer's FIN, as [`StreamHandler::eof`]
/// chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterEof {
    /// The reactor writes what is queued, then sends FIN: the connection ends
    /// as [`CloseReason::Finished`].
    #[default]
    Finish,
    /// The connection keeps its output side until the handler ends it, until
    /// its idle deadline ends it, or until its peer is gone altogether (a
    /// reset; on a Unix socket, a peer that has closed), with
    /// [`CloseReason::Io`].
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
/// [`started`](Self::started) is the first of all. Then, for each connection:
///
/// ```text
/// verify -> open -> (data | drained | timer | layer_ready)* -> eof? -> (drained | timer)* -> last_word? -> close
/// ```
///
/// A connection that the handler opened itself ([`Io::connect`]) begins with
/// `connect_failed`, which is then the last call, or with `open`.
///
/// - `data_in_place` may precede `data`; it takes a part of the new input, or
///   all of it.
/// - A `verify` that refuses and an `open` that fails are the last call:
///   without a session there is no `close`.
/// - `close` comes **exactly once** for every session that was opened, after
///   the last byte was delivered, whatever ended the connection.
/// - No callback runs while another one runs: [`Io`] queues what a callback
///   asks for, and the loop carries it out after the callback has returned.
///
/// # Errors and panics
///
/// An `Err` from a callback ends that connection alone, with
/// [`CloseReason::Failed`]; the reactor still writes what it had queued. A
/// panic ends that connection alone, with [`CloseReason::Panicked`]; the
/// reactor drops what it had queued, and a TCP peer sees a reset. Where a
/// callback belongs to no connection (`verify`, `tick`, `shutting_down`,
/// `listener_failed`), a panic is counted and logged, and the service goes on;
/// `verify` then refuses. An `Err` or a panic of `started` is the error of
/// [`Reactor::add`](crate::Reactor::add).
///
/// Code of the program runs outside of callbacks too: the `Display` and `Drop`
/// of an error, and the `Drop` of what owns shared bytes
/// ([`Bytes::from_owner`](bytes::Bytes::from_owner)), of a call from a
/// [`Handle`](crate::Handle) that was not run, of sessions and handlers when the
/// reactor is dropped. A panic there is logged and ends nothing, whatever
/// [`Config::catch_panics`](crate::Config::catch_panics) says.
///
/// Not contained: a panic of the program's logger, of its panic hook or of a
/// [`Driver`](crate::driver::Driver) of its own propagates out of the loop. A
/// `Drop` that panics while a panic unwinds ends the process, by the rules of
/// the language.
pub trait StreamHandler: 'static {
    /// The state of one connection.
    type Session: 'static;

    /// Begins the service: [`Reactor::add`](crate::Reactor::add) calls this once,
    /// before anything else happens to the handler. For what it has from its
    /// beginning: groups, timers, connections and children of its own.
    ///
    /// ```
    /// # use bytes::BytesMut;
    /// use serve_forever::{BoxError, GroupId, Io, Origin, StreamHandler};
    ///
    /// /// Passes everything on to everybody.
    /// #[derive(Default)]
    /// struct Hub {
    ///     everybody: GroupId, // names no group before `started`
    /// }
    ///
    /// impl StreamHandler for Hub {
    ///     type Session = ();
    ///
    ///     fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
    ///         self.everybody = io.group()?;
    ///         Ok(())
    ///     }
    ///
    ///     fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
    ///         io.join(self.everybody, io.id())?;
    ///         Ok(())
    ///     }
    /// #
    /// #   fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
    /// #       io.broadcast(self.everybody, &input.split().freeze(), Some(io.id()));
    /// #       Ok(())
    /// #   }
    ///     // …
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error is that of `Reactor::add`,
    /// [`Error::NotStarted`](crate::Error::NotStarted). The handler stays in the
    /// reactor without a listener, and what it has begun takes its course.
    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Decides whether this peer may connect, before the reactor sets anything
    /// up for it. `false` closes the connection without a byte. By default
    /// every peer may.
    fn verify(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }

    /// Makes the session of a new connection. A handler may write a greeting
    /// here.
    ///
    /// # Errors
    ///
    /// Any error refuses the connection; the reactor still sends what was
    /// written.
    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError>;

    /// Takes input. `input` is what the last call left, followed by the new
    /// bytes.
    ///
    /// Take what is complete (`split_to`, `advance`, `clear`) and leave the
    /// rest: the next call finds it in front of the next bytes, and its sender
    /// has [`Limits::frame`](crate::Limits::frame) to complete it. The reactor
    /// lends the buffer for this call, so whole frames cost no allocation. A
    /// handler that takes a part of a frame before the rest is there says so
    /// ([`Io::begin_frame`]).
    ///
    /// A handler may keep what it splits off, and then the whole underlying
    /// buffer lives as long. That buffer holds the read, or the incomplete
    /// frame, of this connection alone (except for one buffer of
    /// [`Config::read_buffer`](crate::Config::read_buffer) that all connections
    /// share). Copy a few bytes that you keep for long out of a large read.
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

    /// Sees new input in the read buffer, before the reactor copies it for
    /// [`data`](Self::data): for a handler that only reads the bytes, to write
    /// them to a file, hash them or count them. Returns how many bytes, counted
    /// from the first, it has taken. The default takes none.
    ///
    /// The reactor calls `data` with the rest at once, even if this callback
    /// has closed or paused the connection. It does not call this callback
    /// while `data` has left something: that, and what follows it, is for
    /// `data`.
    ///
    /// # Errors
    ///
    /// Any error ends the connection, and none of `input` is taken.
    ///
    /// # Panics
    ///
    /// The reactor panics, as though the handler had, if the returned number
    /// exceeds the length of `input`.
    fn data_in_place(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        input: &[u8],
    ) -> Result<usize, BoxError> {
        let _ = (io, session, input);
        Ok(0)
    }

    /// Learns that the peer has ended its side; `rest` is what `data` had left.
    /// By default the connection ends once all output is written.
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

    /// Resumes output: the queue had passed its high mark and has fallen to its
    /// low mark. The reactor calls this once for each such crossing.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn drained(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<(), BoxError> {
        let _ = (io, session);
        Ok(())
    }

    /// Learns that the handshake of the layer is complete that
    /// [`Io::start_layer`] has put under this connection. Input and output go
    /// through the layer from here on. (A connection that had its layer from the
    /// beginning is opened when that is ready, and has no call of this.)
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn layer_ready(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<(), BoxError> {
        let _ = (io, session);
        Ok(())
    }

    /// Handles a timer that a callback of this connection set, and that is due.
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

    /// Writes a last message: a limit, a deadline, an error of the handler or a
    /// shutdown ends the connection in order, as `why` says, and the handler may
    /// tell its peer (HTTP's 408, SMTP's 421). The message goes behind what is
    /// queued, then comes FIN. By default there is none.
    ///
    /// [`Limits::last_word`](crate::Limits::last_word) bounds the message, beside
    /// the marks; what would pass that is [`Sent::Dropped`](crate::Sent::Dropped)
    /// and nothing else follows from it. The connection is closing already:
    /// nothing that the handler asks for here keeps it. The reactor does not
    /// call this where an end has no order (a reset, an overflow, stalled
    /// output, a panic), at the deadline of a shutdown, after
    /// [`Io::finish`](crate::Io::finish), or where the handler or the peer ends
    /// the connection.
    fn last_word(&mut self, io: &mut Io<'_>, session: &mut Self::Session, why: &CloseReason) {
        let _ = (io, session, why);
    }

    /// Takes the session back: the connection has ended, and its last byte is
    /// written or dropped, as `why` says. It has left its groups. Writing to it
    /// answers [`Sent::Gone`](crate::Sent::Gone).
    fn close(&mut self, io: &mut Io<'_>, session: Self::Session, why: &CloseReason) {
        let _ = (io, session, why);
    }

    /// Learns that an outbound connection failed; `tag` is the tag given to
    /// [`Io::connect`](crate::Io::connect), and [`Io::id`] the id that
    /// `connect` returned. The reactor answers every `connect` once: with this
    /// callback, or with `open`. Logged as a warning by default, at a [limited
    /// rate](crate::LogRate).
    ///
    /// `error` is the system's reason; `TimedOut` after
    /// [`Limits::connect`](crate::Limits::connect), and `ConnectionAborted` if
    /// the handler or a shutdown ended the attempt.
    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        io.warn_of_connect(tag, error);
    }

    /// Learns how a child process exited. The reactor has delivered what the
    /// child left in its pipes, and has closed them. The reactor answers every
    /// [`Io::spawn`](crate::Io::spawn) once: with this callback, or with
    /// [`spawn_failed`](Self::spawn_failed). `tag` is the tag given to `spawn`.
    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        let _ = (io, child, tag, exit);
    }

    /// Learns that a child process was not started. Logged as a warning by
    /// default, at a [limited rate](crate::LogRate).
    ///
    /// `error` is the system's reason (`NotFound`, `PermissionDenied`, `E2BIG`,
    /// `EAGAIN`, `EMFILE`, …); `ConnectionAborted` if the handler or a shutdown
    /// ended the child before it began.
    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        io.warn_of_spawn(child, tag, error);
    }

    /// Receives the end of a job of [`Io::offload`](crate::Io::offload), for the connection
    /// that gave it, or for none: the default calls the job's `done`. A handler that wraps
    /// another one passes this on with the inner handler and the inner session:
    /// `done.run(&mut self.inner, io, session.map(|session| &mut session.inner))`.
    ///
    /// # Errors
    ///
    /// An error ends the connection; without one the reactor logs it.
    #[cfg(feature = "workers")]
    fn job_done(
        &mut self,
        io: &mut Io<'_>,
        session: Option<&mut Self::Session>,
        done: JobDone,
    ) -> Result<(), BoxError>
    where
        Self: Sized,
    {
        done.run(self, io, session)
    }

    /// Handles a timer that belongs to the service and to no connection, and
    /// that is due.
    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = (io, timer);
    }

    /// Learns that a shutdown has begun: the listeners are closed, and the
    /// reactor is about to close every connection that has nothing under way.
    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// Learns that a listener of this service failed (`EBADF`, `EINVAL`, …) and
    /// that its socket is closed. The reactor tries to make the socket again,
    /// under the same id, for
    /// [`Config::listen_again`](crate::Config::listen_again). After that it
    /// calls this once more, with the last reason, and the listener is gone.
    /// [`Reactor::is_listening`](crate::Reactor::is_listening) says whether a
    /// socket listens, [`Reactor::local`](crate::Reactor::local) whether the
    /// listener still exists. The reactor logs both calls in any case; the
    /// default does nothing else.
    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        let _ = (io, listener, error);
    }
}
