//! `every_cut`: a client under every cut of its bytes, and pauses, FINs and resets at
//! each place, compared with the uncut run.

use std::fmt;
use std::time::Duration;

use super::world::{Violation, World};
use crate::driver::sim::{Act, Actor, ClientId, Cut};
use crate::{Endpoint, Error, StreamHandler};

/// The time between the two sides of a cut: long enough for the loop to come to rest.
const GAP: Duration = Duration::from_millis(10);

/// Runs a client against a handler once for each way to cut its bytes, with
/// [`EveryCut::default`]. See there.
///
/// # Errors
///
/// As [`EveryCut::run`].
pub fn every_cut<A, H, const SHORT: bool>(
    client: &A,
    world: impl FnMut() -> Result<World<H, SHORT>, Error>,
) -> Result<CutReport, CutError>
where
    A: Actor + Clone,
    H: StreamHandler,
{
    EveryCut::default().run(client, world)
}

/// A test of all ways to cut the bytes that a client sends: instead of a seed that
/// finds one, all of them. It makes one run for each of
///
/// - a single cut at each place between two bytes;
/// - two cuts at each two places;
/// - a [pause](Self::pause) at each place, before the first byte and behind the last
///   one included;
/// - a FIN at each place instead of the rest, at once and after a pause;
/// - a reset at each place instead of the rest, at once and after a pause.
///
/// What must hold is said by the run without cuts, and by the pauses:
///
/// - With one cut, two, or a pause, every client of the network receives the same
///   bytes as without, and its connection ends in the same way.
/// - With a FIN the client receives at least what it had received until then, whether
///   the FIN comes with the last bytes or behind them; the two runs are the same.
/// - With a reset the client receives nothing else than it had until then, and its
///   connection is closed.
/// - All of [`World`]'s checks hold after every turn. Where nothing is left behind
///   without cuts ([`World::check_baseline`]), nothing is.
///
/// ```
/// use serve_forever::driver::sim::{Conditions, Script};
/// use serve_forever::services::Upper;
/// use serve_forever::sim::{World, every_cut};
///
/// let script = Script::new().send("one\ntwo\n").finish();
/// let report = every_cut(&script, || {
///     World::<_, true>::new(1, Conditions::calm(), Upper::new(), Upper::limits())
/// })?;
/// assert_eq!(report.bytes, 8);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
///
/// The runs for `n` bytes are `n²/2 + 9n/2 + 7`. The world has to be the same each
/// time, so a handler that says the time of day or draws lots takes both from its
/// maker.
///
/// The handler of [`crate::sim`]'s second chapter, which forgets a line that has not
/// come whole, is found at the first cut:
///
/// ```
/// # use serve_forever::bytes::BytesMut;
/// # use serve_forever::{BoxError, Io, Limits, Origin, StreamHandler};
/// # use serve_forever::driver::sim::{Conditions, Script};
/// # use serve_forever::sim::{World, every_cut};
/// # struct Shout;
/// # impl StreamHandler for Shout {
/// #     type Session = ();
/// #     fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
/// #         Ok(())
/// #     }
/// #     fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
/// #         while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
/// #             io.reply(&input.split_to(end + 1).to_ascii_uppercase());
/// #         }
/// #         input.clear();
/// #         Ok(())
/// #     }
/// # }
/// let script = Script::new().send("one\ntwo\n").finish();
/// let found = every_cut(&script, || World::<_, true>::new(1, Conditions::calm(), Shout, Limits::default()));
/// let what = found.expect_err("the bug is found").to_string();
/// assert!(what.starts_with("with a cut after byte 1, client #0 received b\"NE\\nTWO\\n\""), "{what}");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EveryCut {
    /// The most runs; with more than that to do it begins none. Default 20,000, which
    /// is enough for 195 bytes.
    pub max_runs: usize,
    /// The pairs of places that are cut together. Default all.
    pub pairs: Pairs,
    /// The length of a pause. Default 1 s.
    pub pause: Duration,
    /// The endpoint that the client connects to. Default [`World::tcp`].
    pub to: Option<Endpoint>,
}

impl Default for EveryCut {
    fn default() -> Self {
        Self { max_runs: 20_000, pairs: Pairs::All, pause: Duration::from_secs(1), to: None }
    }
}

/// Which two places are cut together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Each two.
    All,
    /// Each two with at most so many bytes between them: the parts of one frame.
    Within(usize),
    /// None: single cuts alone.
    None,
}

