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
//! (`--max-memory BYTES`, 256 MiB), and nothing on a disk. With `--busy-poll
//! MICROSECONDS` it looks for requests for so long before it sleeps
//! (`Config::busy_poll`): a client that asks again within that time need not wake it.
//!
//! It knows PING, ECHO, SET with all options, GET, DEL, UNLINK, EXISTS, STRLEN, INCR,
//! DECR, INCRBY, DECRBY, INCRBYFLOAT, EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, PERSIST, TTL,
//! PTTL, EXPIRETIME, PEXPIRETIME, DBSIZE, FLUSHALL, FLUSHDB, SELECT 0, HELLO, CLIENT,
//! CONFIG GET, INFO, COMMAND, SUBSCRIBE, UNSUBSCRIBE, PUBLISH and QUIT. Anybody who can
//! connect may give them: it has no password.
//!
//! A client that pipelines is answered once for all that came together; one that does
//! not read its answers is not read either. A subscriber that does not read is dropped
//! when 32 MiB wait for it. That is memory beside `--max-memory`.

mod channels;
mod command_line;
pub(crate) mod commands;
mod options;
mod reply;
mod request;
mod store;
mod table;

use std::time::Duration;
use std::{env, process};

use serve_forever::{BoxError, Config, Limits, Reactor};

use self::channels::MOST_CHANNELS;
use self::command_line::{CommandLine, USAGE};
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
    let options = match CommandLine::parse(env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return Ok(());
        }
        Err(error) => {
            eprintln!("kv: {error}\n{USAGE}");
            process::exit(2);
        }
    };
    let config = Config {
        busy_poll: options.busy_poll,
        max_groups_per_connection: MOST_CHANNELS,
        ..Config::default()
    };
    let mut reactor = Reactor::new(config)?;
    let kv = reactor.add(Kv::new(options.max_memory), limits())?;
    let listener = reactor.listen(&kv, &options.endpoint).unwrap_or_else(|error| {
        eprintln!("kv: {error}");
        process::exit(2);
    });
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));
    Ok(reactor.serve_forever()?)
}
