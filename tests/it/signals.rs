//! Signals that end a reactor, in processes of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serve_forever::services::Echo;
use serve_forever::{Config, Endpoint, Reactor, Signals};

use crate::util::{PATIENCE, alone, open_files};

/// Ends this process, of which nobody hears, after a while.
fn bound() {
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        std::process::abort();
    });
}

fn raise(signal: Signal) {
    kill_process(getpid(), signal).expect("it is this process");
}

#[test]
fn a_reactor_that_is_used_again_hears_them_again() {
    alone("signals::a_reactor_that_is_used_again_hears_them_again", || {
        bound();
        let mut reactor = Reactor::new(Config::default()).expect("descriptors");
        let signals = Signals::watch(&mut reactor, Duration::from_secs(60)).expect("descriptors");
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("room for it");
        for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::TERM] {
            reactor.listen(&echo, &"127.0.0.1:0".parse().expect("an endpoint")).expect("a free port");
            // Within a second of the one before it would be that one, doubled.
            let heard = Arc::new(AtomicBool::new(false));
            let sender = thread::spawn({
                let heard = Arc::clone(&heard);
                move || {
                    while !heard.load(Ordering::Relaxed) {
                        raise(signal);
                        thread::sleep(Duration::from_millis(300));
                    }
                }
            });
            reactor.serve_forever().expect("it can wait");
            heard.store(true, Ordering::Relaxed);
            sender.join().expect("it only sends");
            assert_eq!(reactor.get(&signals).forced(), None);
            assert_eq!(reactor.connections(), Signals::CONNECTIONS);
        }
    });
}

#[test]
fn what_came_between_two_uses_is_heard_by_the_second() {
    alone("signals::what_came_between_two_uses_is_heard_by_the_second", || {
        bound();
        let mut reactor = Reactor::new(Config::default()).expect("descriptors");
        let signals = Signals::watch(&mut reactor, Duration::from_secs(60)).expect("descriptors");
        let echo = reactor.add(Echo::new(), Echo::limits()).expect("room for it");
        let at = "127.0.0.1:0".parse().expect("an endpoint");
        let listener = reactor.listen(&echo, &at).expect("a free port");
        let Some(Endpoint::Tcp(at)) = reactor.local(listener) else { panic!("it was just opened") };
        let _client = std::net::TcpStream::connect(at).expect("it listens");
        // Nothing of a signal; and there is somebody to be dropped.
        reactor.shutdown(Duration::ZERO);
        reactor.serve_forever().expect("it can wait");
        assert_eq!(reactor.connections(), Signals::CONNECTIONS);
        raise(Signal::TERM);
        reactor.serve_forever().expect("it can wait");
        assert_eq!(reactor.get(&signals).forced(), None);
    });
}

#[test]
fn with_the_reactor_goes_what_watched() {
    alone("signals::with_the_reactor_goes_what_watched", || {
        let before = open_files();
        for _ in 0..3 {
            let mut reactor = Reactor::new(Config::default()).expect("descriptors");
            Signals::watch(&mut reactor, Duration::ZERO).expect("descriptors");
        }
        raise(Signal::TERM); // nobody minds
        assert_eq!(open_files(), before);
    });
}
