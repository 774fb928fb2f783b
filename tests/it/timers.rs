//! Timers over real time: their order, that they are never early, and whose
//! they are. How late they are is the machine's affair, and not tested.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serve_forever::{Config, Io, Limits, Reactor, TimerId};

use crate::util::{Call, Events, Recorder, Server, listen_anywhere};

const MS: Duration = Duration::from_millis(1);

fn passive() -> (Server<Recorder>, Events) {
    let (recorder, events) = Recorder::passive();
    (Server::start(recorder, Limits::default()), events)
}

#[track_caller]
fn next_tick(events: &Events) -> TimerId {
    match events.next().call {
        Call::Tick(timer) => timer,
        other => panic!("{other:?} is no tick"),
    }
}

#[test]
fn timers_fire_in_the_order_of_their_moments_and_never_early() {
    let (server, events) = passive();
    let (began, timers) = server.ask(|_, io| {
        let set = [30, 10, 20, 10].map(|ms| io.after(ms * MS).expect("there is room"));
        (io.now(), set)
    });
    for (place, due) in [(1, 10), (3, 10), (2, 20), (0, 30)] {
        assert_eq!(next_tick(&events), timers[place]);
        assert!(began.elapsed() >= due * MS);
    }
}

// docs/guarantees.md, 56.
#[test]
fn zero_is_the_next_turn_and_the_longest_is_never() {
    let (server, events) = passive();
    let (zero, never) = server.ask(|_, io| {
        let never = io.after(Duration::MAX).expect("there is room");
        io.every(Duration::MAX).expect("there is room");
        (io.after(Duration::ZERO).expect("there is room"), never)
    });
    assert_eq!(next_tick(&events), zero);
    server.settle();
    events.expect_none();
    server.ask(move |_, io| {
        assert!(io.cancel(never));
        assert!(!io.cancel(never), "once");
        assert!(!io.cancel(zero), "it has fired");
    });
}

// A callback that sets a timer of zero again and again must leave the loop
// time for everybody else.
#[test]
fn a_timer_of_zero_that_sets_itself_again_holds_up_nobody() {
    let (recorder, events) = Recorder::new(|io, call| {
        if matches!(call, Call::Tick(_)) {
            io.after(Duration::ZERO)?;
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    server.ask(|_, io| io.after(Duration::ZERO).expect("there is room"));
    for _ in 0..100 {
        next_tick(&events);
        server.ask(|_, _| ());
    }
}

// docs/guarantees.md, 56.
#[test]
fn a_hundred_thousand_timers_fire_once_each() {
    const COUNT: u64 = 100_000;
    let (server, events) = passive();
    server.ask(|_, io| {
        let mut cancelled = Vec::new();
        for number in 0..COUNT {
            let timer = io.after(Duration::from_micros(number % 1000)).expect("there is room");
            if number % 4 == 0 {
                cancelled.push(timer);
            }
        }
        assert!(cancelled.into_iter().all(|timer| io.cancel(timer)));
    });
    let mut fired: Vec<_> = (0..COUNT / 4 * 3).map(|_| next_tick(&events)).collect();
    fired.sort();
    fired.dedup();
    assert_eq!(fired.len() as u64, COUNT / 4 * 3);
    server.settle();
    events.expect_none();
    assert_eq!(server.stop().timers_fired, COUNT / 4 * 3);
}

#[test]
fn a_timer_cancelled_by_one_due_at_the_same_time_does_not_fire() {
    let (tell, told) = mpsc::channel::<TimerId>();
    let mut victims = Vec::new();
    let (recorder, events) = Recorder::new(move |io, call| {
        if matches!(call, Call::Tick(_)) {
            victims.extend(told.try_iter());
            for victim in victims.drain(..) {
                assert!(io.cancel(victim), "it was due, and had not fired");
            }
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let killer = server.ask(move |_, io| {
        let killer = io.after(MS).expect("there is room");
        for _ in 0..10 {
            tell.send(io.after(MS).expect("there is room")).expect("the script listens");
        }
        killer
    });
    assert_eq!(next_tick(&events), killer);
    server.settle();
    events.expect_none();
}

#[test]
fn every_comes_again_without_drift_and_can_cancel_itself() {
    let mut left = 5;
    let (tell, told) = mpsc::channel();
    let (recorder, events) = Recorder::new(move |io, call| {
        if let Call::Tick(timer) = call {
            tell.send(io.now())?;
            left -= 1;
            if left == 0 {
                assert!(io.cancel(*timer));
            }
        }
        Ok(())
    });
    let server = Server::start(recorder, Limits::default());
    let (began, timer) = server.ask(|_, io| (io.now(), io.every(5 * MS).expect("there is room")));
    for number in 1..=5 {
        assert_eq!(next_tick(&events), timer);
        let fired = told.recv().expect("it told");
        assert!(fired - began >= number * 5 * MS, "the {number}th is early");
    }
    server.settle();
    events.expect_none();
}

#[test]
fn what_every_missed_is_skipped() {
    let (recorder, events) = Recorder::passive();
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let service = reactor.add(recorder, Limits::default()).expect("good limits");
    let set = |_: &mut Recorder, io: &mut Io<'_>| assert!(io.every(2 * MS).is_ok());
    reactor.handle(&service).call(set).expect("there is room");
    reactor.turn(None).expect("the loop turns");
    std::thread::sleep(50 * MS); // the program is busy elsewhere
    reactor.turn(None).expect("the loop turns");
    next_tick(&events);
    events.expect_none();
}

#[test]
fn a_timer_belongs_to_the_connection_whose_callback_set_it_and_dies_with_it() {
    let (recorder, events) = Recorder::new(|io, call| {
        if *call == Call::Open {
            io.every(MS)?;
            io.after(50 * MS)?;
            io.tick_every(10 * MS)?;
        }
        Ok(())
    });
    let config = Config { max_timers: 3, ..Config::default() };
    let server = Server::start_with(config, recorder, Limits::default(), &[listen_anywhere()]);
    let client = server.connect();
    let id = events.expect_open();
    loop {
        let first = events.next();
        if matches!(first.call, Call::Timer(_)) {
            assert_eq!(first.id, Some(id));
            break;
        }
    }
    drop(client);
    // The rest of its timers until then, and its end.
    let ticks = loop {
        match events.next().call {
            Call::Timer(_) | Call::Eof(_) | Call::Tick(_) => {}
            Call::Close(_) => break (0..10).map(|_| next_tick(&events)),
            other => panic!("{other:?} is not to come"),
        }
    };
    // The service's own, though set in the same callback, lives on, beyond
    // all that the connection's could still be due; and nothing else comes.
    let ticks: Vec<_> = ticks.collect();
    server.ask(move |_, io| assert!(io.cancel(ticks[0])));
    let left = events.so_far();
    assert!(left.iter().all(|call| matches!(call, Call::Tick(_))), "{left:?}");
    // What the connection's took of the limit is free again.
    server.ask(|_, io| {
        for _ in 0..3 {
            io.after(Duration::MAX).expect("room for three");
        }
    });
}

#[test]
fn now_stands_still_while_a_callback_runs_and_goes_on_between_turns() {
    let (server, _events) = passive();
    let (first, second) = server.ask(|_, io| {
        let first = io.now();
        std::thread::sleep(2 * MS);
        (first, io.now())
    });
    assert_eq!(first, second);
    let later = server.ask(|_, io| io.now());
    assert!(later >= first + 2 * MS);
    assert!(later <= Instant::now());
}
