//! `Framed`: a `StreamHandler` that decodes input with a codec and delivers
//! frames to a `FrameHandler`.

use std::io;

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::handler::FrameHandler;
use crate::process::Exit;
use crate::{AfterEof, BoxError, ChildId, CloseReason, Io, ListenerId, Origin, Peer, StreamHandler, TimerId};

/// The adapter that makes a [`StreamHandler`] of a [`FrameHandler`].
///
/// ```
/// use serve_forever::codec::{FrameHandler, FrameWriter, Framed, LinesCodec};
/// use serve_forever::{BoxError, Config, Io, Limits, Origin, Reactor, Sent};
///
/// #[derive(Default)]
/// struct Shout {
///     lines: u64, // of all connections
///     writer: FrameWriter,
/// }
///
/// impl FrameHandler for Shout {
///     type Session = LinesCodec; // nothing else of one connection
///     type Codec = LinesCodec;
///
///     fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<LinesCodec, BoxError> {
///         Ok(LinesCodec::new_with_max_length(1000))
///     }
///
///     fn codec(session: &mut LinesCodec) -> &mut LinesCodec {
///         session
///     }
///
///     fn frame(&mut self, io: &mut Io<'_>, codec: &mut LinesCodec, line: String) -> Result<(), BoxError> {
///         self.lines += 1;
///         if self.writer.write(io, codec, line.to_uppercase())? == Sent::Full {
///             io.pause(io.id()); // further lines stay where they are
///         }
///         Ok(())
///     }
///
///     fn drained(&mut self, io: &mut Io<'_>, _: &mut LinesCodec) -> Result<(), BoxError> {
///         io.resume(io.id());
///         Ok(())
///     }
/// }
///
/// let mut reactor = Reactor::new(Config::default())?;
/// let shout = reactor.add(Framed::new(Shout::default()), Limits::default())?;
/// reactor.listen(&shout, &"127.0.0.1:0".parse()?)?;
/// # reactor.handle(&shout).shutdown(std::time::Duration::ZERO);
/// reactor.serve_forever()?;
/// println!("{} lines", reactor.get(&shout).handler().lines);
/// # Ok::<(), serve_forever::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Framed<H> {
    handler: H,
}

/// The session of a [`Framed`]: its handler's session, and the progress of its
/// codec.
#[derive(Debug)]
pub struct FramedSession<S> {
    session: S,
    /// Bytes that the codec has taken since it last gave a frame.
    taken: usize,
}

impl<H> Framed<H> {
    /// Makes an adapter that delivers frames to this handler.
    #[must_use]
    pub const fn new(handler: H) -> Self {
        Self { handler }
    }

    /// The handler of frames.
    #[must_use]
    pub const fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler of frames, to change between turns or in a call from a
    /// [`Handle`](crate::Handle).
    pub const fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Returns the handler of frames.
    #[must_use]
    pub fn into_handler(self) -> H {
        self.handler
    }
}

/// The outcome of one call of a codec.
enum Step {
    /// A frame was delivered, and the next may follow.
    Next,
    /// The codec needs more input.
    NeedsMore,
}

impl<H: FrameHandler> Framed<H> {
    /// Decodes one frame and delivers it.
    fn step(
        &mut self,
        io: &mut Io<'_>,
        framed: &mut FramedSession<H::Session>,
        input: &mut BytesMut,
        decode: Decode<H::Codec>,
    ) -> Result<Step, BoxError> {
        let before = input.len();
        let decoded = decode(H::codec(&mut framed.session), input);
        framed.taken += before.saturating_sub(input.len());
        match decoded {
            Ok(Some(frame)) => {
                framed.taken = 0;
                io.end_frame(io.id());
                self.handler.frame(io, &mut framed.session, frame)?;
                Ok(Step::Next)
            }
            Ok(None) => {
                if framed.taken > 0 && H::is_between_frames(H::codec(&mut framed.session)) {
                    framed.taken = 0;
                    io.end_frame(io.id());
                }
                Ok(Step::NeedsMore)
            }
            Err(error) => Err(self.handler.frame_error(io, &mut framed.session, error)),
        }
    }
}

/// [`Decoder::decode`] or [`Decoder::decode_eof`].
type Decode<C> = fn(&mut C, &mut BytesMut) -> Result<Option<<C as Decoder>::Item>, <C as Decoder>::Error>;

impl<H: FrameHandler> StreamHandler for Framed<H> {
    type Session = FramedSession<H::Session>;

    fn started(&mut self, io: &mut Io<'_>) -> Result<(), BoxError> {
        self.handler.started(io)
    }

    fn verify(&mut self, peer: &Peer) -> bool {
        self.handler.verify(peer)
    }

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError> {
        Ok(FramedSession { session: self.handler.open(io, origin)?, taken: 0 })
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        framed: &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        let id = io.id();
        while let Step::Next = self.step(io, framed, input, H::Codec::decode)? {
            if !io.is_open(id) {
                return Ok(());
            }
            if io.is_handshaking(id) {
                // What is left in the clear must not pass for more frames.
                return Ok(());
            }
            if io.is_paused(id) {
                // The codec may hold more frames than it has returned: an open
                // frame makes the reactor call again, even without input.
                io.begin_frame(id);
                return Ok(());
            }
        }
        let most = io.limits().max_input;
        if framed.taken.saturating_add(input.len()) > most {
            let what = format!("a frame is longer than Limits::max_input, which is {most} bytes");
            let error = io::Error::new(io::ErrorKind::InvalidData, what);
            return Err(self.handler.frame_error(io, &mut framed.session, error.into()));
        }
        if framed.taken > 0 {
            io.begin_frame(id);
        } else if input.is_empty() {
            io.end_frame(id);
        }
        Ok(())
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        framed: &mut Self::Session,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        let id = io.id();
        while let Step::Next = self.step(io, framed, rest, H::Codec::decode_eof)? {
            if !io.is_open(id) {
                return Ok(AfterEof::Finish);
            }
        }
        if rest.is_empty() && framed.taken == 0 {
            return self.handler.eof(io, &mut framed.session);
        }
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended within a frame");
        Err(self.handler.frame_error(io, &mut framed.session, error.into()))
    }

    fn layer_ready(&mut self, io: &mut Io<'_>, framed: &mut Self::Session) -> Result<(), BoxError> {
        self.handler.layer_ready(io, &mut framed.session)
    }

    fn drained(&mut self, io: &mut Io<'_>, framed: &mut Self::Session) -> Result<(), BoxError> {
        self.handler.drained(io, &mut framed.session)
    }

    fn timer(&mut self, io: &mut Io<'_>, framed: &mut Self::Session, timer: TimerId) -> Result<(), BoxError> {
        self.handler.timer(io, &mut framed.session, timer)
    }

    fn last_word(&mut self, io: &mut Io<'_>, framed: &mut Self::Session, why: &CloseReason) {
        self.handler.last_word(io, &mut framed.session, why);
    }

    fn close(&mut self, io: &mut Io<'_>, framed: Self::Session, why: &CloseReason) {
        self.handler.close(io, framed.session, why);
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

    #[cfg(feature = "workers")]
    fn job_done(
        &mut self,
        io: &mut Io<'_>,
        session: Option<&mut Self::Session>,
        done: crate::JobDone,
    ) -> Result<(), BoxError> {
        self.handler.job_done(io, session.map(|framed| &mut framed.session), done)
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        self.handler.tick(io, timer);
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        self.handler.shutting_down(io);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, listener: ListenerId, error: &io::Error) {
        self.handler.listener_failed(io, listener, error);
    }
}
