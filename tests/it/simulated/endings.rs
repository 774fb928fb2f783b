//! Ends of connections, by every side that can end them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serve_forever::driver::sim::{Act, Conditions, Odds, Pace, Script};
use serve_forever::services::{Echo, Once};
use serve_forever::sim::World;
use serve_forever::{ConnId, Limits, Sent};

use super::handlers::{Call, Scripted, calm, noise, patient, run, why};

#[test]
fn after_a_half_close_the_whole_reply_comes_and_then_our_fin() {
    let answer = noise(300_000);
    let reply = answer.clone();
    let handler = Scripted::new(move |io, call| {
        if let Call::Line(_) = call {
            let _ = io.write(&reply);
        }
        Ok(())
    });
    let mut world = calm(handler, Limits { hard_mark: 1 << 20, ..patient() });
    let slow = Pace::Slowly { bytes: 1000, every: Duration::from_millis(10) };
    let client = world.play(Script::new().read(slow).send("all of it, please").finish());
    run(&mut world);
    assert_eq!(world.client(client).received(), answer);
    assert!(world.client(client).saw_fin().is_some());
    assert_eq!(why(&world, client), "Finished");
}

#[test]
fn a_reset_while_we_write_closes_that_connection_once() {
    for seed in 0..50 {
        let mut world =
            World::<_>::new(seed, Conditions::calm(), Echo::new(), Echo::limits()).expect("good limits");
        let script = Script::new().read(Pace::Never).send(noise(200_000));
        let broken = world.play(script.after(Duration::from_micros(seed * 20)).reset());
        let other = world.play(Script::new().send("hello").finish());
        run(&mut world);
        // It may have been reset before there was a connection.
        assert!(world.life(broken).is_none_or(|life| life.closed().is_some_and(|why| why.starts_with("Io"))));
        assert_eq!(world.client(other).received(), b"hello");
    }
}

/// The driver reports events of sockets that are closed, while their slots
/// have new connections.
#[test]
fn stale_events_touch_nothing() {
    let conditions = Conditions { stale: Odds::one_in(2), ..Conditions::calm() };
    let mut world = World::<_>::new(7, conditions, Scripted::lines(), patient()).expect("good limits");
    for n in 0..200_u64 {
        let script = Script::new().starting_after(Duration::from_micros(n * 100)).send("a line\n");
        if n % 2 == 0 {
            world.play(script.reset())
        } else {
            world.play(script.finish())
        };
    }
    run(&mut world);
    assert!(world.reactor().stats().stale_events > 20, "{}", world.reactor().stats().stale_events);
    let polite: Vec<_> = world.net().clients().filter(|(_, client)| !client.has_reset()).collect();
    assert!(polite.iter().all(|(_, client)| client.received() == b"a line\n"));
}

#[test]
fn a_callback_may_end_itself_and_others_of_its_batch() {
    for abort in [false, true] {
        let ids: Rc<RefCell<Vec<ConnId>>> = Rc::default();
        let all = Rc::clone(&ids);
        let handler = Scripted::new(move |io, call| {
            match call {
                Call::Open => all.borrow_mut().push(io.id()),
                Call::Line(_) => {
                    for id in all.borrow().iter() {
                        if abort {
                            io.abort(*id)
                        } else {
                            io.close(*id)
                        }
                        assert_eq!(io.send(*id, "too late"), Sent::Gone);
                    }
                }
                _ => {}
            }
            Ok(())
        });
        let mut world = calm(handler, patient());
        let all = [(); 10]
            .map(|()| world.play(Script::new().after(Duration::from_secs(1)).send("now\n").send("x\n")));
        run(&mut world);
        for client in all {
            assert_eq!(why(&world, client), if abort { "Aborted" } else { "Closed" });
            assert_eq!(
                world.client(client).saw_reset().is_some(),
                abort,
                "input was unread, and is not lost"
            );
        }
    }
}

#[test]
fn a_panic_ends_its_connection_alone() {
    let handler = Scripted::new(|io, call| {
        if let Call::Line(line) = call {
            assert_ne!(line, b"panic\n", "as it was asked to");
            let _ = io.write(line);
        }
        Ok(())
    });
    let mut world = calm(handler, patient());
    let bad =
        world.play(Script::new().send("fine\n").after(Duration::from_secs(1)).send("panic\n").send("more\n"));
    let good = world.play(Script::new().send("fine\n").after(Duration::from_secs(2)).send("too\n").finish());
    run(&mut world);
    assert!(why(&world, bad).starts_with("Panicked"), "{}", why(&world, bad));
    assert!(world.client(bad).saw_reset().is_some());
    assert_eq!(world.client(good).received(), b"fine\ntoo\n");
}

