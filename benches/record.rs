//! What recording costs: an echo over TCP on the loopback by a reactor that is not
//! recorded, by one that keeps hashes, and by one that keeps payloads, in turns.
//!
//! ```text
//! cargo bench --bench record --features record
//! ```
//!
//! For each length of a message it prints the throughput without a recorder, and what
//! each recorder takes of it: of the messages in a second, and of the processor time of
//! the server's thread, the latter with its system calls. Both are medians of ratios of
//! runs that stand beside each other. The servers run on one processor and the client on
//! another, and are started again some times: where their memory happens to be changes the
//! throughput of long messages by a fifth, for as long as they live.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serve_forever::driver::{Driver, MioDriver};
use serve_forever::record::{Payloads, RecordOptions, Recorder};
use serve_forever::services::Echo;
use serve_forever::{Config, Endpoint, Handle, Limits, Reactor};

/// Connections at once.
const CONNECTIONS: usize = 50;

/// Lengths of messages.
const LENGTHS: [usize; 4] = [64, 1 << 10, 8 << 10, 32 << 10];

/// What is recorded of payloads.
const RECORDERS: [(&str, Payloads); 2] = [("hashed", Payloads::Hashed), ("kept", Payloads::Kept)];

/// How long a run takes.
#[derive(Clone, Copy)]
struct Plan {
    /// How often the servers are started.
    starts: usize,
    /// The rounds of each start.
    rounds: usize,
    run: Duration,
    /// The time in which rings are filled before: memory that is new costs more.
    fill: Duration,
}

impl Plan {
    /// The one of `cargo bench`; `cargo test` only looks whether it works.
    fn of_arguments() -> Self {
        if std::env::args().any(|argument| argument == "--bench") {
            Self { starts: 5, rounds: 5, run: Duration::from_millis(200), fill: Duration::from_secs(1) }
        } else {
            Self { starts: 1, rounds: 1, run: Duration::from_millis(5), fill: Duration::ZERO }
        }
    }
}

/// A server, and the connections of its client.
struct Server {
    handle: Handle<Echo>,
    connections: Vec<TcpStream>,
}

/// Starts a reactor on a driver that is made on its thread.
fn start<D: Driver>(make: impl FnOnce(MioDriver) -> D + Send + 'static) -> Server {
    let (tell, told) = mpsc::channel::<(SocketAddr, Handle<Echo>)>();
    thread::spawn(move || {
        keep_to_processor(0);
        let config = Config::default();
        let driver = make(MioDriver::new(config.events_per_turn).expect("a driver"));
        let mut reactor = Reactor::with_driver(driver, config).expect("a reactor");
        let echo = reactor.add(Echo::new(), Limits::default()).expect("good limits");
        let any_port = "127.0.0.1:0".parse().expect("an endpoint");
        let listener = reactor.listen(&echo, &any_port).expect("a free port");
        let Some(Endpoint::Tcp(address)) = reactor.local(listener).cloned() else { panic!("not TCP") };
        tell.send((address, reactor.handle(&echo))).expect("the bench waits for it");
        reactor.serve_forever().expect("it serves");
    });
    let (address, handle) = told.recv().expect("the server starts");
    let connections = (0..CONNECTIONS).map(|_| common::connect(address)).collect();
    Server { handle, connections }
}

fn recorded(payloads: Payloads) -> Server {
    let options = RecordOptions { payloads, ..RecordOptions::default() };
    start(move |driver| Recorder::new(driver, options).expect("good options"))
}

/// What a message takes, or a part of it that another one takes.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    processor: f64,
}

impl Server {
    /// The processor time of its thread so far.
    fn processor_time(&self) -> Duration {
        let time = |_: &mut Echo, _: &mut serve_forever::Io<'_>| {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
        };
        self.handle.ask(Duration::from_secs(60), time).expect("it answers")
    }

    /// Sends a message on each connection and reads what comes back, again and again.
    fn run(&mut self, message: &[u8], time: Duration) -> Cost {
        let mut reply = vec![0; message.len()];
        let processor = self.processor_time();
        let began = Instant::now();
        let mut messages = 0;
        while began.elapsed() < time {
            for connection in &mut self.connections {
                connection.write_all(message).expect("the server is there");
            }
            for connection in &mut self.connections {
                connection.read_exact(&mut reply).expect("the server answers");
            }
            messages += CONNECTIONS;
        }
        let wall = began.elapsed();
        let processor = self.processor_time() - processor;
        let each = |time: Duration| time.as_secs_f64() / messages as f64;
        Cost { wall: each(wall), processor: each(processor) }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Keeps this thread to one of the processors that the program may use, if there are two.
fn keep_to_processor(which: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let processors: Vec<_> = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).collect();
    if let Some(processor) = processors.get(which).filter(|_| processors.len() > 1) {
        let mut one = CpuSet::new();
        one.set(*processor);
        sched_setaffinity(None, &one).expect("it is one of those allowed");
    }
}

/// What the rounds of a length have measured, of all starts.
#[derive(Default)]
struct Measured {
    /// Messages in a second, not recorded.
    rates: Vec<f64>,
    /// What a message cost with each recorder, as a part of what it cost without.
    ratios: [Vec<Cost>; RECORDERS.len()],
}

/// Starts servers and runs the rounds of each length.
fn measure(plan: Plan, all: &mut [Measured; LENGTHS.len()]) {
    let mut plain = start(|driver| driver);
    let mut recorders = RECORDERS.map(|(_, payloads)| recorded(payloads));
    for server in &mut recorders {
        server.run(&[b'x'; LENGTHS[0]], plan.fill);
    }
    for (length, measured) in LENGTHS.into_iter().zip(all) {
        let message = vec![b'x'; length];
        plain.run(&message, plan.run);
        for server in &mut recorders {
            server.run(&message, plan.run);
        }
        for _ in 0..plan.rounds {
            for (server, ratios) in recorders.iter_mut().zip(&mut measured.ratios) {
                // The neighbours of a run, before and behind it, are not recorded.
                let before = plain.run(&message, plan.run);
                let cost = server.run(&message, plan.run);
                let behind = plain.run(&message, plan.run);
                measured.rates.push(1.0 / before.wall);
                ratios.push(Cost {
                    wall: 2.0 * cost.wall / (before.wall + behind.wall),
                    processor: 2.0 * cost.processor / (before.processor + behind.processor),
                });
            }
        }
    }
}

fn main() {
    keep_to_processor(1);
    let plan = Plan::of_arguments();
    let mut all = LENGTHS.map(|_| Measured::default());
    for _ in 0..plan.starts {
        measure(plan, &mut all);
    }
    println!("| message | messages/s, not recorded | payloads | throughput | processor time |");
    println!("| --- | --- | --- | --- | --- |");
    for (length, measured) in LENGTHS.into_iter().zip(all) {
        let rate = median(measured.rates);
        for ((name, _), costs) in RECORDERS.into_iter().zip(measured.ratios) {
            // A cost of 25 % more time is a throughput of 20 % less.
            let lost = 100.0 * (1.0 - 1.0 / median(costs.iter().map(|cost| cost.wall).collect()));
            let spent = 100.0 * (median(costs.iter().map(|cost| cost.processor).collect()) - 1.0);
            println!("| {length} bytes | {rate:.0} | {name} | −{lost:.1} % | +{spent:.1} % |");
        }
    }
}
