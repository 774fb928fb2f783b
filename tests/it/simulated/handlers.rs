//! Handlers of the tests.

use bytes::BytesMut;
use serve_forever::driver::sim::{ClientId, Conditions};
use serve_forever::sim::World;
use serve_forever::{
    AfterEof, BoxError, CloseReason, ConnId, Io, Limits, Origin, Peer, StreamHandler, TimerId,
};

/// What a [`Scripted`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Open,
    Line(&'a [u8]),
    Drained,
    Timer(TimerId),
    Tick(TimerId),
    Close,
    ListenerFailed,
    ShuttingDown,
}

type Script = Box<dyn FnMut(&mut Io<'_>, Call<'_>) -> Result<(), BoxError>>;

/// Takes lines, and does what its script says.
pub(crate) struct Scripted {
    script: Script,
    pub(crate) welcome: bool,
    /// In the order in which they were opened.
    pub(crate) ids: Vec<ConnId>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl Scripted {
    pub(crate) fn new(script: impl FnMut(&mut Io<'_>, Call<'_>) -> Result<(), BoxError> + 'static) -> Self {
        Self { script: Box::new(script), welcome: true, ids: Vec::new() }
    }

    /// Sends every line back.
    pub(crate) fn lines() -> Self {
        Self::new(|io, call| {
            if let Call::Line(line) = call {
                let _ = io.write(line);
            }
            Ok(())
        })
    }
}

impl StreamHandler for Scripted {
    type Session = ();

    fn verify(&mut self, _: &Peer) -> bool {
        self.welcome
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.ids.push(io.id());
        (self.script)(io, Call::Open)
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            (self.script)(io, Call::Line(&line))?;
        }
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        if !rest.is_empty() {
            (self.script)(io, Call::Line(rest))?;
        }
        Ok(AfterEof::Finish)
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        (self.script)(io, Call::Drained)
    }

    fn timer(&mut self, io: &mut Io<'_>, (): &mut (), timer: TimerId) -> Result<(), BoxError> {
        (self.script)(io, Call::Timer(timer))
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), _: &CloseReason) {
        let _ = (self.script)(io, Call::Close);
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = (self.script)(io, Call::Tick(timer));
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = (self.script)(io, Call::ShuttingDown);
    }

    fn listener_failed(&mut self, io: &mut Io<'_>, _: serve_forever::ListenerId, _: &std::io::Error) {
        let _ = (self.script)(io, Call::ListenerFailed);
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

/// Why a client's connection was closed.
#[track_caller]
pub(crate) fn why<H: StreamHandler, const SHORT: bool>(world: &World<H, SHORT>, client: ClientId) -> String {
    let life = world.life(client).expect("it was opened");
    life.closed().expect("it was closed").to_owned()
}

/// Runs until nothing happens any more; everything is as before then.
#[track_caller]
pub(crate) fn run<H: StreamHandler, const SHORT: bool>(world: &mut World<H, SHORT>) {
    world.run().expect("it keeps its promises");
    world.check_baseline().expect("all has gone");
}

/// Bytes without a short period.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut rng = serve_forever::driver::sim::Rng::new(1);
    std::iter::repeat_with(|| rng.draw().to_le_bytes()).flatten().take(len).collect()
}