#[test]
fn an_answer_survives_what_is_sent_behind_its_question() {
    // Data that arrives for a closed socket resets it, and a reset destroys
    // what was not read: without lingering the answer would be lost.
    let conditions = Conditions { reset_destroys: Odds::ALWAYS, ..Conditions::calm() };
    for seed in 0..50 {
        let mut world =
            World::<_>::new(seed, conditions.clone(), Once::new("yes"), Once::limits()).expect("good limits");
        let slow = Pace::Slowly { bytes: 1, every: Duration::from_millis(100) };
        let client = world.play(Script::new().read(slow).send("please\n").send(noise(500_000)));
        run(&mut world);
        assert_eq!(world.client(client).received(), b"yes\n", "seed {seed}");
        assert!(world.client(client).saw_fin().is_some());
    }
}

#[test]
fn a_shutdown_can_be_asked_for_before_the_loop_and_twice() {
    let mut world = calm(Echo::new(), patient());
    let service = world.service().clone();
    let handle = world.reactor().handle(&service);
    handle.shutdown(Duration::from_secs(60));
    handle.shutdown(Duration::from_secs(5));
    let client = world.play(Script::new().send("hello").then(Act::StayAfterFin));
    let began = world.elapsed();
    while !world.turn(None).expect("it keeps its promises").finished {}
    assert!(world.elapsed() - began < Duration::from_secs(6), "the sooner counts");
    world.check_baseline().expect("all has gone");
    handle.shutdown(Duration::ZERO);
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.net_mut().settle();
    assert!(world.client(client).was_refused() || world.client(client).has_ended());
}

#[test]
fn a_callback_may_ask_for_a_shutdown_and_what_is_under_way_is_finished() {
    let handler = Scripted::new(|io, call| {
        if let Call::Line(line) = call {
            let _ = io.write(line);
            if line == b"goodbye\n" {
                io.shutdown(Duration::from_secs(30));
            }
        }
        Ok(())
    });
    let mut world = calm(handler, patient());
    let slow = Pace::Slowly { bytes: 100, every: Duration::from_millis(100) };
    let line = [noise(9000).iter().map(|byte| byte | 0x80).collect(), b"\n".to_vec()].concat();
    let busy = world.play(Script::new().read(slow).send(line.clone()).then(Act::StayAfterFin));
    let idle = world.play(Script::new());
    let last = world.play(Script::new().after(Duration::from_secs(1)).send("goodbye\n"));
    while !world.turn(None).expect("it keeps its promises").finished {}
    world.net_mut().settle();
    assert_eq!(world.client(busy).received(), line, "what was queued is written");
    assert_eq!(world.client(last).received(), b"goodbye\n");
    assert!([busy, idle, last].iter().all(|client| why(&world, *client) == "Shutdown"));
}

#[test]
fn what_had_something_under_way_at_a_shutdown_ends_with_a_fin_whatever_still_comes() {
    for seed in 0..50 {
        // What the client has not sent yet is under way too, and looks quiet
        // to the server whenever it has caught up.
        let conditions = Conditions {
            latency: (Duration::from_millis(1), Duration::from_millis(5)),
            ..Conditions::calm()
        };
        let limits = Limits { low_mark: 1000, high_mark: 5000, ..patient() };
        let mut world = World::<_>::new(seed, conditions, Echo::new(), limits).expect("good limits");
        let late = Script::new().read(Pace::Never).send(noise(500_000));
        let client = world.play(late.after(Duration::from_millis(200)).read(Pace::AtOnce).finish());
        while world.elapsed() < Duration::from_millis(100) {
            world.turn(None).expect("it keeps its promises");
        }
        let service = world.service().clone();
        world.reactor().handle(&service).shutdown(Duration::from_secs(60));
        while !world.turn(None).expect("it keeps its promises").finished {}
        world.net_mut().settle();
        assert!(world.client(client).saw_reset().is_none(), "seed {seed}");
        assert!(world.client(client).saw_fin().is_some(), "seed {seed}");
    }
}

/// A wait reports 64 events at most, and a shutdown closes the quiet in its
/// second turn.
#[test]
fn a_shutdown_reads_what_has_arrived_though_no_event_has_told_of_it_yet() {
    let mut world = calm(Echo::new(), patient());
    let hello = || Script::new().after(Duration::from_secs(1)).send("hello");
    let clients: Vec<_> = (0..200).map(|_| world.play(hello())).collect();
    world.run_for(Duration::from_millis(500)).expect("it keeps its promises");
    assert_eq!(world.reactor().connections(), 200);
    world.net_mut().hold_up(Duration::from_secs(1));
    world.reactor().shutdown(Duration::from_secs(10));
    let finished = (0..1000).any(|_| world.turn(None).expect("it keeps its promises").finished);
    assert!(finished, "it comes to its end");
    world.net_mut().settle();
    assert!(clients.iter().all(|client| world.client(*client).received() == b"hello"));
}
