//! The end of the loop: what still arrives, and what does not hold it up.

use std::thread;
use std::time::{Duration, Instant};

use serve_forever::services::Echo;
use serve_forever::{Config, Limits, Reactor};

use crate::util::{Call, Client, PATIENCE, Recorder, SOON, Server, Take, listen_anywhere, noise};

#[test]
fn pending_replies_arrive_and_then_the_fin() {
    let big = noise(8 << 20);
    let reply = big.clone();
    let (recorder, events) = Recorder::new(move |io, call| {
        if matches!(call, Call::Data(_)) {
            assert!(io.write(&reply).is_queued());
        }
        Ok(())
    });
    let limits = Limits { high_mark: 64 << 20, hard_mark: 64 << 20, ..Limits::default() };
    let mut server = Server::start(recorder, limits);
    let client = Client::connect_small(server.at());
    client.send("a big one, please");
    events.expect_open();
    events.expect(&Call::data("a big one, please"));
    server.handle.shutdown(PATIENCE);
    assert_eq!(client.rest(), big);
    drop(client);
    let stats = server.join();
    assert_eq!((stats.closed, stats.bytes_out), (1, big.len() as u64));
    assert_eq!(events.life(), [Call::ShuttingDown, Call::close("Shutdown")]);
}

#[test]
fn what_has_arrived_when_it_begins_is_answered() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let limits = Limits { linger: SOON, ..Echo::limits() };
    let echo = reactor.add(Echo::new(), limits).expect("good limits");
    let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
    let at = reactor.local(listener).expect("it was just made").clone();
    // Not even accepted yet, but connected and asking.
    let clients: Vec<_> = (0..100).map(|_| Client::connect(&at)).collect();
    for client in &clients {
        client.send("just in time");
    }
    reactor.handle(&echo).shutdown(PATIENCE);
    reactor.serve_forever().expect("the loop runs");
    for client in &clients {
        assert_eq!(client.rest(), b"just in time");
    }
    assert_eq!(reactor.stats().closed, 100);
    let refused = Client::try_connect(&at).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let (recorder, events) = Recorder::passive();
    let mut server = Server::start(recorder, Limits::default());
    let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    server.until_connections(50);
    let began = Instant::now();
    server.handle.shutdown(PATIENCE * 10);
    let stats = server.join();
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(stats.closed, 50);
    for client in &clients {
        client.expect_eof();
    }
    let closed = events.so_far().into_iter().filter(|call| *call == Call::close("Shutdown"));
    assert_eq!(closed.count(), 50);
}

#[test]
fn at_the_deadline_the_rest_is_dropped() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            assert!(io.write(&noise(16 << 20)).is_queued());
        }
        Ok(())
    });
    let limits = Limits { high_mark: 64 << 20, hard_mark: 64 << 20, ..Limits::default() };
    let mut server = Server::start(recorder, limits);
    let client = Client::connect_small(server.at());
    events.expect_open();
    let began = Instant::now();
    server.handle.shutdown(SOON);
    server.join();
    assert!(began.elapsed() >= SOON);
    assert_eq!(events.life(), [Call::ShuttingDown, Call::close("Shutdown")]);
    client.expect_reset();
}

#[test]
fn a_half_sent_frame_is_waited_for_until_the_deadline() {
    let (recorder, events) = Recorder::passive();
    let mut server = Server::start(recorder.taking(Take::Lines), Limits::default());
    let (finisher, idler) = (server.connect(), server.connect());
    for client in [&finisher, &idler] {
        client.send("half a li");
    }
    for _ in 0..4 {
        events.next();
    }
    server.handle.shutdown(PATIENCE * 10);
    assert_eq!(events.next().call, Call::ShuttingDown);
    finisher.send("ne\n");
    events.expect(&Call::data("half a line\n"));
    let finished = events.expect_close("Shutdown");
    // The other one is still waited for, until a deadline that is sooner.
    server.settle();
    events.expect_none();
    server.handle.shutdown(SOON);
    assert_ne!(events.expect_close("Shutdown"), finished);
    server.join();
    finisher.expect_eof();
}

// docs/guarantees.md, 59.
#[test]
fn it_may_be_asked_for_from_the_serving_thread_and_twice() {
    let (recorder, events) = Recorder::new(|io, call| {
        if matches!(call, Call::Data(_)) {
            io.shutdown(PATIENCE);
            io.shutdown(PATIENCE * 2);
        }
        Ok(())
    });
    let mut server = Server::start(recorder, Limits::default());
    let client = server.connect();
    client.send("the end, please");
    client.expect_eof();
    server.join();
    // Afterwards there is nobody to hear it, and nothing to wait for.
    server.handle.shutdown(PATIENCE);
    server.handle.shutdown(Duration::ZERO);
    assert_eq!(
        events.life(),
        [Call::Open, Call::data("the end, please"), Call::ShuttingDown, Call::close("Shutdown")]
    );
}

#[test]
fn a_call_that_runs_on_the_serving_thread_may_ask_through_a_handle() {
    let (recorder, _events) = Recorder::passive();
    let mut server = Server::start(recorder, Limits::default());
    let handle = server.handle.clone();
    server.handle.call(move |_, _| handle.shutdown(Duration::ZERO)).expect("the server is there");
    server.join();
}

