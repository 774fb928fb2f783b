//! `Shrinking`: what is to be shrunk, and what is right.

use std::fmt;

use crate::{Limits, StreamHandler};

/// The right answer to some bytes.
pub type RightAnswer = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// What a client must see. A run in which it does not fails, and is made smaller.
#[non_exhaustive]
pub enum Expected {
    /// Its connection ends in order: no callback fails or panics, and every check of
    /// [`World`](crate::sim::World) holds.
    NoFailure,
    /// It receives what it would receive if the same bytes had come in one piece: for
    /// handlers whose answers do not depend on how bytes are cut.
    AsUncut,
    /// It receives this, for the bytes that it has sent.
    Answer(RightAnswer),
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoFailure => "NoFailure",
            Self::AsUncut => "AsUncut",
            Self::Answer(_) => "Answer",
        })
    }
}

/// Finds the client of a recording with which a handler fails, and makes its script
/// smaller as long as it fails: fewer reads, fewer cuts, fewer bytes.
///
/// Each client is played alone, by a script over the simulated network in which nothing
/// else goes wrong. So it needs no beginning of the recording, but the accept of that
/// client; and it finds no failure that takes two clients.
///
/// ```
/// use serve_forever::bytes::BytesMut;
/// use serve_forever::driver::sim::{Conditions, Script, SimDriver};
/// use serve_forever::record::{Payloads, RecordOptions, Recorder};
/// use serve_forever::sim::{Expected, Shrinking};
/// use serve_forever::{BoxError, Config, Endpoint, Io, Limits, Origin, Reactor, StreamHandler};
///
/// /// Answers each line, and forgets what stands behind the last one.
/// struct Shout;
///
/// impl StreamHandler for Shout {
///     type Session = ();
///
///     fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
///         Ok(())
///     }
///
///     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
///         while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
///             io.reply(&input.split_to(end + 1).to_ascii_uppercase());
///         }
///         Ok(input.clear()) // the bug
///     }
/// }
///
/// // Recorded in production, let us say.
/// let options = RecordOptions { payloads: Payloads::Kept, ..RecordOptions::default() };
/// let driver = Recorder::new(SimDriver::<true>::new(1, Conditions::calm()), options)?;
/// let at: Endpoint = "127.0.0.1:7".parse()?;
/// let mut reactor = Reactor::with_driver(driver, Config::default())?;
/// let shout = reactor.add(Shout, Limits::default())?;
/// reactor.listen(&shout, &at)?;
/// let script = Script::new().send("one\ntwo\nthree\n").cut_at([2, 6, 12]).finish();
/// let client = reactor.driver_mut().inner_mut().net_mut().play(&at, script);
/// while !reactor.driver().inner().net().client(client).has_ended() {
///     reactor.turn(None)?;
/// }
/// let dump = reactor.driver_mut().dump();
///
/// let shrunk = Shrinking::new(|| Shout, Expected::AsUncut).shrink(&dump)?;
/// assert_eq!(shrunk.sent(), b"a\n");
/// assert_eq!(shrunk.cuts(), [1]);
/// println!("{}", shrunk.to_test("a_line_is_whole", "Shout", "Limits::default()"));
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct Shrinking<H> {
    pub(super) handler: Box<dyn Fn() -> H>,
    pub(super) limits: Limits,
    pub(super) expected: Expected,
    pub(super) runs: usize,
}

impl<H: StreamHandler> Shrinking<H> {
    /// A shrinking of runs into new handlers, under the default limits and with at most
    /// 20,000 runs.
    pub fn new(handler: impl Fn() -> H + 'static, expected: Expected) -> Self {
        Self { handler: Box::new(handler), limits: Limits::default(), expected, runs: 20_000 }
    }

    /// Sets the limits of the service.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the most runs that are spent.
    #[must_use]
    pub const fn runs(mut self, runs: usize) -> Self {
        self.runs = runs;
        self
    }
}

impl<H> fmt::Debug for Shrinking<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shrinking")
            .field("limits", &self.limits)
            .field("expected", &self.expected)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}
