//! `FrameHandler`: the callbacks of a service that takes whole frames.

use std::io;

use tokio_util::codec::Decoder;

use crate::process::Exit;
use crate::{AfterEof, BoxError, ChildId, CloseReason, Io, ListenerId, Origin, Peer, TimerId};

/// A service on stream connections that takes whole frames.
///
/// It differs from a [`StreamHandler`](crate::StreamHandler) in one point: a
/// codec in the session makes frames of the bytes, and [`frame`](Self::frame)
/// takes the place of `data`. [`Framed`](super::Framed) makes a `StreamHandler`
/// of it, for [`Reactor::add`](crate::Reactor::add). The order of callbacks,
/// and the consequences of their errors and panics, are those of
/// `StreamHandler`:
///
/// ```text
/// verify -> open -> (frame | drained | timer)* -> frame_error? -> eof? -> (drained | timer)* -> last_word? -> close
/// ```
///
/// At the end of input [`Decoder::decode_eof`] may return more frames before
/// `eof`. After `frame_error` only `last_word` and `close` follow.
pub trait FrameHandler: 'static {
    /// The state of one connection, its codec included.
    type Session: 'static;

    /// The codec that makes frames of bytes. It only decodes here; a
    /// [`FrameWriter`](super::FrameWriter) encodes with any codec that it is
    /// given, the same or another.
    type Codec: Decoder<Error: Into<BoxError>>;

    /// Begins the service, as
    /// [`StreamHandler::started`](crate::StreamHandler::started).
    ///
    /// # Errors
    ///
    /// Any error is that of [`Reactor::add`](crate::Reactor::add).
    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        let _ = io;
        Ok(())
    }

    /// Decides whether this peer may connect, as
    /// [`StreamHandler::verify`](crate::StreamHandler::verify).
    fn verify(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }

    /// Makes the session of a new connection, with its codec. A handler may
    /// write a greeting here.
    ///
    /// # Errors
    ///
    /// Any error refuses the connection; the reactor still sends what was
    /// written.
    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError>;

    /// The codec of a session.
    fn codec(session: &mut Self::Session) -> &mut Self::Codec;

    /// Takes one whole frame.
    ///
    /// Of several frames that arrived together, the next follows when this
    /// returns. A pause ([`Io::pause`]) holds the next frames back until the
    /// connection is resumed, except at the end of input. No frame follows once
    /// the connection is closed or aborted.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn frame(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        frame: <Self::Codec as Decoder>::Item,
    ) -> Result<(), BoxError>;

    /// Handles an error of the codec: the input is malformed, a frame is too
    /// long, or the stream ended within one ([`io::ErrorKind::UnexpectedEof`]).
    /// The reactor has delivered all frames before it. The connection ends as
    /// [`CloseReason::Failed`] with the error that this returns; the handler
    /// may write a last message to the peer first.
    fn frame_error(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        error: <Self::Codec as Decoder>::Error,
    ) -> BoxError {
        let _ = (io, session);
        error.into()
    }

    /// Whether a codec that has taken bytes without returning a frame is
    /// between two frames all the same: the bytes were white space, a
    /// keep-alive, or the like.
    ///
    /// The default is `false`: the bytes begin a frame, its deadlines run, and
    /// the stream must not end without its rest. The default is right for every
    /// codec that returns all input as frames. With `true` the bytes count as a
    /// frame, also as the first one.
    fn is_between_frames(codec: &Self::Codec) -> bool {
        let _ = codec;
        false
    }

    /// Learns that the peer has ended its side, after all frames. By default
    /// the connection ends once all output is written.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn eof(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<AfterEof, BoxError> {
        let _ = (io, session);
        Ok(AfterEof::Finish)
    }

    /// Resumes output: the queue has fallen to its low mark, as
    /// [`StreamHandler::drained`](crate::StreamHandler::drained).
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn drained(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<(), BoxError> {
        let _ = (io, session);
        Ok(())
    }

    /// Learns that the handshake of a layer is complete, as
    /// [`StreamHandler::layer_ready`](crate::StreamHandler::layer_ready).
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

    /// Writes a last message before the connection ends, as
    /// [`StreamHandler::last_word`](crate::StreamHandler::last_word): after an
    /// error of the codec, too, behind what `frame_error` has written.
    fn last_word(&mut self, io: &mut Io<'_>, session: &mut Self::Session, why: &CloseReason) {
        let _ = (io, session, why);
    }

    /// Takes the session back after the end of the connection, as
    /// [`StreamHandler::close`](crate::StreamHandler::close).
    fn close(&mut self, io: &mut Io<'_>, session: Self::Session, why: &CloseReason) {
        let _ = (io, session, why);
    }

    /// Learns that an outbound connection failed, as
    /// [`StreamHandler::connect_failed`](crate::StreamHandler::connect_failed).
    /// Logged as a warning by default, at a [limited rate](crate::LogRate).
    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        io.warn_of_connect(tag, error);
    }

    /// Learns how a child process exited, as
    /// [`StreamHandler::child_exited`](crate::StreamHandler::child_exited); its
    /// pipes are connections with frames too.
    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        let _ = (io, child, tag, exit);
    }

    /// Learns that a child process was not started, as
    /// [`StreamHandler::spawn_failed`](crate::StreamHandler::spawn_failed).
    /// Logged as a warning by default, at a [limited rate](crate::LogRate).
    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        io.warn_of_spawn(child, tag, error);
    }

    /// Receives the end of a job of [`Io::offload_as`](crate::Io::offload_as), as
    /// [`StreamHandler::job_done`](crate::StreamHandler::job_done).
    ///
    /// # Errors
    ///
    /// An error ends the connection; without one the reactor logs it.
    #[cfg(feature = "workers")]
    fn job_done(
        &mut self,
        io: &mut Io<'_>,
        session: Option<&mut Self::Session>,
        done: crate::JobDone,
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

    /// Learns that a shutdown has begun, as
    /// [`StreamHandler::shutting_down`](crate::StreamHandler::shutting_down).
    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// A listener of this service failed for good and is closed. Logged as an
    /// error by default.
    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        let _ = io;
        log::error!("listener {listener} failed and is closed: {error}");
    }
}