/// How the bytes of a client were disturbed. A place is a number of bytes from the
/// beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Not at all.
    None,
    /// A cut.
    Cut(usize),
    /// Two cuts.
    Cuts(usize, usize),
    /// A pause.
    Pause(usize),
    /// A FIN instead of the rest.
    Fin(usize),
    /// A FIN instead of the rest, after a pause.
    LateFin(usize),
    /// A reset instead of the rest.
    Reset(usize),
    /// A reset instead of the rest, after a pause.
    LateReset(usize),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("without a cut"),
            Self::Cut(at) => write!(f, "with a cut after byte {at}"),
            Self::Cuts(first, second) => write!(f, "with cuts after bytes {first} and {second}"),
            Self::Pause(at) => write!(f, "with a pause after byte {at}"),
            Self::Fin(at) => write!(f, "with a FIN after byte {at}"),
            Self::LateFin(at) => write!(f, "with a pause and a FIN after byte {at}"),
            Self::Reset(at) => write!(f, "with a reset after byte {at}"),
            Self::LateReset(at) => write!(f, "with a pause and a reset after byte {at}"),
        }
    }
}

impl Disturbance {
    /// What happens where.
    fn cuts(self, pause: Duration) -> Vec<(usize, Cut)> {
        let (gap, pause) = (Cut::Pause(GAP), Cut::Pause(pause));
        let (fin, reset) = (Cut::Act(Act::Finish), Cut::Act(Act::Reset));
        match self {
            Self::None => vec![],
            Self::Cut(at) => vec![(at, gap)],
            Self::Cuts(first, second) => vec![(first, gap.clone()), (second, gap)],
            Self::Pause(at) => vec![(at, pause)],
            Self::Fin(at) => vec![(at, fin)],
            Self::LateFin(at) => vec![(at, pause), (at, fin)],
            Self::Reset(at) => vec![(at, reset)],
            Self::LateReset(at) => vec![(at, pause), (at, reset)],
        }
    }
}

/// What a test of every cut has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutReport {
    /// The bytes that the client sends without cuts.
    pub bytes: usize,
    /// The runs.
    pub runs: usize,
    /// The turns of the reactor in all of them.
    pub turns: u64,
}

/// The failure of a test of every cut. `Debug` shows it as a test should print it,
/// with the trace.
#[non_exhaustive]
pub enum CutError {
    /// There are more runs to do than [`EveryCut::max_runs`].
    TooMany {
        /// The bytes of the client.
        bytes: usize,
        /// The runs for them.
        runs: usize,
        /// The bound.
        max_runs: usize,
    },
    /// The world could not be made.
    World(Error),
    /// Two runs without a cut differ.
    NotRepeatable {
        /// How.
        what: String,
    },
    /// Something does not hold.
    Broken {
        /// Of which run.
        disturbance: Disturbance,
        /// What.
        what: String,
        /// The events of that run, line by line.
        trace: String,
    },
}

impl fmt::Display for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { bytes, runs, max_runs } => write!(
                f,
                "the client sends {bytes} bytes, which makes {runs} runs, and EveryCut::max_runs is \
                 {max_runs}: shorten what it sends, cut fewer pairs (EveryCut::pairs), or allow more runs"
            ),
            Self::World(error) => write!(f, "the world could not be made: {error}"),
            Self::NotRepeatable { what } => write!(
                f,
                "two runs without a cut differ: {what}; make the world the same each time, with a clock and \
                 a seed of its own"
            ),
            Self::Broken { disturbance, what, .. } => write!(f, "{disturbance}, {what}"),
        }
    }
}

impl fmt::Debug for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match self {
            Self::Broken { trace, .. } => write!(f, "\n{trace}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for CutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::World(error) => Some(error),
            _ => None,
        }
    }
}

/// What one client of a run has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    received: Vec<u8>,
    end: End,
    /// The close reason that the handler was given.
    closed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    None,
    Fin,
    Reset,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received b\"{}\"", self.received.escape_ascii())?;
        match self.end {
            End::None => f.write_str(" and no end")?,
            End::Fin => f.write_str(" and a FIN")?,
            End::Reset => f.write_str(" and a reset")?,
        }
        match &self.closed {
            Some(why) => write!(f, ", and its connection was closed as {why}"),
            None => f.write_str(", and its connection was not closed"),
        }
    }
}