#[test]
fn asked_from_many_threads_at_once_it_ends_once() {
    let (recorder, events) = Recorder::passive();
    let mut server = Server::start(recorder, Limits::default());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let handle = server.handle.clone();
            thread::spawn(move || handle.shutdown(PATIENCE))
        })
        .collect();
    for thread in threads {
        thread.join().expect("it does not block");
    }
    server.join();
    assert_eq!(events.so_far(), [Call::ShuttingDown]);
}

#[test]
fn the_soonest_deadline_counts() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            // Held by its handler, it is never quiet.
            io.pause(io.id());
        }
        Ok(())
    });
    let mut server = Server::start(recorder, Limits { first_frame: None, ..Limits::default() });
    let _client = server.connect();
    events.expect_open();
    server.handle.shutdown(PATIENCE * 10);
    assert_eq!(events.next().call, Call::ShuttingDown);
    server.handle.shutdown(SOON);
    server.handle.shutdown(PATIENCE * 10);
    events.expect_close("Shutdown");
    server.join();
}

#[test]
fn asked_before_the_loop_begins_it_ends_at_once() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, Limits::default()).expect("good limits");
    reactor.listen(&service, &listen_anywhere()).expect("a free port");
    reactor.handle(&service).shutdown(PATIENCE);
    reactor.serve_forever().expect("the loop runs");
    assert_eq!(events.so_far(), [Call::ShuttingDown]);
}

#[test]
fn after_its_end_the_loop_can_be_run_again() {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    for round in 1..=3 {
        let listener = reactor.listen(&echo, &listen_anywhere()).expect("a free port");
        let at = reactor.local(listener).expect("it was just made").clone();
        let handle = reactor.handle(&echo);
        let client = thread::spawn(move || {
            let client = Client::connect(&at);
            client.send("again");
            client.expect("again");
            handle.shutdown(PATIENCE);
            client.expect_eof();
        });
        reactor.serve_forever().expect("the loop runs");
        client.join().expect("it was served");
        assert_eq!(reactor.stats().closed, round);
    }
}

#[test]
fn stop_drops_everything_and_tells_every_session() {
    let (recorder, events) = Recorder::new(|io, call| {
        if matches!(call, Call::Data(_)) {
            io.stop();
        }
        Ok(())
    });
    let mut server = Server::start(recorder, Limits::default());
    let clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    server.until_connections(10);
    clients[5].send("stop");
    server.join();
    let closed = events.so_far().into_iter().filter(|call| *call == Call::close("Shutdown"));
    assert_eq!(closed.count(), 10);
    for client in &clients {
        client.assert_closed();
    }
}

#[test]
fn a_reactor_that_is_dropped_without_a_loop_tells_every_session() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, Limits::default()).expect("good limits");
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (client, socket) = Client::pair();
            reactor.adopt(&service, socket).expect("a connected socket");
            client
        })
        .collect();
    drop(reactor);
    let told = events.so_far();
    assert_eq!(told[..3], [Call::Open, Call::Open, Call::Open]);
    assert_eq!(told[3..], vec![Call::close("Shutdown"); 3]);
    for client in &clients {
        client.expect_eof();
    }
}

#[test]
fn no_deadline_at_all_is_a_deadline_like_any_other() {
    let (recorder, events) = Recorder::passive();
    let mut server = Server::start(recorder, Limits::default());
    let client = server.connect();
    events.expect_open();
    server.handle.shutdown(Duration::MAX);
    client.expect_eof();
    assert_eq!(server.join().closed, 1);
}

// There is nothing to read of them, and so no event that another turn would
// begin with.
#[test]
fn connections_that_nothing_more_comes_from_do_not_hold_it_up() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    // Nor do deadlines.
    let limits = Limits { idle: None, write_stall: None, ..Limits::default() };
    let service = reactor.add(recorder.staying(), limits).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    let (_reader, writer) = std::io::pipe().expect("two descriptors");
    reactor.adopt_output(&service, writer).expect("a pipe");
    client.finish();
    while reactor.turn(Some(Duration::ZERO)).expect("the loop runs").events > 0 {}
    assert_eq!(events.so_far(), [Call::Open, Call::Open, Call::eof("")]);
    let began = Instant::now();
    reactor.shutdown(PATIENCE * 2);
    reactor.serve_forever().expect("the loop runs");
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(events.so_far(), [Call::ShuttingDown, Call::close("Shutdown"), Call::close("Shutdown")]);
    client.expect_eof();
}

#[test]
fn the_reactor_itself_may_be_asked_between_turns() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, Limits::default()).expect("good limits");
    let (client, socket) = Client::pair();
    reactor.adopt(&service, socket).expect("a connected socket");
    reactor.shutdown(PATIENCE);
    reactor.serve_forever().expect("the loop runs");
    assert_eq!(events.so_far(), [Call::Open, Call::ShuttingDown, Call::close("Shutdown")]);
    client.expect_eof();
}
