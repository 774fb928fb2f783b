//! Exits that are seen late, or not at all; and the end of the reactor.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serve_forever::Config;
use serve_forever::driver::sim::{Conditions, Grandchild, Odds, Program};
use serve_forever::process::{Command, ExitCause};

use super::jobs::*;

#[test]
fn an_exit_of_which_no_event_tells_is_seen_all_the_same() {
    for (seed, mut shop) in shops(0..30) {
        shop.net_mut().install("job", Program::new().after(5 * SECOND).write("x").exit(5).without_events());
        assert_eq!(how(run(&mut shop, Command::new("job"))), exited(5), "seed {seed}");
        let late = told_at(&shop) - ended_at(&shop, 0);
        assert!(late < SECOND / 4, "seed {seed}: {late:?}");
    }
}

#[test]
fn a_child_that_somebody_else_has_reaped_is_told_of_without_a_status() {
    for (seed, mut shop) in shops(0..30) {
        shop.net_mut().install("job", Program::new().write("whole").exit(5).stolen());
        let exit = run(&mut shop, Command::new("job"));
        assert_eq!((exit.status, exit.cause), (None, ExitCause::Itself), "seed {seed}");
        assert_eq!(shop.handler().runs[&0].out, b"whole");
    }
}

#[test]
fn a_pipe_that_the_handler_refuses_leaves_the_child_alone() {
    for (seed, mut shop) in shops(0..30) {
        shop.net_mut().install("job", Program::new().after(SECOND).exit(7));
        shop.handler().refuses = Some(0);
        assert_eq!(how(run(&mut shop, Command::new("job").piped_stdin())), exited(7), "seed {seed}");
        assert!(shop.handler().runs.is_empty());
    }
}

#[test]
fn a_panic_in_the_last_callback_of_a_child_leaves_nothing_behind() {
    for (_, mut shop) in shops(0..10) {
        shop.net_mut().install("job", Program::new().write("x"));
        shop.handler().panics = true;
        spawn(&mut shop, Command::new("job"), 0);
        spawn(&mut shop, Command::new("missing"), 1);
        settle(&mut shop);
        assert_eq!(shop.recording().told().len(), 2);
        assert_eq!(shop.reactor().stats().panicked, 2);
    }
}

/// Drains, and takes turns until that is complete.
fn drain(shop: &mut Shop, deadline: Duration) -> Duration {
    let began = shop.elapsed();
    shop.reactor().shutdown(deadline);
    while !shop.turn(None).expect("it keeps its promises").finished {}
    shop.check_baseline().expect("all has gone");
    shop.elapsed() - began
}

#[test]
fn a_shutdown_waits_for_a_child_that_ends() {
    for (seed, mut shop) in shops(0..20) {
        shop.net_mut().install("job", Program::new().after(60 * SECOND).write("done").exit(8));
        spawn(&mut shop, Command::new("job"), 0);
        let took = drain(&mut shop, DAY);
        assert!(took > 59 * SECOND && took < 62 * SECOND, "seed {seed}: {took:?}");
        assert_eq!(how(only(&shop).outcome().expect("it was started")), exited(8));
        assert_eq!(shop.handler().runs[&0].out, b"done");
    }
}

#[test]
fn a_shutdown_ends_a_child_at_its_deadline() {
    for (seed, mut shop) in shops(0..20) {
        shop.net_mut().install("job", Program::new().stay().ignoring_terminate());
        spawn(&mut shop, Command::new("job"), 0);
        let took = drain(&mut shop, 60 * SECOND);
        assert!(took >= 60 * SECOND && took < 62 * SECOND, "seed {seed}: {took:?}");
        let exit = only(&shop).outcome().expect("it was started");
        assert_eq!(how(exit), (None, Some(9), ExitCause::Shutdown));
    }
}

#[test]
fn a_shutdown_lets_go_of_what_even_a_kill_does_not_end_and_does_not_spin_until_then() {
    for slow in [3600 * SECOND, Duration::MAX] {
        for (seed, mut shop) in shops(0..20) {
            shop.net_mut().install("disk", Program::new().write("x").stay().slow_to_die(slow));
            shop.net_mut().install("job", Program::new().stay());
            spawn(&mut shop, Command::new("disk").piped_stdin(), 0);
            spawn(&mut shop, Command::new("job"), 1);
            shop.run_for(SECOND).expect("it keeps its promises");
            let turns = shop.turns();
            let took = drain(&mut shop, SECOND);
            assert!(took >= 2 * SECOND && took < 4 * SECOND, "seed {seed}: {took:?}");
            assert!(shop.turns() - turns < 500, "{} turns", shop.turns() - turns);
            let mut exits: Vec<_> = shop
                .recording()
                .told()
                .iter()
                .map(|told| how(told.outcome().expect("it was started")))
                .collect();
            exits.sort_by_key(|(_, signal, _)| *signal);
            assert_eq!(exits, [(None, None, ExitCause::Shutdown), (None, Some(9), ExitCause::Shutdown)]);
            assert!(process(&shop, 0).is_let_go() && process(&shop, 1).is_reaped());
        }
    }
}

