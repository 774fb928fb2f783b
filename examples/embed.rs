//! Teaches: a reactor inside the loop of another program, which goes on with
//! its own work, and a thread that reaches into it.
//!
//! ```text
//! cargo run --example embed -- 127.0.0.1:0
//! ```

use std::os::fd::AsFd;
use std::time::Duration;
use std::{env, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serve_forever::services::Echo;
use serve_forever::{BoxError, Config, Reactor};

fn main() -> Result<(), BoxError> {
    let at = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let mut reactor = Reactor::new(Config::default())?;
    let echo = reactor.add(Echo::new(), Echo::limits())?;
    let listener = reactor.listen(&echo, &at.parse()?)?;
    println!("listening on {}", reactor.local(listener).expect("it was just opened"));

    // A thread may call into the service, and ask for the end.
    let handle = reactor.handle(&echo);
    thread::spawn(move || {
        let report = |_: &mut Echo, io: &mut serve_forever::Io<'_>| {
            println!("{} connections, says a thread", io.connections());
        };
        handle.call(report).expect("the reactor is there, and idle");
        handle.shutdown(Duration::from_secs(10));
    });

    // The program's own loop: it sleeps until the reactor, or one of its own
    // descriptors, has something to do.
    for round in 1.. {
        let timeout = reactor.next_timeout().map(Timespec::try_from).transpose()?;
        poll(&mut [PollFd::new(&reactor.as_fd(), PollFlags::IN)], timeout.as_ref())?;
        println!("round {round} of the program's own loop");
        if reactor.turn(Some(Duration::ZERO))?.finished {
            break;
        }
    }
    Ok(())
}
