//! The operations of the reactor, by clients and by callbacks, in any order:
//! every turn keeps its promises, and in the end nothing is left.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serve_forever::bytes::{Buf, Bytes, BytesMut};
use serve_forever::driver::sim::{Act, Conditions, Pace, Rng, Script};
use serve_forever::sim::{Life, World};
use serve_forever::{
    AfterEof, BoxError, ConnId, GroupId, Io, Limits, Origin, Overflow, Peer, StreamHandler, TimerId,
};

#[derive(Arbitrary, Debug)]
enum Step {
    Connect { unix: bool },
    Send { client: u8, orders: Vec<u8> },
    Read { client: u8, bytes: u8, every: u8 },
    Finish { client: u8 },
    Close { client: u8 },
    Reset { client: u8 },
    Vanish { client: u8 },
    Wait { millis: u16 },
    Turn,
    Drain { millis: u16 },
}

#[derive(Arbitrary, Debug)]
struct Run {
    seed: u64,
    short_means_blocked: bool,
    drop_newest: bool,
    steps: Vec<Step>,
}

/// Does what each byte of input orders.
#[derive(Default)]
struct Obedient {
    /// The connections that a shutdown leaves alone.
    background: BTreeSet<ConnId>,
    ids: Vec<ConnId>,
    groups: Vec<GroupId>,
    timers: Vec<TimerId>,
    refuses: bool,
}

impl Obedient {
    /// Carries out one order, `argument` and all; `Err` ends the connection.
    fn obey(&mut self, io: &mut Io<'_>, order: u8, argument: u8) -> Result<(), BoxError> {
        let pick = usize::from(argument);
        let other = self.ids[pick % self.ids.len()];
        let size = pick * pick % 3000;
        let group = self.groups.get(pick % self.groups.len().max(1)).copied();
        match order % 28 {
            0 => drop(io.write(&vec![argument; size])),
            1 => drop(io.write_bytes(vec![argument; size].into())),
            2 => drop(io.send(other, vec![argument; size])),
            3 => self.groups.extend(io.group().ok()),
            4 => drop(group.map(|group| io.join(group, other))),
            5 => drop(group.map(|group| io.leave(group, other))),
            6 => drop(group.map(|group| io.broadcast(group, &Bytes::from(vec![argument; size]), None))),
            7 => drop(group.map(|group| io.dissolve(group))),
            8 => io.pause(other),
            9 => io.resume(other),
            10 => io.finish(other),
            11 => io.close(other),
            12 => io.abort(other),
            13 => self.timers.extend(io.after(Duration::from_millis(argument.into())).ok()),
            14 => self.timers.extend(io.every(Duration::from_millis(u64::from(argument) * 1000 + 1)).ok()),
            15 => drop(self.timers.pop().map(|timer| io.cancel(timer))),
            16 => {
                let idle = Some(Duration::from_secs(u64::from(argument) + 1));
                let limits = Limits { idle, hard_mark: 5000 + pick, ..io.limits().clone() };
                io.set_limits(other, limits)?;
            }
            17 => {
                let is_background = argument % 2 == 0;
                io.set_background(other, is_background);
                if is_background {
                    self.background.insert(other)
                } else {
                    self.background.remove(&other)
                };
            }
            18 => self.timers.extend(io.tick_after(Duration::from_millis(argument.into())).ok()),
            19 => return Err("as ordered".into()),
            20 => self.refuses = !self.refuses,
            21 => io.pause(io.id()),
            22 => drop(io.write_buf(&mut BytesMut::zeroed(size))),
            // Of a queue that refers to the burst, and of several bursts.
            23 => drop(group.map(|group| io.broadcast(group, &vec![argument; pick].into(), Some(other)))),
            24 => drop((io.queued(other), io.is_paused(other))),
            25 => io.begin_frame(other),
            26 => io.end_frame(other),
            _ => io.set_deadline(other, Some(Duration::from_secs(argument.into()))),
        }
        Ok(())
    }
}

impl StreamHandler for Obedient {
    type Session = ();

    fn verify(&mut self, _: &Peer) -> bool {
        !self.refuses
    }

