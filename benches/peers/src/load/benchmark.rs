//! The load of `redis-benchmark`, with 50 connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::connect::Connector;
use super::patience::LIMIT;
use super::{Effort, Target, Work};
use crate::Result;

/// The requests of the warm-up, which says how many fit into the window.
const FIRST: u64 = 20_000;

/// The key of all requests.
const KEY: &str = "key:__rand_int__";

/// A command that is given again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Benchmark {
    pub(crate) command: What,
    /// The requests under way on each connection.
    pub(crate) pipeline: u32,
}

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Set,
    Get,
}

/// See [`Load::run`](super::Load::run). What is counted are requests.
pub(super) fn run(benchmark: Benchmark, target: &Target, effort: &Effort) -> Result<Work> {
    until_it_answers(target.address)?;
    // A GET has something to get.
    requests(Benchmark { command: What::Set, ..benchmark }, FIRST, target)?;
    let began = Instant::now();
    requests(benchmark, FIRST, target)?;
    let rate = FIRST as f64 / began.elapsed().as_secs_f64();
    let count = (rate * effort.window.as_secs_f64()) as u64;
    let work = Work::measure(target, || requests(benchmark, count.max(FIRST), target))?;
    let value = ask(&Connector::new(target.address).connect()?, &["GET", KEY])?;
    if value.starts_with("$3\r\n") && value.len() == 9 {
        Ok(work)
    } else {
        Err(format!("the value that was set is {value:?}").into())
    }
}

/// See [`Load::count`](super::Load::count).
pub(super) fn count(benchmark: Benchmark, count: u64, target: &Target) -> Result<u64> {
    until_it_answers(target.address)?;
    requests(benchmark, count, target)
}

fn requests(benchmark: Benchmark, count: u64, target: &Target) -> Result<u64> {
    let Benchmark { command, pipeline } = benchmark;
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &target.address.port().to_string()])
        .args(["-c", "50", "-P", &pipeline.to_string(), "-n", &count.to_string(), "--csv"])
        .args(["-t", if command == What::Set { "set" } else { "get" }])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("redis-benchmark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let is_done = text.lines().any(|line| line.starts_with("\"SET\"") || line.starts_with("\"GET\""));
    if output.status.success() && is_done {
        Ok(count)
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("redis-benchmark ended with {}: {text}{errors}", output.status).into())
    }
}

/// Waits until a Redis, or something like it, answers.
///
/// # Errors
///
/// It does not in time.
pub(crate) fn until_it_answers(address: SocketAddr) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let answer =
            Connector::new(address).connect().map_err(Into::into).and_then(|stream| ask(&stream, &["PING"]));
        match answer {
            Ok(answer) if answer == "+PONG\r\n" => return Ok(()),
            Ok(answer) => return Err(format!("it answers {answer:?}").into()),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => sleep(Duration::from_millis(5)),
        }
    }
}

/// A short answer.
fn ask(mut stream: &TcpStream, words: &[&str]) -> Result<String> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(command.as_bytes())?;
    let mut answer = Vec::new();
    let mut bytes = [0; 256];
    while !answer.ends_with(b"\r\n") || answer.starts_with(b"$3\r\n") && answer.len() < 9 {
        match stream.read(&mut bytes)? {
            0 => return Err("it closed the connection".into()),
            count => answer.extend_from_slice(&bytes[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
