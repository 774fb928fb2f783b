//! Teaches: a reactor on every core. Each has a thread of its own and a
//! listener on the same port (`SO_REUSEPORT`, socket(7)), and the kernel divides
//! the clients among them. They share nothing; a signal (SIGINT, SIGTERM or
//! SIGHUP) ends all. An echo.
//!
//! ```text
//! cargo run --release --features signals --example multicore -- 127.0.0.1:7007 [THREADS]
//! ```

use std::sync::mpsc::{self, Sender};
use std::time::Duration;
use std::{env, thread};

use serve_forever::services::Echo;
use serve_forever::{BoxError, Config, Endpoint, Handle, ListenOptions, Reactor, SHUTDOWN_DEADLINE, Signals};

/// Serves until its handle is told to shut down; returns how many came.
fn serve(at: &Endpoint, tell: Sender<(Endpoint, Handle<Echo>)>) -> serve_forever::Result<u64> {
    let mut reactor = Reactor::new(Config::default())?;
    let echo = reactor.add(Echo::new(), Echo::limits())?;
    let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let listener = reactor.listen_with(&echo, at, &options)?;
    let at = reactor.local(listener).expect("it was just opened").clone();
    tell.send((at, reactor.handle(&echo))).expect("the main thread waits for it");
    reactor.serve_forever()?;
    Ok(reactor.stats().accepted)
}

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let mut at: Endpoint = args.next().unwrap_or_else(|| "127.0.0.1:7007".into()).parse()?;
    let cores = thread::available_parallelism()?.get();
    let threads = args.next().map_or(Ok(cores), |count| count.parse())?;

    // This thread does nothing but wait for a signal.
    let mut main = Reactor::new(Config::default())?;
    Signals::watch(&mut main, Duration::ZERO)?;

    let mut workers = Vec::new();
    for _ in 0..threads {
        let (tell, told) = mpsc::channel();
        let worker = thread::spawn({
            let at = at.clone();
            move || serve(&at, tell)
        });
        let Ok((local, handle)) = told.recv() else {
            return Err(worker.join().expect("it does not panic").expect_err("it did not serve").into());
        };
        at = local; // the port that the first one was given is that of all
        workers.push((worker, handle));
    }
    println!("listening on {at} with {threads} threads");

    main.serve_forever()?;
    workers.iter().for_each(|(_, handle)| handle.shutdown(SHUTDOWN_DEADLINE));
    for (number, (worker, _)) in workers.into_iter().enumerate() {
        let served = worker.join().expect("it does not panic")?;
        println!("thread {number} has served {served} connections");
    }
    Ok(())
}
