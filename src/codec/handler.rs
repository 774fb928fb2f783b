//! The contract of a service that is given frames.

use std::io;

use tokio_util::codec::Decoder;

use crate::process::Exit;
use crate::{AfterEof, BoxError, ChildId, CloseReason, Io, ListenerId, Origin, Peer, TimerId};

/// A service on stream connections that is given whole frames.
///
/// It is a [`StreamHandler`](crate::StreamHandler) in all but one thing: a
/// codec in the session makes frames of the bytes, and [`frame`](Self::frame)
/// takes the place of `data`. [`Framed`](super::Framed) makes a
/// `StreamHandler` of it, for a reactor to take. The order of callbacks, and
/// what their errors and panics lead to, are those of `StreamHandler`:
///
/// ```text
/// verify -> open -> (frame | drained | timer)* -> frame_error? -> eof? -> (drained | timer)* -> close
/// ```
///
/// What the peer sent last is decoded with [`Decoder::decode_eof`]: that may
/// give more frames before `eof`. After `frame_error` there is only `close`.
pub trait FrameHandler: 'static {
    /// The state of one connection, its codec included.
    type Session: 'static;

    /// What makes frames of bytes. Only decoding is asked of it here; a
    /// [`FrameWriter`](super::FrameWriter) encodes with whatever is given to
    /// it, the same codec or another.
    type Codec: Decoder<Error: Into<BoxError>>;

    /// May this peer connect? As [`verify`](crate::StreamHandler::verify) of
    /// `StreamHandler`.
    fn verify(&mut self, peer: &Peer) -> bool {
        let _ = peer;
        true
    }

    /// A connection is there: makes its session, with its codec. May write a
    /// greeting.
    ///
    /// # Errors
    ///
    /// Any error refuses the connection; what was written is still sent.
    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError>;

    /// The codec of a session.
    fn codec(session: &mut Self::Session) -> &mut Self::Codec;

    /// A whole frame has come.
    ///
    /// Of several that came together, the next follows when this returns;
    /// but no further one once the connection is paused ([`Io::pause`]), until
    /// it is resumed, and none at all once it is closed or aborted. Only at
    /// the end of input a pause holds nothing back.
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

    /// The codec cannot go on: what came is no frame, one is too long, or the
    /// stream ended within one ([`io::ErrorKind::UnexpectedEof`]). All frames
    /// before it were handed over. The connection ends, as
    /// [`CloseReason::Failed`] with what is returned here; a last word to the peer
    /// may be written before.
    fn frame_error(
        &mut self,
        io: &mut Io<'_>,
        session: &mut Self::Session,
        error: <Self::Codec as Decoder>::Error,
    ) -> BoxError {
        let _ = (io, session);
        error.into()
    }

    /// Whether the codec, which took bytes and made no frame of them, stands
    /// between two frames all the same: they were white space, a sign of
    /// life, or the like.
    ///
    /// `false` by default: they are the beginning of a frame, for which
    /// deadlines run and without whose rest the stream must not end. That is
    /// right for every codec that gives all that comes as frames. With `true`
    /// they count as a frame of their own, the first one included.
    fn is_between_frames(codec: &Self::Codec) -> bool {
        let _ = codec;
        false
    }

    /// The peer has ended its side, and all frames were handed over. By
    /// default the connection ends once all output is written.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn eof(&mut self, io: &mut Io<'_>, session: &mut Self::Session) -> Result<AfterEof, BoxError> {
        let _ = (io, session);
        Ok(AfterEof::Finish)
    }

    /// The output queue has fallen to its low mark. As
    /// [`drained`](crate::StreamHandler::drained) of `StreamHandler`.
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

    /// The connection has ended. As [`close`](crate::StreamHandler::close) of
    /// `StreamHandler`.
    fn close(&mut self, io: &mut Io<'_>, session: Self::Session, why: &CloseReason) {
        let _ = (io, session, why);
    }

    /// An outbound connection did not come about. As
    /// [`connect_failed`](crate::StreamHandler::connect_failed) of
    /// `StreamHandler`. Logged as a warning by default, at a
    /// [limited rate](crate::LogRate).
    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &io::Error) {
        io.warn_of_connect(tag, error);
    }

    /// A child process has exited. As
    /// [`child_exited`](crate::StreamHandler::child_exited) of
    /// `StreamHandler`; its pipes are connections with frames too.
    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, exit: &Exit) {
        let _ = (io, child, tag, exit);
    }

    /// A child process was not started. As
    /// [`spawn_failed`](crate::StreamHandler::spawn_failed) of
    /// `StreamHandler`. Logged as a warning by default, at a
    /// [limited rate](crate::LogRate).
    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, tag: u64, error: &io::Error) {
        io.warn_of_spawn(child, tag, error);
    }

    /// A timer is due that belongs to the service and to no connection.
    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = (io, timer);
    }

    /// A shutdown has begun. As [`shutting_down`](crate::StreamHandler::shutting_down)
    /// of `StreamHandler`.
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
