//! Deadlines: which one ends a connection, and what does not put it off.

use std::time::{Duration, Instant};

use serve_forever::{Config, Io, Limits, Reactor, Stats};

use crate::util::{Call, Client, Events, NEVER, PATIENCE, Recorder, SOON, Server, Take, noise};

/// No deadline at all, for each test to set its own.
fn none() -> Limits {
    let limits = Limits { idle: NEVER, first_frame: NEVER, frame: NEVER, ..Limits::default() };
    Limits { write_stall: NEVER, linger: SOON, ..limits }
}

fn serve(limits: Limits, take: Take) -> (Server<Recorder>, Events) {
    let (recorder, events) = Recorder::passive();
    (Server::start(recorder.taking(take), limits), events)
}

/// Back to where it was before anybody connected.
#[track_caller]
fn assert_timed_out(server: Server<Recorder>) -> Stats {
    server.until_connections(0);
    let stats = server.stop();
    assert_eq!((stats.closed, stats.timed_out), (1, 1));
    stats
}

// docs/guarantees.md, 1.
#[test]
fn who_says_nothing_is_closed_at_the_first_frame_deadline() {
    let (server, events) = serve(Limits { first_frame: Some(SOON), ..none() }, Take::All);
    let began = Instant::now();
    let client = server.connect();
    client.expect_eof();
    assert!(began.elapsed() >= SOON);
    drop(client);
    assert_eq!(events.life(), [Call::Open, Call::close("TimedOut(FirstFrame)")]);
    assert_timed_out(server);
}

// docs/guarantees.md, 2: the deadline runs out while bytes drip in.
#[test]
fn dripping_bytes_do_not_put_off_the_first_frame() {
    assert_drips_end(Limits { first_frame: Some(SOON), ..none() }, "", "TimedOut(FirstFrame)");
}

// docs/guarantees.md, 2, after a first frame.
#[test]
fn dripping_bytes_do_not_put_off_the_end_of_a_frame() {
    assert_drips_end(Limits { frame: Some(SOON), ..none() }, "a whole line\n", "TimedOut(Frame)");
}

/// A connection on which bytes drip in, behind `first`, ends like this.
#[track_caller]
fn assert_drips_end(limits: Limits, first: &str, why: &str) {
    let began = Instant::now();
    loop {
        let (server, events) = serve(limits.clone(), Take::Lines);
        let client = server.connect();
        client.send(first);
        while client.try_send("x").is_ok() {
            std::thread::yield_now();
        }
        let life = events.life();
        assert_eq!(life.last(), Some(&Call::close(why)));
        drop(client);
        assert_timed_out(server);
        // Where this thread had to wait until it was over, nothing dripped.
        let drips = life.iter().filter(|call| matches!(call, Call::Data(_))).count();
        if drips > 2 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no bytes drip in: {life:?}");
    }
}

#[test]
fn between_two_frames_neither_frame_deadline_runs() {
    let limits = Limits { first_frame: Some(SOON), frame: Some(SOON), idle: Some(SOON * 5), ..none() };
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder.taking(Take::Lines), limits).expect("good limits");
    let (client, socket) = Client::pair();
    // Before anything runs: on a slow machine it could be late otherwise.
    client.send("a whole line\n");
    reactor.adopt(&service, socket).expect("a connected socket");
    while reactor.stats().closed == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    let line = Call::data("a whole line\n");
    assert_eq!(events.life(), [Call::Open, line, Call::close("TimedOut(Idle)")]);
    client.expect_eof();
}

#[test]
fn who_falls_silent_is_closed_at_the_idle_deadline_in_order() {
    let (server, events) = serve(Limits { idle: Some(SOON), ..none() }, Take::All);
    let began = Instant::now();
    let client = server.connect();
    client.expect_eof();
    assert!(began.elapsed() >= SOON);
    assert_eq!(events.life(), [Call::Open, Call::close("TimedOut(Idle)")]);
    drop(client);
    assert_timed_out(server);
}

#[test]
fn the_idle_deadline_is_counted_from_the_last_message() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, Limits { idle: Some(SOON), ..none() }).expect("good limits");
    let (client, socket) = Client::pair();
    client.send("hello");
    reactor.adopt(&service, socket).expect("a connected socket");
    std::thread::sleep(SOON / 2); // it is not counted from there
    let began = Instant::now();
    while reactor.stats().closed == 0 {
        reactor.turn(Some(PATIENCE)).expect("the loop turns");
    }
    assert!(began.elapsed() >= SOON);
    assert_eq!(events.life(), [Call::Open, Call::data("hello"), Call::close("TimedOut(Idle)")]);
    client.expect_eof();
}

