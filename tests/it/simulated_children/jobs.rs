//! A handler that runs what a test tells it to, and notes what comes of it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serve_forever::driver::sim::{Conditions, Process, Rng};
use serve_forever::process::{Command, Exit, ExitCause, Pipe};
use serve_forever::sim::{Told, World};
use serve_forever::{
    AfterEof, BoxError, ChildId, CloseReason, Config, ConnId, Error, Io, Limits, Origin, StreamHandler,
    TimerId,
};

/// What one child wrote, and how its pipes ended.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) ends: Vec<(Pipe, String)>,
}

type Hook = Box<dyn FnMut(&mut Io<'_>, ChildId)>;

/// See the module.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) runs: BTreeMap<u64, Run>,
    /// The output of these is not read.
    pub(crate) paused: Vec<u64>,
    /// What each is given as its input, which then ends.
    pub(crate) input: BTreeMap<u64, Bytes>,
    /// What is started as soon as one has ended.
    pub(crate) waiting: VecDeque<(Command, u64)>,
    /// The most that there were at once.
    pub(crate) most: usize,
    pub(crate) when_pipe_closes: Option<Hook>,
    pub(crate) when_told: Option<Hook>,
    pub(crate) when_failed: Option<Hook>,
    /// Each time that it is given output it pauses for so long.
    pub(crate) sips: Option<Duration>,
    /// `open` fails for the pipes of this one.
    pub(crate) refuses: Option<u64>,
    /// `child_exited` and `spawn_failed` panic.
    pub(crate) panics: bool,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl Jobs {
    pub(crate) fn start_waiting(&mut self, io: &mut Io<'_>) {
        if let Some((command, tag)) = self.waiting.pop_front() {
            io.spawn(command, tag).expect("there is room");
            self.most = self.most.max(io.children());
        }
    }
}

impl StreamHandler for Jobs {
    type Session = (u64, ChildId, Pipe);

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<Self::Session, BoxError> {
        let Origin::Pipe { child, tag, pipe, .. } = origin else { return Err("no client".into()) };
        assert_eq!(io.pipe(*child, *pipe), Some(io.id()));
        if self.refuses == Some(*tag) {
            return Err("as it was told to".into());
        }
        if *pipe == Pipe::Stdin {
            if let Some(input) = self.input.remove(tag) {
                assert!(io.write_bytes(input).is_queued());
                io.finish(io.id());
            }
        } else if self.paused.contains(tag) {
            io.pause(io.id());
        }
        Ok((*tag, *child, *pipe))
    }

    fn data(
        &mut self,
        io: &mut Io<'_>,
        (tag, _, pipe): &mut Self::Session,
        input: &mut BytesMut,
    ) -> Result<(), BoxError> {
        if let Some(time) = self.sips {
            io.pause(io.id());
            io.after(time)?;
        }
        let run = self.runs.entry(*tag).or_default();
        if *pipe == Pipe::Stdout { &mut run.out } else { &mut run.err }.extend_from_slice(&input.split());
        Ok(())
    }

    fn eof(&mut self, _: &mut Io<'_>, _: &mut Self::Session, _: &mut BytesMut) -> Result<AfterEof, BoxError> {
        Ok(AfterEof::Stay) // which is none, for it has no other side
    }

    fn timer(&mut self, io: &mut Io<'_>, _: &mut Self::Session, _: TimerId) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }

    fn close(&mut self, io: &mut Io<'_>, (tag, child, pipe): Self::Session, why: &CloseReason) {
        self.runs.entry(tag).or_default().ends.push((pipe, why.to_string()));
        if let Some(hook) = &mut self.when_pipe_closes {
            hook(io, child);
        }
    }

    fn child_exited(&mut self, io: &mut Io<'_>, child: ChildId, _: u64, _: &Exit) {
        if let Some(hook) = &mut self.when_told {
            hook(io, child);
        }
        self.start_waiting(io);
        assert!(!self.panics, "as it was told to");
    }

    fn spawn_failed(&mut self, io: &mut Io<'_>, child: ChildId, _: u64, _: &io::Error) {
        if let Some(hook) = &mut self.when_failed {
            hook(io, child);
        }
        self.start_waiting(io);
        assert!(!self.panics, "as it was told to");
    }
}

pub(crate) type Shop = World<Jobs>;

pub(crate) fn shop(conditions: Conditions) -> Shop {
    shop_with(1, conditions, Config::default())
}

pub(crate) fn shop_with(seed: u64, conditions: Conditions, config: Config) -> Shop {
    let limits = Limits { hard_mark: 8 << 20, ..Limits::default() };
    World::with_config(seed, conditions, Jobs::default(), limits, config).expect("good limits")
}

/// Shops in all kinds of conditions, in which every program starts, and its exit
/// is told, and its status known.
pub(crate) fn shops(seeds: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Shop)> {
    seeds.map(|seed| {
        // What happens in time is the point, so nothing stops the process.
        let mut conditions = Conditions::seeded(&mut Rng::new(seed));
        conditions.stopped = Default::default();
        conditions.spawn_fails = Default::default();
        conditions.stolen = Default::default();
        conditions.silent = Default::default();
        (seed, shop_with(seed, conditions, Config::default()))
    })
}

/// Does something with the handler, in a turn.
pub(crate) fn ask<R: Send + 'static>(
    shop: &mut Shop,
    question: impl FnOnce(&mut Jobs, &mut Io<'_>) -> R + Send + 'static,
) -> R {
    let (tell, told) = std::sync::mpsc::channel();
    let service = shop.service().clone();
    let asked = shop.reactor().handle(&service).call(move |recording, io| {
        tell.send(question(recording.handler(), io)).expect("the test waits for it");
    });
    asked.expect("there is room");
    shop.turn(Some(Duration::ZERO)).expect("it keeps its promises");
    told.try_recv().expect("it was called")
}

pub(crate) fn try_spawn(shop: &mut Shop, command: Command, tag: u64) -> Result<ChildId, Error> {
    ask(shop, move |_, io| io.spawn(command, tag))
}

#[track_caller]
pub(crate) fn spawn(shop: &mut Shop, command: Command, tag: u64) -> ChildId {
    try_spawn(shop, command, tag).expect("there is room")
}

/// Runs until nothing happens any more: one child has ended then, and is gone.
#[track_caller]
pub(crate) fn run(shop: &mut Shop, command: Command) -> Exit {
    spawn(shop, command, 0);
    finish(shop)
}

#[track_caller]
pub(crate) fn finish(shop: &mut Shop) -> Exit {
    settle(shop);
    only(shop).outcome().expect("it was started")
}

/// Runs until nothing happens any more, and all is as it was at first.
#[track_caller]
pub(crate) fn settle(shop: &mut Shop) {
    shop.run().expect("it keeps its promises");
    shop.check_baseline().expect("all has gone");
}

/// The one answer there was.
#[track_caller]
pub(crate) fn only(shop: &Shop) -> &Told {
    let told = shop.recording().told();
    assert_eq!(told.len(), 1, "{told:?}");
    &told[0]
}

/// When the one answer came.
#[track_caller]
pub(crate) fn told_at(shop: &Shop) -> Duration {
    only(shop).at() - shop.epoch()
}

pub(crate) fn process(shop: &Shop, place: usize) -> &Process {
    &shop.net().processes()[place]
}

/// When a process ended.
#[track_caller]
pub(crate) fn ended_at(shop: &Shop, place: usize) -> Duration {
    let ended = process(shop, place).ended().expect("it has ended");
    Duration::from_nanos(ended.as_nanos())
}

/// Code or signal, and cause.
pub(crate) fn how(exit: Exit) -> (Option<i32>, Option<i32>, ExitCause) {
    (exit.status.and_then(|it| it.code()), exit.status.and_then(|it| it.signal()), exit.cause)
}

pub(crate) fn exited(code: i32) -> (Option<i32>, Option<i32>, ExitCause) {
    (Some(code), None, ExitCause::Itself)
}

pub(crate) fn pipe(shop: &mut Shop, child: ChildId, pipe: Pipe) -> ConnId {
    ask(shop, move |_, io| io.pipe(child, pipe)).expect("it is there")
}

/// Bytes without a short period.
pub(crate) fn noise(len: usize) -> Bytes {
    let mut rng = Rng::new(1);
    std::iter::repeat_with(|| rng.draw().to_le_bytes()).flatten().take(len).collect()
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
