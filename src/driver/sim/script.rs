//! `Script`: an actor whose acts are known in advance, each with its time.

use std::time::Duration;

use bytes::Bytes;

use super::act::{Act, Cut, Pace};
use super::actor::{Actor, ActorIo};
use crate::layer::LayerFactory;

/// The time between the two sides of a [`Script::cut_at`].
const CUT: Duration = Duration::from_millis(10);

/// The acts of a client, each some time after the one before.
///
/// ```
/// use std::time::Duration;
/// use serve_forever::driver::sim::Script;
///
/// let slow_loris = (0..3600).fold(Script::new(), |script, _| {
///     script.send("x").after(Duration::from_secs(10))
/// });
/// let polite = Script::new().send("hello\n").finish();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The time until the client connects.
    start: Duration,
    /// The steps, each with its time since the start.
    steps: Vec<(Duration, Step)>,
    cuts: Vec<(usize, Cut)>,
    /// The time of the next step.
    clock: Duration,
    /// The number of answers that it has still to wait for.
    awaits: usize,
    /// What has come behind the answers that it has awaited.
    heard: Vec<u8>,
    /// The step that waits.
    waiting: Option<usize>,
}

/// A step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Act(Act),
    /// Waits for these bytes; the times of the steps behind it count from then.
    Await(Bytes),
}

impl Script {
    /// A client that connects, and reads what comes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that connects after this time.
    #[must_use]
    pub fn starting_after(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    /// A client with a layer at its end of the connection from the beginning, such as
    /// TLS. The script is in plaintext: what it sends goes through the layer once its
    /// handshake is complete, its end goes through the layer before the FIN, and
    /// [`Client::received`](super::Client::received) is plaintext.
    #[must_use]
    pub fn through(mut self, layer: LayerFactory) -> Self {
        self.steps.insert(0, (Duration::ZERO, Step::Act(Act::StartLayer(layer))));
        self
    }

    /// Cuts what goes to the server after so many bytes, each counted from the
    /// beginning: what follows leaves ten milliseconds later. With a layer, these are
    /// the bytes that it has for the wire. [`every_cut`](crate::sim::every_cut) tries
    /// all of them.
    #[must_use]
    pub fn cut_at(self, cuts: impl IntoIterator<Item = usize>) -> Self {
        cuts.into_iter().filter(|byte| *byte > 0).fold(self, |script, byte| script.cut(byte, Cut::Pause(CUT)))
    }

    /// Has something happen after so many bytes, counted from the beginning, as
    /// [`ActorIo::cut`].
    ///
    /// ```
    /// use serve_forever::driver::sim::{Act, Conditions, Cut, Script};
    /// use serve_forever::services::Echo;
    /// use serve_forever::sim::World;
    ///
    /// let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), Echo::limits())?;
    /// let client = world.play(Script::new().send("hello").cut(3, Cut::Act(Act::Finish)));
    /// world.run()?;
    /// assert_eq!(world.client(client).received(), b"hel");
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn cut(mut self, byte: usize, cut: Cut) -> Self {
        self.cuts.push((byte, cut));
        self
    }

    /// Delays the acts that follow.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.clock += time;
        self
    }

    /// Then does this.
    #[must_use]
    pub fn then(mut self, act: Act) -> Self {
        self.steps.push((self.clock, Step::Act(act)));
        self
    }

    /// Then waits until it has received these bytes, behind those that it awaited
    /// before; the times of what follows count from then. A dialogue.
    ///
    /// ```
    /// use serve_forever::driver::sim::{Conditions, Script};
    /// use serve_forever::services::Echo;
    /// use serve_forever::sim::World;
    ///
    /// let mut world = World::<_, true>::new(1, Conditions::calm(), Echo::new(), Echo::limits())?;
    /// let client = world.play(Script::new().send("one\n").await_answer("one\n").send("two\n").finish());
    /// world.run()?;
    /// assert_eq!(world.client(client).received(), b"one\ntwo\n");
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn await_answer(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push((self.clock, Step::Await(bytes.into())));
        self.awaits += 1;
        self
    }

    /// Then sends.
    #[must_use]
    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Act::Send(bytes.into()))
    }

    /// Then puts a layer at its end.
    #[must_use]
    pub fn start_layer(self, layer: LayerFactory) -> Self {
        self.then(Act::StartLayer(layer))
    }

    /// Then reads at this pace.
    #[must_use]
    pub fn read(self, pace: Pace) -> Self {
        self.then(Act::Read(pace))
    }

    /// Then ends its side.
    #[must_use]
    pub fn finish(self) -> Self {
        self.then(Act::Finish)
    }

    /// Then closes.
    #[must_use]
    pub fn close(self) -> Self {
        self.then(Act::Close)
    }

    /// Then resets.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Act::Reset)
    }

    /// Then vanishes.
    #[must_use]
    pub fn vanish(self) -> Self {
        self.then(Act::Vanish)
    }
}

impl Script {
    /// Sets a timer for each step from `next` on, up to one that waits. Their times
    /// count from the step before.
    fn go_on(&self, io: &mut ActorIo<'_>, next: usize) {
        let since = next.checked_sub(1).map_or(Duration::ZERO, |last| self.steps[last].0);
        for (place, (time, step)) in self.steps.iter().enumerate().skip(next) {
            io.set_timer(time.saturating_sub(since), place as u64);
            if matches!(step, Step::Await(_)) {
                return;
            }
        }
    }

    /// Goes on if what it waits for has come.
    fn look_for_answer(&mut self, io: &mut ActorIo<'_>) {
        let Some(place) = self.waiting else { return };
        let Step::Await(answer) = &self.steps[place].1 else { return };
        let found = self.heard.windows(answer.len().max(1)).position(|part| part == &answer[..]);
        let end = if answer.is_empty() { Some(0) } else { found.map(|at| at + answer.len()) };
        if let Some(end) = end {
            self.heard.drain(..end);
            self.waiting = None;
            self.awaits -= 1;
            self.go_on(io, place + 1);
        }
    }
}

impl Actor for Script {
    fn starts_after(&self) -> Duration {
        self.start
    }

    fn begin(&mut self, io: &mut ActorIo<'_>) {
        for (byte, cut) in std::mem::take(&mut self.cuts) {
            io.cut(byte, cut);
        }
        self.go_on(io, 0);
    }

    /// The tag is the place of a step.
    #[allow(clippy::cast_possible_truncation, reason = "the place of a step")]
    fn timer(&mut self, io: &mut ActorIo<'_>, tag: u64) {
        let place = tag as usize;
        match &self.steps[place].1 {
            Step::Act(act) => io.act(act.clone()),
            Step::Await(_) => {
                self.waiting = Some(place);
                self.look_for_answer(io);
            }
        }
    }

    fn data(&mut self, io: &mut ActorIo<'_>, bytes: &[u8]) {
        if self.awaits > 0 {
            self.heard.extend_from_slice(bytes);
            self.look_for_answer(io);
        }
    }
}