#[test]
fn bytes_in_either_direction_put_off_the_idle_deadline() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            // Output alone, several times, over more than the deadline.
            Call::Open => {
                io.every(SOON / 3)?;
            }
            Call::Timer(_) => assert!(io.write(b".").is_queued()),
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits { idle: Some(SOON), ..none() });
    let began = Instant::now();
    let client = server.connect();
    client.expect("..........");
    assert!(began.elapsed() > SOON * 3);
    assert!(!events.so_far().iter().any(|call| matches!(call, Call::Close(_))));
}

#[test]
fn set_limits_changes_the_deadlines_of_one_connection_alone() {
    let (server, events) = serve(Limits { idle: Some(Duration::from_secs(600)), ..none() }, Take::All);
    let impatient = server.connect();
    let id = events.expect_open();
    let patient = server.connect();
    events.expect_open();
    let idle = |io: &Io<'_>| Limits { idle: Some(SOON), ..io.limits().clone() };
    server.ask(move |_, io| io.set_limits(id, idle(io))).expect("good limits");
    assert_eq!(events.expect_close("TimedOut(Idle)"), id);
    impatient.expect_eof();
    drop(impatient);
    server.until_connections(1);
    patient.send("still here");
    events.expect(&Call::data("still here"));
}

#[test]
fn set_idle_none_takes_the_deadline_away_of_limits_too() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Open => {
                io.set_limits(io.id(), Limits { idle: Some(SOON / 2), ..io.limits().clone() })?;
                io.set_idle(io.id(), None);
                io.after(SOON * 3)?;
            }
            Call::Timer(_) => assert!(io.write(b"still here").is_queued()),
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits { idle: Some(SOON), ..none() });
    let client = server.connect();
    client.expect("still here");
    events.expect_open();
    assert!(matches!(events.next().call, Call::Timer(_)));
    events.expect_none();
}

#[test]
fn an_idle_deadline_may_be_over_when_it_is_set() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Open => {
                io.after(SOON)?;
            }
            Call::Timer(_) => io.set_idle(io.id(), Some(SOON / 2)),
            _ => {}
        }
        Ok(())
    });
    let server = Server::start(recorder, none());
    let client = server.connect();
    client.expect_eof();
    events.expect_open();
    assert!(matches!(events.next().call, Call::Timer(_)));
    events.expect_close("TimedOut(Idle)");
}

#[test]
fn a_paused_connection_has_no_frame_deadline() {
    let (recorder, events) = Recorder::new(|io, call| {
        match call {
            Call::Open => {
                io.pause(io.id());
                io.after(SOON * 3)?;
            }
            Call::Timer(_) => assert!(io.write(b"still here").is_queued()),
            _ => {}
        }
        Ok(())
    });
    let limits = Limits { first_frame: Some(SOON), frame: Some(SOON), ..none() };
    let server = Server::start(recorder, limits);
    let client = server.connect();
    client.expect("still here");
    // From now on it runs.
    let id = events.expect_open();
    server.ask(move |_, io| io.resume(id));
    assert!(matches!(events.next().call, Call::Timer(_)));
    events.expect_close("TimedOut(FirstFrame)");
    client.expect_eof();
}

// docs/guarantees.md, 17.
#[test]
fn who_takes_no_output_is_closed_at_the_write_stall_deadline_with_a_reset() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            assert!(io.write(&noise(16 << 20)).is_queued());
        }
        Ok(())
    });
    let marks = Limits { high_mark: 64 << 20, hard_mark: 64 << 20, ..none() };
    let server = Server::start(recorder, Limits { write_stall: Some(SOON), ..marks });
    let client = Client::connect_small(server.at());
    assert_eq!(events.life(), [Call::Open, Call::close("TimedOut(WriteStall)")]);
    client.expect_reset();
    assert_timed_out(server);
}

#[test]
fn a_peer_that_leaves_our_fin_unanswered_is_let_go_when_lingering_ends() {
    let (recorder, events) = Recorder::new(|io, call| {
        if matches!(call, Call::Data(_)) {
            assert!(io.write(b"bye").is_queued());
            io.close(io.id());
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits { linger: SOON, ..none() });
    let client = server.connect();
    client.send("hello");
    assert_eq!(client.rest(), b"bye");
    assert_eq!(events.life(), [Call::Open, Call::data("hello"), Call::close("Closed")]);
    // The client has not ended its side, and the connection goes all the same.
    server.until_connections(0);
}

// docs/guarantees.md, 3.
#[test]
fn a_thousand_half_sent_frames_keep_nobody_else_waiting() {
    let (server, events) = serve(Limits { frame: Some(Duration::from_secs(600)), ..none() }, Take::Lines);
    let half_sent: Vec<_> = (0..1000)
        .map(|_| {
            let client = server.connect();
            client.send("half a li");
            client
        })
        .collect();
    server.until_connections(1000);
    for _ in 0..2000 {
        events.next();
    }
    let client = server.connect();
    client.send("a whole line\n");
    events.expect_open();
    events.expect(&Call::data("a whole line\n"));
    // And each of them can still be completed.
    half_sent[500].send("ne\n");
    events.expect(&Call::data("half a line\n"));
}
