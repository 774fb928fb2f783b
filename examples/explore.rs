//! Teaches: testing a handler with as many seeds as one likes. Each is a whole
//! run over the simulated network, checked after every turn.
//!
//! ```text
//! cargo run --release --features sim,cli --example explore -- --seeds 0..100000 --service echo
//! ```
//!
//! Prints the seeds that failed, the trace of the shortest once it was shrunk,
//! and what all of them covered. Ends with 1 if any failed.
//!
//! One seed can be looked at turn by turn: `--stop-at 40` prints the state after its
//! turn 40, `--turns FILE` writes all turns to a file, and `--compare FILE` (with
//! another build, say) prints the first turn that differs from those in the file, and
//! ends with 1 if one does.

use std::num::NonZeroU32;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serve_forever::BoxError;
use serve_forever::sim::commands::Commands;
use serve_forever::sim::jobs::Jobs;
use serve_forever::sim::names::Names;
#[cfg(feature = "http")]
use serve_forever::sim::requests::Requests;
#[cfg(feature = "bus")]
use serve_forever::sim::rooms::Rooms;
use serve_forever::sim::subject::{Chat, Echo, Hesitant, Hub, Layered, Once, Relay, Timed, Upper};
#[cfg(feature = "upload")]
use serve_forever::sim::uploads::{OnWorkers, Upload};
use serve_forever::sim::{
    Failure, Plan, Record, ReplayedPlan, Subject, Totals, Turns, Violation, replay_plan, run, run_recorded,
    shrink, stop_at,
};

/// Lines of a trace that are printed.
const SHOWN: usize = 300;

/// Explores a service over the simulated network.
#[derive(Parser)]
struct Options {
    /// Which seeds: FROM..TO, the latter not included.
    #[arg(long, value_parser = seeds, default_value = "0..10000")]
    seeds: Range<u64>,
    /// Which service.
    #[arg(long, value_enum, default_value_t = Service::Echo)]
    service: Service,
    /// Seeds run at once.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, Into::into))]
    threads: usize,
    /// Record each run and replay it, and look for the first call or byte that is another
    /// one, instead of making the checks.
    #[arg(long)]
    replay: bool,
    /// Runs spent on making the first failure smaller.
    #[arg(long, default_value_t = 5000)]
    shrink: usize,
    /// Prints the state after this turn of the first seed, and runs nothing else.
    #[arg(long, group = "look")]
    stop_at: Option<u64>,
    /// Writes the turns of the first seed to this file, and runs nothing else.
    #[arg(long, group = "look")]
    turns: Option<PathBuf>,
    /// Compares the turns of the first seed with those in this file, and runs nothing
    /// else.
    #[arg(long, group = "look")]
    compare: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Service {
    /// Every byte comes back.
    Echo,
    /// Every byte comes back, letters as capitals.
    Upper,
    /// One answer, and goodbye.
    Once,
    /// Records are sent on to everybody else.
    Hub,
    /// Lines are sent to a host, and its answers back.
    Relay,
    /// The same behind a layer with a toy cipher.
    LayeredRelay,
    /// An echo with timers.
    Timed,
    /// A chat room.
    Chat,
    /// A chat room of 10 lines a second for each member.
    LimitedChat,
    /// An echo that takes a little at a time.
    Hesitant,
    /// An echo behind a layer with a toy cipher.
    LayeredEcho,
    /// Records are sent on to everybody else, behind such a layer.
    LayeredHub,
    /// An echo that takes a little at a time, behind such a layer.
    LayeredHesitant,
    /// A program is run for each line.
    Commands,
    /// HTTP requests are answered, at once, later or in parts (feature `http`).
    #[cfg(feature = "http")]
    Http,
    /// Three nodes of a bus share a room, by a Redis that has faults (feature `bus`).
    #[cfg(feature = "bus")]
    Bus,
    /// Workers do the work of each line.
    Jobs,
    /// A host is connected to by name for each line.
    Names,
    /// Files are received into a temporary directory (feature `upload`).
    #[cfg(feature = "upload")]
    Upload,
    /// The same, and workers write them.
    #[cfg(feature = "upload")]
    UploadOnWorkers,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.filter(|seeds| !seeds.is_empty()).ok_or_else(|| "write FROM..TO, as in 0..10000".into())
}

/// How a plan fails, if it does. A panic is a failure like any other.
fn failure<S: Subject + Sync>(subject: &S, plan: &Plan, record: Record) -> Result<Totals, Failure> {
    catch_unwind(AssertUnwindSafe(|| run(subject, plan, record))).unwrap_or_else(|_| {
        let violation = Violation { turn: 0, at: Duration::ZERO, what: "it panicked".into() };
        Err(Failure { violation, trace: String::new() })
    })
}

/// Records a run and replays it. A panic is a divergence like any other.
fn replayed<S: Subject + Sync>(subject: &S, plan: &Plan) -> Result<Totals, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| replay_plan(subject, plan)));
    let ReplayedPlan { replayed, stats, .. } = outcome.unwrap_or_else(|_| Err("it panicked".into()))?;
    Ok(Totals {
        runs: 1,
        turns: replayed.turns,
        connections: stats.accepted + stats.connected,
        children: stats.children_started,
        bytes: stats.bytes_in + stats.bytes_out,
        ..Totals::default()
    })
}