#[test]
fn one_that_ends_just_before_it_would_be_let_go_of_is_reaped() {
    let config = Config { reap_within: 10 * SECOND, ..Config::default() };
    let mut shop = shop_with(1, Conditions::calm(), config);
    shop.net_mut().install("disk", Program::new().stay().slow_to_die(9 * SECOND));
    spawn(&mut shop, Command::new("disk"), 0);
    assert!(drain(&mut shop, SECOND) >= 10 * SECOND);
    assert_eq!(how(only(&shop).outcome().expect("it was started")), (None, Some(9), ExitCause::Shutdown));
}

/// Its event is late; it was not.
#[test]
fn one_that_exits_in_time_has_not_run_out_of_it() {
    for latency in [1, 5, 20] {
        let latency = Duration::from_millis(latency);
        let conditions =
            Conditions { partial: Odds::one_in(1), latency: (latency, latency), ..Conditions::calm() };
        let mut shop = shop(conditions);
        shop.net_mut().install("job", Program::new().after(SECOND).exit(5));
        // Between its exit and the event of it.
        let command = Command::new("job").timeout(SECOND + latency + latency / 2);
        assert_eq!(how(run(&mut shop, command)), exited(5));
        assert_eq!(process(&shop, 0).signals().len(), 0);
    }
}

#[test]
fn a_stop_ends_all_children_and_what_they_left() {
    for (seed, mut shop) in shops(0..20) {
        shop.net_mut().install("job", Program::new().stay());
        shop.net_mut().install("left", Program::new().leaving(Grandchild::for_ever()));
        for tag in 0..4 {
            spawn(&mut shop, Command::new("job").piped_stdin(), tag);
        }
        spawn(&mut shop, Command::new("left").pipe_grace(DAY), 4);
        shop.run_for(SECOND).expect("it keeps its promises");
        ask(&mut shop, |_, io| {
            io.spawn(Command::new("job"), 5).expect("there is room");
            io.stop();
        });
        while shop.reactor().children() > 0 {
            shop.turn(Some(SECOND)).expect("it keeps its promises");
        }
        shop.check_baseline().expect("all has gone");
        assert_eq!(shop.recording().told().len(), 6, "seed {seed}");
        shop.net_mut().settle();
        assert!(!process(&shop, 4).has_grandchild());
    }
}

/// Whoever keeps a worker running must not keep a shutdown from its end.
#[test]
fn a_handler_that_starts_each_child_again_does_not_hold_a_shutdown_up() {
    for conditions in [Conditions::calm(), Conditions { spawn_fails: Odds::one_in(2), ..Conditions::calm() }]
    {
        let mut shop = shop(conditions);
        shop.net_mut().install("worker", Program::new().stay());
        let again = |io: &mut serve_forever::Io<'_>, _| {
            let _ = io.spawn(Command::new("worker"), 0);
        };
        shop.handler().when_told = Some(Box::new(again));
        shop.handler().when_failed = Some(Box::new(again));
        spawn(&mut shop, Command::new("worker"), 0);
        shop.run_for(SECOND).expect("it keeps its promises");
        let took = drain(&mut shop, SECOND);
        assert!(took < 3 * SECOND, "{took:?}");
        // And then it can go on.
        spawn(&mut shop, Command::new("worker"), 0);
        shop.run_for(SECOND).expect("it keeps its promises");
        assert_eq!(shop.reactor().children(), 1);
    }
}

#[test]
fn dropping_the_reactor_ends_and_reaps_its_children_and_tells_of_them() {
    for (seed, mut shop) in shops(0..20) {
        let told = Rc::new(Cell::new(0));
        let count = |told: &Rc<Cell<i32>>| {
            let told = Rc::clone(told);
            Box::new(move |_: &mut serve_forever::Io<'_>, _| told.set(told.get() + 1))
        };
        shop.handler().when_told = Some(count(&told));
        shop.handler().when_failed = Some(count(&told));
        shop.net_mut().install("job", Program::new().stay().ignoring_terminate().slow_to_die(SECOND / 2));
        shop.net_mut().install("left", Program::new().leaving(Grandchild::for_ever()));
        for tag in 0..3 {
            spawn(&mut shop, Command::new("job"), tag);
        }
        shop.net_mut().install("disk", Program::new().stay().slow_to_die(Duration::MAX));
        spawn(&mut shop, Command::new("left").pipe_grace(DAY), 3);
        spawn(&mut shop, Command::new("disk"), 5);
        shop.run_for(SECOND).expect("it keeps its promises");
        // One that never begins.
        let service = shop.service().clone();
        let reactor = shop.reactor();
        let late = |_: &mut _, io: &mut serve_forever::Io<'_>| {
            io.spawn(Command::new("job"), 4).expect("there is room");
        };
        reactor.handle(&service).call(late).expect("there is room");
        drop(shop);
        assert_eq!(told.get(), 5, "seed {seed}: the call was never made");
    }
}
