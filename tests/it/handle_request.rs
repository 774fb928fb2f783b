//! One connection, the way `socketserver` serves one.

use std::thread;
use std::time::{Duration, Instant};

use serve_forever::services::{Echo, Once};
use serve_forever::{Config, Endpoint, Handled, Reactor, StreamHandler};

use crate::util::{Client, PATIENCE, Recorder, SOON, listen_anywhere};

fn serving<S: StreamHandler>(handler: S) -> (Reactor, serve_forever::Service<S>, Endpoint) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(handler, Echo::limits()).expect("good limits");
    let listener = reactor.listen(&service, &listen_anywhere()).expect("a free port");
    let at = reactor.local(listener).expect("it was just made").clone();
    (reactor, service, at)
}

#[test]
fn one_connection_is_served_to_its_end_and_no_other_is_accepted() {
    let (mut reactor, _service, at) = serving(Once::new("yes"));
    let (first, second) = (Client::connect(&at), Client::connect(&at));
    second.send("me\n");
    first.send("me\n");
    first.finish();
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
    assert_eq!(first.rest(), b"yes\n");
    assert_eq!((reactor.stats().accepted, reactor.connections()), (1, 0));
    second.assert_silent();
    // It was not lost, and no new event is needed to find it.
    second.finish();
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
    assert_eq!(second.rest(), b"yes\n");
    assert_eq!(reactor.stats().accepted, 2);
}

#[test]
fn nobody_comes_in_time() {
    let (mut reactor, _service, _at) = serving(Echo::new());
    let began = Instant::now();
    assert_eq!(reactor.handle_request(Some(SOON)).expect("the loop turns"), Handled::TimedOut);
    assert!(began.elapsed() >= SOON);
    assert_eq!(reactor.handle_request(Some(Duration::ZERO)).expect("the loop turns"), Handled::TimedOut);
}

#[test]
fn the_time_is_for_connecting_and_not_for_being_served() {
    let (mut reactor, _service, at) = serving(Echo::new());
    let client = Client::connect(&at);
    let slow = thread::spawn(move || {
        for _ in 0..3 {
            client.send("x");
            client.expect("x");
            thread::sleep(SOON / 2); // the passing of time is the point
        }
        client.finish();
        client.expect_eof();
    });
    assert_eq!(reactor.handle_request(Some(SOON)).expect("the loop turns"), Handled::Served);
    slow.join().expect("it was answered to the end");
}

#[test]
fn who_has_come_already_is_served_even_without_any_time() {
    let (mut reactor, _service, at) = serving(Echo::new());
    let client = Client::connect(&at);
    client.finish();
    assert_eq!(reactor.handle_request(Some(Duration::ZERO)).expect("the loop turns"), Handled::Served);
}

#[test]
fn who_is_turned_away_is_told_as_refused() {
    let (recorder, _events) = Recorder::passive();
    let (mut reactor, _service, at) = serving(recorder.verifying(false));
    let client = Client::connect(&at);
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Refused);
    client.assert_closed();

    let (recorder, _events) = Recorder::new(|_, _| Err("not today".into()));
    let (mut reactor, _service, at) = serving(recorder);
    let client = Client::connect(&at);
    client.finish();
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Refused);
}

#[test]
fn a_shutdown_ends_the_wait() {
    let (mut reactor, service, _at) = serving(Echo::new());
    let handle = reactor.handle(&service);
    let asking = thread::spawn(move || handle.shutdown(Duration::ZERO));
    assert_eq!(reactor.handle_request(Some(PATIENCE)).expect("the loop turns"), Handled::Shutdown);
    asking.join().expect("it does not block");
}

#[test]
fn connections_from_before_are_served_meanwhile() {
    let (mut reactor, service, at) = serving(Echo::new());
    let (before, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    let clients = thread::spawn(move || {
        let client = Client::connect(&at);
        client.send("one");
        client.expect("one");
        before.send("meanwhile");
        before.expect("meanwhile");
        client.finish();
        client.expect_eof();
        before
    });
    assert_eq!(reactor.handle_request(None).expect("the loop turns"), Handled::Served);
    assert_eq!(reactor.connections(), 1);
    clients.join().expect("both were answered");
}
