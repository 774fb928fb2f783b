//! Handlers of frames, for the tests.

use serve_forever::bytes::BytesMut;
use serve_forever::codec::{Decoder, FrameHandler, FrameWriter, Framed, LengthDelimitedCodec};
use serve_forever::driver::sim::{ClientId, Conditions};
use serve_forever::sim::World;
use serve_forever::{AfterEof, BoxError, CloseReason, Io, Limits, Origin, Sent, StreamHandler, TimerId};

/// What a [`Collector`] was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Frame(Vec<u8>),
    Error(String),
    Eof,
    Drained,
    Timer,
    /// The reason as its `Debug` shows it.
    Close(String),
}

impl Call {
    pub(crate) fn frame(bytes: impl AsRef<[u8]>) -> Self {
        Self::Frame(bytes.as_ref().to_vec())
    }
}

type Script = Box<dyn FnMut(&mut Io<'_>, &Call) -> Result<(), BoxError>>;

/// Notes what it is told, and does what its script says.
pub(crate) struct Collector<C> {
    codec: fn() -> C,
    script: Script,
    pub(crate) calls: Vec<Call>,
}

impl<C> Collector<C> {
    pub(crate) fn new(codec: fn() -> C) -> Framed<Self> {
        Self::scripted(codec, |_, _| Ok(()))
    }

    pub(crate) fn scripted(
        codec: fn() -> C,
        script: impl FnMut(&mut Io<'_>, &Call) -> Result<(), BoxError> + 'static,
    ) -> Framed<Self> {
        Framed::new(Self { codec, script: Box::new(script), calls: Vec::new() })
    }

    fn note(&mut self, io: &mut Io<'_>, call: Call) -> Result<(), BoxError> {
        let outcome = (self.script)(io, &call);
        self.calls.push(call);
        outcome
    }

    /// Every frame, in order.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let frame = |call: &Call| if let Call::Frame(bytes) = call { Some(bytes.clone()) } else { None };
        self.calls.iter().filter_map(frame).collect()
    }

    /// What else it was told.
    pub(crate) fn others(&self) -> Vec<Call> {
        self.calls.iter().filter(|call| !matches!(call, Call::Frame(_))).cloned().collect()
    }
}

impl<C> FrameHandler for Collector<C>
where
    C: Decoder<Item: AsRef<[u8]>, Error: Into<BoxError>> + 'static,
{
    type Session = C;
    type Codec = C;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<C, BoxError> {
        Ok((self.codec)())
    }

    fn codec(session: &mut C) -> &mut C {
        session
    }

    fn frame(&mut self, io: &mut Io<'_>, _: &mut C, frame: C::Item) -> Result<(), BoxError> {
        self.note(io, Call::frame(frame))
    }

    fn frame_error(&mut self, io: &mut Io<'_>, _: &mut C, error: C::Error) -> BoxError {
        let error = error.into();
        let _ = self.note(io, Call::Error(error.to_string()));
        error
    }

    fn eof(&mut self, io: &mut Io<'_>, _: &mut C) -> Result<AfterEof, BoxError> {
        self.note(io, Call::Eof)?;
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut C) -> Result<(), BoxError> {
        self.note(io, Call::Drained)
    }

    fn timer(&mut self, io: &mut Io<'_>, _: &mut C, _: TimerId) -> Result<(), BoxError> {
        self.note(io, Call::Timer)
    }

    fn close(&mut self, io: &mut Io<'_>, _: C, why: &CloseReason) {
        let _ = self.note(io, Call::Close(format!("{why:?}")));
    }
}

/// Sends every frame back, as a frame, to who keeps up with reading.
#[derive(Debug, Default)]
pub(crate) struct FramedEcho {
    writer: FrameWriter,
    pub(crate) pauses: u64,
}

impl FrameHandler for FramedEcho {
    type Session = LengthDelimitedCodec;
    type Codec = LengthDelimitedCodec;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<LengthDelimitedCodec, BoxError> {
        Ok(LengthDelimitedCodec::new())
    }

    fn codec(session: &mut LengthDelimitedCodec) -> &mut LengthDelimitedCodec {
        session
    }

    fn frame(
        &mut self,
        io: &mut Io<'_>,
        codec: &mut LengthDelimitedCodec,
        frame: BytesMut,
    ) -> Result<(), BoxError> {
        if self.writer.write(io, codec, &frame[..])? == Sent::Full {
            io.pause(io.id());
            self.pauses += 1;
        }
        Ok(())
    }

    fn drained(&mut self, io: &mut Io<'_>, _: &mut LengthDelimitedCodec) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }
}

/// A world in which nothing goes wrong by itself.
pub(crate) fn calm<H: StreamHandler>(handler: H, limits: Limits) -> World<H, true> {
    World::new(1, Conditions::calm(), handler, limits).expect("good limits")
}

/// No deadline at all.
pub(crate) fn patient() -> Limits {
    Limits { idle: None, first_frame: None, frame: None, write_stall: None, ..Limits::default() }
}

/// Runs until nothing happens any more; everything is as before then.
#[track_caller]
pub(crate) fn run<H: StreamHandler, const SHORT: bool>(world: &mut World<H, SHORT>) {
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
}

/// Why a client's connection was closed.
#[track_caller]
pub(crate) fn why<H: StreamHandler, const SHORT: bool>(world: &World<H, SHORT>, client: ClientId) -> String {
    let life = world.life(client).expect("it was opened");
    life.closed().expect("it was closed").to_owned()
}
