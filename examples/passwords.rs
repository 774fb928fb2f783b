//! Teaches: work that blocks, on threads beside the loop. A worker hashes each line
//! `hash USER PASSWORD`, which takes a while by design; every other line comes back at
//! once, however many hashes are under way.
//!
//! ```text
//! cargo run --release --features workers --example passwords -- 127.0.0.1:7000
//! ```

use std::{env, process};

use argon2::Argon2;
use bytes::BytesMut;
use serve_forever::{
    BoxError, Config, Error, Io, JobError, Limits, Origin, Reactor, StreamHandler, WorkerOptions, Workers,
};

pub(crate) struct Passwords;

/// The slow part. It runs on a worker, where the handler is out of reach.
fn hash(user: &str, password: &[u8]) -> Result<String, argon2::Error> {
    // A real server draws a random salt for each user, and keeps it with the hash.
    let salt = format!("the salt of {user}");
    let mut hash = [0; 16];
    Argon2::default().hash_password_into(password, salt.as_bytes(), &mut hash)?;
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl StreamHandler for Passwords {
    /// The number of hashes that this client has been given.
    type Session = u32;

    fn open(&mut self, _: &mut Io<'_>, _: &Origin) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn data(&mut self, io: &mut Io<'_>, _: &mut u32, input: &mut BytesMut) -> Result<(), BoxError> {
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            let request = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("hash "));
            let Some((user, password)) = request.and_then(|request| request.trim_end().split_once(' '))
            else {
                io.reply(&line);
                continue;
            };
            let (user, password) = (user.to_owned(), password.to_owned());
            let work = move || hash(&user, password.as_bytes());
            match io.offload(work, Self::hashed) {
                // The queue of the workers is bounded. A client that is refused can try again.
                Err(Error::Full { .. }) => io.reply(b"! too many at once, try again\n"),
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

impl Passwords {
    /// Runs on the loop again, with the session if the client is still there.
    fn hashed(
        &mut self,
        io: &mut Io<'_>,
        count: Option<&mut u32>,
        hash: Result<Result<String, argon2::Error>, JobError>,
    ) -> Result<(), BoxError> {
        let Some(count) = count else { return Ok(()) };
        *count += 1;
        io.reply(format!("{} ({count})\n", hash??).as_bytes());
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    let Some(at) = env::args().nth(1) else {
        eprintln!("usage: passwords HOST:PORT");
        process::exit(2);
    };
    // The program makes the threads, and the reactor uses them.
    let workers = Workers::new(WorkerOptions { name: "hash".into(), nice: 10, ..WorkerOptions::default() })?;
    let mut reactor = Reactor::new(Config::default())?;
    reactor.set_workers(&workers);
    let service = reactor.add(Passwords, Limits::default())?;
    let listener = reactor.listen(&service, &at.parse()?)?;
    if let Some(local) = reactor.local(listener) {
        println!("listening on {local}");
    }
    reactor.serve_forever()?;
    Ok(())
}
