//! In steady state, an echo allocates nothing.

#![allow(unsafe_code, reason = "a global allocator cannot be written without; this one only counts")]

mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;
use std::time::Duration;

use serve_forever::services::{Echo, Upper};
use serve_forever::{Config, DatagramHandler, Endpoint, Limits, Reactor, StreamHandler};
use util::{Client, DatagramClient, PATIENCE, bind_anywhere, listen_anywhere, noise};

thread_local! {
    // Const, so that its first use does not allocate in its turn.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The system's allocator, which counts on threads that ask for it.
struct Counting;

fn count_one() {
    // While a thread ends there may be no cell any more, and nothing to count.
    let _ = COUNT.try_with(|count| count.set(count.get().map(|count| count + 1)));
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates in `work`.
fn allocations_in(work: impl FnOnce()) -> u64 {
    COUNT.set(Some(0));
    work();
    COUNT.replace(None).expect("it was set")
}

const WARM_UP: u64 = 200;
const MESSAGES: u64 = 10_000;

/// How often the loop's thread allocates while it serves so many messages of
/// `len` bytes, one after the other, on `clients` connections in turn.
fn steady_state<S: StreamHandler>(
    handler: S,
    limits: Limits,
    at: &Endpoint,
    len: usize,
    clients: u64,
) -> u64 {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(handler, limits).expect("good limits");
    let listener = reactor.listen(&service, at).expect("the endpoint is free");
    let at = reactor.local(listener).expect("it was just made").clone();
    let talking = thread::spawn(move || {
        let clients: Vec<_> = (0..clients).map(|_| Client::connect(&at)).collect();
        let message = noise(len);
        for client in clients.iter().cycle().take((WARM_UP + MESSAGES) as usize) {
            client.send(&message);
            client.take(len);
        }
        clients
    });
    let mut serve_until = |messages: u64| {
        while reactor.stats().bytes_out < messages * len as u64 {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    };
    serve_until(WARM_UP);
    let count = allocations_in(|| serve_until(WARM_UP + MESSAGES));
    drop(talking.join().expect("every message came back"));
    count
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations_in(|| drop(Box::new(7))), 1);
    assert_eq!(allocations_in(|| ()), 0);
}

#[test]
fn ten_thousand_messages_over_tcp_allocate_nothing() {
    assert_eq!(steady_state(Echo::new(), Echo::limits(), &listen_anywhere(), 64, 1), 0);
}

#[test]
fn ten_thousand_messages_over_a_unix_socket_allocate_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::Unix(directory.path().join("socket"));
    assert_eq!(steady_state(Echo::new(), Echo::limits(), &at, 64, 1), 0);
}

#[test]
fn large_messages_and_many_clients_allocate_nothing() {
    assert_eq!(steady_state(Upper::new(), Upper::limits(), &listen_anywhere(), 4096, 50), 0);
}

#[test]
fn deadlines_that_are_looked_at_and_put_off_allocate_nothing() {
    let limits = Limits {
        idle: Some(Duration::from_millis(500)),
        frame: Some(Duration::from_millis(1)),
        ..Echo::limits()
    };
    assert_eq!(steady_state(Echo::new(), limits, &listen_anywhere(), 64, 5), 0);
}

/// The same for datagrams. Clients on Unix sockets have paths.
fn steady_datagrams<S: DatagramHandler>(handler: S, at: &Endpoint, len: usize, clients: usize) -> u64 {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add_datagram(handler, Limits::default()).expect("good limits");
    let socket = reactor.bind(&service, at).expect("the endpoint is free");
    let at = reactor.local(socket).expect("it was just made").clone();
    let talking = thread::spawn(move || {
        let name = |number| match &at {
            Endpoint::UnixDatagram(path) => Some(path.with_extension(format!("client{number}"))),
            _ => None,
        };
        let clients: Vec<_> =
            (0..clients).map(|number| DatagramClient::connect(&at, name(number).as_deref())).collect();
        let message = noise(len);
        for client in clients.iter().cycle().take((WARM_UP + MESSAGES) as usize) {
            client.send(&message);
            client.expect(&message);
        }
        clients
    });
    let mut serve_until = |messages: u64| {
        while reactor.stats().datagrams_out < messages {
            reactor.turn(Some(PATIENCE)).expect("the loop turns");
        }
    };
    serve_until(WARM_UP);
    let count = allocations_in(|| serve_until(WARM_UP + MESSAGES));
    drop(talking.join().expect("every message came back"));
    count
}

#[test]
fn ten_thousand_datagrams_over_udp_allocate_nothing() {
    assert_eq!(steady_datagrams(Echo::new(), &bind_anywhere(), 64, 1), 0);
    assert_eq!(steady_datagrams(Echo::new(), &bind_anywhere(), 9000, 20), 0);
}

#[test]
fn ten_thousand_datagrams_over_a_unix_socket_allocate_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = Endpoint::UnixDatagram(directory.path().join("socket"));
    assert_eq!(steady_datagrams(Echo::new(), &at, 64, 7), 0);
}