    fn open(&mut self, io: &mut Io<'_>, _: &Origin) -> Result<(), BoxError> {
        self.ids.push(io.id());
        Ok(())
    }

    fn data_in_place(&mut self, io: &mut Io<'_>, (): &mut (), input: &[u8]) -> Result<usize, BoxError> {
        match *input {
            [order @ 128..=255, argument, ..] => self.obey(io, order, argument).map(|()| 2),
            _ => Ok(0),
        }
    }

    fn data(&mut self, io: &mut Io<'_>, (): &mut (), input: &mut BytesMut) -> Result<(), BoxError> {
        while input.len() >= 2 {
            let (order, argument) = (input.get_u8(), input.get_u8());
            self.obey(io, order, argument)?;
        }
        Ok(())
    }

    fn eof(&mut self, io: &mut Io<'_>, (): &mut (), rest: &mut BytesMut) -> Result<AfterEof, BoxError> {
        Ok(if rest.first().is_some_and(|last| last % 2 == 0) && io.connections() > 1 {
            AfterEof::Stay
        } else {
            AfterEof::Finish
        })
    }

    fn drained(&mut self, io: &mut Io<'_>, (): &mut ()) -> Result<(), BoxError> {
        io.resume(io.id());
        Ok(())
    }

    fn timer(&mut self, io: &mut Io<'_>, (): &mut (), _: TimerId) -> Result<(), BoxError> {
        self.obey(io, 2, 9)
    }
}

fn play<const SHORT: bool>(run: Run) {
    let conditions = Conditions::seeded(&mut Rng::new(run.seed));
    let overflow = if run.drop_newest { Overflow::DropNewest } else { Overflow::Close };
    let limits = Limits {
        low_mark: 100,
        high_mark: 1000,
        hard_mark: 5000,
        overflow,
        max_input: 100,
        read_budget: 50,
        ..Limits::default()
    };
    let mut world =
        World::<_, SHORT>::new(run.seed, conditions, Obedient::default(), limits).expect("good limits");
    let mut clients = Vec::new();
    for step in run.steps.into_iter().take(200) {
        let (client, act) = match step {
            Step::Connect { unix } if clients.len() < 16 => {
                let script = Script::new();
                clients.push(if unix { world.play_unix(script) } else { world.play(script) });
                continue;
            }
            Step::Wait { millis } => {
                world.run_for(Duration::from_millis(millis.into())).expect("it keeps its promises");
                continue;
            }
            Step::Connect { .. } | Step::Turn => {
                world.turn(Some(Duration::ZERO)).expect("it keeps its promises");
                continue;
            }
            Step::Drain { millis } => {
                world.reactor().shutdown(Duration::from_millis(millis.into()));
                continue;
            }
            Step::Send { client, orders } => (client, Act::Send(orders.into())),
            Step::Read { client, bytes: 0, .. } => (client, Act::Read(Pace::Never)),
            Step::Read { client, bytes, every } => {
                let every = Duration::from_millis(u64::from(every) + 1);
                (client, Act::Read(Pace::Slowly { bytes: bytes.into(), every }))
            }
            Step::Finish { client } => (client, Act::Finish),
            Step::Close { client } => (client, Act::Close),
            Step::Reset { client } => (client, Act::Reset),
            Step::Vanish { client } => (client, Act::Vanish),
        };
        if let Some(client) = clients.get(usize::from(client) % clients.len().max(1)) {
            world.net_mut().act(*client, act);
        }
    }
    // Whoever holds whom: an end comes, and nothing is left of it.
    world.reactor().shutdown(Duration::from_secs(1000));
    for _ in 0..100_000 {
        if world.turn(None).expect("it keeps its promises").finished {
            let left: Vec<_> =
                world.lives().iter().filter(|life| life.closed().is_none()).map(Life::id).collect();
            if left.is_empty() {
                return world.check_baseline().expect("all has gone");
            }
            let background = &world.handler().background;
            assert!(left.iter().all(|id| background.contains(id)), "{left:?} are left of {background:?}");
            return;
        }
    }
    panic!("a shutdown does not come to its end");
}

fuzz_target!(|run: Run| { if run.short_means_blocked { play::<true>(run) } else { play::<false>(run) } });
