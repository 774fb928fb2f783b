//! Messages that one node publishes and the others report: how long each takes from the
//! publisher to each of the others, with one under way; and how many come in a second,
//! with many.
//!
//! Nobody spins here: the nodes, their Redis and this side share the CPUs, and sleep when
//! there is nothing to do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connect::Connector;
use super::patience::LIMIT;
use super::{Effort, Target, Work};
use crate::Result;
use crate::peers::node::{MESSAGE, PUBLISHER, READY, Report, SUBSCRIBER};

/// The nodes, the publisher among them, and the messages that are under way at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deliveries {
    pub(crate) nodes: usize,
    pub(crate) under_way: u64,
}

/// The time within which so many of 100 messages come, in nanoseconds.
///
/// # Errors
///
/// A node falls silent or closes; a message does not come, or not once and in order.
pub(crate) fn within(
    percent: usize,
    nodes: &[Target],
    deliveries: Deliveries,
    effort: &Effort,
) -> Result<f64> {
    let mut meeting = Meeting::new(nodes)?;
    meeting.drive(deliveries, effort.warmup())?;
    meeting.nanos.clear();
    meeting.drive(deliveries, effort.window)?;
    let times = &mut meeting.nanos;
    times.sort_unstable();
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(place).map(|nanos| *nanos as f64).ok_or_else(|| "nothing came in the time given".into())
}

/// The deliveries in the window; the CPU time is that of Redis.
///
/// # Errors
///
/// As [`within`].
pub(crate) fn run(redis: &Target, nodes: &[Target], deliveries: Deliveries, effort: &Effort) -> Result<Work> {
    let mut meeting = Meeting::new(nodes)?;
    meeting.drive(deliveries, effort.warmup())?;
    Work::measure(redis, || meeting.drive(deliveries, effort.window))
}

/// The connections to the nodes.
struct Meeting {
    publisher: TcpStream,
    subscribers: Vec<Subscriber>,
    published: u64,
    nanos: Vec<u64>,
}

impl Meeting {
    fn new(nodes: &[Target]) -> Result<Self> {
        let join = |(place, node): (usize, &Target)| -> Result<TcpStream> {
            let mut stream = Connector::new(node.address).connect()?;
            stream.write_all(&[if place == 0 { PUBLISHER } else { SUBSCRIBER }])?;
            let mut answer = [0];
            stream.read_exact(&mut answer).map_err(|error| format!("node {place}: {error}"))?;
            if answer == [READY] { Ok(stream) } else { Err(format!("node {place} is not ready").into()) }
        };
        let mut streams = nodes.iter().enumerate().map(join).collect::<Result<Vec<_>>>()?;
        let publisher = streams.remove(0);
        let subscribers = streams.into_iter().map(Subscriber::new).collect::<Result<_>>()?;
        Ok(Self { publisher, subscribers, published: 0, nanos: Vec::new() })
    }

    /// Keeps messages under way for a time, and then waits for the last; how many were
    /// delivered.
    fn drive(&mut self, deliveries: Deliveries, time: Duration) -> Result<u64> {
        let began = Instant::now();
        let first = self.published;
        loop {
            let delivered = self.subscribers.iter().map(|node| node.reported).min().unwrap_or(self.published);
            if began.elapsed() < time {
                let missing = deliveries.under_way - (self.published - delivered);
                self.publisher.write_all(&vec![MESSAGE; usize::try_from(missing)?])?;
                self.published += missing;
            } else if delivered == self.published {
                return Ok((self.published - first) * self.subscribers.len() as u64);
            }
            self.wait()?;
            for subscriber in &mut self.subscribers {
                subscriber.read(self.published, &mut self.nanos)?;
            }
        }
    }

    /// Waits until a node says something.
    fn wait(&mut self) -> Result<()> {
        let mut polled: Vec<_> =
            self.subscribers.iter().map(|node| PollFd::new(&node.stream, PollFlags::IN)).collect();
        polled.push(PollFd::new(&self.publisher, PollFlags::IN));
        let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
        match poll(&mut polled, Some(&limit)) {
            Ok(0) => Err(format!("no message came for {LIMIT:?}").into()),
            Ok(_) if !polled[polled.len() - 1].revents().is_empty() => Err("the publisher is gone".into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A node that reports.
struct Subscriber {
    stream: TcpStream,
    input: Vec<u8>,
    reported: u64,
}

impl Subscriber {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: Vec::new(), reported: 0 })
    }

    /// Takes what it has to report, in order and of what was published.
    fn read(&mut self, published: u64, nanos: &mut Vec<u64>) -> Result<()> {
        let mut bytes = [0; 4096];
        while let Some(count) = super::unless_blocked(self.stream.read(&mut bytes))? {
            if count == 0 {
                return Err("a node closed its connection".into());
            }
            self.input.extend_from_slice(&bytes[..count]);
            if count < bytes.len() {
                break;
            }
        }
        let (reports, rest) = self.input.as_chunks::<{ Report::SIZE }>();
        for report in reports {
            let report = Report::parse(*report);
            self.reported += 1;
            if report.number != self.reported || report.number > published {
                return Err(format!("message {} came instead of {}", report.number, self.reported).into());
            }
            nanos.push(report.nanos);
        }
        let used = self.input.len() - rest.len();
        self.input.drain(..used);
        Ok(())
    }
}