/// The outcome of a run.
#[derive(Debug)]
struct Outcome {
    /// The place of the client among all.
    client: usize,
    seen: Vec<(ClientId, Seen)>,
    /// What the client had received near the end of its pause; of a run without one,
    /// at the end.
    halfway: Vec<u8>,
    /// The bytes that have left it.
    bytes: usize,
    turns: u64,
    leaves_nothing: bool,
}

impl Outcome {
    fn own(&self) -> &Seen {
        &self.seen[self.client].1
    }

    /// How it differs from another, if it does.
    fn difference(&self, name: &str, other: &Self) -> Option<String> {
        let mut both = self.seen.iter().zip(&other.seen);
        if let Some(((client, this), (_, that))) = both.find(|((_, this), (_, that))| this != that) {
            return Some(format!("client {client} {this}; {name} it {that}"));
        }
        let (these, those) = (self.seen.len(), other.seen.len());
        (these != those).then(|| format!("there were {these} clients; {name} there were {those}"))
    }
}

impl EveryCut {
    /// Runs `client` in a world of its own for each disturbance, and compares.
    ///
    /// # Errors
    ///
    /// [`CutError::Broken`] at the first difference; [`CutError::TooMany`] before any
    /// but the first run.
    pub fn run<A, H, const SHORT: bool>(
        &self,
        client: &A,
        mut world: impl FnMut() -> Result<World<H, SHORT>, Error>,
    ) -> Result<CutReport, CutError>
    where
        A: Actor + Clone,
        H: StreamHandler,
    {
        let mut runs = Runs { options: self, client, world: &mut world, runs: 0, turns: 0 };
        let whole = runs.run(Disturbance::None)?;
        let again = runs.run(Disturbance::None)?;
        if let Some(what) = again.difference("the first time", &whole) {
            return Err(CutError::NotRepeatable { what });
        }
        let (bytes, needed) = (whole.bytes, self.runs_of(whole.bytes));
        if needed > self.max_runs {
            return Err(CutError::TooMany { bytes, runs: needed, max_runs: self.max_runs });
        }
        for first in 1..bytes {
            runs.same(&whole, Disturbance::Cut(first))?;
            for second in first + 1..self.after_last(first, bytes) {
                runs.same(&whole, Disturbance::Cuts(first, second))?;
            }
        }
        for at in 0..=bytes {
            let paused = runs.same(&whole, Disturbance::Pause(at))?;
            runs.fins(&whole, &paused.halfway, at)?;
            runs.resets(&whole, &paused.halfway, at)?;
        }
        Ok(CutReport { bytes, runs: runs.runs, turns: runs.turns })
    }

    /// The place behind the last one that is cut together with `first`.
    fn after_last(&self, first: usize, bytes: usize) -> usize {
        match self.pairs {
            Pairs::All => bytes,
            Pairs::Within(distance) => bytes.min(first.saturating_add(distance).saturating_add(1)),
            Pairs::None => 0,
        }
    }

    /// The runs that a client of so many bytes needs.
    fn runs_of(&self, bytes: usize) -> usize {
        let pairs = |first| self.after_last(first, bytes).saturating_sub(first + 1);
        let cuts: usize = (1..bytes).map(|first| 1 + pairs(first)).sum();
        2 + cuts + 5 * (bytes + 1)
    }
}

/// The runs of a test.
struct Runs<'a, A, W> {
    options: &'a EveryCut,
    client: &'a A,
    world: &'a mut W,
    runs: usize,
    turns: u64,
}

