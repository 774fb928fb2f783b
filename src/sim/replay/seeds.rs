//! `replay_plan`: a plan that is run over the simulated network, recorded, and replayed.

use super::driver::Replay;
use super::outcome::Replayed;
use crate::driver::sim::{Conditions, SimDriver};
use crate::driver::{Driver, Moment};
use crate::record::{Dump, Payloads, RecordOptions, Recorder};
use crate::sim::plan::Plan;
use crate::sim::subject::{Subject, populate};
use crate::{Endpoint, Error, Limits, ListenOptions, Reactor, Stats};

/// The bytes of a recording, which has to hold the whole run of a plan.
const BYTES: usize = 256 << 20;

/// The recording of a plan's run, and its replay.
#[derive(Clone, Debug)]
pub struct ReplayedPlan {
    /// The length of the recording as a file, in bytes.
    pub bytes: u64,
    /// The replay.
    pub replayed: Replayed,
    /// The counts of the run; those of the replay are the same.
    pub stats: Stats,
}

/// Runs a plan over the simulated network, records it, writes the dump and reads it
/// again, and replays it into a new handler: each call of the loop and each byte that it
/// writes must be the same, and so must its counts in the end. The checks of
/// [`run`](crate::sim::run) are not made.
///
/// ```
/// use serve_forever::sim::{Plan, replay_plan, subject::Echo};
///
/// let replayed = replay_plan(&Echo, &Plan::new(42))?;
/// assert!(replayed.replayed.calls > 10);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// The divergence, as text.
pub fn replay_plan<S: Subject>(subject: &S, plan: &Plan) -> Result<ReplayedPlan, String> {
    if plan.short_means_blocked {
        replay_in::<S, true>(subject, plan)
    } else {
        replay_in::<S, false>(subject, plan)
    }
}

fn replay_in<S: Subject, const SHORT: bool>(subject: &S, plan: &Plan) -> Result<ReplayedPlan, String> {
    let text = |error: Error| error.to_string();
    let options = RecordOptions { bytes: BYTES, payloads: Payloads::Kept, ..RecordOptions::default() };
    let driver = SimDriver::<SHORT>::new(plan.seed, Conditions::calm());
    let driver = Recorder::new(driver, options).map_err(|error| error.to_string())?;
    let mut reactor = Reactor::with_driver(driver, plan.config()).map_err(text)?;
    let endpoints = serve(&mut reactor, subject, plan).map_err(text)?;
    play(&mut reactor, subject, plan, &endpoints)?;
    let mut file = Vec::new();
    reactor.driver_mut().write_to(&mut file).map_err(|error| error.to_string())?;
    let dump = Dump::read(&file[..]).map_err(|error| error.to_string())?;
    if let Some(damage) = dump.damage() {
        return Err(format!("the dump is damaged: {damage}"));
    }

    let replay = Replay::<SHORT>::new(dump).map_err(|error| error.to_string())?;
    let mut again = Reactor::with_driver(replay, plan.config()).map_err(text)?;
    serve(&mut again, subject, plan).map_err(text)?;
    let replayed = Replay::run(&mut again).map_err(|error| error.to_string())?;
    let stats = reactor.stats();
    let counts = |stats: Stats| Stats { system: Default::default(), ..stats };
    let (first, second) = (counts(stats.clone()), counts(again.stats()));
    if first != second {
        return Err(format!("the counts are others: {first:?}, then {second:?}"));
    }
    Ok(ReplayedPlan { bytes: file.len() as u64, replayed, stats })
}

/// Adds the subject's service to a reactor, and listens for it.
fn serve<S: Subject, D: Driver>(
    reactor: &mut Reactor<D>,
    subject: &S,
    plan: &Plan,
) -> Result<[Endpoint; 2], Error> {
    let limits = plan.limits(subject.limits());
    let limits = Limits { hard_mark: limits.hard_mark.max(limits.high_mark + subject.headroom()), ..limits };
    let layer = subject.layers().map(|layers| layers.servers);
    let service = reactor.add(subject.handler(), limits)?;
    let endpoints: [Endpoint; 2] = ["127.0.0.1:7".parse()?, "unix:/sim".parse()?];
    for at in &endpoints {
        let options = ListenOptions { layer: layer.clone(), ..ListenOptions::default() };
        reactor.listen_with(&service, at, &options)?;
    }
    Ok(endpoints)
}

/// Takes the turns of a plan's run.
fn play<S: Subject, const SHORT: bool>(
    reactor: &mut Reactor<Recorder<SimDriver<SHORT>>>,
    subject: &S,
    plan: &Plan,
    endpoints: &[Endpoint; 2],
) -> Result<(), String> {
    let net = reactor.driver_mut().inner_mut().net_mut();
    // Set only now, so that no fault hits the listening itself.
    *net.conditions_mut() = plan.conditions.clone();
    populate(net, subject, plan, endpoints);
    let mut turns = 0;
    let mut turn = |reactor: &mut Reactor<_>, max_wait| {
        turns += 1;
        if turns > plan.patience(subject.own_bytes()) {
            return Err("it does not come to rest".to_owned());
        }
        reactor.turn(max_wait).map_err(|error| error.to_string())
    };
    let Some((after, deadline)) = plan.shutdown else {
        while !(reactor.driver().inner().net().is_quiet() && reactor.next_timeout().is_none()) {
            turn(reactor, None)?;
        }
        return Ok(());
    };
    let until = Moment::ZERO.plus(after);
    while let left = until.since(reactor.driver().inner().net().now())
        && !left.is_zero()
    {
        turn(reactor, Some(left))?;
    }
    reactor.driver_mut().inner_mut().net_mut().hold_up(plan.held_up);
    reactor.shutdown(deadline);
    while !turn(reactor, None)?.finished {}
    Ok(())
}
