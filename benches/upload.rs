//! A large file over TCP on the loopback, received by [`Upload`] and by a bare
//! loop of blocking 64 KiB reads and writes into a file, which is the least
//! that receiving can do. Both run in the same process, in turns, against the
//! same client, and what counts is the ratio.
//!
//! ```text
//! cargo bench --features upload --bench upload -- [MEBIBYTES] [ROUNDS]
//! ```
//!
//! The files go where `TMPDIR` says; in memory (`/dev/shm`) the disk is out of
//! the picture.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::time::{ClockId, clock_gettime};
use serve_forever::services::Upload;
use serve_forever::{Config, Endpoint, Reactor};

const PIECE: usize = 64 << 10;

/// What one file took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    wall: Duration,
    /// Of the thread that received.
    cpu: Duration,
    /// By how much the process grew, in KiB, at most.
    grown: usize,
}

/// The CPU time of this thread.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it does not run backwards")
}

/// The memory of the process in KiB; 0 where there is no `/proc`.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Receives one file with the reactor.
fn reactor(into: &Path, client: impl FnOnce(SocketAddr) -> (Duration, usize) + Send + 'static) -> Taken {
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let upload = Upload::into(into).expect("a directory").max(u64::MAX);
    let service = reactor.add(upload, Upload::limits()).expect("good limits");
    let at = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = reactor.listen(&service, &at).expect("a free port");
    let Some(Endpoint::Tcp(address)) = reactor.local(listener).cloned() else { panic!("it is TCP") };
    let handle = reactor.handle(&service);
    let client = thread::spawn(move || {
        let measured = client(address);
        handle.shutdown(Duration::ZERO);
        measured
    });
    let before = cpu();
    reactor.serve_forever().expect("the loop runs");
    let cpu = cpu() - before;
    let (wall, grown) = client.join().expect("the client lives");
    Taken { wall, cpu, grown }
}

/// Receives one file with a blocking loop.
fn bare(into: &Path, client: impl FnOnce(SocketAddr) -> (Duration, usize) + Send + 'static) -> Taken {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let client = thread::spawn(move || client(address));
    let before = cpu();
    let (mut socket, _) = listener.accept().expect("the client connects");
    let mut header = Vec::new();
    while header.last() != Some(&b'\n') {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a header");
        header.push(byte[0]);
    }
    let header = String::from_utf8(header).expect("UTF-8");
    let mut parts = header.trim_end().split('|').skip(1);
    let mut left: usize = parts.next().and_then(|size| size.parse().ok()).expect("a size");
    let mut file = File::create(into.join(parts.next().expect("a name"))).expect("a file");
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let count = socket.read(&mut piece).expect("the client sends");
        assert!(count > 0, "the client has ended early");
        file.write_all(&piece[..count]).expect("the disk takes it");
        left -= count;
    }
    socket.write_all(b"ok\n").expect("the client reads");
    let cpu = cpu() - before;
    let (wall, grown) = client.join().expect("the client lives");
    Taken { wall, cpu, grown }
}

/// Sends a file of so many bytes, and waits for the answer.
fn send(to: SocketAddr, size: usize) -> (Duration, usize) {
    let mut socket = TcpStream::connect(to).expect("the server listens");
    let piece = vec![b'x'; PIECE];
    let (began, before, mut most) = (Instant::now(), resident(), 0);
    socket.write_all(format!("post|{size}|file\n").as_bytes()).expect("the server reads");
    let mut left = size;
    while left > 0 {
        let count = left.min(PIECE);
        socket.write_all(&piece[..count]).expect("the server reads");
        if left % (16 << 20) < PIECE {
            most = most.max(resident());
        }
        left -= count;
    }
    let mut answer = String::new();
    BufReader::new(&socket).read_line(&mut answer).expect("the server answers");
    assert!(answer.starts_with("ok"), "{answer}");
    (began.elapsed(), most.saturating_sub(before))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // Cargo adds an option of its own.
    let mut numbers = env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let size = numbers.next().unwrap_or(256) << 20;
    let rounds = numbers.next().unwrap_or(5);
    let (tell, told) = mpsc::channel();
    for round in 0..rounds {
        let run = |is_bare: bool| {
            let directory = tempfile::tempdir().expect("a directory");
            let client = move |address| send(address, size);
            let receive =
                if is_bare { bare(directory.path(), client) } else { reactor(directory.path(), client) };
            tell.send((is_bare, receive)).expect("it is listened to");
        };
        // Who is first changes.
        run(round % 2 == 0);
        run(round % 2 == 1);
    }
    drop(tell);
    let taken: Vec<_> = told.iter().collect();
    let rate = |time: Duration| (size >> 20) as f64 / time.as_secs_f64();
    for (name, wanted) in [("bare", true), ("reactor", false)] {
        let of: Vec<Taken> =
            taken.iter().filter(|(is_bare, _)| *is_bare == wanted).map(|(_, taken)| *taken).collect();
        let wall = median(of.iter().map(|taken| rate(taken.wall)).collect());
        let cpu = median(of.iter().map(|taken| rate(taken.cpu)).collect());
        let grown = of.iter().map(|taken| taken.grown).max().unwrap_or(0);
        println!("{name:>8}: {wall:7.0} MiB/s, {cpu:7.0} MiB per CPU second, {grown} KiB more at most");
    }
    let ratio = |time: fn(&Taken) -> Duration| {
        let pairs = taken.chunks(2).map(|pair| {
            let (bare, reactor) = if pair[0].0 { (&pair[0].1, &pair[1].1) } else { (&pair[1].1, &pair[0].1) };
            time(bare).as_secs_f64() / time(reactor).as_secs_f64()
        });
        median(pairs.collect())
    };
    println!(
        "the reactor is {:.2} times as fast, {:.2} by CPU time",
        ratio(|taken| taken.wall),
        ratio(|taken| taken.cpu)
    );
}
