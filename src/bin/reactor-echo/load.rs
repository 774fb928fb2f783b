//! The load: a client of any echo server, on one thread, which checks every
//! byte.
//!
//! It uses mio and the standard library alone, without the reactor that this
//! program measures, so a fault in one cannot hide the same fault in the other.
//! TLS is rustls at both ends, and the load has the library's layer for it.
//!
//! A run has three parts: it connects, warms up, and measures. Each of the last
//! two begins with nothing in flight and ends when every message it began has
//! come back or is lost. Counters taken where the window opens and closes
//! therefore cover the measured messages and no others.

mod alarm;
mod client;
mod connection;
mod connector;
mod failure;
mod pattern;
mod phase;
mod secure;
mod stream;

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use self::client::Client;
pub(crate) use self::failure::{Failures, Kind};
use crate::endpoint::Endpoint;
use crate::limits;
use crate::tls::Secured;

/// What to load a server with.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    /// The server.
    pub(crate) endpoint: Endpoint,
    /// The TLS of its connections, where it speaks that.
    pub(crate) tls: Option<Secured>,
    /// Connections which carry messages.
    pub(crate) connections: usize,
    /// Connections which are open and silent.
    pub(crate) idle: usize,
    /// Bytes per message.
    pub(crate) size: u64,
    /// When a message begins.
    pub(crate) pace: Pace,
    /// How long to run before measuring; zero for not at all.
    pub(crate) warmup: Duration,
    /// How much to measure.
    pub(crate) window: Window,
    /// How long a connection may owe bytes without one arriving or leaving.
    pub(crate) timeout: Duration,
}

/// When a message begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// When the one before it has come back: the server sets the rate.
    Closed {
        /// Messages each connection keeps outstanding.
        pipeline: u64,
    },
    /// At its time, whatever is outstanding: the client sets the rate.
    Open {
        /// Messages per second, over all connections.
        rate: f64,
    },
}

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// The messages which begin within this time.
    Time(Duration),
    /// This many messages.
    Messages(u64),
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct LoadReport {
    /// From where the window opens to the last message's return.
    pub(crate) elapsed: Duration,
    /// Messages which came back whole and right.
    pub(crate) messages: u64,
    /// Messages which began, or were due, and never came back.
    pub(crate) lost: u64,
    /// Latency in nanoseconds: in the closed loop from the moment the message
    /// may go, which a full socket delays and the server answers for; in the
    /// open loop from the moment it was meant to go.
    pub(crate) latency: Histogram<u64>,
    /// What went wrong, in the warm-up too.
    pub(crate) failures: Failures,
    /// CPU time of the load's own thread within the window.
    pub(crate) cpu: Duration,
}

/// An observer of a run.
///
/// Everything is called on the load's thread, the window's two marks exactly
/// once unless the run fails before it.
pub(crate) trait Observer {
    /// `established` of the `wanted` connections are open.
    fn connecting(&mut self, established: usize, wanted: usize);
    /// The progress of the warm-up, from 0 to 1.
    fn warming_up(&mut self, fraction: f64);
    /// The measurement begins, with nothing in flight.
    fn window_opens(&mut self);
    /// The progress of the measurement, from 0 to 1, and the messages that are
    /// back.
    fn measuring(&mut self, fraction: f64, messages: u64);
    /// The measurement is over, with nothing in flight.
    fn window_closed(&mut self);
}

/// Runs the load on the calling thread.
///
/// An error of a connection is counted in the report and ends that connection
/// only.
///
/// # Errors
///
/// The run cannot go on as a whole: the endpoint does not resolve, too few file
/// descriptors, the poller fails.
pub(crate) fn run(options: &LoadOptions, observer: &mut dyn Observer) -> io::Result<LoadReport> {
    limits::reserve_sockets((options.connections + options.idle) as u64)?;
    let mut client = Client::connect(options, observer)?;
    if !options.warmup.is_zero() {
        client.drive(Window::Time(options.warmup), &mut |fraction, _| {
            observer.warming_up(fraction);
        })?;
    }

    observer.window_opens();
    let cpu = thread_cpu_time();
    let phase = client.drive(options.window, &mut |fraction, messages| {
        observer.measuring(fraction, messages);
    })?;
    let cpu = thread_cpu_time().saturating_sub(cpu);
    observer.window_closed();

    Ok(LoadReport {
        elapsed: phase.elapsed(),
        messages: phase.completed(),
        lost: phase.lost(),
        latency: phase.into_latency(),
        failures: client.into_failures(),
        cpu,
    })
}

/// CPU time the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // The clock starts at zero with the thread, so neither part is negative.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Time as nanoseconds since the run began: half the size of an [`Instant`] and
/// what the histogram takes.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// The beginning.
    origin: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { origin: Instant::now() }
    }

    fn now(self) -> u64 {
        nanos(self.origin.elapsed())
    }
}

/// A duration in nanoseconds, saturated at 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
