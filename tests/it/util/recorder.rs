//! A handler that tells the test of every callback.

use std::sync::mpsc::{self, Receiver, Sender};

use bytes::BytesMut;
use serve_forever::{AfterEof, BoxError, CloseReason, ConnId, Io, Origin, Peer, StreamHandler, TimerId};

use super::PATIENCE;

/// A callback, with what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Verify,
    Open,
    Data(Vec<u8>),
    Eof(Vec<u8>),
    Drained,
    Timer(TimerId),
    /// The reason as its `Debug` shows it.
    Close(String),
    Tick(TimerId),
    ShuttingDown,
}

impl Call {
    pub(crate) fn data(text: &str) -> Self {
        Self::Data(text.into())
    }

    pub(crate) fn eof(text: &str) -> Self {
        Self::Eof(text.into())
    }

    pub(crate) fn close(why: &str) -> Self {
        Self::Close(why.into())
    }
}

/// A callback, and whose it was.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `None` before there is a connection.
    pub(crate) id: Option<ConnId>,
    pub(crate) call: Call,
}

/// How much of its input a recorder takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Take {
    All,
    Nothing,
    /// Up to and with the last line end.
    Lines,
}

type Script = Box<dyn FnMut(&mut Io<'_>, &Call) -> Result<(), BoxError> + Send>;

/// Sends every callback into a channel, then does what its script says.
pub(crate) struct Recorder {
    tell: Sender<Event>,
    script: Script,
    pub(crate) take: Take,
    pub(crate) after_eof: AfterEof,
    /// What to answer to `verify`; `None`: yes, and say nothing of it.
    pub(crate) verify: Option<bool>,
}

impl Recorder {
    /// The script runs in every callback but `verify`, which has no `Io`; its
    /// error is the callback's, where that may have one.
    pub(crate) fn new(
        script: impl FnMut(&mut Io<'_>, &Call) -> Result<(), BoxError> + Send + 'static,
    ) -> (Self, Events) {
        let (tell, told) = mpsc::channel();
        let recorder = Self {
            tell,
            script: Box::new(script),
            take: Take::All,
            after_eof: AfterEof::Finish,
            verify: None,
        };
        (recorder, Events(told))
    }

    /// Records, and does nothing.
    pub(crate) fn passive() -> (Self, Events) {
        Self::new(|_, _| Ok(()))
    }

    pub(crate) fn taking(mut self, take: Take) -> Self {
        self.take = take;
        self
    }

    pub(crate) fn staying(mut self) -> Self {
        self.after_eof = AfterEof::Stay;
        self
    }

    pub(crate) fn verifying(mut self, answer: bool) -> Self {
        self.verify = Some(answer);
        self
    }

    fn record(&mut self, io: &mut Io<'_>, call: Call) -> Result<(), BoxError> {
        let outcome = (self.script)(io, &call);
        // After the script, so that what it did is in place when the test
        // hears of it. That test may have seen enough and be gone.
        let _ = self.tell.send(Event { id: Some(io.id()), call });
        outcome
    }
}

impl StreamHandler for Recorder {
    type Session = ();

    fn verify(&mut self, _: &Peer) -> bool {
        if self.verify.is_some() {
            let _ = self.tell.send(Event { id: None, call: Call::Verify });
        }
        self.verify.unwrap_or(true)
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.record(io, Call::Open)
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        let outcome = self.record(io, Call::Data(input.to_vec()));
        match self.take {
            Take::All => input.clear(),
            Take::Nothing => {}
            Take::Lines => {
                let end = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                drop(input.split_to(end));
            }
        }
        outcome
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        self.record(io, Call::Eof(rest.to_vec()))?;
        Ok(self.after_eof)
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        self.record(io, Call::Drained)
    }

    fn timer(&mut self, io: &mut Io<'_>, (): &mut (), timer: TimerId) -> Result<(), BoxError> {
        self.record(io, Call::Timer(timer))
    }

    fn close(&mut self, io: &mut Io<'_>, (): (), why: &CloseReason) {
        let _ = self.record(io, Call::Close(format!("{why:?}")));
    }

    fn tick(&mut self, io: &mut Io<'_>, timer: TimerId) {
        let _ = self.record(io, Call::Tick(timer));
    }

    fn shutting_down(&mut self, io: &mut Io<'_>) {
        let _ = self.record(io, Call::ShuttingDown);
    }
}

/// What a [`Recorder`] tells.
pub(crate) struct Events(Receiver<Event>);

impl Events {
    #[track_caller]
    pub(crate) fn next(&self) -> Event {
        self.0.recv_timeout(PATIENCE).expect("one more callback")
    }

    /// The next callback is this one; returns whose.
    #[track_caller]
    pub(crate) fn expect(&self, call: &Call) -> ConnId {
        let event = self.next();
        assert_eq!(&event.call, call);
        event.id.expect("a callback of a connection")
    }

    #[track_caller]
    pub(crate) fn expect_open(&self) -> ConnId {
        self.expect(&Call::Open)
    }

    /// The next callback is `close`, and its reason begins like this.
    #[track_caller]
    pub(crate) fn expect_close(&self, why: &str) -> ConnId {
        let event = self.next();
        let Call::Close(told) = &event.call else { panic!("{event:?} is no close") };
        assert!(told.starts_with(why), "closed as {told}, not as {why}");
        event.id.expect("a callback of a connection")
    }

    /// Everything of the next connection that closes, `close` included.
    #[track_caller]
    pub(crate) fn life(&self) -> Vec<Call> {
        let mut life = Vec::new();
        loop {
            let event = self.next();
            let closed = matches!(event.call, Call::Close(_));
            life.push(event.call);
            if closed {
                return life;
            }
        }
    }

    /// What has been told and not been looked at.
    pub(crate) fn so_far(&self) -> Vec<Call> {
        self.0.try_iter().map(|event| event.call).collect()
    }

    /// Nothing else was told. Only once the server has stopped, or after
    /// something that proves it would have been.
    #[track_caller]
    pub(crate) fn expect_none(&self) {
        assert_eq!(self.so_far(), []);
    }
}
