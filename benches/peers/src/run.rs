//! The runs: round by round, row by row, server by server, so that whatever
//! changes on the machine meanwhile changes for all of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::Result;
use crate::calls;
use crate::instructions::{self, Counter};
use crate::load::beside::Beside;
use crate::load::deliveries::Deliveries;
use crate::load::{
    Effort, Load, Target, Work, benchmark, beside, broadcast, deliveries, latency, loris, memory, tls, web,
};
use crate::outcome::RowReport;
use crate::peers::{Given, Peer, redis};
use crate::report::Report;
use crate::rows::{self, Kind, Row, Task};
use crate::server::Server;
use crate::system::cpus::{self, Cpus};
use crate::system::machine::Machine;
use crate::system::raise_file_limit;
use crate::system::slow_disk::SlowDisk;

/// How to compare.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    /// The windows of a round of echoes, whose servers are loaded in turn.
    pub(crate) windows: usize,
    /// How long each run measures.
    pub(crate) window: Duration,
    pub(crate) only: Vec<Kind>,
    /// What the names of the rows contain.
    pub(crate) named: String,
    pub(crate) smoke: bool,
    /// Where callgrind's profiles go, if they are wanted.
    #[serde(skip)]
    pub(crate) profiles: Option<PathBuf>,
}

impl Settings {
    /// What was run, for the head of a report.
    pub(crate) fn text(&self) -> String {
        let Self { rounds, windows, window, .. } = self;
        match windows {
            1 => format!("{rounds} rounds of {window:?} each, interleaved"),
            _ => format!("{rounds} rounds of {window:?} each, of echoes {windows} times that, interleaved"),
        }
    }
}

/// What one run came to.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(crate) enum Figure {
    Work(Work),
    Amount {
        /// Nanoseconds, bytes, system calls or instructions.
        amount: f64,
    },
}

/// Runs everything and reports, failures included.
///
/// # Errors
///
/// Nothing can be run at all.
pub(crate) fn run(settings: &Settings) -> Result<Report> {
    let max_connections = raise_file_limit();
    let cpus = Cpus::of_this_process()?;
    let machine = Machine::look(cpus);
    // All that this process does while a server runs is loading it.
    cpus::pin(cpus.load)?;
    let effort = Effort { window: settings.window, spins: cpus.are_two() };
    if let Some(folder) = &settings.profiles {
        std::fs::create_dir_all(folder)?;
    }
    let mut rows = rows::rows(&settings.only, settings.smoke, max_connections);
    rows.retain(|row| row.name.contains(&settings.named));
    if rows.is_empty() {
        return Err(format!("no row of these kinds has {:?} in its name", settings.named).into());
    }
    let mut rows: Vec<_> = rows.into_iter().map(RowReport::new).collect();
    let most = rows.iter().map(|report| report.row.rounds.of(settings.rounds)).max().unwrap_or(0);
    for round in 0..most {
        for report in &mut rows {
            let rounds = report.row.rounds.of(settings.rounds);
            if round < rounds && report.skipped.is_none() {
                eprintln!("round {} of {rounds}: {:?}, {}", round + 1, report.row.kind, report.row.name);
                match report.row.task {
                    Task::Work(load) if settings.windows > 1 && load.is_kept() => {
                        run_side_by_side(report, load, round, settings.windows, cpus, &effort);
                    }
                    _ => run_row(report, round, cpus, &effort, settings.profiles.as_deref()),
                }
            }
        }
    }
    Ok(Report::new(machine, settings.clone(), rows))
}

/// Every server of a row once, each time another of them first.
fn run_row(report: &mut RowReport, round: usize, cpus: Cpus, effort: &Effort, profiles: Option<&Path>) {
    let available = match report.row.task {
        Task::Instructions { .. } => instructions::available(),
        Task::Calls { .. } => calls::available(),
        _ if matches!(report.row.kind, Kind::Bus | Kind::Kv) => redis::available(),
        _ => Ok(()),
    };
    if let Err(reason) = available {
        report.skipped = Some(reason);
        return;
    }
    let peers = report.row.peers;
    for turn in 0..peers.len() {
        let place = (turn + round) % peers.len();
        let outcome = run_one(&report.row, peers[place], cpus, effort, profiles);
        report.peers[place].add(outcome);
    }
}

/// Every server of a row at once, each loaded in so many windows, in turn: so what
/// changes within a second changes for all of them too.
fn run_side_by_side(
    report: &mut RowReport,
    load: Load,
    round: usize,
    windows: usize,
    cpus: Cpus,
    effort: &Effort,
) {
    let start = |peer: &Peer| {
        let server = Server::start(*peer, &Given::default(), cpus.server)?;
        let kept = load.keep(&server.target(), effort)?;
        Ok((server, kept))
    };
    let mut servers: Vec<Result<_>> = report.row.peers.iter().map(start).collect();
    for window in 0..windows {
        for turn in 0..servers.len() {
            let place = (turn + window + round) % servers.len();
            let outcome = match &mut servers[place] {
                Ok((server, kept)) => kept.window(effort).and_then(|work| {
                    server.check()?;
                    Ok(Figure::Work(work))
                }),
                Err(error) => Err(error.to_string().into()),
            };
            report.peers[place].add(outcome);
        }
    }
}

