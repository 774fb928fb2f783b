//! The generators. Each knows every byte that must come, in which order, and
//! whatever else comes, or does not, is an error: a fast server that is wrong
//! has no figure.
//!
//! They run on a CPU of their own and never sleep while they measure: a server
//! whose client sleeps pays for waking it, and then it is the client's habits
//! that are measured.

pub(crate) mod benchmark;
pub(crate) mod beside;
pub(crate) mod broadcast;
pub(crate) mod chat;
pub(crate) mod churn;
pub(crate) mod command;
mod connect;
pub(crate) mod deliveries;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod latency;
pub(crate) mod loris;
pub(crate) mod memory;
mod patience;
#[path = "../../../src/bin/reactor-echo/load/pattern.rs"]
mod pattern;
#[cfg(test)]
mod testing;
pub(crate) mod tls;
pub(crate) mod upload;
pub(crate) mod web;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use serde::Serialize;

use crate::Result;
use crate::system::process::Process;

/// Events taken at once.
const EVENTS: usize = 1024;

/// How long a server may take to go to sleep when nothing is left to do: until
/// then its time is not all accounted for.
const SETTLE: Duration = Duration::from_millis(20);

/// A server under load.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    /// Where it puts files.
    pub(crate) folder: Option<PathBuf>,
    /// Another node, with the same rooms.
    pub(crate) other: Option<SocketAddr>,
}

/// What a server is loaded with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    Echo(echo::Echo),
    Chat(chat::Chat),
    Churn(churn::Churn),
    Command,
    Upload(upload::Upload),
    Tls(tls::Tls),
    Web(web::Web),
    Fanout(fanout::Fanout),
    Benchmark(benchmark::Benchmark),
}

impl Load {
    /// Loads a server for a time, after a warm-up.
    ///
    /// # Errors
    ///
    /// It cannot be reached, falls silent, closes, or sends other bytes than
    /// it must.
    pub(crate) fn run(self, target: &Target, effort: &Effort) -> Result<Work> {
        match self {
            Self::Echo(echo) => echo::run(echo, target, effort),
            Self::Chat(chat) => chat::run(chat, target, effort),
            Self::Churn(churn) => churn::run(churn, target, effort),
            Self::Command => command::run(target, effort),
            Self::Upload(upload) => upload::run(upload, target, effort),
            Self::Tls(tls) => tls::run(tls, target, effort),
            Self::Web(web) => web::run(web, target, effort),
            Self::Fanout(fanout) => fanout::run(fanout, target, effort),
            Self::Benchmark(benchmark) => benchmark::run(benchmark, target, effort),
        }
    }

    /// Whether it can be [kept](Self::keep): echoes alone.
    pub(crate) const fn is_kept(self) -> bool {
        match self {
            Self::Echo(echo) => echo.idle == 0,
            Self::Tls(tls) => matches!(tls, tls::Tls::Echo { .. }),
            _ => false,
        }
    }

    /// Connects to a server that is to be loaded in many windows.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or the load connects anew for each message.
    pub(crate) fn keep(self, target: &Target, effort: &Effort) -> Result<Kept> {
        match self {
            Self::Echo(echo) => echo::keep(echo, target, effort),
            Self::Tls(tls) => tls::keep(tls, target),
            _ => Err("its connections do not stay".into()),
        }
    }

    /// Loads a server until so much is done, or a little more; returns how
    /// much.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub(crate) fn count(self, count: u64, target: &Target, effort: &Effort) -> Result<u64> {
        match self {
            Self::Echo(echo) => echo::count(echo, count, target, effort),
            Self::Chat(chat) => chat::count(chat, count, target, effort),
            Self::Churn(churn) => churn::count(churn, count, target, effort),
            Self::Command => command::count(count, target, effort),
            Self::Upload(_) => upload::count(count, target, effort),
            Self::Tls(tls) => tls::count(tls, count, target),
            Self::Web(web) => web::count(web, count, target, effort),
            Self::Fanout(fanout) => fanout::count(fanout, count, target, effort),
            Self::Benchmark(benchmark) => benchmark::count(benchmark, count, target),
        }
    }
}