/// Looks at the first seed turn by turn, if an option says so.
fn look<S: Subject>(subject: &S, options: &Options) -> Option<Result<(), BoxError>> {
    let plan = Plan::new(options.seeds.start);
    let turns = || {
        let (turns, outcome) = run_recorded(subject, &plan);
        let outcome = outcome.map_or_else(|failure| failure.to_string(), |()| "it kept its promises".into());
        println!("{} turns: {outcome}", turns.0.len());
        turns
    };
    if let Some(turn) = options.stop_at {
        return Some(stop_at(subject, &plan, turn).map(|shown| println!("{shown}")).map_err(Into::into));
    }
    if let Some(file) = &options.turns {
        return Some(fs::write(file, turns().to_string()).map_err(Into::into));
    }
    let compare = |file: &PathBuf| {
        let kept: Turns = fs::read_to_string(file)?.parse()?;
        match kept.first_difference(&turns()) {
            None => {
                println!("every turn is the same as in the file");
                Ok(())
            }
            Some(difference) => Err(format!("the file holds the first run\n{difference}").into()),
        }
    };
    options.compare.as_ref().map(compare)
}

fn explore<S: Subject + Sync>(subject: &S, options: &Options) -> ExitCode {
    if let Some(outcome) = look(subject, options) {
        return outcome.map_or_else(
            |error| {
                println!("{error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let began = Instant::now();
    let bar = ProgressBar::new(options.seeds.end - options.seeds.start);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} {eta} {msg}");
    bar.set_style(style.expect("a template that is right"));
    let next = AtomicU64::new(options.seeds.start);
    let found = Mutex::new((Totals::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                let (mut totals, mut failed) = (Totals::default(), Vec::new());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        break;
                    }
                    let plan = Plan::new(seed);
                    let outcome = if options.replay {
                        replayed(subject, &plan)
                    } else {
                        failure(subject, &plan, Record::Nothing).map_err(|failure| failure.to_string())
                    };
                    match outcome {
                        Ok(run) => totals += run,
                        Err(what) => failed.push((seed, what)),
                    }
                    bar.inc(1);
                }
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.0 += totals;
                found.1.append(&mut failed);
            });
        }
    });
    bar.finish_and_clear();
    let (totals, mut failed) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_unstable();
    report(&totals, began);
    for (seed, what) in failed.iter().take(20) {
        println!("seed {seed} failed: {what}");
    }
    let Some((seed, _)) = failed.first() else { return ExitCode::SUCCESS };
    if options.replay {
        println!("{} seeds diverged", failed.len());
        return ExitCode::FAILURE;
    }
    println!("{} seeds failed; the first of them, made smaller:", failed.len());
    let smallest = shrink(&Plan::new(*seed), options.shrink, |plan| {
        failure(subject, plan, Record::Nothing).err().map(|failure| failure.violation.what)
    });
    println!("{smallest:#?}");
    if let Err(failure) = failure(subject, &smallest, Record::Trace) {
        let trace = &failure.trace;
        let skipped = trace.lines().count().saturating_sub(SHOWN);
        println!("the end of its trace, after {skipped} lines:");
        trace.lines().skip(skipped).for_each(|line| println!("{line}"));
        println!("{failure}");
    }
    ExitCode::FAILURE
}

fn report(totals: &Totals, began: Instant) {
    println!("{} runs kept their promises, in {:.1?}", totals.runs, began.elapsed());
    println!("{:.1} simulated hours", totals.time.as_secs_f64() / 3600.0);
    for (what, count) in [
        ("turns", totals.turns),
        ("connections", totals.connections),
        ("child processes", totals.children),
        ("bytes moved", totals.bytes),
        ("callbacks", totals.callbacks),
    ] {
        println!("{count:>14} {what}");
    }
    for (what, count) in totals.faults.by_name() {
        println!("{count:>14} {what}");
    }
    println!("all traces together: {:016x}", totals.hash);
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.service {
        Service::Echo => explore(&Echo, &options),
        Service::Upper => explore(&Upper, &options),
        Service::Once => explore(&Once, &options),
        Service::Hub => explore(&Hub, &options),
        Service::Relay => explore(&Relay, &options),
        Service::LayeredRelay => explore(&Layered(Relay), &options),
        Service::Timed => explore(&Timed, &options),
        Service::Chat => explore(&Chat::default(), &options),
        Service::LimitedChat => explore(&Chat { lines_per_second: NonZeroU32::new(10) }, &options),
        Service::Hesitant => explore(&Hesitant, &options),
        Service::LayeredEcho => explore(&Layered(Echo), &options),
        Service::LayeredHub => explore(&Layered(Hub), &options),
        Service::LayeredHesitant => explore(&Layered(Hesitant), &options),
        Service::Commands => explore(&Commands, &options),
        #[cfg(feature = "http")]
        Service::Http => explore(&Requests, &options),
        #[cfg(feature = "bus")]
        Service::Bus => explore(&Rooms, &options),
        Service::Jobs => explore(&Jobs, &options),
        Service::Names => explore(&Names, &options),
        #[cfg(feature = "upload")]
        Service::Upload => explore(&Upload, &options),
        #[cfg(feature = "upload")]
        Service::UploadOnWorkers => explore(&OnWorkers, &options),
    }
}