fn run_one(row: &Row, peer: Peer, cpus: Cpus, effort: &Effort, profiles: Option<&Path>) -> Result<Figure> {
    let amount = |amount| Figure::Amount { amount };
    match row.task {
        Task::Instructions { load, few, many } => {
            let out = profiles.map(|folder| folder.join(format!("{}, {}.callgrind", peer.name(), row.name)));
            return Counter { peer, load, cpus, effort, out }.each(few, many).map(amount);
        }
        Task::Calls { load, few, many } => {
            return calls::each(peer, load, cpus, effort, few, many).map(amount);
        }
        Task::Within(percent, load) => {
            let within = |_: &Server, nodes: &[_]| deliveries::within(percent, nodes, load, effort);
            return with_nodes(peer, load, cpus, within).map(amount);
        }
        Task::Deliver(load) => {
            let run = |redis: &Server, nodes: &[_]| deliveries::run(&redis.target(), nodes, load, effort);
            return with_nodes(peer, load, cpus, run).map(Figure::Work);
        }
        _ => {}
    }
    // Where `TMPDIR` says; it is gone when this is over.
    let has_files = matches!(row.kind, Kind::Upload | Kind::Beside);
    let folder = if has_files { Some(tempfile::tempdir()?) } else { None };
    // What the server does is measured, and not what its Redis does.
    let redis = if row.kind == Kind::Bus { Some(redis_behind(cpus.load)?) } else { None };
    // A load that spins would leave its Redis the CPU only for a moment, now and then.
    let effort = &Effort { spins: effort.spins && redis.is_none(), ..*effort };
    let given = Given {
        folder: folder.as_ref().map(|folder| folder.path().to_path_buf()),
        ballast: row.ballast,
        redis: redis.as_ref().map(|redis| redis.target().address),
    };
    if let Task::Beside(beside) = row.task {
        let cpu = if beside.needs_every_cpu() {
            cpus::roam(cpus)?;
            None
        } else {
            Some(cpus.server)
        };
        let latency = beside_other(peer, beside, &given, cpu, effort);
        cpus::pin(cpus.load)?;
        return latency.map(amount);
    }
    let mut server = Server::start(peer, &given, cpus.server)?;
    // Where the senders are, if there is such a place: its time is not measured.
    let has_other = peer == Peer::OursBusChat && row.task.is_from_afar();
    let mut other = if has_other { Some(Server::start_behind(peer, &given, cpus.load)?) } else { None };
    let other_address = other.as_ref().map(|other| other.target().address);
    let target = Target { other: other_address, ..server.target() };
    let figure = match row.task {
        Task::Work(load) => load.run(&target, effort).map(Figure::Work),
        Task::Latency => latency::run(&target, effort).map(amount),
        Task::Loris(slow) => loris::run(slow, &target, effort).map(amount),
        Task::Memory(connections) => memory::run(connections, &target).map(amount),
        Task::TlsMemory(connections) => tls::memory(connections, &target).map(amount),
        Task::WebMemory(what, connections) => web::memory(what, connections, &target).map(amount),
        Task::Broadcast(broadcast) => broadcast::run(broadcast, &target).map(amount),
        Task::Beside(_)
        | Task::Within(..)
        | Task::Deliver(_)
        | Task::Calls { .. }
        | Task::Instructions { .. } => Err("it was done above".into()),
    };
    // That it ended explains why the load failed, and goes first.
    server.check()?;
    other.as_mut().map_or(Ok(()), Server::check)?;
    figure
}

/// A redis-server that answers, on the CPU of the load.
fn redis_behind(cpu: usize) -> Result<Server> {
    answering(Server::start_behind(Peer::RedisServer, &Given::default(), cpu)?)
}

fn answering(redis: Server) -> Result<Server> {
    benchmark::until_it_answers(redis.target().address)?;
    Ok(redis)
}

/// Loads the nodes of a Redis. All of them run wherever there is a CPU.
fn with_nodes<T>(
    peer: Peer,
    load: Deliveries,
    cpus: Cpus,
    run: impl FnOnce(&Server, &[Target]) -> Result<T>,
) -> Result<T> {
    cpus::roam(cpus)?;
    let outcome = (|| {
        let redis = answering(Server::start(Peer::RedisServer, &Given::default(), None)?)?;
        let given = Given { redis: Some(redis.target().address), ..Given::default() };
        let start = |_| Server::start(peer, &given, None);
        let mut nodes = (0..load.nodes).map(start).collect::<Result<Vec<_>>>()?;
        let targets: Vec<_> = nodes.iter().map(Server::target).collect();
        let outcome = run(&redis, &targets);
        nodes.iter_mut().try_for_each(Server::check)?;
        outcome
    })();
    cpus::pin(cpus.load)?;
    outcome
}

/// The tail of an echo beside something else. The files of a server go to a slow disk.
fn beside_other(
    peer: Peer,
    beside: Beside,
    given: &Given,
    cpu: Option<usize>,
    effort: &Effort,
) -> Result<f64> {
    let files = given.folder.as_deref().ok_or("it was told no folder")?.join("files");
    std::fs::create_dir(&files)?;
    let disk = if peer == Peer::OursFiles { Some(SlowDisk::mount(&files)?) } else { None };
    let mut server = Server::start(peer, given, cpu)?;
    let latency = beside::run(beside, &server.target(), effort);
    server.check()?;
    // It has files open there.
    drop(server);
    drop(disk);
    latency
}