impl<A, H, W, const SHORT: bool> Runs<'_, A, W>
where
    A: Actor + Clone,
    H: StreamHandler,
    W: FnMut() -> Result<World<H, SHORT>, Error>,
{
    /// A run that has to be like the one without cuts.
    fn same(&mut self, whole: &Outcome, disturbance: Disturbance) -> Result<Outcome, CutError> {
        let outcome = self.run_like(whole, disturbance)?;
        match outcome.difference("without it", whole) {
            Some(what) => Err(self.broken(disturbance, what)),
            None => Ok(outcome),
        }
    }

    /// The runs with a FIN at a place, at which the client had received `before`.
    fn fins(&mut self, whole: &Outcome, before: &[u8], at: usize) -> Result<(), CutError> {
        let soon = self.run_like(whole, Disturbance::Fin(at))?;
        let late = self.run_like(whole, Disturbance::LateFin(at))?;
        if let Some(what) = late.difference("without the pause", &soon) {
            return Err(self.broken(Disturbance::LateFin(at), what));
        }
        if !soon.own().received.starts_with(before) {
            let what = format!(
                "client {} {}; before the FIN it had received b\"{}\"",
                soon.seen[soon.client].0,
                soon.own(),
                before.escape_ascii()
            );
            return Err(self.broken(Disturbance::Fin(at), what));
        }
        Ok(())
    }

    /// The runs with a reset at a place, at which the client had received `before`.
    fn resets(&mut self, whole: &Outcome, before: &[u8], at: usize) -> Result<(), CutError> {
        for disturbance in [Disturbance::Reset(at), Disturbance::LateReset(at)] {
            let outcome = self.run_like(whole, disturbance)?;
            let seen = outcome.own();
            let is_late = matches!(disturbance, Disturbance::LateReset(_));
            let is_right = if is_late { seen.received == before } else { before.starts_with(&seen.received) };
            if !is_right {
                let id = outcome.seen[outcome.client].0;
                let what = format!(
                    "client {id} {seen}; before the reset it had received b\"{}\"",
                    before.escape_ascii()
                );
                return Err(self.broken(disturbance, what));
            }
        }
        Ok(())
    }

    /// A run that leaves nothing behind if the one without cuts does not.
    fn run_like(&mut self, whole: &Outcome, disturbance: Disturbance) -> Result<Outcome, CutError> {
        let outcome = self.run(disturbance)?;
        if whole.leaves_nothing && !outcome.leaves_nothing {
            return Err(self.broken(disturbance, "something is left behind that is not without it".into()));
        }
        Ok(outcome)
    }

    fn run(&mut self, disturbance: Disturbance) -> Result<Outcome, CutError> {
        self.runs += 1;
        let (mut world, client) = self.begin(disturbance)?;
        let outcome = self
            .finish(&mut world, client, disturbance)
            .map_err(|violation| self.broken(disturbance, violation.to_string()))?;
        self.turns += outcome.turns;
        Ok(outcome)
    }

    /// Makes a world with the client in it.
    fn begin(&mut self, disturbance: Disturbance) -> Result<(World<H, SHORT>, ClientId), CutError> {
        let mut world = (self.world)().map_err(CutError::World)?;
        let to = self.options.to.clone().unwrap_or_else(|| world.tcp().clone());
        let client = world.net_mut().play(&to, self.client.clone());
        for (byte, cut) in disturbance.cuts(self.options.pause) {
            world.net_mut().cut(client, byte, cut);
        }
        Ok((world, client))
    }

    fn finish(
        &self,
        world: &mut World<H, SHORT>,
        client: ClientId,
        disturbance: Disturbance,
    ) -> Result<Outcome, Violation> {
        if matches!(disturbance, Disturbance::Pause(_)) {
            world.run_while(|world| !world.client(client).is_at_cut() && !world.is_at_rest())?;
            world.run_for(self.options.pause.saturating_sub(GAP))?;
        }
        let halfway = world.client(client).received().len();
        world.run()?;
        let leaves_nothing = world.check_baseline().is_ok();
        world.net_mut().settle();
        let seen: Vec<_> = world.net().clients().map(|(id, _)| (id, seen(world, id))).collect();
        let place = seen.iter().position(|(id, _)| *id == client).unwrap_or(0);
        Ok(Outcome {
            client: place,
            halfway: world.client(client).received()[..halfway].to_vec(),
            seen,
            bytes: world.client(client).handed_over(),
            turns: world.turns(),
            leaves_nothing,
        })
    }

    /// The error of a run, which it makes once more for the trace.
    fn broken(&mut self, disturbance: Disturbance, what: String) -> CutError {
        let trace = self.begin(disturbance).map(|(mut world, client)| {
            world.net_mut().trace_mut().record();
            let _ = self.finish(&mut world, client, disturbance);
            world.net().trace().to_string()
        });
        CutError::Broken { disturbance, what, trace: trace.unwrap_or_default() }
    }
}

fn seen<H: StreamHandler, const SHORT: bool>(world: &World<H, SHORT>, id: ClientId) -> Seen {
    let client = world.client(id);
    let end = match (client.saw_reset(), client.saw_fin()) {
        (Some(_), _) => End::Reset,
        (None, Some(_)) => End::Fin,
        (None, None) => End::None,
    };
    let closed = world.life(id).and_then(|life| life.closed()).map(str::to_owned);
    Seen { received: client.received().to_vec(), end, closed }
}
