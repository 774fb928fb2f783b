//! Teaches: a binary protocol with pipelining. A small Redis, for `redis-cli` and
//! `redis-benchmark`: strings with expiry, and channels.
//!
//! ```text
//! cargo run --release --example kv -- 127.0.0.1:6380
//! redis-cli -p 6380 set greeting hello ex 10
//! redis-benchmark -p 6380 -t set,get -P 16 -q
//! ```
//!
//! RESP2 and RESP3 (`HELLO 3`). It keeps everything in memory, up to a bound
//! (`--max-memory BYTES`, 256 MiB), and nothing on a disk.
//!
//! A client that pipelines is answered once for all that came together; one that does
//! not read its answers is not read either. A subscriber that does not read is dropped
//! at its hard mark.

mod channels;
pub(crate) mod commands;
mod options;
mod reply;
mod request;
mod store;
mod table;

use std::time::Duration;
use std::{env, process};

use serve_forever::{BoxError, Config, Limits, Reactor};

use self::commands::Kv;

/// The limits of its connections: a request may be as large as one value.
pub(crate) fn limits() -> Limits {
    Limits {
        idle: None,
        frame: Some(Duration::from_secs(60)),
        first_frame: None,
        max_input: request::LONGEST_ARGUMENT + (64 << 10),
        high_mark: 1 << 20,
        low_mark: 256 << 10,
        hard_mark: 2 * request::LONGEST_ARGUMENT,
        ..Limits::default()
    }
}

fn main() -> Result<(), BoxError> {
    let (mut endpoint, mut max_memory) = ("127.0.0.1:6380".to_owned(), 256 << 20);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--max-memory" => {
                let bytes = arguments.next().ok_or("--max-memory needs a number of bytes")?;
                max_memory = bytes.parse().map_err(|error| format!("--max-memory {bytes}: {error}"))?;
            }
            "--help" | "-h" => {
                println!("usage: kv [--max-memory BYTES] [ENDPOINT]");
                return Ok(());
            }
            option if option.starts_with('-') => {
                eprintln!("kv: unknown option {option}; see --help");
                process::exit(2);
            }
            _ => endpoint = argument,
        }
    }
    let mut reactor = Reactor::new(Config::default())?;
    let kv = reactor.add(Kv::new(max_memory), limits())?;
    let listener = reactor.listen(&kv, &endpoint.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