/// A load whose connections stay from one window to the next.
pub(crate) struct Kept {
    target: Target,
    drive: Box<dyn FnMut(Bound) -> Result<u64>>,
}

impl Kept {
    fn new(target: &Target, drive: impl FnMut(Bound) -> Result<u64> + 'static) -> Self {
        Self { target: target.clone(), drive: Box::new(drive) }
    }

    /// Loads the server for a time, after a warm-up.
    ///
    /// # Errors
    ///
    /// As [`Load::run`].
    pub(crate) fn window(&mut self, effort: &Effort) -> Result<Work> {
        (self.drive)(Bound::Time(effort.warmup()))?;
        Work::measure(&self.target, || (self.drive)(Bound::Time(effort.window)))
    }
}

/// How long work begins.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Time(Duration),
    Count(u64),
}

impl Bound {
    /// Whether more may begin: by now, with so much begun.
    fn allows(self, spent: Duration, begun: u64) -> bool {
        match self {
            Self::Time(time) => spent < time,
            Self::Count(count) => begun < count,
        }
    }
}

/// For how long, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How long to measure.
    pub(crate) window: Duration,
    /// The load has a CPU to itself and spins on it.
    pub(crate) spins: bool,
}

impl Effort {
    fn warmup(&self) -> Duration {
        self.window / 5
    }

    /// Looks for events: never waits for them if the CPU is ours.
    fn wait(&self, poll: &mut Poll, events: &mut Events) -> io::Result<()> {
        let timeout = if self.spins { Duration::ZERO } else { Duration::from_millis(10) };
        match poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// What was done in a window that began and ended with nothing under way.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Work {
    /// Messages that came back, lines delivered, connections served, commands
    /// run, or MiB received.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// CPU time of the server.
    pub(crate) server_cpu_seconds: f64,
    /// How long the server waited for its CPU while others had it.
    pub(crate) server_waited_seconds: f64,
    /// CPU time of the load.
    pub(crate) load_cpu_seconds: f64,
    /// How long the load waited for its CPU while others had it.
    pub(crate) load_waited_seconds: f64,
}

impl Work {
    /// Measures `drive`, which returns how much it did.
    fn measure(target: &Target, drive: impl FnOnce() -> Result<u64>) -> Result<Self> {
        let load = Process::new(std::process::id());
        sleep(SETTLE);
        let (server_before, load_before) = (target.process.cpu()?, load.cpu()?);
        let began = Instant::now();
        let count = drive()?;
        let elapsed = began.elapsed();
        let load = load.cpu()?.since(load_before);
        sleep(SETTLE);
        let server = target.process.cpu()?.since(server_before);
        if count == 0 {
            return Err("nothing was done in the time given".into());
        }
        Ok(Self {
            count,
            seconds: elapsed.as_secs_f64(),
            server_cpu_seconds: server.used.as_secs_f64(),
            server_waited_seconds: server.waited.as_secs_f64(),
            load_cpu_seconds: load.used.as_secs_f64(),
            load_waited_seconds: load.waited.as_secs_f64(),
        })
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Microseconds of the server's CPU time for each.
    pub(crate) fn server_micros(&self) -> f64 {
        self.server_cpu_seconds * 1e6 / self.count as f64
    }

    /// For which part of the time the server had something to do, from 0 to 1:
    /// it ran, or waited for its CPU.
    pub(crate) fn server_share(&self) -> f64 {
        (self.server_cpu_seconds + self.server_waited_seconds) / self.seconds
    }

    /// For which part of the time the load had something to do, from 0 to 1. A
    /// child of it counts with what it ran, in steps of 10 ms.
    pub(crate) fn load_share(&self) -> f64 {
        (self.load_cpu_seconds + self.load_waited_seconds) / self.seconds
    }

    /// For which part of the time others had one of the two CPUs, from 0 to 1:
    /// the larger of both.
    pub(crate) fn disturbance(&self) -> f64 {
        self.server_waited_seconds.max(self.load_waited_seconds) / self.seconds
    }
}

/// No bytes for a socket that has none, or no room.
fn unless_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
